"""Littoral on the lab: its installation, and what tests ask of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples.quickstart import setting_up
from examples.quickstart.client import InferenceError, ModelClient
from examples.quickstart.cluster import Cluster, DemoError
from examples.quickstart.digits import load
from examples.quickstart.lab import connect_lab, lab_images
from examples.quickstart.models import describe_progress, is_ready
from examples.quickstart.networks import DIGITS, Network
from examples.quickstart.reading import ask_digit
from lab import pods

ROOT = Path(__file__).parents[2]
ARTIFACTS = "https://artifacts.shop.svc"


@dataclass(frozen=True, kw_only=True)
class Littoral:
    """An installed Littoral, and the lab that it runs on."""

    lab: str
    cluster: Cluster
    images: setting_up.Images

    def plan_by(self, **planning: Any) -> None:
        """Install the chart again with these of its values `planning`, and the defaults of all others."""
        self.install_with({"planning": planning})

    def install_with(self, values: dict[str, Any]) -> None:
        """Install the chart again with these values, and the defaults of all others."""
        ca_crt = setting_up.prepare_namespace(self.cluster)
        setting_up.install(self.cluster, images=self.images, ca_crt=ca_crt, timeout=120, more=values)

    def model(self, name: str, *, namespace: str = setting_up.NAMESPACE) -> dict[str, Any]:
        """The Model."""
        found: dict[str, Any] = self.cluster.get("models.littoral.dev", name, f"--namespace={namespace}")
        return found

    def wait_ready(self, name: str, *, namespace: str = setting_up.NAMESPACE, within: float = 120.0) -> dict[str, Any]:
        """Wait until a Model is Ready at its latest generation, and return it."""
        self.wait(lambda: is_ready(self.model(name, namespace=namespace)), what=f"Model {name} is Ready", within=within)
        return self.model(name, namespace=namespace)

    def wait(self, holds: Callable[[], bool], *, what: str, within: float = 120.0) -> None:
        """Wait for a condition; where it does not come, say how things stand."""
        end = time.monotonic() + within
        while not holds():
            if time.monotonic() > end:
                pytest.fail(f"{what}: not within {within:g} s\n{self.state()}")
            time.sleep(0.2)

    def state(self) -> str:
        """How things stand, for people."""
        models = self.cluster.items("models.littoral.dev", "--all-namespaces")
        progress = [f"{model['metadata']['name']}: {describe_progress(model)}" for model in models]
        pods = self.cluster.run("get", "pods", "--all-namespaces", "--output=wide")
        logs = self.cluster.run("logs", "--namespace=littoral-system", "deployment/littoral", "--tail=20")
        return "\n".join([*progress, pods, logs])

    def condition(self, name: str, kind: str, *, namespace: str = setting_up.NAMESPACE) -> tuple[str, str]:
        """(reason, message) of a condition that is True; empty strings where it is not."""
        for condition in self.model(name, namespace=namespace).get("status", {}).get("conditions", []):
            if condition["type"] == kind and condition["status"] == "True":
                return condition["reason"], condition["message"]
        return "", ""

    def connect(self, name: str, *, namespace: str = setting_up.NAMESPACE) -> ModelClient:
        """A client of the Model's Service, at the Service's own address."""
        return ModelClient(url=self.address(name, namespace=namespace), model=name)

    def address(self, name: str, *, namespace: str = setting_up.NAMESPACE) -> str:
        """Address and port of the Model's Service."""
        service = self.cluster.get("service", name, f"--namespace={namespace}")
        return f"{service['spec']['clusterIP']}:80"

    def wait_answers(self, name: str, *, namespace: str = setting_up.NAMESPACE, within: float = 60.0) -> None:
        """Wait until a Model of digits answers."""
        _, test = load()

        def answers() -> bool:
            try:
                with self.connect(name, namespace=namespace) as client:
                    return bool(np.isfinite(ask_digit(client, test.images[0]).values).all())
            except (InferenceError, DemoError):
                return False

        self.wait(answers, what=f"Model {name} answers", within=within)

    def patch_model(self, name: str, spec: dict[str, Any], *, namespace: str = setting_up.NAMESPACE) -> None:
        """Merge into a Model's spec."""
        patch = json.dumps({"spec": spec})
        where = f"--namespace={namespace}"
        self.cluster.run("patch", "models.littoral.dev", name, where, "--type=merge", f"--patch={patch}")

    def server(self, model: str, *, pool: str, namespace: str = setting_up.NAMESPACE) -> str:
        """Name of the server on which a Model runs in a pool."""
        placements = self.model(model, namespace=namespace)["status"]["placements"]
        return str(next(each["server"] for each in placements if each["pool"] == pool))

    def servers(self, name: str, *, namespace: str = setting_up.NAMESPACE) -> list[dict[str, Any]]:
        """Pods of one Triton server."""
        found = self.cluster.items("pods", f"--namespace={namespace}", f"--selector=littoral.dev/server={name}")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def digits_variants(network: Network = DIGITS, **artifact: Any) -> list[dict[str, Any]]:
    """Variants of a Model that serves one of the networks for digits; `artifact` replaces its fields."""
    return [
        {
            "name": "onnx-cpu",
            "accelerator": "cpu",
            "backend": "onnxruntime",
            "artifact": {"uri": f"{ARTIFACTS}/{network.file_name}", "digest": network.digest} | artifact,
            "cpu": "100m",
            "memory": "128Mi",
            "accuracy": "0.96",
        }
    ]


def digits_model(name: str, *, namespace: str, variants: list[dict[str, Any]]) -> dict[str, Any]:
    """A Model as `kubectl apply` sends it."""
    return {
        "apiVersion": "littoral.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"variants": variants},
    }


def stays_at_the_edge(model: str, *, namespace: str) -> dict[str, Any]:
    """A LatencySLO that keeps a Model out of the cloud."""
    return {
        "apiVersion": "littoral.dev/v1alpha1",
        "kind": "LatencySLO",
        "metadata": {"name": model, "namespace": namespace},
        "spec": {"modelRef": {"name": model}, "latency": "100ms", "overflow": "Never"},
    }


def kill(pod: dict[str, Any], program: str) -> int:
    """SIGKILL the processes of a Pod whose command line matches; how many there were."""
    return pods.kill(uid=pod["metadata"]["uid"], program=program)


def install(lab: str) -> Littoral:
    """Install Littoral by its chart, apply the quickstart, and wait until its Models are Ready."""
    cluster, images = connect_lab(lab), lab_images()
    ca_crt = setting_up.prepare_namespace(cluster)
    setting_up.install(cluster, images=images, ca_crt=ca_crt, timeout=120)
    setting_up.apply_quickstart(cluster, images=images)
    littoral = Littoral(lab=lab, cluster=cluster, images=images)
    for name in ("digits", "text-detect", "text-recognize"):
        littoral.wait_ready(name)
    return littoral
