"""Runs are judged and policies compared as the documentation says."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from littoral.sim.cluster import Lifetime, Run
from littoral.sim.compare import Comparison, Line, Trial, best
from littoral.sim.scenario import one_pool
from littoral.sim.score import Score, judge, violations_at


def score(*, late: int, cost: float, requests: int = 10_000) -> Score:
    """A score of which only these matter."""
    return Score(requests=requests, late=late, windows=1.0, cost=cost, replica_hours=cost, loads=0, served=(requests,))


def run(latencies: Sequence[float], *, seconds: float, lifetimes: Sequence[Lifetime] = ()) -> Run:
    """A run whose requests come evenly."""
    times = [index * seconds / len(latencies) for index in range(len(latencies))]
    return Run(times=times, latencies=latencies, served=[0], lifetimes=lifetimes, seconds=seconds)


def test_only_what_comes_between_the_times_counts() -> None:
    latencies = [9.0] * 50 + [0.1] * 49 + [math.inf]
    judged = judge(run(latencies, seconds=100.0), one_pool(), start=50.0, end=100.0)
    assert (judged.requests, judged.late) == (50, 1)
    assert judged.attainment == pytest.approx(0.98)


def test_a_window_is_kept_when_its_percentile_is() -> None:
    # One of 1000 may be late: so many are in the first window, one more in the second, none in the third.
    first, second, third = [9.0] + [0.1] * 999, [9.0, 9.0] + [0.1] * 998, [0.1] * 1000
    judged = judge(run([*first, *second, *third], seconds=900.0), one_pool(), start=0.0, end=900.0)
    assert judged.windows == pytest.approx(2 / 3)


def test_replicas_cost_while_they_exist_and_load_when_they_are_created() -> None:
    lives = [
        Lifetime(place=0, created=0.0, gone=7200.0),
        Lifetime(place=0, created=3600.0, gone=5400.0),
        Lifetime(place=0, created=7200.0, gone=9000.0),
    ]
    judged = judge(run([0.1] * 10, seconds=9000.0, lifetimes=lives), one_pool(), start=1800.0, end=7200.0)
    assert judged.cost == pytest.approx(1.5 + 0.5)
    assert judged.loads == 1


def test_violations_are_interpolated_between_settings() -> None:
    scores = [score(late=1000, cost=1.0), score(late=10, cost=3.0), score(late=500, cost=4.0)]
    assert violations_at(scores, cost=2.0) == (pytest.approx(0.01), True)
    assert violations_at(scores, cost=1.0) == (pytest.approx(0.1), True)


def test_a_setting_that_another_beats_in_both_does_not_count() -> None:
    scores = [score(late=1000, cost=1.0), score(late=2000, cost=2.0), score(late=10, cost=3.0)]
    assert violations_at(scores, cost=2.0) == (pytest.approx(0.01), True)


def test_a_policy_cannot_be_had_for_less_than_its_cheapest_setting() -> None:
    assert violations_at([score(late=10, cost=3.0)], cost=2.9) is None


def test_a_policy_that_cannot_spend_so_much_is_taken_at_its_best() -> None:
    assert violations_at([score(late=10, cost=3.0)], cost=9.0) == (pytest.approx(0.001), False)


def test_more_money_that_buys_nothing_is_not_taken_for_inexact() -> None:
    scores = [score(late=10, cost=3.0), score(late=10, cost=9.0)]
    assert violations_at(scores, cost=5.0) == (pytest.approx(0.001), True)


def trial(value: float, *, late: int, cost: float) -> Trial:
    """A setting that does as well on both halves."""
    return Trial(value=value, tuning=score(late=late, cost=cost), test=score(late=late, cost=cost))


def test_the_cheapest_setting_that_reaches_the_goal_is_chosen() -> None:
    trials = [trial(1, late=0, cost=9.0), trial(2, late=10, cost=5.0), trial(3, late=11, cost=1.0)]
    assert best(trials, key=lambda each: each.tuning).value == 2


def test_where_none_reaches_it_the_nearest_is() -> None:
    trials = [trial(1, late=200, cost=1.0), trial(2, late=100, cost=5.0), trial(3, late=100, cost=4.0)]
    assert best(trials, key=lambda each: each.tuning).value == 3


def test_how_many_times_as_many_are_late_at_equal_cost() -> None:
    ours, theirs = (trial(1, late=10, cost=2.0),), (trial(1, late=1000, cost=1.0), trial(2, late=10, cost=3.0))
    lines = {
        name: Line(name=name, setting="", chosen=trials[0], trials=trials)
        for name, trials in {"Littoral": ours, "HPA": theirs}.items()
    }
    comparison = Comparison(workload="test", scenario="test", lines=lines)
    assert comparison.ratio("HPA") == (pytest.approx(10.0), True)
    assert comparison.cost("HPA") is None
