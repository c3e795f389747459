"""What a member site makes of its hub's Assignments: the local copy, and the hub's status out of the copy's. Pure.

Objects are handled as JSON, not parsed: what a newer hub or a newer site has added is passed on, and not lost.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from littoral.api import conditions
from littoral.api.assignment import Assignment, Server
from littoral.api.base import API_VERSION, InvalidObject
from littoral.api.meta import Condition
from littoral.api.nodes import NodeReport
from littoral.cluster.membership import MANAGED_BY, MEMBER_LABEL
from littoral.core.world import rfc3339

Object = dict[str, Any]
ServerKey = tuple[str, str]
"""(namespace, name)."""

MANAGER: Final = "littoral-uplink"
"""Field manager of the copies at the site, and of their status on the hub."""

HUB_GENERATION: Final = "littoral.dev/hub-generation"
"""On a copy: metadata.generation of the hub's Assignment that it is a copy of."""

HUB_UID: Final = "littoral.dev/hub-uid"
"""On a copy: uid of the hub's Assignment. What lacks it is no copy, and is left alone."""

HUB_REPLICAS: Final = "littoral.dev/hub-replicas"
"""On a copy: the replicas of each server, as the hub gave them; JSON, by `<namespace>/<name>`."""

AWAY_SINCE: Final = "littoral.dev/hub-away-since"
"""On a copy: when the hub was last heard of. Absent while it is heard of; while it is there, the site scales itself."""

HUB_MODELS: Final = "littoral.dev/hub-models"
"""On a namespace of the site: whether a hub may have its Models run there."""
ALLOWED: Final = "allowed"

REFUSED: Final = "Refused"
"""Reason of the condition Stalled on the hub where the site could not take the Assignment over."""

_ADDED: Final = (HUB_GENERATION, HUB_UID, HUB_REPLICAS, AWAY_SINCE)


def essence(body: Object) -> Object:
    """An Assignment without what no reader of it needs."""
    metadata = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    return body | {"metadata": metadata}


def is_copy(body: Object) -> bool:
    """Whether a local Assignment is a copy of a hub's."""
    return HUB_UID in _annotations(body)


def away_since(copy: Object) -> str | None:
    """When the hub was last heard of, as the copy says; None where it is heard of."""
    return _annotations(copy).get(AWAY_SINCE)


def is_ours(hub: Object, *, member: str) -> bool:
    """Whether the hub's Assignment is for this member."""
    return (hub.get("spec") or {}).get("member") == member


def is_of(copy: Object, hub: Object) -> bool:
    """Whether the copy was made of the hub's Assignment as it is."""
    annotations = _annotations(copy)
    uid, generation = _identity(hub)
    return (annotations.get(HUB_UID), annotations.get(HUB_GENERATION)) == (uid, str(generation))


def why_unreadable(hub: Object) -> str:
    """Why this program cannot work by the hub's Assignment, as one of a newer hub; empty where it can."""
    try:
        Assignment.parse(hub)
    except InvalidObject as error:
        return f"this site's operator cannot read it, and must be updated first: {error}"
    return ""


def namespaces(hub: Object) -> frozenset[str]:
    """The namespaces in which the Assignment has servers or Services."""
    spec = hub.get("spec") or {}
    parts = (*spec.get("servers", ()), *spec.get("routes", ()))
    return frozenset(part["namespace"] for part in parts)


def namespace_of_models(name: str) -> Object:
    """A namespace that a site creates for Models of its hub. It is not deleted: whatever else is in it stays."""
    labels = MANAGED_BY | {HUB_MODELS: ALLOWED}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def may_have_models(namespace: Object) -> bool:
    """Whether an existing namespace of the site is open to Models of its hub."""
    return (namespace["metadata"].get("labels") or {}).get(HUB_MODELS) == ALLOWED


def is_reserved(name: str, *, operator: str) -> bool:
    """Whether Models of a hub never run in the namespace, whatever its labels say: the cluster's own parts do.

    Args:
        operator: namespace of this operator.
    """
    return name == operator or name.startswith("kube-")


def closed_namespaces(names: Collection[str]) -> str:
    """What to say of namespaces that are closed to the hub; empty where none is."""
    if not names:
        return ""
    listed = ", ".join(sorted(names))
    return (
        f"the site does not let its hub run Models in namespace {listed}, and runs the rest. Unless the site's own "
        f"programs are there, allow it: kubectl label namespace NAME {HUB_MODELS}={ALLOWED} at the site"
    )


def says_the_same(copy: Object, hub: Object) -> bool:
    """Whether the copy, as the site has changed it, is what the hub wants all the same."""
    try:
        return Assignment.parse(copy).spec == Assignment.parse(hub).spec
    except InvalidObject:
        return False


