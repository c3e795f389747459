"""The latest known state of our own kinds, fed by kopf's event stream and corrected by lists.

kopf tells of changes but not when its first list is complete, nor of deletions that fell into a gap of its watch. So a
store is filled by a list of its own before anything acts on it, and compared with a fresh list from time to time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from littoral.api.base import InvalidObject
from littoral.api.meta import Resource as Kind
from littoral.cluster.client import Client, Object
from littoral.cluster.informer import Key, key_of
from littoral.cluster.resources import Resource

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=Kind)


@dataclass(frozen=True, kw_only=True)
class Malformed:
    """An object that slipped by validation: enough of it to say so in its status, and what is wrong with it."""

    api_version: str
    kind: str
    name: str
    namespace: str
    uid: str
    generation: int
    conditions: tuple[Mapping[str, Any], ...]
    message: str


class KindStore(Generic[K]):
    """All objects of one kind, parsed; those that cannot be parsed are kept apart, never lost and never fatal."""

    def __init__(self, kind: type[K], resource: Resource, *, on_change: Callable[[], None]) -> None:
        self.resource = resource
        self._kind = kind
        self._on_change = on_change
        self._objects: dict[Key, K] = {}
        self._malformed: dict[Key, Malformed] = {}
        self._versions: dict[Key, tuple[str, str]] = {}
        self.synced = False
        self.changes = 0
        """Counts what was noted: equal numbers mean that nothing is new."""

    def objects(self) -> tuple[K, ...]:
        """The parsed objects, without those that are being deleted."""
        return tuple(body for body in self._objects.values() if body.metadata.deletion_timestamp is None)

    def malformed(self) -> tuple[Malformed, ...]:
        """The objects that cannot be parsed."""
        return tuple(self._malformed.values())

    def note(self, event_type: str | None, body: Mapping[str, Any]) -> None:
        """Take one event of kopf's stream (`None` for its initial list, else `ADDED`, `MODIFIED`, `DELETED`)."""
        if event_type == "DELETED":
            self._drop(key_of(dict(body)), uid=body["metadata"]["uid"])
        else:
            self._put(body)

    async def sync(self, client: Client) -> None:
        """Compare with a fresh list: take what is new, drop what is gone."""
        known = dict(self._versions)
        bodies, _ = await client.list(self.resource)
        listed = {key_of(body) for body in bodies}
        for body in bodies:
            self._put(body)
        for key, (uid, _) in known.items():
            # What came by an event while the list was under way is in neither, and stays.
            if key not in listed:
                self._drop(key, uid=uid)
        if not self.synced:
            self.synced = True
            self._on_change()

    def _put(self, body: Mapping[str, Any]) -> None:
        key = key_of(dict(body))
        metadata = body["metadata"]
        version = (metadata["uid"], metadata["resourceVersion"])
        if self._versions.get(key) == version:
            return
        self._versions[key] = version
        self._objects.pop(key, None)
        self._malformed.pop(key, None)
        try:
            self._objects[key] = self._kind.parse(body)
        except InvalidObject as error:
            self._malformed[key] = self._apart(body, message=str(error))
            logger.warning("%s %s/%s cannot be read: %s", self.resource.kind, *key, error)
        self._changed()

    def _drop(self, key: Key, *, uid: str) -> None:
        if self._versions.get(key, ("", ""))[0] != uid:
            return
        del self._versions[key]
        self._objects.pop(key, None)
        self._malformed.pop(key, None)
        self._changed()

    def _changed(self) -> None:
        self.changes += 1
        self._on_change()

    def _apart(self, body: Mapping[str, Any], *, message: str) -> Malformed:
        metadata = body["metadata"]
        status: Object = body.get("status") or {}
        conditions = status.get("conditions") if isinstance(status, Mapping) else None
        return Malformed(
            api_version=self.resource.api_version,
            kind=self.resource.kind,
            name=metadata["name"],
            namespace=metadata.get("namespace", ""),
            uid=metadata.get("uid", ""),
            generation=metadata.get("generation", 0),
            conditions=tuple(c for c in conditions or () if isinstance(c, Mapping)),
            message=message,
        )
