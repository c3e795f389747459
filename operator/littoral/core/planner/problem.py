"""What is to be planned, as plain data: the world, what is asked of it, and what runs there now."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Final, NamedTuple

from littoral.api.assignment import Assignment, AssignmentSpec, Server
from littoral.api.latencyslo import LatencySLOSpec
from littoral.api.model import ModelSpec
from littoral.api.nodepool import NodePool, NodePoolSpec
from littoral.core.capacity import BatchTime
from littoral.core.hardware import CPU, DeviceTable, Node
from littoral.core.planner.facts import ModelFacts, PoolFacts, read_model, read_pool
from littoral.core.world import ModelKey, World, key_of, selects

SLOWEST: Final = 1e-6
FASTEST: Final = 1e12
"""Requests per second between which speeds and demands are taken seriously: keeps their quotients finite."""


class RateKey(NamedTuple):
    """Names one speed: a variant of a Model on one class of device of one pool; `pool` is None for all pools of which
    nothing else is known."""

    model: ModelKey
    variant: str
    accelerator: str
    pool: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What a Model's percentile on a shared server follows from (`core.capacity.sharing.Tenant`, less the rate).

    Attributes:
        batch_time: of a replica of its own.
        max_batch: the largest batch that Triton forms: 1 or more.
        percentile: above 0 and below 100; None for the mean.
        budget: seconds that the server may take: the strictest latency asked for, corrected by what was measured, the
            round trip taken off.
    """

    batch_time: BatchTime
    max_batch: int
    percentile: float | None
    budget: float


