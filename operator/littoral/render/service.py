"""The Service under whose name clients reach a Model."""

from __future__ import annotations

from collections.abc import Sequence

from littoral.render import names
from littoral.render.server import Manifest


def render_service(*, namespace: str, model: str, owners: Sequence[Manifest]) -> Manifest:
    """A Service that selects exactly the Pods whose Triton answers requests for the Model.

    Args:
        owners: owner references of all Assignments that serve it; it is collected when the last of them goes.
    """
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": model,
            "namespace": namespace,
            "labels": names.ours() | {names.APP: "model"},
            "ownerReferences": list(owners),
        },
        "spec": {
            "selector": {names.serves(model): "true"},
            "ports": [
                {"name": "http", "port": 80, "targetPort": names.HTTP_PORT, "appProtocol": "http"},
                {"name": "grpc", "port": 8001, "targetPort": names.GRPC_PORT, "appProtocol": "kubernetes.io/h2c"},
            ],
        },
    }
