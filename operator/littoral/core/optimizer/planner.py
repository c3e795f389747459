"""The planner: from a problem to a plan. Pure: the same problem gets the same plan, whatever came before.

Demands are parted by the pools they could share, and each part is planned alone (`search`). The shared pools of the
cloud would join all sites into one part; therefore a site plans as if the cloud had room at its price, in any fraction
of a replica, and what all sites send there is then planned for each namespace. Only where the cloud has not enough
room for all, or a Model's `maxReplicas` spans parts, those parts are planned again as one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from littoral.core.optimizer.assignments import Fleet, render
from littoral.core.optimizer.demands import Demand, Part, demands, split
from littoral.core.optimizer.explain import Decisions
from littoral.core.optimizer.facts import PoolFacts
from littoral.core.optimizer.loading import Outcome, full
from littoral.core.optimizer.problem import CurrentServer, Problem
from littoral.core.optimizer.search import Hurry, never, solve
from littoral.core.optimizer.yard import Draft, Yard
from littoral.core.plan import Flow, Plan
from littoral.core.world import ModelKey


@dataclass(kw_only=True)
class Memo:
    """What was planned before, by the content of each part: it saves time and changes no answer.

    Only what the last plan used is kept.
    """

    outcomes: dict[object, tuple[object, Outcome]] = field(default_factory=dict)
    fleet: Fleet = field(default_factory=Fleet)


def plan(problem: Problem, *, memo: Memo | None = None, hurry: Hurry = never) -> Plan:
    """Decide what runs where, and where each site's requests go.

    Args:
        memo: is read and written; parts that did not change are not planned again.
        hurry: asked now and then; once it says so, the best that was found is taken. What is served does not depend on
            it, as far as no demand has to make room for another; what it costs does.

    Returns:
        An assignment for every pool and a decision for every Model of the problem.
    """
    memo = Memo() if memo is None else memo
    found = demands(problem)
    outcomes = _Planning(problem, memo=memo, hurry=hurry).run(found)
    drafts = _topped_up([draft for outcome in outcomes for draft in outcome.drafts], problem)
    totals = {(demand.model.key, demand.site): demand.amount for demand in found if not demand.presence}
    flows = tuple(flow for outcome in outcomes for flow in _flows(outcome, totals))
    assignments = render(problem, drafts, fleet=memo.fleet)
    return Plan(
        assignments=assignments,
        decisions=Decisions(problem, demands=found, placed=tuple(memo.fleet.placed), flows=flows),
        flows=flows,
        price=sum(draft.price * draft.replicas for draft in drafts),
        bound=sum(outcome.bound for outcome in outcomes),
    )


class _Planning:
    """One plan in the making."""

    def __init__(self, problem: Problem, *, memo: Memo, hurry: Hurry) -> None:
        self._problem = problem
        self._memo = memo
        self._hurry = hurry
        self._used: dict[object, tuple[object, Outcome]] = {}
        self._current = {name: servers for name, servers in problem.current.items() if name in problem.pools}
        self._shared = tuple(pool for pool in problem.pools.values() if pool.shared)

    def run(self, found: Sequence[Demand]) -> list[Outcome]:
        """Plan all demands. Outcomes with shared pools outside of them come with those of the shared pools."""
        if len(found) <= self._problem.tuning.whole:
            outcomes = [self._solve(Part(tuple(found), tuple(self._problem.pools.values()), fluid=False))]
        else:
            outcomes = self._in_parts(found)
        self._memo.outcomes = self._used
        return outcomes

    def _in_parts(self, found: Sequence[Demand]) -> list[Outcome]:
        near = [self._solve(part) for part in split(found, self._problem)]
        far = self._far([_spill(outcome) for outcome in near])
        crowded = {demand.model.key for outcome in far for demand in _unserved(outcome)}
        overrun = self._overrun([*near, *far])
        if not crowded and not overrun:
            return [*near, *far]
        # Parts that sent something to where there is no room are planned again with what room there is.
        joined: list[Outcome] = []
        rest: list[Outcome] = []
        for outcome in near:
            involved = any(demand.model.key in overrun for demand in outcome.part.demands)
            (joined if involved or (crowded and _spill(outcome)) else rest).append(outcome)
        members = sorted((d for outcome in joined for d in outcome.part.demands), key=lambda demand: demand.order)
        pools = [pool for outcome in joined for pool in outcome.part.pools]
        apart = [demand for outcome in rest for demand in _spill(outcome)]
        whole = Part(
            tuple(sorted([*members, *apart], key=lambda demand: demand.order)), (*pools, *self._shared), fluid=False
        )
        return [*rest, self._solve(whole)]

    def _far(self, spills: Sequence[Sequence[Demand]]) -> list[Outcome]:
        """Plan what goes to the shared pools: by namespace if all of that fits together, else jointly."""
        by_namespace: dict[str, list[Demand]] = defaultdict(list)
        for spill in spills:
            for demand in spill:
                by_namespace[demand.model.key.namespace].append(demand)
        blocks = [
            self._solve(Part(tuple(sorted(members, key=lambda demand: demand.order)), self._shared, fluid=False), name)
            for name, members in sorted(by_namespace.items())
        ]
        if _together(blocks, self._shared):
            return blocks
        everything = sorted((demand for spill in spills for demand in spill), key=lambda demand: demand.order)
        return [self._solve(Part(tuple(everything), self._shared, fluid=False))]

    def _solve(self, part: Part, namespace: str | None = None) -> Outcome:
        seeds = {
            pool.name: tuple(
                server
                for server in self._current.get(pool.name, ())
                if namespace is None or server.namespace == namespace
            )
            for pool in part.pools
        }
        key = self._key(part, seeds)
        known = self._memo.outcomes.get(key) or self._used.get(key)
        if known is None:
            # What the ids in the key belong to is kept with the outcome, so that no other object can get them.
            outcome = solve(part, self._problem, seeds=seeds, hurry=self._hurry)
            known = ((part, self._problem), outcome)
        self._used[key] = known
        return known[1]

    def _key(self, part: Part, seeds: Mapping[str, Sequence[CurrentServer]]) -> object:
        tuning = self._problem.tuning
        return (
            part.fluid,
            tuning,
            tuple(id(pool) for pool in part.pools),
            tuple(demand.content for demand in part.demands),
            tuple(
                (name, server.content, server.age < tuning.scale_down_after)
                for name, servers in seeds.items()
                for server in servers
            ),
        )

    def _overrun(self, outcomes: Iterable[Outcome]) -> set[ModelKey]:
        """The Models that have more replicas over all parts than they may."""
        totals: dict[ModelKey, int] = defaultdict(int)
        for outcome in outcomes:
            for draft in outcome.drafts:
                for key in draft.members:
                    totals[key] += draft.replicas
        return {key for key, total in totals.items() if total > self._problem.models[key].max_replicas}


def _unserved(outcome: Outcome) -> list[Demand]:
    return [demand for demand, share in zip(outcome.part.demands, outcome.served, strict=True) if not full(share)]


def _spill(outcome: Outcome) -> list[Demand]:
    """What a part sends to pools outside of it, as demands there."""
    if not outcome.part.fluid:
        return []
    amounts: dict[int, float] = {}
    for load in outcome.loads:
        if outcome.part.demands[load.demand].options[load.option].shared:
            amounts[load.demand] = amounts.get(load.demand, 0.0) + load.amount
    spilled: list[Demand] = []
    for index, amount in amounts.items():
        demand = outcome.part.demands[index]
        options = tuple(option for option in demand.options if option.shared)
        spilled.append(Demand(demand.model, demand.site, amount, demand.presence, options))
    return spilled


def _together(outcomes: Sequence[Outcome], pools: Sequence[PoolFacts]) -> bool:
    """Whether pools have room for servers that were planned as if each namespace were alone."""
    yards = {pool.name: Yard(pool) for pool in pools}
    return all(yards[draft.pool].place(draft) for outcome in outcomes for draft in outcome.drafts)


def _flows(outcome: Outcome, totals: Mapping[tuple[ModelKey, str | None], float]) -> Iterable[Flow]:
    part = outcome.part
    for load in outcome.loads:
        demand = part.demands[load.demand]
        option = demand.options[load.option]
        if not (option.shared and part.fluid):
            yield Flow(
                model=demand.model.key,
                site=demand.site,
                pool=option.pool,
                variant=option.variant.name,
                rate=load.amount,
                share=load.amount / totals[demand.model.key, demand.site] if demand.amount else 1.0,
                late=option.late,
            )


def _topped_up(drafts: list[Draft], problem: Problem) -> list[Draft]:
    """See to it that Models have their `minReplicas`, the nearest servers first, as far as there is room."""
    held: dict[ModelKey, list[Draft]] = defaultdict(list)
    for draft in drafts:
        for key in draft.members:
            held[key].append(draft)
    short = [
        model
        for key, model in problem.models.items()
        if 0 < sum(draft.replicas for draft in held.get(key, ())) < model.min_replicas
    ]
    if not short:
        return drafts
    # Outcomes may be in a memo: what grows is a copy.
    copies = {id(draft): draft.copy() for draft in drafts}
    yards = {pool.name: Yard(pool) for pool in problem.pools.values()}
    for draft in copies.values():
        yards[draft.pool].adopt(draft)
    for model in sorted(short, key=lambda model: model.order):
        mine = [copies[id(draft)] for draft in held[model.key]]
        mine.sort(key=lambda draft: (problem.pools[draft.pool].shared, draft.price, draft.pool, draft.name))
        while mine and sum(copies[id(draft)].replicas for draft in held[model.key]) < model.min_replicas:
            least = min(mine, key=lambda draft: draft.replicas)
            bounded = any(
                sum(copies[id(other)].replicas for other in held[key]) >= problem.models[key].max_replicas
                for key in least.members
            )
            if bounded or not yards[least.pool].grow(least):
                mine.remove(least)
    return list(copies.values())
