"""Artifact stores on the lab: a registry with a password and an S3 server, both with TLS, in a Pod of the node cloud.

They answer at ports of their own under the name of the quickstart's artifact server, and so with its certificate, which
the agents trust: its Service leads to every Pod with its label, and to each port where a Pod has one of that name.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import onnx
import yaml

from examples.quickstart import setting_up
from examples.quickstart.networks import DIGITS, Network
from lab import programs
from lab.archive import write_archive
from lab.state import LabFiles, cache_directory
from tests.agent.servers import PASSWORD, USER, registry, with_password
from tests.e2e.littoral import ROOT, Littoral
from tests.support.tls import make_authority

REGISTRY = "artifacts.shop.svc:5000"
S3 = "https://artifacts.shop.svc:7070"
S3_LOGIN = {"accessKeyId": "the-access-key", "secretAccessKey": "the-secret-key-hidden"}
_REGION = "edge-1"
_FOLDER = "/var/lib/littoral/stores"
_NAME = "stores"


@dataclass(frozen=True, kw_only=True)
class Stores:
    """The stores, and the way to fill them: what they hold is on the node's disk, and so on this machine's."""

    node: Path
    """The folder of the stores on the node cloud, as this machine sees it."""
    scratch: Path

    def publish(self, name: str, *paths: Path, key: Path | None = None) -> dict[str, str]:
        """Push by `littoral publish`, signed if there is a key; the artifact as Pods have to name it."""
        return asyncio.run(self._publish(name, paths, key))

    async def _publish(self, name: str, paths: tuple[Path, ...], key: Path | None) -> dict[str, str]:
        # A second registry over the same files, on loopback and open: no process on a node can be reached for writing.
        folder = self.scratch / uuid4().hex
        folder.mkdir()
        authority = make_authority(folder / "tls")
        async with registry(_registry(), folder / "run", storage=self.node / "registry", authority=authority) as open_:
            sign = ["--sign", str(key)] if key else []
            command = [sys.executable, "-m", "littoral.cli.main", "publish", *map(str, paths), *sign]
            command += [f"oci://{open_.host}/{name}", "--ca-file", str(authority.file), "--quiet", "-o", "json"]
            done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            artifact: dict[str, str] = json.loads(done.stdout)["artifact"]
            return artifact | {"uri": artifact["uri"].replace(open_.host, REGISTRY)}

    def put(self, key: str, content: bytes) -> None:
        """Put an object into the bucket `models`."""
        path = self.node / "s3" / "models" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def fresh(folder: Path, *, network: Network = DIGITS) -> Path:
    """A network for digits that no cache has yet: it answers as the original and has another digest."""
    model = onnx.load(network.path())
    entry = model.metadata_props.add()
    entry.key, entry.value = "copy", uuid4().hex
    path = folder / f"{uuid4().hex[:6]}.onnx"
    onnx.save(model, path)
    return path


def registry_login(password: str = PASSWORD) -> dict[str, str]:
    """The data of a Secret that logs in to the registry."""
    return {".dockerconfigjson": json.dumps({"auths": {REGISTRY: {"username": USER, "password": password}}})}


def secret(name: str, *, namespace: str, data: dict[str, str]) -> dict[str, Any]:
    """A Secret as `kubectl apply` sends it."""
    docker = ".dockerconfigjson" in data
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "type": "kubernetes.io/dockerconfigjson" if docker else "Opaque",
        "stringData": data,
    }


@contextmanager
def running_stores(littoral: Littoral, scratch: Path) -> Iterator[Stores]:
    """The stores, empty, until the block ends."""
    cluster, where = littoral.cluster, f"--namespace={setting_up.NAMESPACE}"
    node = LabFiles(name=littoral.lab, cache=cache_directory()).machine("cloud") / _FOLDER.lstrip("/")
    stores = Stores(node=node, scratch=scratch)
    for folder in ("registry", "s3/models", "iam", "sidecar"):
        (node / folder).mkdir(parents=True, exist_ok=True)
    _load_images(littoral, scratch)
    ports = [{"name": name, "port": port, "targetPort": name} for name, port in (("registry", 5000), ("s3", 7070))]
    patch = json.dumps({"spec": {"ports": ports}})
    cluster.run("patch", "service", "artifacts", where, "--type=strategic", f"--patch={patch}")
    cluster.apply([_settings(scratch), _pod()])
    try:
        cluster.run("wait", "--for=condition=Ready", "pod", _NAME, where, "--timeout=60s")
        yield stores
    finally:
        cluster.run("delete", "pod,configmap", _NAME, where, "--ignore-not-found", "--wait", "--grace-period=1")


def _registry() -> str:
    return programs.ensure(("distribution",), cache=cache_directory()).path("distribution", "registry")


def _load_images(littoral: Littoral, scratch: Path) -> None:
    built = {
        "registry": _registry(),
        "versitygw": programs.ensure(("versitygw",), cache=cache_directory()).path("versitygw"),
    }
    archives = []
    for name, program in built.items():
        archives.append(str(scratch / f"{name}.tar"))
        write_archive(Path(archives[-1]), reference=_image(name), program=Path(program), name=name)
    command = [sys.executable, "-m", "lab", "load-images", "--name", littoral.lab, *archives]
    subprocess.run(command, cwd=ROOT, check=True)


def _image(name: str) -> str:
    return f"localhost/{name}:lab"


def _settings(scratch: Path) -> dict[str, Any]:
    """The registry's configuration and its passwords."""
    with_password(scratch)
    config = {
        "version": "0.1",
        "log": {"level": "info"},
        "storage": {
            "filesystem": {"rootdirectory": f"{_FOLDER}/registry"},
            "redirect": {"disable": True},
            "maintenance": {"readonly": {"enabled": True}},
        },
        "http": {"addr": ":5000", "secret": "of no use", "tls": {"certificate": "/tls/tls.crt", "key": "/tls/tls.key"}},
        "auth": {"htpasswd": {"realm": "shop", "path": "/etc/stores/htpasswd"}},
    }
    data = {"config.yaml": yaml.safe_dump(config), "htpasswd": (scratch / "htpasswd").read_text()}
    metadata = {"name": _NAME, "namespace": setting_up.NAMESPACE}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _pod() -> dict[str, Any]:
    s3 = ["--port=:7070", f"--access={S3_LOGIN['accessKeyId']}", f"--secret={S3_LOGIN['secretAccessKey']}"]
    s3 += [f"--region={_REGION}", "--cert=/tls/tls.crt", "--key=/tls/tls.key", f"--iam-dir={_FOLDER}/iam"]
    s3 += ["posix", f"--sidecar={_FOLDER}/sidecar", f"{_FOLDER}/s3"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": _NAME,
            "namespace": setting_up.NAMESPACE,
            "labels": {"app.kubernetes.io/name": "artifacts"},
        },
        "spec": {
            "automountServiceAccountToken": False,
            "nodeSelector": {"littoral.dev/pool": "cloud"},
            "containers": [
                _container("registry", "registry", port=5000, arguments=["serve", "/etc/stores/config.yaml"]),
                _container("s3", "versitygw", port=7070, arguments=s3),
            ],
            "volumes": [
                {"name": "files", "hostPath": {"path": _FOLDER, "type": "Directory"}},
                {"name": "settings", "configMap": {"name": _NAME}},
                {"name": "tls", "secret": {"secretName": "artifacts-tls"}},
            ],
        },
    }


def _container(name: str, program: str, *, port: int, arguments: list[str]) -> dict[str, Any]:
    return {
        "name": name,
        "image": _image(program),
        "imagePullPolicy": "Never",
        "args": arguments,
        "env": [{"name": "OTEL_TRACES_EXPORTER", "value": "none"}],
        "ports": [{"name": name, "containerPort": port}],
        "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1},
        # The files are root's.
        "securityContext": {"runAsUser": 0},
        "volumeMounts": [
            {"name": "files", "mountPath": _FOLDER},
            {"name": "settings", "mountPath": "/etc/stores", "readOnly": True},
            {"name": "tls", "mountPath": "/tls", "readOnly": True},
        ],
    }
