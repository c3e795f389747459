"""The planner: from a problem to a plan. Pure: the same problem gets the same plan, whatever came before.

Demands are parted by the pools they could share, and each part is planned alone (`search`). The shared pools of the
cloud would join all sites into one part; therefore a site plans as if the cloud had room at its price, in any fraction
of a replica, and what all sites send there is then planned for each namespace. Only where the cloud has not enough
room for all, or a Model's `maxReplicas` spans parts, those parts are planned again as one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from zlib import crc32

from littoral.core.plan import Flow, Plan
from littoral.core.planner.assignments import Fleet, render
from littoral.core.planner.demands import Demand, Part, Read, demands, in_order, split
from littoral.core.planner.explain import Decisions
from littoral.core.planner.facts import PoolFacts
from littoral.core.planner.outcome import Outcome, full
from littoral.core.planner.problem import Problem
from littoral.core.planner.routes import routes
from littoral.core.planner.search import Hurry, never, solve
from littoral.core.planner.yard import Yard
from littoral.core.world import ModelKey, unheard


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class _Solved:
    """A part that was planned.

    Attributes:
        kept: objects whose ids are in the part's key: no other objects get them as long as these live.
        spill: what it sends to pools outside of it, as demands there.
        replicas: of each Model on each server.
    """

    kept: tuple[object, ...]
    outcome: Outcome
    spill: tuple[Demand, ...]
    flows: tuple[Flow, ...]
    replicas: tuple[tuple[ModelKey, int], ...]


@dataclass(kw_only=True)
class Memo:
    """What was planned before, by the content of each part: it saves time and changes no answer.

    Only what the last plan used is kept. It works for problems that were built with `before`.
    """

    read: Read = field(default_factory=Read)
    solved: dict[object, _Solved] = field(default_factory=dict)
    anchored: dict[tuple[int, str], tuple[Demand, Demand]] = field(default_factory=dict)
    cheapest: dict[int, tuple[Demand, Demand]] = field(default_factory=dict)
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
    found = demands(problem, last=memo.read)
    solved, bound = _Planning(problem, memo=memo, hurry=hurry).run(found)
    drafts = [draft for part in solved for draft in part.outcome.drafts]
    flows = tuple(flow for part in solved for flow in part.flows)
    assignments = render(problem, drafts, fleet=memo.fleet)
    if problem.tuning.gateways:
        ways = routes(problem, placed=memo.fleet.placed, flows=flows)
        assignments = {
            name: spec.model_copy(update={"routes": ways[name]}) if ways.get(name) else spec
            for name, spec in assignments.items()
        }
    return Plan(
        assignments=assignments,
        decisions=Decisions(problem, demands=found, placed=tuple(memo.fleet.placed), flows=flows),
        flows=flows,
        price=sum(draft.price * draft.replicas for draft in drafts),
        loading=sum(part.outcome.near_loading for part in solved),
        bound=bound,
        routed=problem.tuning.gateways,
        frozen={name: unheard(it.member, it.since) for name, it in sorted(problem.frozen.items())},
    )


class _Planning:
    """One plan in the making."""

    def __init__(self, problem: Problem, *, memo: Memo, hurry: Hurry) -> None:
        self._problem = problem
        self._memo = memo
        self._hurry = hurry
        self._used: dict[object, _Solved] = {}
        self._shared = tuple(pool for pool in problem.pools.values() if pool.shared)

    def run(self, found: Sequence[Demand]) -> tuple[list[_Solved], float]:
        """Plan all demands: parts that together are the plan, and a bound on its cost."""
        few = len(found) <= self._problem.tuning.whole
        found = self._anchored(found, everywhere=not few)
        if few:
            whole = self._solve(Part(in_order(found), tuple(self._problem.pools.values()), fluid=False))
            solved, bound = [whole], whole.outcome.bound
        else:
            solved, bound = self._in_parts(found)
        self._memo.solved = self._used
        return solved, bound

    def _in_parts(self, found: Sequence[Demand]) -> tuple[list[_Solved], float]:
        near = [self._solve(part) for part in split(self._at_their_cheapest(found), self._problem)]
        far = self._far(near)
        crowded = any(not full(share) for part in far for share in part.outcome.served)
        overrun = self._overrun([*near, *far])
        if not crowded and not overrun:
            # What goes to shared pools is in the bounds of the parts that send it.
            return [*near, *far], sum(part.outcome.bound for part in near)
        # Parts that sent something to where there is no room are planned again with what room there is.
        joined: list[_Solved] = []
        rest: list[_Solved] = []
        for part in near:
            involved = any(demand.model.key in overrun for demand in part.outcome.part.demands)
            (joined if involved or (crowded and part.spill) else rest).append(part)
        members = [
            demand.through((*demand.near, *demand.far), demand.amount)
            for part in joined
            for demand in part.outcome.part.demands
        ]
        apart = [demand for part in rest for demand in part.spill]
        pools = [pool for part in joined for pool in part.outcome.part.pools]
        whole = self._solve(Part(in_order([*members, *apart]), (*pools, *self._shared), fluid=False))
        bound = whole.outcome.bound + sum(part.outcome.bound for part in rest if not part.spill)
        return [*rest, whole], bound

    def _at_their_cheapest(self, found: Sequence[Demand]) -> list[Demand]:
        """The demands for fluid parts; the same objects for the same objects."""
        known = self._memo.cheapest
        self._memo.cheapest = {id(d): known.get(id(d)) or (d, d.at_its_cheapest()) for d in found}
        return [cheapest for _, cheapest in self._memo.cheapest.values()]

    def _anchored(self, found: Sequence[Demand], *, everywhere: bool) -> list[Demand]:
        """The demands, those at one site only that may be at any: what is present anywhere needs no joint plan of all
        sites, and stays where it is."""
        known = self._memo.anchored
        self._memo.anchored = {}
        anchored: list[Demand] = []
        for demand in found:
            site = self._anchor(demand, everywhere=everywhere) if demand.site is None and demand.presence else None
            if site is None:
                anchored.append(demand)
                continue
            key = (id(demand), site)
            self._memo.anchored[key] = known.get(key) or (demand, demand.at(site, self._problem))
            anchored.append(self._memo.anchored[key][1])
        return anchored

    def _anchor(self, demand: Demand, *, everywhere: bool) -> str | None:
        """Where a Model is that may be anywhere, else (if `everywhere`) a site of its own, so that not all crowd into
        the first."""
        key = demand.model.key
        for name in demand.homes:
            running = self._problem.current.get(name)
            if running is not None and any(
                server.namespace == key.namespace and key.name in server.models for server in running.servers
            ):
                return self._problem.pools[name].site
        if not everywhere or not demand.homes:
            return None
        chosen = demand.homes[crc32(f"{key.namespace}/{key.name}".encode()) % len(demand.homes)]
        return self._problem.pools[chosen].site

    def _far(self, near: Sequence[_Solved]) -> list[_Solved]:
        """Plan what goes to the shared pools: by namespace if all of that fits together, else jointly."""
        by_namespace: dict[str, list[Demand]] = defaultdict(list)
        for part in near:
            for demand in part.spill:
                by_namespace[demand.model.key.namespace].append(demand)
        blocks = [
            self._solve(Part(in_order(members), self._shared, fluid=False), namespace)
            for namespace, members in sorted(by_namespace.items())
        ]
        if _together([block.outcome for block in blocks], self._shared):
            return blocks
        everything = [demand for members in by_namespace.values() for demand in members]
        return [self._solve(Part(in_order(everything), self._shared, fluid=False))]

    def _solve(self, part: Part, namespace: str | None = None) -> _Solved:
        seeds = {
            pool.name: tuple(server for server in running.servers if namespace is None or server.namespace == namespace)
            for pool in part.pools
            if (running := self._problem.current.get(pool.name)) is not None
        }
        key = (
            part.fluid,
            self._problem.tuning,
            tuple(map(id, part.pools)),
            tuple(map(id, part.demands)),
            tuple((name, tuple(server.content for server in servers)) for name, servers in seeds.items()),
        )
        known = self._memo.solved.get(key) or self._used.get(key)
        if known is None:
            outcome = solve(part, self._problem, seeds=seeds, hurry=self._hurry)
            known = _Solved(
                kept=(part,),
                outcome=outcome,
                spill=tuple(_spill(outcome)),
                flows=tuple(_flows(outcome)),
                replicas=tuple((key, draft.replicas) for draft in outcome.drafts for key in draft.members),
            )
        self._used[key] = known
        return known

    def _overrun(self, solved: Iterable[_Solved]) -> set[ModelKey]:
        """The Models that have more replicas over all parts than they may."""
        totals: dict[ModelKey, int] = defaultdict(int)
        for part in solved:
            for key, replicas in part.replicas:
                totals[key] += replicas
        models = self._problem.models
        return {key for key, total in totals.items() if key in models and total > models[key].most}


def _spill(outcome: Outcome) -> Iterable[Demand]:
    if not outcome.part.fluid:
        return
    amounts: dict[int, float] = {}
    for load in outcome.loads:
        if outcome.part.demands[load.demand].options[load.option].shared:
            amounts[load.demand] = amounts.get(load.demand, 0.0) + load.amount
    for index, amount in amounts.items():
        demand = outcome.part.demands[index]
        yield demand.through(demand.far, amount, least=outcome.owed.get(index, 0))


def _together(outcomes: Sequence[Outcome], pools: Sequence[PoolFacts]) -> bool:
    """Whether pools have room for servers that were planned as if each namespace were alone."""
    yards = {pool.name: Yard(pool) for pool in pools}
    return all(yards[draft.pool].place(draft) for outcome in outcomes for draft in outcome.drafts)


def _flows(outcome: Outcome) -> Iterable[Flow]:
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
                share=load.amount / demand.total if demand.total else 1.0,
                late=option.late,
            )
