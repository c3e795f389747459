"""What is changed on running Pods: whom clients are led to, and what a server may use. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from littoral.api.assignment import Server
from littoral.api.quantity import parse_quantity
from littoral.api.serving import ModelState, ServerConfig, ServerStatus
from littoral.render import names
from littoral.site.views import PodView


def pod_patch(pod: PodView, *, config: ServerConfig, status: ServerStatus | None) -> dict[str, Any] | None:
    """The merge patch that makes a Pod's labels say what it serves; None when they do already.

    A model that is no longer wanted loses its label first: its agent lets it serve for the drain period after that. An
    agent that does not answer changes nothing: the kubelet's readiness probe takes a Pod out that cannot serve, and a
    broken link between the operator and a node must not.
    """
    wanted = {model.name for model in config.models}
    before = names.served_models(dict(pod.labels))
    if status is None:
        ready = before
    else:
        ready = frozenset(m.name for m in status.models if m.ready and m.state != ModelState.UNLOADING)
    after = ready & wanted
    labels: dict[str, str | None] = {names.serves(model): "true" for model in after - before}
    labels |= {names.serves(model): None for model in before - after}
    metadata: dict[str, Any] = {}
    if labels:
        metadata["labels"] = labels
    if synced := config_patch(pod, revision=config.revision):
        metadata |= synced["metadata"]
    return {"metadata": metadata} if metadata else None


def config_patch(pod: PodView, *, revision: str) -> dict[str, Any] | None:
    """The merge patch that makes the kubelet sync a Pod's mounted ConfigMap at once; None when it has been asked to."""
    if pod.config_revision == revision:
        return None
    return {"metadata": {"annotations": {names.CONFIG_REVISION: revision}}}


def resize_patch(pod: PodView, *, server: Server) -> dict[str, Any] | None:
    """The strategic merge patch of a Pod's `resize` that gives Triton what its Models need; None when it has that.

    Source: https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/
    """
    wanted = {name: value for name, value in (("cpu", server.cpu), ("memory", server.memory)) if value is not None}
    if all(_same(pod.requests.get(name), value) for name, value in wanted.items()):
        return None
    return {"spec": {"containers": [{"name": names.TRITON, "resources": {"requests": wanted}}]}}


def _same(live: str | None, wanted: str) -> bool:
    return live is not None and parse_quantity(live) == parse_quantity(wanted)


def ready_models(pod: PodView, *, config: ServerConfig, statuses: Mapping[str, ServerStatus]) -> frozenset[str]:
    """The wanted models that the Pod answers requests for, as its agent says, in the wanted artifact."""
    status = statuses.get(pod.uid)
    if status is None or not pod.ready:
        return frozenset()
    digests = {model.name: model.artifact.digest for model in config.models}
    return frozenset(
        model.name
        for model in status.models
        if model.ready and model.state == ModelState.READY and digests.get(model.name) == model.digest
    )
