"""Worlds out of objects: of a live cluster, of a snapshot, and with changes laid over them.

A snapshot is a Kubernetes `List` of the objects that the planner reads, each without what it does not read. A live
world goes the same way, so that a plan from a snapshot is the plan of the moment when it was taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from littoral.api import Assignment, InvalidObject, LatencySLO, Model, NodePool
from littoral.api.meta import Resource
from littoral.core.hardware import DeviceTable, InvalidDeviceTable, Node, default_device_table, parse_device_table
from littoral.core.member_nodes import MemberNodes
from littoral.core.world import World, in_order

Object = dict[str, Any]

_OURS: Final[Mapping[str, type[Resource]]] = {kind.KIND: kind for kind in (Model, LatencySLO, NodePool, Assignment)}
_NAMESPACED: Final = frozenset(kind.KIND for kind in _OURS.values() if kind.NAMESPACED)
NODE: Final = "Node"
KINDS: Final = (*_OURS, NODE)

# What the chart calls the operator's files, which hold its device table if that is not the built-in one.
OPERATOR_LABELS: Final = {"app.kubernetes.io/name": "littoral", "app.kubernetes.io/component": "operator"}
OPERATOR_NAMESPACE: Final = "littoral-system"
_CONFIG_MAP: Final = "ConfigMap"
_TABLE: Final = "devices.yaml"

_METADATA: Final = ("name", "namespace", "labels", "generation", "creationTimestamp", "deletionTimestamp")


class ObjectKey(NamedTuple):
    """Names one object of a world."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


def key_of(body: Mapping[str, Any], *, namespace: str = "") -> ObjectKey:
    """The key of an object; `namespace` is that of a namespaced object that names none."""
    metadata = body["metadata"]
    own = (metadata.get("namespace") or namespace) if body["kind"] in _NAMESPACED else ""
    return ObjectKey(body["kind"], own, metadata["name"])


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """A world, and beside it what the planner does not see.

    Attributes:
        world: what the planner reads.
        assignments: what runs now, by pool.
        skipped: for each object that cannot be read, what is wrong with it. The operator passes over those, too.
    """

    world: World
    assignments: Mapping[str, Assignment]
    skipped: tuple[str, ...] = ()


def trimmed(body: Mapping[str, Any]) -> Object:
    """The object with what the planner reads, and nothing that is nobody's business.

    Left out are annotations, field managers and conditions; messages and the query strings of URIs, either of which may
    hold a signature; and of a Node all but its labels, its allocatable resources and whether it can take Pods.
    """
    metadata = {key: body["metadata"][key] for key in _METADATA if body["metadata"].get(key)}
    kept: Object = {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": metadata}
    spec, status = _mapping(body.get("spec")), _mapping(body.get("status"))
    if body["kind"] == NODE:
        ready = [
            {"type": "Ready", "status": condition.get("status")}
            for condition in status.get("conditions") or ()
            if _mapping(condition).get("type") == "Ready"
        ]
        kept["spec"] = {key: spec[key] for key in ("unschedulable", "taints") if spec.get(key)}
        kept["status"] = {"allocatable": _mapping(status.get("allocatable")), "conditions": ready}
        return kept
    if body["kind"] == _CONFIG_MAP:
        kept["data"] = {_TABLE: body["data"][_TABLE]}
        return kept
    kept["spec"] = _discreet(body.get("spec"))
    if body["kind"] == Model.KIND and status.get("demand"):
        kept["status"] = {"demand": status["demand"]}
    if body["kind"] == NodePool.KIND and status.get("unreachableSince"):
        kept["status"] = {"unreachableSince": status["unreachableSince"]}
    if body["kind"] == Assignment.KIND and status:
        kept["status"] = _discreet({key: value for key, value in status.items() if key != "conditions"})
    return kept


def holds_table(body: Mapping[str, Any]) -> bool:
    """Whether an object is the ConfigMap of an operator that has a device table of its own."""
    labels = _mapping(_mapping(body.get("metadata")).get("labels"))
    return (
        body.get("kind") == _CONFIG_MAP
        and labels.items() >= OPERATOR_LABELS.items()
        and isinstance(_mapping(body.get("data")).get(_TABLE), str)
    )


def table_in(objects: Iterable[Mapping[str, Any]]) -> tuple[DeviceTable, str]:
    """The device table of the operator, and what is doubtful about it, if anything.

    Args:
        objects: with the ConfigMaps that `holds_table` knows; without any, the operator has the built-in table.
    """
    texts = {f"{it['metadata'].get('namespace', '')}/{it['metadata']['name']}": it["data"][_TABLE] for it in objects}
    if not texts:
        return default_device_table(), ""
    name = min(texts)
    try:
        table = parse_device_table(texts[name])
    except InvalidDeviceTable as error:
        return default_device_table(), f"ConfigMap {name}: {error}: planned with the built-in table"
    if len(set(texts.values())) > 1:
        others = ", ".join(sorted(texts))
        return table, f"{others} hold different device tables: planned with that of {name}"
    return table, ""


def _mapping(value: Any) -> Mapping[str, Any]:
    """The value, or nothing where it is of another type: a file may hold anything."""
    return value if isinstance(value, Mapping) else {}


def _discreet(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            key: item.partition("?")[0] if key == "uri" and isinstance(item, str) else _discreet(item)
            for key, item in value.items()
            if key != "message"
        }
    return [_discreet(item) for item in value] if isinstance(value, list) else value


def overlay(
    objects: Iterable[Object], *, changes: Iterable[Object] = (), without: Iterable[ObjectKey] = (), namespace: str
) -> list[Object]:
    """The objects, some of them replaced, added or gone.

    Args:
        objects: what there is.
        changes: objects that take the place of their namesakes, or are new.
        without: objects to leave out.
        namespace: namespace of changes that name none.

    Raises:
        KeyError: with the ObjectKey of an object that is to be left out, and is not there.
    """
    by_key = {key_of(body): body for body in objects}
    for key in without:
        del by_key[key]
    for body in changes:
        key = key_of(body, namespace=namespace)
        own = {"namespace": key.namespace} if key.namespace else {}
        # What the operator knows of an object outlives a change of its spec.
        said = {"status": by_key[key]["status"]} if "status" in by_key.get(key, {}) else {}
        by_key[key] = {**said, **body, "metadata": {**body["metadata"], **own}}
    return list(by_key.values())


def surroundings(objects: Sequence[Mapping[str, Any]], *, devices: DeviceTable) -> Surroundings:
    """Read all objects. What is being deleted is left out, as the operator does; so is what cannot be read."""
    read: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    skipped: list[str] = []
    for body in objects:
        if body["metadata"].get("deletionTimestamp"):
            continue
        try:
            kind = _OURS.get(body["kind"])
            read[body["kind"]].append(kind.parse(body) if kind else Node.from_object(body))
        except InvalidObject as error:
            skipped.append(f"{key_of(body)}: {error}")
    return Surroundings(
        world=World(
            models=tuple(read[Model.KIND]),
            slos=tuple(read[LatencySLO.KIND]),
            pools=tuple(read[NodePool.KIND]),
            nodes=in_order((*read[NODE], *MemberNodes().of(read[Assignment.KIND]))),
            devices=devices,
            unreachable={
                pool.spec.member: pool.status.unreachable_since
                for pool in read[NodePool.KIND]
                if pool.spec.member and pool.status.unreachable_since
            },
        ),
        assignments={assignment.name: assignment for assignment in read[Assignment.KIND]},
        skipped=tuple(skipped),
    )
