"""What is to be planned, as plain data: the world, what is asked of it, and what runs there now."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from littoral.api.assignment import Assignment, Server
from littoral.api.nodepool import NodePool
from littoral.core.hardware import CPU, Node
from littoral.core.optimizer.facts import ModelFacts, PoolFacts, read_model, read_pool
from littoral.core.world import ModelKey, World, selects


class RateKey(NamedTuple):
    """Names one speed: a variant of a Model on one class of device of one pool."""

    model: ModelKey
    variant: str
    accelerator: str
    pool: str


class Speed(NamedTuple):
    """How much one replica can do alone.

    Attributes:
        rate: the highest arrival rate, in requests/s, at which the SLO's percentile still meets its latency, the round
            trip taken off; 0 where no rate does.
        saturation: the highest rate that is stable at all, in requests/s; what best effort goes by.
        latency: the least that the percentile can be, in seconds, round trip included; None while unknown.
    """

    rate: float
    saturation: float = 0.0
    latency: float | None = None


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What an operator may set.

    Attributes:
        edge_cpu_price, edge_price, cloud_cpu_price, cloud_price: of one replica for an hour where the pool states none:
            hardware at the edge is there anyway.
        default_rate: requests/s that one replica is taken to serve before anything is known of its speed.
        best_effort: share of the saturation rate that a server is given when its SLO cannot be kept anyway.
        move_cost: what loading a Model where it is not costs, as a share of that replica's price; breaks ties.
        hysteresis: a plan replaces what runs only when it is cheaper by more than this share.
        scale_down_after: seconds that must have passed since a server last changed before it shrinks.
        whole: most demands that are planned jointly with the shared pools, which is exact; more are planned apart.
        retries: most attempts for each part at serving what did not fit, or at a lower price.
    """

    edge_cpu_price: float = 0.005
    edge_price: float = 0.02
    cloud_cpu_price: float = 0.1
    cloud_price: float = 1.0
    default_rate: float = 10.0
    best_effort: float = 0.7
    move_cost: float = 0.02
    hysteresis: float = 0.05
    scale_down_after: float = 300.0
    whole: int = 60
    retries: int = 24


@dataclass(frozen=True, eq=False, kw_only=True)
class CurrentServer:
    """A server that runs, as its Assignment says.

    Attributes:
        models: the variant of each Model on it, by name.
        age: seconds since Littoral last changed its replicas or models.
    """

    name: str
    namespace: str
    accelerator: str
    replicas: int
    models: Mapping[str, str]
    age: float = math.inf

    @property
    def content(self) -> tuple[object, ...]:
        """Equal for equal servers; old enough to shrink or not is for the caller to add."""
        return (self.name, self.namespace, self.accelerator, self.replicas, tuple(sorted(self.models.items())))


@dataclass(frozen=True, eq=False, kw_only=True)
class Problem:
    """Everything that a plan depends on.

    Attributes:
        demand: requests/s of each (Model, site) to be ready for; None where nothing is known of it. A pair that is
            absent is unknown too, at the sites where the Model is to run.
        rates: speeds; what is absent is taken to be `tuning.default_rate`.
        current: what runs in each pool.
        broken: places where a Model failed to load: (Model, variant, pool).
    """

    models: Mapping[ModelKey, ModelFacts]
    pools: Mapping[str, PoolFacts]
    demand: Mapping[tuple[ModelKey, str], float | None]
    rates: Mapping[RateKey, Speed]
    current: Mapping[str, tuple[CurrentServer, ...]]
    broken: frozenset[tuple[ModelKey, str, str]] = frozenset()
    tuning: Tuning = field(default_factory=Tuning)

    def price(self, pool: PoolFacts, accelerator: str) -> float:
        """What one replica on the class costs for an hour."""
        stated = pool.prices.get(accelerator)
        if stated is not None:
            return stated
        tuning = self.tuning
        if accelerator == CPU:
            return tuning.cloud_cpu_price if pool.shared else tuning.edge_cpu_price
        return tuning.cloud_price if pool.shared else tuning.edge_price


_NOTHING: Final[Mapping[str, float]] = {}


def build_problem(
    world: World,
    *,
    demand: Mapping[tuple[ModelKey, str], float | None] | None = None,
    rates: Mapping[RateKey, Speed] | None = None,
    assignments: Iterable[Assignment] | None = None,
    ages: Mapping[tuple[str, str, str], float] | None = None,
    memory: Mapping[tuple[ModelKey, str], float] | None = None,
    broken: frozenset[tuple[ModelKey, str, str]] = frozenset(),
    tuning: Tuning | None = None,
    before: Problem | None = None,
) -> Problem:
    """Read a world. Pure.

    Args:
        demand: forecasts; floors of LatencySLOs are added here. Not-a-number, negative and infinite demand is unknown.
        assignments: what runs now.
        ages: seconds since a server last changed, by (pool, namespace, name); absent means long ago.
        memory: measured bytes, by (Model, variant).
        before: an earlier problem; what did not change since is taken from it. It changes the time, not the result.
    """
    measured: dict[ModelKey, dict[str, float]] = defaultdict(dict)
    for (key, variant), size in (memory or {}).items():
        if math.isfinite(size) and size >= 0:
            measured[key][variant] = size
    models = {}
    for model in sorted(world.models, key=lambda model: (model.namespace or "", model.name)):
        key = ModelKey(model.namespace or "", model.name)
        models[key] = read_model(
            model, world.slos_by_model.get(key, ()), devices=world.devices, measured=measured.get(key, _NOTHING)
        )
    nodes = nodes_by_pool(world.pools, world.nodes)
    pools = {
        pool.name: read_pool(pool, nodes[pool.name], devices=world.devices)
        for pool in sorted(world.pools, key=lambda pool: pool.name)
    }
    ages = ages or {}
    return Problem(
        models=models,
        pools=pools,
        demand={pair: _amount(value) for pair, value in (demand or {}).items()},
        rates=rates or {},
        current={
            assignment.name: tuple(
                _current(server, age=ages.get((assignment.name, server.namespace, server.name), math.inf))
                for server in assignment.spec.servers
            )
            for assignment in assignments or ()
        },
        broken=broken,
        tuning=tuning or Tuning(),
    )


def nodes_by_pool(pools: Sequence[NodePool], nodes: Sequence[Node]) -> dict[str, list[Node]]:
    """The nodes of each pool, as `World.nodes_by_pool` has them, in time that grows with the nodes and not with their
    product with the pools: a node is only compared with pools that ask for one of its labels."""
    owned: dict[str, list[Node]] = {pool.name: [] for pool in pools}
    by_label: dict[tuple[str, str], list[NodePool]] = defaultdict(list)
    others: list[NodePool] = []
    for pool in sorted(pools, key=lambda pool: pool.name):
        labels = pool.spec.node_selector.match_labels
        (by_label[min(labels.items())] if labels else others).append(pool)
    for node in nodes:
        candidates = [pool for label in node.labels.items() for pool in by_label.get(label, ())]
        owners = [pool for pool in (*candidates, *others) if selects(pool, node)]
        if owners:
            owned[min(owners, key=lambda pool: pool.name).name].append(node)
    return owned


def _current(server: Server, *, age: float) -> CurrentServer:
    return CurrentServer(
        name=server.name,
        namespace=server.namespace,
        accelerator=server.accelerator,
        replicas=server.replicas,
        models={served.name: served.variant for served in server.models},
        age=age if age >= 0 else math.inf,
    )


def _amount(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) and value >= 0 else None