def copy_of(hub: Object, *, closed: Collection[str] = ()) -> Object:
    """The local Assignment for one of the hub's, to apply.

    Args:
        closed: namespaces that are closed to the hub: what it wants there is left out.
    """
    spec = dict(hub["spec"])
    for part in ("servers", "routes"):
        if part in spec:
            spec[part] = [it for it in spec[part] if it["namespace"] not in closed]
    uid, generation = _identity(hub)
    replicas = {f"{it['namespace']}/{it['name']}": it.get("replicas", 1) for it in spec.get("servers", ())}
    annotations = {
        HUB_UID: uid,
        HUB_GENERATION: str(generation),
        HUB_REPLICAS: json.dumps(replicas, separators=(",", ":"), sort_keys=True),
    }
    return _manifest(hub["metadata"]["name"], spec=spec, annotations=annotations)


def scaled(copy: Object, servers: Iterable[Server], *, since: datetime) -> Object:
    """The copy as it is to be while the hub is away, to apply: with the servers that the site has planned itself.

    What is not known to this program of servers that stay is kept.
    """
    before = {(it["namespace"], it["name"]): it for it in copy["spec"].get("servers", ())}
    annotations = {key: value for key, value in _annotations(copy).items() if key in _ADDED}
    annotations.setdefault(AWAY_SINCE, rfc3339(since))
    spec = copy["spec"] | {"servers": [_server(it, before.get((it.namespace, it.name))) for it in servers]}
    return _manifest(copy["metadata"]["name"], spec=spec, annotations=annotations)


def hub_replicas(copy: Object) -> dict[ServerKey, int]:
    """The replicas of each server as the hub gave them last; where that cannot be read, all that there are now."""
    try:
        found = json.loads(_annotations(copy)[HUB_REPLICAS])
        return {(key.partition("/")[0], key.partition("/")[2]): int(count) for key, count in found.items()}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {(it["namespace"], it["name"]): it.get("replicas", 1) for it in copy["spec"].get("servers", ())}


def hub_status(hub: Object, *, copy: Object | None, nodes: Iterable[NodeReport], trouble: str, now: datetime) -> Object:
    """The status of the hub's Assignment, out of that of the copy.

    Args:
        copy: None where there is none (yet).
        trouble: why the hub's Assignment, as it is, has not become the copy; empty when all is well.
    """
    status = dict((copy or {}).get("status") or {})
    uid, generation = _identity(hub)
    if copy is not None:
        annotations, local = _annotations(copy), copy["metadata"].get("generation", 0)
        # Generations of another object of the same name mean nothing: all that is known is that they are not these.
        same = annotations.get(HUB_UID) == uid
        copied = _number(annotations.get(HUB_GENERATION)) if same else 0
        status = _translated(status, local=local, copied=copied)
    if trouble:
        status["observedGeneration"] = generation
        status["conditions"] = _stalled(hub, trouble, generation=generation, now=now)
    status.setdefault("observedGeneration", -1)
    return status | {"nodes": [node.dump() for node in nodes]}


def _translated(status: Object, *, local: int, copied: int) -> Object:
    """Generations of the copy as generations of the hub's Assignment: what is about the copy as it is now is about the
    hub's as it was then, and what is about an earlier copy, about an earlier one."""

    def translate(observed: int) -> int:
        return copied if observed == local else max(copied - 1, 0)

    observed = status.get("observedGeneration", -1)
    found = [
        it | ({"observedGeneration": translate(it["observedGeneration"])} if "observedGeneration" in it else {})
        for it in status.get("conditions", ())
    ]
    return status | {
        "observedGeneration": translate(observed) if observed >= 0 else -1,
        "conditions": found,
    }


def _stalled(hub: Object, trouble: str, *, generation: int, now: datetime) -> list[Object]:
    before: list[Condition] = []
    for it in (hub.get("status") or {}).get("conditions", ()):
        try:
            before.append(Condition.parse(it))
        except InvalidObject:
            continue
    found = conditions.stalled(tuple(before), reason=REFUSED, message=trouble, generation=generation, now=now)
    return [it.dump() for it in found]


def _server(server: Server, before: Object | None) -> Object:
    after = server.dump()
    if before is None:
        return after
    known = {field.alias or name for name, field in Server.model_fields.items()}
    unknown = {key: value for key, value in before.items() if key not in known}
    models = {it["name"]: it for it in before.get("models", ())}
    return unknown | after | {"models": [models.get(it["name"], it) for it in after["models"]]}


def _manifest(name: str, *, spec: Object, annotations: Mapping[str, str]) -> Object:
    labels = dict(MANAGED_BY)
    if member := spec.get("member"):
        labels[MEMBER_LABEL] = member
    return {
        "apiVersion": API_VERSION,
        "kind": Assignment.KIND,
        "metadata": {"name": name, "labels": labels, "annotations": dict(annotations)},
        "spec": spec,
    }


def _identity(hub: Object) -> tuple[str, int]:
    return hub["metadata"].get("uid", ""), hub["metadata"].get("generation", 0)


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0


def _annotations(body: Object) -> Mapping[str, str]:
    return body["metadata"].get("annotations") or {}
