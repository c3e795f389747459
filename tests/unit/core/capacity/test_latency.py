"""Rates from budgets and back, against the exact solution."""

from __future__ import annotations

import math

import pytest

from littoral.core.capacity import BatchTime, latency, max_rate, shortfall
from littoral.core.capacity.knots import HIGHEST_UTILISATION
from littoral.sim.batch_service import solve

BATCH_TIME = BatchTime(base=0.008, per_item=0.002)


@pytest.mark.parametrize("bad", [{"base": -1.0}, {"per_item": 0.0}, {"base": math.nan}, {"per_item": math.inf}])
def test_a_batch_time_is_a_time(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="not a batch time"):
        BatchTime(**{"base": 0.1, "per_item": 0.1, **bad})


@pytest.mark.parametrize(("max_batch", "ratio"), [(1, 1.0), (3, 0.05), (3, 40.0), (8, 1.5), (24, 0.05), (24, 40.0)])
@pytest.mark.parametrize("load", [0.1, 0.5, 0.85])
def test_the_mean_is_exact_and_the_percentiles_are_on_the_safe_side(max_batch: int, ratio: float, load: float) -> None:
    batch_time = BatchTime(base=ratio, per_item=1)
    rate = load * batch_time.throughput(max_batch)
    exact = solve(batch_time=batch_time, max_batch=max_batch, rate=rate)

    def predicted(percentile: float | None) -> float:
        return latency(batch_time=batch_time, max_batch=max_batch, rate=rate, percentile=percentile)

    assert predicted(None) == pytest.approx(exact.mean, rel=0.03)
    for percentile in (50, 90, 95, 99, 99.9):
        assert 0.99 <= predicted(percentile) / exact.percentile(percentile) < 1.12


def test_an_idle_server_answers_after_a_batch_of_one() -> None:
    assert latency(batch_time=BATCH_TIME, max_batch=8, rate=0, percentile=None) == pytest.approx(0.010)


def test_a_percentile_between_two_is_taken_as_the_higher_one() -> None:
    def at(percentile: float) -> float:
        return latency(batch_time=BATCH_TIME, max_batch=8, rate=200, percentile=percentile)

    assert at(10) == at(50) < at(90) < at(97) == at(99) < at(99.99) == at(99.999)


def test_nobody_keeps_up_with_more_than_the_throughput() -> None:
    throughput = BATCH_TIME.throughput(8)
    assert latency(batch_time=BATCH_TIME, max_batch=8, rate=throughput, percentile=99) == math.inf
    assert latency(batch_time=BATCH_TIME, max_batch=8, rate=0.995 * throughput, percentile=99) < math.inf
    assert max_rate(batch_time=BATCH_TIME, max_batch=8, percentile=99, budget=math.inf) == pytest.approx(
        HIGHEST_UTILISATION * throughput
    )


def test_a_budget_shorter_than_a_batch_allows_nothing() -> None:
    assert max_rate(batch_time=BATCH_TIME, max_batch=8, percentile=99, budget=0.009) == 0


def test_instances_divide_the_arrivals() -> None:
    one = max_rate(batch_time=BATCH_TIME, max_batch=8, percentile=99, budget=0.05)
    three = max_rate(batch_time=BATCH_TIME, max_batch=8, percentile=99, budget=0.05, instances=3)
    assert three == pytest.approx(3 * one)
    assert latency(batch_time=BATCH_TIME, max_batch=8, rate=three, percentile=99, instances=3) == pytest.approx(0.05)


def test_a_batch_beyond_the_table_counts_as_the_largest_in_it() -> None:
    rates = [max_rate(batch_time=BATCH_TIME, max_batch=most, percentile=99, budget=1) for most in (64, 128, 1024)]
    assert rates[0] < rates[1] == rates[2]


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("max_batch", 0),
        ("percentile", 0.0),
        ("percentile", 100.0),
        ("percentile", math.nan),
        ("budget", 0.0),
        ("budget", math.nan),
        ("instances", 0),
    ],
)
def test_what_is_out_of_range_is_refused(argument: str, value: float) -> None:
    arguments = {"batch_time": BATCH_TIME, "max_batch": 8, "percentile": 99.0, "budget": 0.1, argument: value}
    with pytest.raises(ValueError, match="not a"):
        max_rate(**arguments)


@pytest.mark.parametrize("rate", [-1.0, math.nan])
def test_a_rate_is_not_negative(rate: float) -> None:
    with pytest.raises(ValueError, match="not a rate"):
        latency(batch_time=BATCH_TIME, max_batch=8, percentile=99, rate=rate)


def test_a_budget_that_is_met_has_no_shortfall() -> None:
    assert shortfall(batch_time=BATCH_TIME, max_batch=8, rate=100, percentile=99, budget=0.05) is None


def test_each_remedy_of_a_shortfall_meets_the_budget() -> None:
    rate, budget = 500.0, 0.03
    short = shortfall(batch_time=BATCH_TIME, max_batch=8, rate=rate, percentile=99, budget=budget)
    assert short is not None
    assert short.missed_by == math.inf
    assert short.instances is not None
    assert short.speedup is not None

    def met(*, batch_time: BatchTime = BATCH_TIME, rate: float = rate, instances: int = 1) -> bool:
        reached = latency(batch_time=batch_time, max_batch=8, rate=rate, percentile=99, instances=instances)
        return reached <= budget * (1 + 1e-9)

    assert met(rate=short.max_rate)
    assert met(instances=short.instances)
    assert not met(instances=short.instances - 1)
    assert met(batch_time=BATCH_TIME.scaled(1 / short.speedup))
    assert not met(batch_time=BATCH_TIME.scaled(1 / (0.99 * short.speedup)))


def test_by_how_much_a_budget_is_missed() -> None:
    reached = latency(batch_time=BATCH_TIME, max_batch=8, rate=300, percentile=99)
    short = shortfall(batch_time=BATCH_TIME, max_batch=8, rate=300, percentile=99, budget=reached - 0.004)
    assert short is not None
    assert short.missed_by == pytest.approx(0.004)
    assert short.budget == pytest.approx(reached)


def test_more_servers_do_not_help_when_one_batch_takes_too_long() -> None:
    short = shortfall(batch_time=BATCH_TIME, max_batch=8, rate=0, percentile=99, budget=0.001)
    assert short is not None
    assert (short.max_rate, short.instances) == (0, None)
    assert short.speedup == pytest.approx(10, rel=0.05)


def test_what_no_speedup_can_do_is_not_promised() -> None:
    short = shortfall(batch_time=BatchTime(base=3600, per_item=1), max_batch=1, rate=1, percentile=99, budget=1e-6)
    assert short is not None
    assert short.speedup is None
