"""What the demo installs, and how it takes it away again: the chart, the certificate and the manifests."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from . import certificates
from .cluster import Cluster, DemoError

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts/littoral"
MANIFESTS = ROOT / "manifests/quickstart"
SECOND_VERSION = ROOT / "manifests/quickstart-v2"
NAMESPACE = "shop"

_RELEASE = "littoral"
_RELEASE_NAMESPACE = "littoral-system"
_SECRET = "artifacts-tls"


@dataclass(frozen=True, kw_only=True)
class Images:
    """References of the images; None leaves the chart's own choice."""

    littoral: str
    quickstart_models: str
    triton: str | None
    gateway: str | None = None


def check_nodes(cluster: Cluster) -> list[str]:
    """Return `name (pool)` of the nodes in the quickstart's pools; raise DemoError if no node is in the pool edge."""
    nodes = [
        (node["metadata"]["name"], node["metadata"].get("labels", {}).get("littoral.dev/pool", ""))
        for node in cluster.items("nodes")
    ]
    if all(pool != "edge" for _, pool in nodes):
        raise DemoError(
            "No node is in the pool `edge`. Choose at least one:  kubectl label node NODE littoral.dev/pool=edge\n"
            "and, for a second pool, another one:  kubectl label node NODE littoral.dev/pool=cloud\n"
            f"Nodes: {', '.join(name for name, _ in nodes)}"
        )
    return [f"{name} (pool {pool})" for name, pool in nodes if pool in ("edge", "cloud")]


def prepare_namespace(cluster: Cluster) -> bytes:
    """Make the namespace and the artifact server's certificate unless they exist; return the authority's (PEM)."""
    cluster.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}])
    secrets = cluster.items("secrets", f"--namespace={NAMESPACE}", f"--field-selector=metadata.name={_SECRET}")
    if secrets:
        return base64.b64decode(secrets[0]["data"]["ca.crt"])
    bundle = certificates.issue()
    pem = {"ca.crt": bundle.ca_crt, "tls.crt": bundle.tls_crt, "tls.key": bundle.tls_key}
    cluster.apply(
        [
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": _SECRET, "namespace": NAMESPACE},
                "type": "kubernetes.io/tls",
                "data": {key: base64.b64encode(value).decode() for key, value in pem.items()},
            }
        ]
    )
    return bundle.ca_crt


def install(
    cluster: Cluster, *, images: Images, ca_crt: bytes, timeout: float, more: Mapping[str, Any] | None = None
) -> None:
    """Install or upgrade the chart, with more of its values, and wait until the operator runs; raise DemoError."""
    values: dict[str, Any] = {
        "image": _image_values(images.littoral),
        "agent": {"caBundle": ca_crt.decode()},
        **(more or {}),
    }
    if images.triton is not None:
        values["triton"] = {"image": _image_values(images.triton)}
    if images.gateway is not None:
        # Used where `more` says gateway.enabled.
        values["gateway"] = {"image": _image_values(images.gateway)} | values.get("gateway", {})
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(values, file)
        file.flush()
        try:
            cluster.run_helm(
                "upgrade", "--install", _RELEASE, str(CHART),
                f"--namespace={_RELEASE_NAMESPACE}", "--create-namespace",
                f"--values={file.name}", "--wait", f"--timeout={timeout:.0f}s",
            )  # fmt: skip
        except DemoError as error:
            raise DemoError(f"{error}\n{cluster.describe_pods(_RELEASE_NAMESPACE)}") from error


def apply_quickstart(cluster: Cluster, *, images: Images) -> list[str]:
    """Apply manifests/quickstart with the image in its place and return what kubectl says."""
    objects = [
        document for path in sorted(MANIFESTS.glob("*.yaml")) for document in yaml.safe_load_all(path.read_text())
    ]
    for item in objects:
        if item["kind"] == "Deployment":
            for container in item["spec"]["template"]["spec"]["containers"]:
                container["image"] = images.quickstart_models
    return cluster.apply(objects).splitlines()


def apply_second_version(cluster: Cluster) -> None:
    """Apply manifests/quickstart-v2: the Model `digits` with another artifact."""
    cluster.run("apply", f"--filename={SECOND_VERSION}")


def remove(cluster: Cluster) -> None:
    """Take away all that the demo made; what needs the operator to go, before the operator."""
    for path in sorted(MANIFESTS.glob("*.yaml"), reverse=True):
        cluster.run("delete", f"--filename={path}", "--ignore-not-found", "--wait", "--timeout=120s")
    cluster.run_helm("uninstall", _RELEASE, f"--namespace={_RELEASE_NAMESPACE}", "--wait", "--ignore-not-found")
    cluster.run("delete", "namespace", _RELEASE_NAMESPACE, "--ignore-not-found", "--timeout=120s")


def _image_values(reference: str) -> dict[str, str]:
    repository, _, tag = reference.rpartition(":")
    return {"repository": repository, "tag": tag}