class Speed(NamedTuple):
    """How much one replica can do alone.

    Attributes:
        rate: the highest arrival rate, in requests/s, at which the SLO's percentile still meets its latency, the round
            trip taken off; 0 where no rate does.
        saturation: the highest rate that is stable at all, in requests/s; what best effort goes by.
        latency: the least that the percentile can be, in seconds, round trip included; None while unknown.
        service: what tells whether the Model still keeps its SLO beside others on one server; without it, servers are
            shared by adding up rate / highest rate, which is optimistic (docs/capacity.md).
        full: requests/s that one replica answers while it always has full batches, as far as that goes together with
            the latencies that were measured; None where only `saturation` is known.
    """

    rate: float
    saturation: float = 0.0
    latency: float | None = None
    service: Service | None = None
    full: float | None = None


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What an operator may set.

    Attributes:
        edge_cpu_price, edge_price, cloud_cpu_price, cloud_price: of one replica for an hour where the pool states none:
            hardware at the edge is there anyway.
        default_rate: requests/s that one replica is taken to serve before anything is known of its speed.
        small: requests/s up to which a load is no reason to run anywhere else than while it was unknown.
        best_effort: share of the saturation rate that a server is given when its SLO cannot be kept anyway.
        loading_cost: what having a Model in one more place costs, as a share of a replica's price there: it takes
            memory, and time to load.
        preference: what each step down in a Model's order of variants costs, in the currency of prices: less than what
            a device in the cloud costs, more than what a server at the edge saves, so that the order counts where cost
            all but ties.
        hysteresis: a plan replaces what runs only when it is cheaper by more than this share.
        scale_down_after: seconds that must have passed since a server last changed before it shrinks.
        standby: whether a Model with a LatencySLO that allows overflow keeps a replica in a shared pool, for what its
            sites cannot serve in time.
        gateways: whether pools have gateways, so that plans have routes for them.
        whole: most demands that are planned jointly with the shared pools, which is exact; more are planned apart.
        retries: most attempts for each part at serving what did not fit.
        savings: most attempts for each part at the same with one replica less; more than a few hardly find any.
    """

    edge_cpu_price: float = 0.005
    edge_price: float = 0.005
    cloud_cpu_price: float = 0.1
    cloud_price: float = 1.0
    default_rate: float = 10.0
    small: float = 0.05
    best_effort: float = 0.7
    loading_cost: float = 0.02
    preference: float = 0.01
    hysteresis: float = 0.05
    scale_down_after: float = 300.0
    standby: bool = False
    gateways: bool = False
    whole: int = 60
    retries: int = 24
    savings: int = 4


@dataclass(frozen=True, eq=False, kw_only=True)
class CurrentServer:
    """A server that runs, as its Assignment says.

    Attributes:
        models: the variant of each Model on it, by name.
        settled: whether it last changed so long ago that it may shrink.
    """

    name: str
    namespace: str
    accelerator: str
    replicas: int
    models: Mapping[str, str]
    settled: bool = True

    @cached_property
    def content(self) -> tuple[object, ...]:
        """Equal for equal servers."""
        models = tuple(sorted(self.models.items()))
        return (self.name, self.namespace, self.accelerator, self.replicas, self.settled, models)


@dataclass(frozen=True, eq=False, kw_only=True)
class Running:
    """What runs in one pool."""

    servers: tuple[CurrentServer, ...] = ()

    @cached_property
    def content(self) -> tuple[object, ...]:
        """Equal where the same runs."""
        return tuple(server.content for server in self.servers)


@dataclass(frozen=True, eq=False, kw_only=True)
class Frozen:
    """A pool whose member is not heard of. It is not planned: what runs there goes on, as far as anybody knows.

    Attributes:
        pool: as it was reported last.
        since: when the member was last heard of.
        running: what its Assignment has, which stays as it is.
        ways: Models whose requests its gateway may send to other pools.
    """

    pool: PoolFacts
    member: str
    since: datetime
    running: Running
    ways: frozenset[ModelKey] = frozenset()


class Seat(NamedTuple):
    """A Model on a server of a pool that is not planned."""

    pool: str
    server: CurrentServer
    variant: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Sources:
    """What a problem was read from: what is equal need not be read again. Statuses, which change all the time, are not
    in it."""

    models: Mapping[ModelKey, tuple[ModelSpec, tuple[tuple[str, LatencySLOSpec], ...], Mapping[str, float], int]]
    pools: tuple[tuple[str, NodePoolSpec], ...]
    facts: Mapping[str, PoolFacts]
    nodes: tuple[Node, ...]
    devices: DeviceTable
    assignments: Mapping[str, tuple[AssignmentSpec, tuple[bool, ...]]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Problem:
    """Everything that a plan depends on.

    Attributes:
        demand: requests/s of each (Model, site) to be ready for; None where nothing is known of it. A pair that is
            absent is unknown too, at the sites where the Model is to run. Site None stands for requests that arrive at
            no site: they go to shared pools or, where none can serve them, to any pool that can.
        rates: speeds; what is absent is taken to be `tuning.default_rate`.
        pools: those that are planned.
        frozen: those that are not, since their member is not heard of.
        current: what runs in each pool.
        broken: places where a Model failed to load: (Model, variant, pool).
        sources: what all this was read from.
    """

    models: Mapping[ModelKey, ModelFacts]
    pools: Mapping[str, PoolFacts]
    demand: Mapping[tuple[ModelKey, str | None], float | None]
    rates: Mapping[RateKey, Speed]
    current: Mapping[str, Running]
    sources: Sources
    broken: frozenset[tuple[ModelKey, str, str]] = frozenset()
    tuning: Tuning = field(default_factory=Tuning)
    frozen: Mapping[str, Frozen] = field(default_factory=dict)

    @cached_property
    def away(self) -> Mapping[ModelKey, tuple[Seat, ...]]:
        """Where Models are in pools that are not planned."""
        seats: dict[ModelKey, list[Seat]] = defaultdict(list)
        for name, it in sorted(self.frozen.items()):
            for server in it.running.servers:
                for model, variant in server.models.items():
                    seats[ModelKey(server.namespace, model)].append(Seat(name, server, variant))
        return {key: tuple(found) for key, found in seats.items()}

    @cached_property
    def silent(self) -> frozenset[str | None]:
        """The sites all of whose pools are frozen; None where that is so of all shared pools, or of all pools. What
        arrives there is served there, as far as anybody knows."""

        def site(pool: PoolFacts) -> str | None:
            return None if pool.shared else pool.site

        heard = {site(pool) for pool in self.pools.values()}
        found = frozenset(site(it.pool) for it in self.frozen.values()) - heard
        return found if self.pools or not self.frozen else found | {None}

    def same(self, other: Problem) -> bool:
        """Whether another problem, which this one or that one was read from, has the same plan."""
        return (
            self.demand == other.demand
            and self.rates == other.rates
            and self.broken == other.broken
            and self.tuning == other.tuning
            # Facts are compared by identity: what did not change was not read anew.
            and self.models == other.models
            and self.pools == other.pools
            and self.frozen == other.frozen
            and self.current == other.current
        )

    def speed(self, model: ModelKey, variant: str, accelerator: str, pool: str) -> Speed | None:
        """What is known of the speed in the pool, or else anywhere; None where nothing is."""
        here = self.rates.get(RateKey(model, variant, accelerator, pool))
        return here if here is not None else self.rates.get(RateKey(model, variant, accelerator, None))

    def takes(self, speed: Speed | None, *, late: bool = False) -> tuple[float, bool]:
        """Requests/s that one replica is given, and whether they are late: best effort.

        Args:
            late: whether they are late anyway.
        """
        rate = self.tuning.default_rate if speed is None else _sensible(speed.rate)
        if not late and rate > 0:
            return rate, False
        saturation = 0.0 if speed is None else _sensible(speed.saturation)
        return (saturation or self.tuning.default_rate) * self.tuning.best_effort, True

    def price(self, pool: PoolFacts, accelerator: str) -> float:
        """What one replica on the class costs for an hour."""
        stated = pool.prices.get(accelerator)
        if stated is not None:
            return stated
        tuning = self.tuning
        if accelerator == CPU:
            return tuning.cloud_cpu_price if pool.shared else tuning.edge_cpu_price
        return tuning.cloud_price if pool.shared else tuning.edge_price


Arrivals = Mapping[tuple[ModelKey, str | None], float | None] | Mapping[tuple[ModelKey, str], float | None]
"""Requests/s by (Model, site). Mappings are invariant in their keys: a caller that only knows sites may say so."""

_NOTHING: Final[Mapping[str, float]] = {}
_NO_RATES: Final[Mapping[RateKey, Speed]] = {}
_IDLE: Final = Running()


def build_problem(
    world: World,
    *,
    demand: Arrivals | None = None,
    rates: Mapping[RateKey, Speed] | None = None,
    assignments: Iterable[Assignment] | None = None,
    ages: Mapping[tuple[str, str, str], float] | None = None,
    memory: Mapping[tuple[ModelKey, str], float] | None = None,
    broken: frozenset[tuple[ModelKey, str, str]] = frozenset(),
    round_trips: Mapping[tuple[str, str], float] | None = None,
    tuning: Tuning | None = None,
    before: Problem | None = None,
) -> Problem:
    """Read a world. Pure.

    Args:
        demand: forecasts by (Model, site), with site None for what arrives at no site; floors of LatencySLOs are
            added here. Not-a-number, negative and infinite demand is unknown.
        assignments: what runs now.
        ages: seconds since a server last changed, by (pool, namespace, name); absent means long ago.
        memory: measured bytes, by (Model, variant).
        round_trips: measured seconds from one pool to another, by their names; they outrank what NodePools state.
        before: an earlier problem; what did not change since is taken from it. It changes the time, not the result.
    """
    tuning = tuning or Tuning()
    world = world.measured(round_trips or {})
    measured: dict[ModelKey, dict[str, float]] = defaultdict(dict)
    for (key, variant), size in (memory or {}).items():
        if math.isfinite(size) and size >= 0:
            measured[key][variant] = size
    old = before.sources if before is not None and before.sources.devices is world.devices else None

    pool_specs = tuple((pool.name, pool.spec) for pool in world.pools)
    if old is not None and old.pools == pool_specs and old.nodes == world.nodes:
        facts = old.facts
    else:
        facts = _pools(world, before=old)

    # A server that changed a moment ago may not shrink yet.
    settled = {
        assignment.name: (
            assignment.spec,
            tuple(
                not (ages or {}).get((assignment.name, server.namespace, server.name), math.inf)
                < tuning.scale_down_after
                for server in assignment.spec.servers
            ),
        )
        for assignment in assignments or ()
    }
    current: dict[str, Running] = {}
    for name, (spec, flags) in settled.items():
        if before is not None and old is not None and old.assignments.get(name) == (spec, flags):
            current[name] = before.current[name]
        else:
            servers = zip(spec.servers, flags, strict=True)
            current[name] = Running(servers=tuple(_current(server, settled=flag) for server, flag in servers))
    frozen = _frozen(world, facts, assignments=settled, current=current, before=before)

    away: dict[ModelKey, int] = defaultdict(int)
    for name in frozen.keys() & settled.keys():
        for server in settled[name][0].servers:
            for served in server.models:
                away[ModelKey(server.namespace, served.name)] += server.replicas
    sources = {}
    models: dict[ModelKey, ModelFacts] = {}
    for model in world.models:
        key = key_of(model)
        slos, sizes, gone = world.slos_by_model.get(key, ()), measured.get(key, _NOTHING), away.get(key, 0)
        sources[key] = source = (model.spec, tuple((slo.name, slo.spec) for slo in slos), sizes, gone)
        if before is not None and old is not None and old.models.get(key) == source:
            models[key] = before.models[key]
        else:
            models[key] = read_model(model, slos, devices=world.devices, measured=sizes, away=gone)
    return Problem(
        models=models,
        pools={name: it for name, it in facts.items() if name not in frozen} if frozen else facts,
        demand={pair: _amount(value) for pair, value in (demand or {}).items()},
        rates=_NO_RATES if rates is None else rates,
        current=current,
        sources=Sources(
            models=sources,
            pools=pool_specs,
            facts=facts,
            nodes=world.nodes,
            devices=world.devices,
            assignments=settled,
        ),
        broken=broken,
        tuning=tuning,
        frozen=frozen,
    )


def _frozen(
    world: World,
    facts: Mapping[str, PoolFacts],
    *,
    assignments: Mapping[str, tuple[AssignmentSpec, tuple[bool, ...]]],
    current: Mapping[str, Running],
    before: Problem | None,
) -> dict[str, Frozen]:
    """The pools of members that are not heard of; the same objects while nothing of them changes."""
    found: dict[str, Frozen] = {}
    for name, pool in facts.items() if world.unreachable else ():
        member = pool.pool.spec.member
        if member is None or member not in world.unreachable:
            continue
        known = before.frozen.get(name) if before is not None else None
        running, since = current.get(name, _IDLE), world.unreachable[member]
        if known is not None and (known.pool, known.since, known.running) == (pool, since, running):
            found[name] = known
            continue
        routes = assignments[name][0].routes if name in assignments else ()
        ways = frozenset(ModelKey(route.namespace, route.name) for route in routes if route.next)
        found[name] = Frozen(pool=pool, member=member, since=since, running=running, ways=ways)
    return found


def _pools(world: World, *, before: Sources | None) -> dict[str, PoolFacts]:
    nodes = nodes_by_pool(world.pools, world.nodes)
    pools: dict[str, PoolFacts] = {}
    for pool in sorted(world.pools, key=lambda pool: pool.name):
        mine = tuple(sorted(nodes[pool.name], key=lambda node: node.name))
        known = before.facts.get(pool.name) if before is not None else None
        if known is not None and known.pool.spec == pool.spec and known.sources == mine:
            pools[pool.name] = known
        else:
            pools[pool.name] = read_pool(pool, mine, devices=world.devices)
    return pools


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


def _current(server: Server, *, settled: bool) -> CurrentServer:
    return CurrentServer(
        name=server.name,
        namespace=server.namespace,
        accelerator=server.accelerator,
        replicas=server.replicas,
        models={served.name: served.variant for served in server.models},
        settled=settled,
    )


def _sensible(value: float) -> float:
    """The value, or 0 where it is no sensible speed."""
    return min(value, FASTEST) if value >= SLOWEST else 0.0


def _amount(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) and value >= 0 else None
