"""Kubernetes Events: what `kubectl describe` shows beneath an object."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Literal

from littoral.cluster.client import UNREACHABLE, ApiError, Client, Object
from littoral.cluster.micro_time import micro_time
from littoral.cluster.resources import EVENTS

logger = logging.getLogger(__name__)

_NOTE_MOST = 1024  # events.k8s.io/v1 refuses longer notes.


class EventRecorder:
    """Records Events in the name of one component. An Event that is lost is logged, and nothing else fails."""

    def __init__(self, client: Client, *, component: str, instance: str) -> None:
        self._client = client
        self._component = component
        self._instance = instance

    async def record(
        self, regarding: Object, *, kind: Literal["Normal", "Warning"], reason: str, action: str, note: str
    ) -> None:
        """Record one Event about an object, given with its `apiVersion`, `kind` and `metadata`."""
        metadata = regarding["metadata"]
        # Events about cluster-scoped objects live in `default`, as the API server's own do.
        namespace = metadata.get("namespace", "default")
        body: Object = {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"namespace": namespace, "generateName": f"{metadata['name'][:200]}-"},
            "eventTime": micro_time(datetime.now(UTC)),
            "reportingController": self._component,
            "reportingInstance": self._instance,
            "type": kind,
            "reason": reason,
            "action": action,
            "note": _cut(note),
            "regarding": {
                "apiVersion": regarding["apiVersion"],
                "kind": regarding["kind"],
                "name": metadata["name"],
                "namespace": metadata.get("namespace", ""),
                "uid": metadata.get("uid", ""),
            },
        }
        try:
            await self._client.create(EVENTS, body, namespace=namespace)
        except (ApiError, *UNREACHABLE) as error:
            logger.warning("event %s about %s/%s was lost: %r", reason, regarding["kind"], metadata["name"], error)


def _cut(note: str) -> str:
    """The note, cut where it has to end: the API server counts bytes."""
    encoded = note.encode()
    return note if len(encoded) <= _NOTE_MOST else encoded[: _NOTE_MOST - 3].decode(errors="ignore") + "..."
