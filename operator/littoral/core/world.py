"""The world as the planner sees it: one immutable snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import NamedTuple

from littoral.api.latencyslo import LatencySLO
from littoral.api.model import Model
from littoral.api.nodepool import NodePool, Tier
from littoral.api.quantity import format_duration
from littoral.core.hardware import DeviceTable, Node, default_device_table


class ModelKey(NamedTuple):
    """Names one Model in the cluster."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, kw_only=True)
class World:
    """Everything that a plan may depend on. Two equal worlds get equal plans.

    Objects that are being deleted, or that cannot be read, are not in it.

    Attributes:
        nodes: of this cluster and, as they report them, of its members.
        unreachable: members that are not heard of, and since when.
    """

    models: tuple[Model, ...] = ()
    slos: tuple[LatencySLO, ...] = ()
    pools: tuple[NodePool, ...] = ()
    nodes: tuple[Node, ...] = ()
    devices: DeviceTable = field(default_factory=default_device_table)
    unreachable: Mapping[str, datetime] = field(default_factory=dict)

    def measured(self, round_trips: Mapping[tuple[str, str], float]) -> World:
        """The same with round trips as they were measured, in seconds by the names of two pools.

        Another edge is a way out only where a NodePool names it: that it is near opens no way there.
        """
        if not round_trips:
            return self
        shared = {pool.name for pool in self.pools if pool.spec.tier == Tier.CLOUD}
        return replace(self, pools=tuple(_measured(pool, round_trips, shared=shared) for pool in self.pools))

    @cached_property
    def slos_by_model(self) -> dict[ModelKey, tuple[LatencySLO, ...]]:
        """The SLOs of each Model that has any."""
        grouped: dict[ModelKey, list[LatencySLO]] = {}
        for slo in self.slos:
            grouped.setdefault(ModelKey(slo.namespace or "", slo.spec.model_ref.name), []).append(slo)
        return {key: tuple(slos) for key, slos in grouped.items()}

    @cached_property
    def nodes_by_pool(self) -> dict[str, tuple[Node, ...]]:
        """The nodes of each pool. A node that several pools select belongs to the first of them by name."""
        pools = sorted(self.pools, key=lambda pool: pool.name)
        owned: dict[str, list[Node]] = {pool.name: [] for pool in pools}
        for node in self.nodes:
            owner = next((pool for pool in pools if selects(pool, node)), None)
            if owner is not None:
                owned[owner.name].append(node)
        return {name: tuple(nodes) for name, nodes in owned.items()}


def _measured(pool: NodePool, round_trips: Mapping[tuple[str, str], float], *, shared: set[str]) -> NodePool:
    stated = pool.spec.network.round_trip
    found = {
        other: format_duration(seconds)
        for (mine, other), seconds in sorted(round_trips.items())
        if mine == pool.name and other != mine and (other in stated or other in shared)
    }
    if not found:
        return pool
    network = pool.spec.network.model_copy(update={"round_trip": {**stated, **found}})
    return pool.model_copy(update={"spec": pool.spec.model_copy(update={"network": network})})


def key_of(model: Model) -> ModelKey:
    """The key of a Model."""
    return ModelKey(model.namespace or "", model.name)


def unheard(member: str, since: datetime) -> str:
    """What is said of a member that is not heard of."""
    return f"member {member} has not been heard of since {rfc3339(since)}"


def rfc3339(moment: datetime) -> str:
    """A moment as Kubernetes writes it: in UTC, to the second."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def in_order(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """The nodes by cluster and name, the own cluster's first: two clusters may have nodes of one name."""
    return tuple(sorted(nodes, key=lambda node: (node.member or "", node.name)))


def selects(pool: NodePool, node: Node) -> bool:
    """Whether the pool has the node: both are of one cluster, and the pool's selector matches its labels."""
    return pool.spec.member == node.member and pool.spec.node_selector.matches(node.labels)
