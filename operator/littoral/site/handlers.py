"""kopf's part in the site role: Assignments are noted, and nothing else."""

from __future__ import annotations

from typing import Any

import kopf

from littoral.api.assignment import Assignment
from littoral.cluster.store import KindStore


def register(registry: kopf.OperatorRegistry, assignments: KindStore[Assignment]) -> None:
    """Have Assignments noted, by one level-based handler."""
    resource = assignments.resource

    @kopf.on.event(resource.group, resource.version, resource.plural, id="note", registry=registry)
    async def note(event: kopf.RawEvent, **_: Any) -> None:
        assignments.note(event["type"], event["object"])
