"""How good a run was: what share of the requests kept the SLO, and what it cost."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from littoral.sim.cluster import Run
from littoral.sim.scenario import Scenario

WINDOW: Final = 300.0
"""Seconds of the windows that a LatencySLO's `objective` counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A part of a run, judged.

    Attributes:
        requests: that came in it.
        late: of these, the ones that took longer than the SLO's latency or were given up.
        windows: share of the 5-minute windows in which the percentile kept its latency.
        cost: what all replicas cost, in the currency of prices.
        replica_hours: how long all replicas existed together.
        loads: replicas that were created: each fetches and loads.
        served: requests that each place answered, over the whole run.
    """

    requests: int
    late: int
    windows: float
    cost: float
    replica_hours: float
    loads: int
    served: Sequence[int]

    @property
    def attainment(self) -> float:
        """Share of the requests within the SLO's latency."""
        return 1 - self.late / self.requests if self.requests else 1.0

    @property
    def violations(self) -> float:
        """Share of the requests that were late. None seen counts as half a request: a ratio must not be infinite."""
        return max(self.late, 0.5) / max(self.requests, 1)


def judge(run: Run, scenario: Scenario, *, start: float, end: float) -> Score:
    """Judge what came between two times, and what existed between them."""
    first, last = bisect_left(run.times, start), bisect_left(run.times, end)
    late = [latency > scenario.latency for latency in run.latencies[first:last]]
    cost = seconds = 0.0
    loads = 0
    for life in run.lifetimes:
        existed = max(0.0, min(life.gone, end) - max(life.created, start))
        seconds += existed
        cost += existed / 3600 * scenario.places[life.place].price
        loads += start <= life.created < end
    return Score(
        requests=len(late),
        late=sum(late),
        windows=_windows_kept(run.times[first:last], late, start=start, allowed=1 - float(scenario.percentile) / 100),
        cost=cost,
        replica_hours=seconds / 3600,
        loads=loads,
        served=run.served,
    )


def _windows_kept(times: Sequence[float], late: Sequence[bool], *, start: float, allowed: float) -> float:
    """The share of windows, of those with any request, in which no more than allowed were late."""
    totals: dict[int, list[int]] = {}
    for time, missed in zip(times, late, strict=True):
        window = totals.setdefault(int((time - start) // WINDOW), [0, 0])
        window[0] += 1
        window[1] += missed
    # A thousandth of 1000 is 1, whatever floating point says.
    kept = sum(missed <= allowed * count + 1e-6 for count, missed in totals.values())
    return kept / len(totals) if totals else 1.0


def violations_at(scores: Sequence[Score], *, cost: float) -> tuple[float, bool] | None:
    """The share of late requests that a policy has at a cost, whatever its setting must be for it.

    Between the settings that were tried it is interpolated: the logarithm of the violations over the cost, along those
    settings that no other one beats in both.

    Returns:
        The share, and whether it is exact: it is not where the policy cannot spend so much, and its best is given.
        None where every setting costs more.
    """
    frontier: list[Score] = []
    for score in sorted(scores, key=lambda each: (each.cost, each.violations)):
        if not frontier or score.violations < frontier[-1].violations:
            frontier.append(score)
    if not frontier or frontier[0].cost > cost:
        return None
    for below, above in pairwise(frontier):
        if cost < above.cost:
            share = (cost - below.cost) / (above.cost - below.cost)
            logarithm = (1 - share) * math.log(below.violations) + share * math.log(above.violations)
            return math.exp(logarithm), True
    return frontier[-1].violations, max(score.cost for score in scores) >= cost
