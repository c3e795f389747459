"""Every policy on one workload: its settings tried, the best one chosen on the first half, judged on the second."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from littoral.core.planner import Tuning
from littoral.sim.cluster import Routing, simulate
from littoral.sim.policies import Clairvoyant, HorizontalPodAutoscaler, Keda, Littoral, Policy, StaticPeak
from littoral.sim.scenario import Scenario
from littoral.sim.score import Score, judge, violations_at
from littoral.sim.workload import Workload

GOAL: Final = 0.999
"""The share of requests that is to be within the SLO."""

LITTORAL: Final = "Littoral"
BRISK: Final = "Littoral, 60 s"
"""Littoral with another setting than the default for when it scales down."""

CLAIRVOYANT: Final = "clairvoyant"


class Contender(NamedTuple):
    """A policy with its settings.

    Attributes:
        setting: what the numbers mean.
        make: a new policy with one of them.
    """

    name: str
    setting: str
    values: tuple[float, ...]
    make: Callable[[float], Policy]
    routing: Routing = Routing.SPILL


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One setting of one policy, judged on both halves."""

    value: float
    tuning: Score
    test: Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One policy on one workload.

    Attributes:
        chosen: the setting that reached the goal on the first half at the least cost, else the one that came nearest.
            The clairvoyant policy, which knows what comes anyway, is chosen on the second.
        trials: every setting.
    """

    name: str
    setting: str
    chosen: Trial
    trials: tuple[Trial, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All policies on one workload."""

    workload: str
    scenario: str
    lines: Mapping[str, Line]

    def ratio(self, name: str, *, to: str = LITTORAL) -> tuple[float, bool] | None:
        """How many times as many requests are late as with another policy, for the same money.

        Returns:
            The ratio, and whether it is exact: otherwise the policy has no setting that costs so much, and its best is
            compared. None where its cheapest setting costs more than the other policy.
        """
        base = self.lines[to].chosen.test
        found = violations_at([trial.test for trial in self.lines[name].trials], cost=base.cost)
        return None if found is None else (found[0] / base.violations, found[1])

    def cost(self, name: str) -> float | None:
        """What a policy costs, as a multiple of the clairvoyant one; None where that was not run."""
        if CLAIRVOYANT not in self.lines:
            return None
        return self.lines[name].chosen.test.cost / self.lines[CLAIRVOYANT].chosen.test.cost


def compare(scenario: Scenario, workload: Workload, contenders: Iterable[Contender]) -> Comparison:
    """Run every setting of every policy."""
    lines = (try_all(scenario, workload, contender) for contender in contenders)
    return Comparison(workload=workload.name, scenario=scenario.name, lines={line.name: line for line in lines})


def try_all(scenario: Scenario, workload: Workload, contender: Contender) -> Line:
    """Run every setting of one policy, and choose one."""
    trials = tuple(_try(scenario, workload, contender, value) for value in contender.values)
    knows = contender.name == CLAIRVOYANT
    chosen = best(trials, key=lambda trial: trial.test if knows else trial.tuning)
    return Line(name=contender.name, setting=contender.setting, chosen=chosen, trials=trials)


def _try(scenario: Scenario, workload: Workload, contender: Contender, value: float) -> Trial:
    run = simulate(scenario, workload, contender.make(value), routing=contender.routing)
    return Trial(
        value=value,
        tuning=judge(run, scenario, start=workload.warm, end=workload.half),
        test=judge(run, scenario, start=workload.half, end=workload.seconds),
    )


def best(trials: Sequence[Trial], *, key: Callable[[Trial], Score]) -> Trial:
    """The cheapest of those that reach the goal, else the one that comes nearest."""
    reached = [trial for trial in trials if key(trial).attainment >= GOAL]
    if reached:
        return min(reached, key=lambda trial: key(trial).cost)
    return max(trials, key=lambda trial: (key(trial).attainment, -key(trial).cost))


QUANTILES: Final = (0.75, 0.9, 0.95, 0.98, 0.995, 0.999)
TARGETS: Final = (0.25, 0.4, 0.6, 0.8, 1.1, 1.5, 2.0, 3.0)
"""Requests in flight for each Pod."""
SHARES: Final = (0.15, 0.25, 0.4, 0.6, 0.8, 1.0, 1.2, 1.5)
"""Of what a replica can take within the SLO: how hard rate-driven policies may use it."""


def contenders(scenario: Scenario, workload: Workload, *, fine: bool = True) -> Iterator[Contender]:
    """Every policy with the settings to try; without `fine` only a few of them."""
    devices = [place.devices for place in scenario.places]

    def some(values: tuple[float, ...]) -> tuple[float, ...]:
        return values if fine else values[1::3]

    for name, calm in ((LITTORAL, Tuning().scale_down_after), (BRISK, 60.0)):
        yield Contender(name, "quantile of the forecast", some(QUANTILES), _littoral(scenario, scale_down_after=calm))
    yield Contender(
        "HPA",
        "requests in flight per Pod",
        some(TARGETS),
        lambda value: HorizontalPodAutoscaler(target=value, devices=devices),
        Routing.WEIGHTED,
    )
    yield Contender(
        "KEDA",
        "share of a replica's rate",
        some(SHARES),
        lambda value: Keda(target=[value * rate for rate in scenario.rates], devices=devices),
        Routing.WEIGHTED,
    )
    yield from _references(scenario, workload, some=some)


def _littoral(scenario: Scenario, *, scale_down_after: float) -> Callable[[float], Policy]:
    return lambda value: Littoral(scenario, quantile=value, scale_down_after=scale_down_after)


def _references(
    scenario: Scenario, workload: Workload, *, some: Callable[[tuple[float, ...]], tuple[float, ...]]
) -> Iterator[Contender]:
    """Policies that scale not at all, and that know what comes: defined where there is one place."""
    if len(scenario.places) > 1:
        return
    place, rate = scenario.places[0], scenario.rates[0]
    times = [time for time, _ in workload.merged()]
    peak = _peak([time for time in times if time < workload.half])
    yield Contender(
        "static peak",
        "share of the first half's peak",
        some((0.3, 0.5, 0.7, 0.85, 1.0, 1.3)),
        lambda value: StaticPeak(replicas=(math.ceil(value * peak / rate),)),
    )
    yield Contender(
        CLAIRVOYANT,
        "share of a replica's rate",
        some((0.8, 1.0, 1.1, 1.2, 1.3, 1.5, 1.7, 2.0)),
        lambda value: Clairvoyant(arrivals=times, rate=value * rate, start=place.start, seconds=workload.seconds),
    )


def _peak(times: Sequence[float], *, window: float = 10.0) -> float:
    """The highest rate over some seconds."""
    counts: dict[int, int] = {}
    for time in times:
        counts[int(time // window)] = counts.get(int(time // window), 0) + 1
    return max(counts.values(), default=0) / window
