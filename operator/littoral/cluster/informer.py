"""list+watch: an in-memory copy of a collection that stays true across broken links, restarts and compactions."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from littoral.cluster.client import UNREACHABLE, ApiError, Client, Object
from littoral.cluster.resources import Resource

logger = logging.getLogger(__name__)

T = TypeVar("T")
Key = tuple[str, str]

_BACKOFF_FIRST, _BACKOFF_MOST = 0.2, 15.0


def key_of(body: Object) -> Key:
    """(namespace, name); the namespace of a cluster-scoped object is empty."""
    metadata = body["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


class Informer(Generic[T]):
    """A copy of one collection, kept by list+watch.

    `keep` projects an object onto what is worth holding (a thousand Nodes are 20 MB of JSON, and Littoral reads five
    fields of each); it is called once for each event, and an object whose projection did not change wakes nobody.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource,
        *,
        keep: Callable[[Object], T],
        on_change: Callable[[], None],
        label_selector: str = "",
        field_selector: str = "",
        namespace: str | None = None,
    ) -> None:
        self._client = client
        self._resource = resource
        self._keep = keep
        self._on_change = on_change
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._namespace = namespace
        self._objects: dict[Key, T] = {}
        self._synced = False

    @property
    def synced(self) -> bool:
        """Whether the first list is in: before that, absence means nothing."""
        return self._synced

    def get(self, key: Key) -> T | None:
        """The kept form of one object."""
        return self._objects.get(key)

    def items(self) -> Iterator[tuple[Key, T]]:
        """All kept objects, as they are now."""
        return iter(list(self._objects.items()))

    def values(self) -> list[T]:
        """All kept objects, as they are now."""
        return list(self._objects.values())

    async def run(self) -> None:
        """List, then watch, for ever; ends only by cancellation."""
        backoff = _BACKOFF_FIRST
        while True:
            try:
                version = await self._list()
                backoff = _BACKOFF_FIRST
                await self._watch(version)
            except ApiError as error:
                if error.status == 410:  # The version fell out of etcd's history: list again, at once.
                    continue
                logger.warning("%s: %s", self._resource.plural, error)
            except UNREACHABLE as error:
                logger.warning("%s: the API server cannot be reached: %r", self._resource.plural, error)
            # Jitter: after an outage a hundred sites must not come back in step.
            await asyncio.sleep(backoff * random.uniform(0.5, 1.0))  # noqa: S311
            backoff = min(backoff * 2, _BACKOFF_MOST)

    async def _list(self) -> str:
        objects, version = await self._client.list(
            self._resource,
            namespace=self._namespace,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
        )
        fresh = {key_of(body): self._keep(body) for body in objects}
        changed = fresh != self._objects or not self._synced
        self._objects = fresh
        self._synced = True
        if changed:
            self._on_change()
        return version

    async def _watch(self, version: str) -> None:
        while True:
            async for kind, body in self._client.watch(
                self._resource,
                resource_version=version,
                namespace=self._namespace,
                label_selector=self._label_selector,
                field_selector=self._field_selector,
            ):
                version = body["metadata"]["resourceVersion"]
                if kind != "BOOKMARK":
                    self._note(kind, body)

    def _note(self, kind: str, body: Object) -> None:
        key = key_of(body)
        if kind == "DELETED":
            if key in self._objects:
                del self._objects[key]
                self._on_change()
            return
        kept = self._keep(body)
        if key not in self._objects or self._objects[key] != kept:
            self._objects[key] = kept
            self._on_change()
