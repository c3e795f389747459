"""All that is learned, in one place: reports in, the planner's inputs out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from littoral.api.assignment import Assignment
from littoral.api.quantity import parse_quantity
from littoral.core.learning.demand import Demand, Pair
from littoral.core.learning.gateways import RoundTrips, Way, arrivals
from littoral.core.learning.places import Ages, Failures, ServerKey
from littoral.core.learning.reports import Report, reports
from littoral.core.learning.speed import Speeds
from littoral.core.planner import Problem, RateKey, Speed, Tuning, build_problem
from littoral.core.world import ModelKey, World


@dataclass(frozen=True, kw_only=True)
class LearnerTuning:
    """What an operator may set.

    Attributes:
        quantile: with this probability demand stays below its forecast: 0.75 or more, below 1.
        scale_to_zero_after: seconds without a request after which a Model with `minReplicas: 0` is let go; None to keep
            its last replica, as is needed where nothing could count the request that should bring it back.
    """

    quantile: float = 0.95
    scale_to_zero_after: float | None = None


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What the planner is told beside the world: the arguments of `build_problem` of the same names."""

    demand: Mapping[Pair, float | None] = field(default_factory=dict)
    rates: Mapping[RateKey, Speed] = field(default_factory=dict)
    memory: Mapping[tuple[ModelKey, str], float] = field(default_factory=dict)
    ages: Mapping[ServerKey, float] = field(default_factory=dict)
    broken: frozenset[tuple[ModelKey, str, str]] = frozenset()
    round_trips: Mapping[Way, float] = field(default_factory=dict)

    def problem(
        self,
        world: World,
        assignments: Iterable[Assignment],
        *,
        tuning: Tuning | None = None,
        before: Problem | None = None,
    ) -> Problem:
        """What is to be planned: the world that this was learned of, with all of this. See `build_problem`."""
        return build_problem(
            world,
            demand=self.demand,
            rates=self.rates,
            memory=self.memory,
            assignments=assignments,
            ages=self.ages,
            broken=self.broken,
            round_trips=self.round_trips,
            tuning=tuning,
            before=before,
        )


class Learner:
    """Learns from pass to pass. What it has learned outlives the process by `dump` and `load`."""

    def __init__(self, tuning: LearnerTuning | None = None) -> None:
        tuning = tuning or LearnerTuning()
        self._demand = Demand(quantile=tuning.quantile, scale_to_zero_after=tuning.scale_to_zero_after)
        self._speeds = Speeds()
        self._ages = Ages()
        self._failures = Failures()
        self._round_trips = RoundTrips()

    def learn(self, world: World, assignments: Sequence[Assignment], *, now: float) -> Inputs:
        """Take in what sites report now, and say what the planner should know.

        What members said that are not heard of is what they said last: it is no evidence of what is now, but of their
        speed, and of the memory that they need, it is all that there is.

        Args:
            now: seconds since the epoch. It may jump.
        """
        found = tuple(reports(assignments))
        heard = [it for it in assignments if it.spec.member not in world.unreachable]
        silent = [it for it in assignments if it.spec.member in world.unreachable]
        unheard, gated = {it.name for it in silent}, {key for key, _ in arrivals(silent)}
        self._demand.observe(found, now=now, arrived=arrivals(heard), unheard=unheard, gated=gated)
        self._round_trips.observe(heard, now=now)
        trips = self._round_trips.ask(world)
        world = world.measured(trips)
        self._speeds.observe(world, found, now=now)
        self._ages.observe(assignments, now=now)
        self._failures.observe((it for it in found if it.place.pool not in unheard), now=now)
        return Inputs(
            demand=self._demand.ask(world, found, now=now),
            rates=self._speeds.ask(world, found),
            memory=_memory(found),
            ages=self._ages.ask(now=now),
            broken=self._failures.ask(world, now=now),
            round_trips=trips,
        )

    def dump(self) -> str:
        """What was learned of demand and speed, as JSON."""
        return json.dumps({"demand": self._demand.dump(), "speed": self._speeds.dump()}, separators=(",", ":"))

    def load(self, text: str) -> None:
        """Take up what `dump` gave. What cannot be read is forgotten: it is learned anew."""
        try:
            saved: Any = json.loads(text)
        except (ValueError, RecursionError):
            return
        if not isinstance(saved, dict):
            return
        for name, memory in (("demand", self._demand), ("speed", self._speeds)):
            part = saved.get(name)
            if isinstance(part, dict):
                memory.load(part)


def _memory(found: Sequence[Report]) -> dict[tuple[ModelKey, str], float]:
    """The most memory that each variant has been seen to take, in bytes."""
    memory: dict[tuple[ModelKey, str], float] = {}
    for report in found:
        if (used := report.measured.memory) is not None:
            key = report.place.model, report.variant
            memory[key] = max(memory.get(key, 0.0), float(parse_quantity(used)))
    return memory
