"""kopf's part in the hub: handlers that note what they are told, and do nothing else."""

from __future__ import annotations

from typing import Any

import kopf

from littoral.cluster.kinds import Kinds
from littoral.cluster.store import KindStore


def register(registry: kopf.OperatorRegistry, kinds: Kinds) -> None:
    """Have Models, LatencySLOs and NodePools noted: one level-based handler for each kind."""
    _note(registry, kinds.models)
    _note(registry, kinds.slos)
    _note(registry, kinds.pools)


def _note(registry: kopf.OperatorRegistry, store: KindStore[Any]) -> None:
    resource = store.resource

    @kopf.on.event(resource.group, resource.version, resource.plural, id="note", registry=registry)
    async def note(event: kopf.RawEvent, **_: Any) -> None:
        store.note(event["type"], event["object"])
