"""Small valid objects for tests: say what matters, the rest is filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from littoral.api.assignment import Assignment
from littoral.api.latencyslo import LatencySLO
from littoral.api.model import Model
from littoral.api.nodepool import NodePool
from littoral.core.hardware import Node

DIGEST = "sha256:" + "0123456789abcdef" * 4


def variant(name: str = "onnx-cpu", **fields: Any) -> dict[str, Any]:
    """A variant for the CPU, unless `accelerator` says otherwise."""
    return {
        "name": name,
        "accelerator": "cpu",
        "backend": "onnxruntime",
        "artifact": {"uri": "https://models.example/network.onnx", "digest": DIGEST},
    } | fields


def model_object(
    name: str = "digits", *, namespace: str = "shop", variants: Sequence[Mapping[str, Any]] = (), **spec: Any
) -> dict[str, Any]:
    """A Model as `kubectl apply` sends it."""
    return {
        "apiVersion": "littoral.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"variants": list(variants) or [variant()]} | spec,
    }


def model(name: str = "digits", **fields: Any) -> Model:
    """A parsed Model."""
    return Model.parse(model_object(name, **fields))


def pool_object(name: str = "edge", *, tier: str = "edge", **spec: Any) -> dict[str, Any]:
    """A NodePool that selects nodes with `littoral.dev/pool: <name>`."""
    return {
        "apiVersion": "littoral.dev/v1alpha1",
        "kind": "NodePool",
        "metadata": {"name": name},
        "spec": {"tier": tier, "nodeSelector": {"matchLabels": {"littoral.dev/pool": name}}}
        | ({"site": name} if tier == "edge" else {})
        | spec,
    }


def pool(name: str = "edge", **fields: Any) -> NodePool:
    """A parsed NodePool."""
    return NodePool.parse(pool_object(name, **fields))


def slo(model_name: str = "digits", *, namespace: str = "shop", **spec: Any) -> LatencySLO:
    """A parsed LatencySLO of 50 ms."""
    return LatencySLO.parse(
        {
            "metadata": {"name": f"{model_name}-slo", "namespace": namespace},
            "spec": {"modelRef": {"name": model_name}, "latency": "50ms"} | spec,
        }
    )


def node(name: str = "edge-1", *, pool: str = "edge", **fields: Any) -> Node:
    """A ready node of a pool, with 4 cores and 8 GiB."""
    labels = {"littoral.dev/pool": pool} | fields.pop("labels", {})
    usual: dict[str, Any] = {"name": name, "ready": True, "schedulable": True, "cpu": 4.0, "memory": 8 * 2.0**30}
    return Node(**(usual | fields), labels=labels)


def assignment(name: str = "edge", *, servers: Sequence[Mapping[str, Any]] = (), **fields: Any) -> Assignment:
    """A parsed Assignment."""
    return Assignment.parse(
        {
            "metadata": {"name": name, "uid": f"uid-of-{name}", "generation": 3},
            "spec": {
                "tier": "edge",
                "site": name,
                "nodeSelector": {"matchLabels": {"littoral.dev/pool": name}},
                "servers": list(servers),
            },
        }
        | fields
    )


def server(*models: str, pool: str = "edge", namespace: str = "shop", **fields: Any) -> dict[str, Any]:
    """A server of an Assignment, for the CPU."""
    return {
        "name": f"triton-{pool}-{fields.get('accelerator', 'cpu')}",
        "namespace": namespace,
        "accelerator": "cpu",
        "models": [
            {
                "name": name,
                "variant": "onnx-cpu",
                "backend": "onnxruntime",
                "artifact": {"uri": f"https://models.example/{name}.onnx", "digest": DIGEST},
            }
            for name in models
        ],
    } | fields
