"""The world as a member site sees it while its hub is away: its own pools and nodes, and the Models that run there.
Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from littoral.api.assignment import Assignment
from littoral.api.base import InvalidObject
from littoral.api.inputs import CopiedSpec
from littoral.api.latencyslo import LatencySLO
from littoral.api.model import Model
from littoral.api.nodepool import NodePool
from littoral.core.hardware import DeviceTable, Node
from littoral.core.world import ModelKey, World, key_of


@dataclass(frozen=True, kw_only=True)
class LocalWorld:
    """What can be planned at the site.

    Attributes:
        unreadable: what of the inputs this program cannot read, and why: it goes on as it is.
    """

    world: World
    unreadable: tuple[str, ...] = ()


def local_world(
    assignments: Iterable[Assignment], nodes: Iterable[Node], *, devices: DeviceTable, member: str
) -> LocalWorld:
    """Read the inputs that came with the member's Assignments.

    Models that have no server at the site are left out: that they are served elsewhere was the hub's decision.

    Args:
        nodes: of this cluster.
    """
    pools: list[NodePool] = []
    models: dict[ModelKey, Model] = {}
    slos: dict[ModelKey, LatencySLO] = {}
    unreadable: list[str] = []
    for assignment in sorted(assignments, key=lambda it: it.name):
        inputs = assignment.spec.inputs
        if inputs is None:
            continue
        try:
            pool = NodePool.parse({"metadata": {"name": assignment.name}, "spec": inputs.pool})
        except InvalidObject as error:
            unreadable.append(f"NodePool {assignment.name}: {error}")
            continue
        if pool.spec.member != member:
            continue
        pools.append(pool)
        served = {
            ModelKey(server.namespace, model.name) for server in assignment.spec.servers for model in server.models
        }
        for copied in inputs.models:
            if (key := ModelKey(copied.namespace, copied.name)) in served and key not in models:
                try:
                    models[key] = Model.parse(_body(copied))
                except InvalidObject as error:
                    unreadable.append(f"Model {key}: {error}")
        for copied in inputs.slos:
            key = ModelKey(copied.namespace, copied.name)
            if key not in slos:
                try:
                    slos[key] = LatencySLO.parse(_body(copied))
                except InvalidObject as error:
                    unreadable.append(f"LatencySLO {key}: {error}")
    return LocalWorld(
        world=World(
            models=tuple(sorted(models.values(), key=key_of)),
            slos=tuple(slos[key] for key in sorted(slos)),
            pools=tuple(pools),
            nodes=tuple(replace(node, member=member) for node in sorted(nodes, key=lambda node: node.name)),
            devices=devices,
        ),
        unreadable=tuple(dict.fromkeys(unreadable)),
    )


def _body(copied: CopiedSpec) -> dict[str, object]:
    return {"metadata": {"namespace": copied.namespace, "name": copied.name}, "spec": copied.spec}
