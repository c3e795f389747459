"""Why here, why not there, why so many: the reasons of a plan, worked out for a Model when somebody asks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Final

from littoral.api.assignment import Server
from littoral.core.hardware import CPU
from littoral.core.plan import Decision, Flow, Placement, Reason, Rejection
from littoral.core.planner.demands import Demand, barred, unfit
from littoral.core.planner.facts import ModelFacts, PoolFacts, VariantFacts
from littoral.core.planner.problem import Problem
from littoral.core.planner.shortfalls import shortfalls
from littoral.core.planner.yard import Draft, Yard
from littoral.core.world import ModelKey, unheard

_POOLS_MOST: Final = 100
"""Of more pools than this, only those that a Model could want are explained."""

_SELDOM: Final = 0.01
"""Requests per second up to which numbers say nothing: what an idle Model is taken to get is an assumption."""


class Decisions(Mapping[ModelKey, Decision]):
    """The decision about each Model. A Model's reasons are made when they are read, and then kept."""

    def __init__(
        self,
        problem: Problem,
        *,
        demands: Sequence[Demand],
        placed: Sequence[tuple[Draft, Server]],
        flows: Sequence[Flow],
    ) -> None:
        self._problem = problem
        self._all_demands = demands
        self._all_placed = placed
        self._all_flows = flows
        self._known: dict[ModelKey, Decision] = {}

    def __getitem__(self, key: ModelKey) -> Decision:
        model = self._problem.models[key]
        if key not in self._known:
            self._known[key] = self._decide(model)
        return self._known[key]

    def __iter__(self) -> Iterator[ModelKey]:
        return iter(self._problem.models)

    def __len__(self) -> int:
        return len(self._problem.models)

    @cached_property
    def _demands(self) -> Mapping[ModelKey, list[Demand]]:
        grouped: dict[ModelKey, list[Demand]] = defaultdict(list)
        for demand in self._all_demands:
            grouped[demand.model.key].append(demand)
        return grouped

    @cached_property
    def _placed(self) -> Mapping[ModelKey, list[tuple[Draft, Server]]]:
        grouped: dict[ModelKey, list[tuple[Draft, Server]]] = defaultdict(list)
        for draft, server in self._all_placed:
            for key in draft.members:
                grouped[key].append((draft, server))
        return grouped

    @cached_property
    def _flows(self) -> Mapping[ModelKey, list[Flow]]:
        grouped: dict[ModelKey, list[Flow]] = defaultdict(list)
        for flow in self._all_flows:
            grouped[flow.model].append(flow)
        return grouped

    def _decide(self, model: ModelFacts) -> Decision:
        demands = self._demands.get(model.key, [])
        flows = self._flows.get(model.key, [])
        placed = self._placed.get(model.key, [])
        known = [demand for demand in demands if demand.amount > 0]
        wanted = sum(demand.amount for demand in known)
        served = min(wanted, sum(flow.rate for flow in flows))
        return Decision(
            placements=(
                *(self._placement(model, draft, server, flows) for draft, server in self._near_first(placed)),
                *self._frozen_placements(model),
            ),
            rejections=(
                *self._rejections(model, demands, short=served < wanted * (1 - 1e-6)),
                *self._frozen_rejections(model),
            ),
            demand=wanted if known or not demands else None,
            served=served if known or not demands else None,
            shortfall="; ".join(
                shortfalls(self._problem, model, demands, flows, replicas=sum(draft.replicas for draft, _ in placed))
            ),
        )

    def _near_first(self, placed: Sequence[tuple[Draft, Server]]) -> list[tuple[Draft, Server]]:
        pools = self._problem.pools
        return sorted(placed, key=lambda pair: (pools[pair[0].pool].shared, pair[0].pool, pair[1].name))

    def _placement(self, model: ModelFacts, draft: Draft, server: Server, flows: Sequence[Flow]) -> Placement:
        variant = draft.members[model.key][1]
        count = len(model.variants)
        rank = "the only variant" if count == 1 else f"variant {variant.rank + 1} of {count} in order of preference"
        message = [f"{variant.name} is {rank} and runs on {variant.accelerator}"]
        coming = sum(flow.rate for flow in flows if (flow.pool, flow.variant) == (draft.pool, variant.name))
        if coming > _SELDOM:
            rate = _rate(self._problem, model, variant, draft.pool)
            message.append(f"{coming:.4g} requests/s go to pool {draft.pool}")
            message.append(f"a replica can serve {rate:.4g} in time" if rate else "its speed keeps no SLO")
            others = len(draft.members) - 1
            shared = f", shared with {others} other Models" if others else ""
            replicas = "1 replica" if server.replicas == 1 else f"{server.replicas} replicas"
            message.append(f"{replicas} for a load of {draft.load:.3g}{shared}")
        else:
            tuning, pool = self._problem.tuning, self._problem.pools[draft.pool]
            standing_by = tuning.standby and pool.shared and bool(model.slos)
            why = " for what its sites cannot serve in time" if standing_by else ", since its load is unknown or small"
            message.append(f"it is kept ready{why}")
        return Placement(
            pool=draft.pool,
            variant=variant.name,
            accelerator=variant.accelerator,
            server=server.name,
            replicas=server.replicas,
            reason=Reason.PREFERRED_VARIANT if variant.rank == 0 else Reason.FALLBACK_VARIANT,
            message=": ".join([message[0], ", ".join(message[1:])]),
        )

    def _frozen_placements(self, model: ModelFacts) -> Iterator[Placement]:
        """What is not planned, and goes on where nobody hears of it."""
        for pool, server, variant in self._problem.away.get(model.key, ()):
            frozen = self._problem.frozen[pool]
            yield Placement(
                pool=pool,
                variant=variant,
                accelerator=server.accelerator,
                server=server.name,
                replicas=server.replicas,
                reason=Reason.MEMBER_UNREACHABLE,
                message=f"{unheard(frozen.member, frozen.since)}; what runs there goes on",
            )

    def _frozen_rejections(self, model: ModelFacts) -> Iterator[Rejection]:
        here = {seat.pool for seat in self._problem.away.get(model.key, ())}
        frozen = {name: it for name, it in self._problem.frozen.items() if name not in here}
        for name, it in sorted(frozen.items()) if len(frozen) <= _POOLS_MOST else ():
            barring = barred(model, it.pool)
            reason, message = barring or (
                Reason.MEMBER_UNREACHABLE,
                f"{unheard(it.member, it.since)}; nothing new is placed there",
            )
            yield Rejection(pool=name, reason=reason, message=message)

    def _rejections(self, model: ModelFacts, demands: Sequence[Demand], *, short: bool) -> Iterator[Rejection]:
        here = {draft.pool for draft, _ in self._placed.get(model.key, [])}
        for pool in self._asked_about(model, demands):
            why_barred = barred(model, pool)
            if pool.name in here:
                yield from self._unfit(model, pool)
                yield from self._preferred(model, pool)
            elif why_barred is not None:
                yield Rejection(pool=pool.name, reason=why_barred[0], message=why_barred[1])
            else:
                yield from self._passed_over(model, pool, demands, short=short)

    def _asked_about(self, model: ModelFacts, demands: Sequence[Demand]) -> list[PoolFacts]:
        pools = sorted(self._problem.pools.values(), key=lambda pool: (pool.shared, pool.name))
        if len(pools) <= _POOLS_MOST:
            return pools
        wanted = {option.pool for demand in demands for option in demand.options}
        return [pool for pool in pools if pool.name in wanted or pool.shared]

    def _preferred(self, model: ModelFacts, pool: PoolFacts) -> Iterator[Rejection]:
        """Why the variants that the Model would rather have there are not the one that it has."""
        mine = [draft for draft, _ in self._placed.get(model.key, []) if draft.pool == pool.name]
        best = min(draft.members[model.key][1].rank for draft in mine)
        unfit = {rejection.variant for rejection in self._unfit(model, pool)}
        passed = [variant for variant in model.variants if variant.rank < best and variant.name not in unfit]
        if not passed:
            return
        there = [draft for draft, _ in self._all_placed if draft.pool == pool.name]
        yard = Yard(pool)
        for draft in there:
            yard.place(draft)
        for variant in passed:
            if _joins(variant, there, model=model, pool=pool) or yard.open(model, variant, price=0.0) is not None:
                reason, message = Reason.NOT_NEEDED, "a variant that costs less serves as much there"
            else:
                reason, message = self._full(model, variant, pool)
            yield Rejection(pool=pool.name, variant=variant.name, reason=reason, message=message)

    def _unfit(self, model: ModelFacts, pool: PoolFacts) -> list[Rejection]:
        found = ((variant, unfit(self._problem, model, variant, pool, site=pool.site)) for variant in model.variants)
        return [
            Rejection(pool=pool.name, variant=variant.name, reason=why[0], message=why[1])
            for variant, why in found
            if why is not None
        ]

    def _passed_over(
        self, model: ModelFacts, pool: PoolFacts, demands: Sequence[Demand], *, short: bool
    ) -> Iterator[Rejection]:
        refused = self._unfit(model, pool)
        names = {rejection.variant for rejection in refused}
        fit = [variant for variant in model.variants if variant.name not in names]
        options = [option for demand in demands for option in demand.options if option.pool == pool.name]
        if not fit:
            yield from refused
            said = "; ".join(f"{rejection.variant}: {rejection.message}" for rejection in refused)
            yield Rejection(
                pool=pool.name,
                reason=Reason.NO_VARIANT_FITS,
                message=f"none of the {len(model.variants)} variants fits pool {pool.name}: {said}",
            )
            return
        yield from refused
        placed = self._placed.get(model.key, [])
        unmet = short or not placed
        if not demands:
            reason, message = Reason.NOT_NEEDED, "nothing asks for it: its demand is known to be 0 and no floor is set"
        elif options and unmet:
            full = [self._full(model, variant, pool) for variant in fit]
            reason = full[0][0]
            message = "; ".join(f"{variant.name}: {why}" for variant, (_, why) in zip(fit, full, strict=True))
        else:
            where = ", ".join(sorted({draft.pool for draft, _ in placed})[:3]) or "other pools"
            reason, message = Reason.NOT_NEEDED, f"{where} serve it at lower cost or nearer"
        yield Rejection(pool=pool.name, reason=reason, message=message)

    def _full(self, model: ModelFacts, variant: VariantFacts, pool: PoolFacts) -> tuple[Reason, str]:
        """Why there is no room for a variant in a pool whose nodes could run it."""
        if not any(node.usable for node in pool.nodes):
            return Reason.NO_NODE_USABLE, f"all nodes of pool {pool.name} are cordoned or not ready"
        running = sum(draft.replicas for draft, _ in self._all_placed if draft.pool == pool.name)
        if pool.limit is not None and running >= pool.limit:
            return Reason.POOL_FULL, f"pool {pool.name} runs its limits.servers of {pool.limit} already"
        held = sum(draft.replicas for draft, _ in self._placed.get(model.key, []))
        if held >= model.most:
            return (
                Reason.MAX_REPLICAS_REACHED,
                f"scaling.maxReplicas is {model.max_replicas}, and other pools have them",
            )
        if Yard(pool).open(model, variant, price=0.0) is None:
            sizes = [
                node.devices[variant.accelerator].memory for node in pool.nodes if variant.accelerator in node.devices
            ]
            if any(size is not None and size < variant.device_memory for size in sizes) or all(
                node.memory < variant.memory for node in pool.nodes
            ):
                return Reason.INSUFFICIENT_MEMORY, f"no node of pool {pool.name} has the memory that it needs"
            return Reason.INSUFFICIENT_CPU, f"no usable node of pool {pool.name} has the cores and memory that it needs"
        if variant.accelerator == CPU:
            return Reason.INSUFFICIENT_CPU, f"other servers hold the cores or the memory of pool {pool.name}"
        return (
            Reason.DEVICES_TAKEN,
            f"servers of other namespaces or of higher priority hold the {variant.accelerator} of pool {pool.name}",
        )


def _joins(variant: VariantFacts, there: Sequence[Draft], *, model: ModelFacts, pool: PoolFacts) -> bool:
    """Whether the device of a server of the Model's namespace has memory for the variant, too."""
    for draft in there:
        if (draft.namespace, draft.accelerator) == (model.key.namespace, variant.accelerator):
            sizes = [pool.nodes[host].devices[variant.accelerator].memory for host in draft.hosts]
            if all(size is None or size >= draft.device_memory + variant.device_memory for size in sizes):
                return True
    return False


def _rate(problem: Problem, model: ModelFacts, variant: VariantFacts, pool: str) -> float:
    speed = problem.speed(model.key, variant.name, variant.accelerator, pool)
    return problem.tuning.default_rate if speed is None else max(0.0, speed.rate)
