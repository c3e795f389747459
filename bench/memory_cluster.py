"""A cluster in memory: as much of an API server as the operator of a member site asks of its own one.

Objects, generations, resourceVersions, watches, merge patches, and server-side apply in which each manager has parts of
its own. Nothing is checked against a schema, and nothing acts on what is written.
"""

from __future__ import annotations

import asyncio
import copy
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final
from uuid import uuid4

from littoral.cluster.client import ApiError, Client, Object
from littoral.cluster.resources import Resource, resource_of

_Key = tuple[str, str, str]
_KEPT: Final = 1000  # Events of which a watch can begin.


class MemoryClient(Client):
    """A cluster of its own, and the client of it."""

    def __init__(self) -> None:
        self._objects: dict[_Key, Object] = {}
        self._applied: dict[tuple[_Key, str], Object] = {}
        self._events: dict[str, list[tuple[int, str, Object]]] = defaultdict(list)
        self._changed: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._version = 1

    async def close(self) -> None:
        """Nothing is open."""

    async def get(self, resource: Resource, *, name: str, namespace: str | None = None) -> Object | None:
        """One object, or None where it does not exist."""
        return copy.deepcopy(self._objects.get((resource.plural, namespace or "", name)))

    async def list(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        page: int = 500,
    ) -> tuple[list[Object], str]:
        """All objects of a collection that the selectors select, and the resourceVersion to watch from."""
        found = [
            copy.deepcopy(body)
            for (plural, _, _), body in sorted(self._objects.items())
            if plural == resource.plural and _selected(body, namespace, label_selector, field_selector)
        ]
        return found, str(self._version)

    async def create(
        self,
        resource: Resource,
        body: Object,
        *,
        namespace: str | None = None,
        name: str | None = None,
        subresource: str | None = None,
    ) -> Object:
        """Create one object; `ApiError` with status 409 when it is there already."""
        key = (resource.plural, namespace or "", body["metadata"]["name"])
        if key in self._objects:
            raise ApiError(status=409, reason="AlreadyExists", message=f"{key[2]} already exists")
        return self._store(key, None, body)

    async def apply(self, body: Object, *, manager: str, subresource: str | None = None) -> Object:
        """Server-side apply: what this manager applied before, and does not any more, is removed."""
        resource, metadata = resource_of(api_version=body["apiVersion"], kind=body["kind"]), body["metadata"]
        key = (resource.plural, metadata.get("namespace", ""), metadata["name"])
        before = self._objects.get(key)
        if subresource is not None:
            if before is None:
                raise ApiError(status=404, reason="NotFound", message=f"{key[2]} not found")
            return self._store(key, before, before | {subresource: body[subresource]})
        after = copy.deepcopy(before) if before is not None else {"metadata": {}}
        applied = self._applied.get((key, manager), {"metadata": {}})
        for part in ("labels", "annotations"):
            kept = {
                k: v for k, v in after["metadata"].get(part, {}).items() if k not in applied["metadata"].get(part, {})
            }
            after["metadata"][part] = kept | metadata.get(part, {})
        after |= {name: value for name, value in body.items() if name != "metadata"}
        after["metadata"] |= {name: value for name, value in metadata.items() if name not in ("labels", "annotations")}
        self._applied[key, manager] = copy.deepcopy(body)
        return self._store(key, before, after)

    async def patch(
        self,
        resource: Resource,
        patch: Object,
        *,
        name: str,
        namespace: str | None = None,
        subresource: str | None = None,
        manager: str,
        strategic: bool = False,
    ) -> Object:
        """JSON merge patch; a resourceVersion in it guards against a lost update."""
        key = (resource.plural, namespace or "", name)
        before = self._objects.get(key)
        if before is None:
            raise ApiError(status=404, reason="NotFound", message=f"{name} not found")
        guard = patch.get("metadata", {}).get("resourceVersion")
        if guard not in (None, before["metadata"]["resourceVersion"]):
            raise ApiError(status=409, reason="Conflict", message=f"{name} has changed")
        return self._store(key, before, _merged(before, patch))

    async def delete(
        self, resource: Resource, *, name: str, namespace: str | None = None, uid: str | None = None
    ) -> bool:
        """Delete one object. False where it was gone already."""
        key = (resource.plural, namespace or "", name)
        found = self._objects.get(key)
        if found is None or uid not in (None, found["metadata"]["uid"]):
            return False
        del self._objects[key]
        self._tell("DELETED", key, found)
        return True

    async def watch(
        self,
        resource: Resource,
        *,
        resource_version: str,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        seconds: int = 290,
    ) -> AsyncIterator[tuple[str, Object]]:
        """Changes since `resource_version`, for ever."""
        seen = int(resource_version)
        while True:
            changed, events = self._changed[resource.plural], self._events[resource.plural]
            for version, kind, body in list(events):
                if version > seen:
                    seen = version
                    if _selected(body, namespace, label_selector, field_selector):
                        yield kind, copy.deepcopy(body)
            if not events or events[-1][0] <= seen:
                await changed.wait()

    def _store(self, key: _Key, before: Object | None, after: Object) -> Object:
        after = copy.deepcopy(after)
        metadata = after["metadata"]
        if before is None:
            metadata |= {"uid": str(uuid4()), "generation": 1}
        else:
            same = {name: before["metadata"][name] for name in ("uid", "generation", "resourceVersion")}
            metadata |= same
            if after == before:
                return copy.deepcopy(before)
            if after.get("spec") != before.get("spec"):
                metadata["generation"] += 1
        self._objects[key] = after
        self._tell("ADDED" if before is None else "MODIFIED", key, after)
        return copy.deepcopy(after)

    def _tell(self, kind: str, key: _Key, body: Object) -> None:
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        events = self._events[key[0]]
        events.append((self._version, kind, copy.deepcopy(body)))
        del events[:-_KEPT]
        self._changed.pop(key[0], asyncio.Event()).set()


def _merged(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    found = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = _merged(found.get(name), value)
    return found


def _selected(body: Object, namespace: str | None, label_selector: str, field_selector: str) -> bool:
    metadata = body["metadata"]
    if namespace not in (None, metadata.get("namespace", "")):
        return False
    labels = metadata.get("labels", {})
    for name, value in _terms(label_selector):
        if name not in labels or value not in (None, labels[name]):
            return False
    return all(name != "metadata.name" or value == metadata["name"] for name, value in _terms(field_selector))


def _terms(selector: str) -> Iterator[tuple[str, str | None]]:
    for term in filter(None, selector.split(",")):
        name, equal, value = term.partition("=")
        yield name, value if equal else None
