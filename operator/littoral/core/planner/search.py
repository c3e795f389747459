"""From one way to load a part to a good one: what more can be served, what costs less, and whether to change at all."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from littoral.core.planner.demands import Part
from littoral.core.planner.loading import Loading
from littoral.core.planner.outcome import Group, Outcome, full, lesser
from littoral.core.planner.problem import CurrentServer, Problem
from littoral.core.planner.relaxation import relax
from littoral.core.planner.yard import SLACK

Seeds = Mapping[str, Sequence[CurrentServer]]
Guide = Mapping[int, Mapping[int, float]]
Hurry = Callable[[], bool]
"""Tells that time is up: what is found by then is the answer. A caller without a deadline passes `never`."""

_COMBINATIONS_MOST: Final = 256
_WORK_MOST: Final = 4_000
_CLOSE: Final = 0.005
_POLISH_MOST: Final = 4


def never() -> bool:
    """No deadline: the answer depends on nothing but the problem."""
    return False


def solve(part: Part, problem: Problem, *, seeds: Seeds, hurry: Hurry = never) -> Outcome:
    """Plan one part.

    What is served is decided first, demand by demand in their order; then what it costs; then whether what runs now is
    good enough to stay.
    """
    return _Search(part, problem, seeds=seeds, hurry=hurry).run()


class _Search:
    def __init__(self, part: Part, problem: Problem, *, seeds: Seeds, hurry: Hurry) -> None:
        self._part = part
        self._problem = problem
        self._seeds = seeds
        self._hurry = hurry
        self._rooms: dict[object, float] = {}
        self._pinned: Seeds = {
            pool: [server for server in servers if not server.settled] for pool, servers in seeds.items()
        }
        # An attempt takes time that grows with the part; a bound on their product bounds the time.
        most = _WORK_MOST // max(1, len(part.demands))
        self._retries = min(problem.tuning.retries, most)
        self._savings = min(problem.tuning.savings, most)

    def run(self) -> Outcome:
        # 1. As if nothing ran, but what changed a moment ago: what can be served at all.
        best = self._serve_more(self._load())
        if any(self._pinned.values()):
            pinned = self._serve_more(self._load(seeds=self._pinned), seeds=self._pinned)
            if lesser(pinned.served, best.served):
                self._pinned = {}
            else:
                best = pinned

        # 2. The same for less.
        relaxed = None if self._hurry() else relax(self._part, self._problem, served=best.served)
        bound = 0.0
        if relaxed is not None:
            bound = relaxed.bound
            if best.cost > bound * (1 + _CLOSE):
                guided = self._load(guide=relaxed.shares, seeds=self._pinned)
                better = _cheaper(best, guided)
                best = self._cost_less(better, bound=bound, guide=relaxed.shares if better is guided else {})

        # 3. What runs now, if it is about as good.
        best = self._polish(best)
        if any(self._seeds.values()):
            best = self._keep(self._seeds, best)
        return replace(best, bound=min(bound, best.cost))

    def _polish(self, best: Outcome) -> Outcome:
        """Go on until the next plan, which finds these servers running, has nothing to change."""
        for _ in range(_POLISH_MOST):
            kept = self._keep(_as_current(best), best)
            if _shape(kept) == _shape(best):
                return kept
            best = kept
        return best

    def _keep(self, seeds: Seeds, best: Outcome) -> Outcome:
        """What can be made of servers that run, if that is about as good as the best, else the best.

        To serve more is always reason enough to change; to cost less only from some gain on.
        """
        for frozen in (True, False):
            kept = self._serve_more(self._load(seeds=seeds, frozen=frozen), seeds=seeds, frozen=frozen)
            if lesser(kept.served, best.served) or (frozen and kept.cost > best.cost and _idle(kept)):
                continue
            gain = kept.cost - best.cost
            if lesser(best.served, kept.served) or gain <= self._problem.tuning.hysteresis * kept.cost:
                return kept
        return best

    def _load(
        self,
        *,
        guide: Guide | None = None,
        banned: Collection[tuple[int, int]] = (),
        caps: Mapping[Group, int] | None = None,
        seeds: Seeds | None = None,
        frozen: bool = False,
    ) -> Outcome:
        return Loading(
            self._part,
            self._problem,
            guide=guide,
            banned=banned,
            caps=caps,
            seeds=seeds,
            frozen=frozen,
            rooms=self._rooms,
        ).run()

    def _serve_more(self, best: Outcome, *, seeds: Seeds | None = None, frozen: bool = False) -> Outcome:
        """Make room for what is not served, by moving what is in its way to other options."""
        if all(map(full, best.served)):
            return best
        for banned in self._ways_out(best):
            if self._hurry():
                break
            tried = self._load(banned=banned, seeds=seeds, frozen=frozen)
            if lesser(best.served, tried.served):
                best = tried
                if all(map(full, best.served)):
                    break
        return best

    def _ways_out(self, start: Outcome) -> Iterable[frozenset[tuple[int, int]]]:
        """What to ban: in small parts every combination of one option for each demand, else one option in the way."""
        demands = self._part.demands
        sizes = [len(demand.options) for demand in demands]
        if math.prod(max(1, size) for size in sizes) <= _COMBINATIONS_MOST:
            every = {(i, n) for i, size in enumerate(sizes) for n in range(size)}
            for chosen in itertools.product(*(range(max(1, size)) for size in sizes)):
                yield frozenset(every - set(enumerate(chosen)))
            return
        tries = self._retries
        for index, share in enumerate(start.served):
            if full(share):
                continue
            pools = {option.pool for option in demands[index].options}
            for flow in start.loads:
                if tries <= 0:
                    return
                if flow.demand != index and demands[flow.demand].options[flow.option].pool in pools:
                    tries -= 1
                    yield frozenset({(flow.demand, flow.option)})

    def _cost_less(self, best: Outcome, *, bound: float, guide: Guide) -> Outcome:
        """Try to do with one replica less somewhere, the idlest first, as long as that pays and nothing is lost."""
        caps: dict[Group, int] = {}
        tries = self._savings
        improved = True
        while improved:
            improved = False
            for group, replicas in _idlest(best):
                if tries <= 0 or self._hurry() or best.cost <= bound * (1 + _CLOSE):
                    return best
                if caps.get(group, replicas) < replicas:
                    continue
                tries -= 1
                capped = {**caps, group: replicas - 1}
                found = self._load(caps=capped, guide=guide, seeds=self._pinned)
                if _cheaper(best, found) is found:
                    best, caps, improved = found, capped, True
                    break
        return best


def _cheaper(best: Outcome, other: Outcome) -> Outcome:
    """The one that costs less, provided that it serves each demand as well."""
    if any(mine < theirs - 1e-9 for mine, theirs in zip(other.served, best.served, strict=True)):
        return best
    return other if other.cost < best.cost * (1 - 1e-9) - 1e-12 else best


def _idlest(outcome: Outcome) -> list[tuple[Group, int]]:
    """Groups with their replicas, those first whose idle share costs most."""
    replicas: dict[Group, int] = defaultdict(int)
    waste: dict[Group, float] = defaultdict(float)
    for draft in outcome.drafts:
        group = (draft.pool, draft.namespace, draft.accelerator)
        replicas[group] += draft.replicas
        waste[group] += draft.slack * draft.price
    return sorted(replicas.items(), key=lambda it: (-waste[it[0]], it[0]))


def _idle(outcome: Outcome) -> bool:
    """Whether a server that may shrink has replicas that its load does not need: to drop them moves nothing."""
    return any(draft.replicas > max(1, draft.least, math.ceil(draft.load - SLACK)) for draft in outcome.drafts)


def _as_current(outcome: Outcome) -> Seeds:
    """The servers of an outcome as they will be seen once they run."""
    seeds: dict[str, list[CurrentServer]] = defaultdict(list)
    for draft in outcome.drafts:
        seeds[draft.pool].append(
            CurrentServer(
                name=draft.name,
                namespace=draft.namespace,
                accelerator=draft.accelerator,
                replicas=draft.replicas,
                models={key.name: variant.name for key, (_, variant) in draft.members.items()},
                settled=not draft.least,
            )
        )
    return seeds


def _shape(outcome: Outcome) -> list[tuple[object, ...]]:
    """Equal for outcomes with the same servers."""
    return sorted(
        (draft.pool, draft.namespace, draft.accelerator, draft.replicas, tuple(sorted(draft.members)))
        for draft in outcome.drafts
    )
