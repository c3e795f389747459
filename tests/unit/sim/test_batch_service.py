"""The numerical solution against what is known in closed form, and against the simulation."""

from __future__ import annotations

import pytest

from littoral.core.capacity import BatchTime
from littoral.sim.batch_service import inoue_bound, solve
from littoral.sim.queueing import SimulatedModel, poisson_arrivals, simulate


@pytest.mark.parametrize("load", [0.1, 0.5, 0.9])
def test_without_batching_it_is_the_queue_of_pollaczek_and_khinchine(load: float) -> None:
    latency = solve(batch_time=BatchTime(base=0.5, per_item=0.5), max_batch=1, rate=load)
    assert latency.mean == pytest.approx(1 + load / (2 * (1 - load)), rel=1e-3)


@pytest.mark.parametrize("ratio", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("load", [0.05, 0.3, 0.6])
def test_without_a_largest_batch_the_mean_is_just_below_the_bound_of_inoue(ratio: float, load: float) -> None:
    batch_time = BatchTime(base=ratio, per_item=1)
    bound = inoue_bound(batch_time=batch_time, rate=load)
    # 128 is seldom reached at these loads.
    mean = solve(batch_time=batch_time, max_batch=128, rate=load).mean
    assert 0.92 * bound < mean < 1.001 * bound


@pytest.mark.parametrize(
    ("base", "max_batch", "load"), [(0.0, 4, 0.8), (10.0, 8, 0.3), (10.0, 8, 0.75), (2.0, 32, 0.7), (500.0, 32, 0.5)]
)
def test_the_simulation_agrees(base: float, max_batch: int, load: float) -> None:
    batch_time = BatchTime(base=base, per_item=1)
    rate = load * batch_time.throughput(max_batch)
    latency = solve(batch_time=batch_time, max_batch=max_batch, rate=rate)
    (served,) = simulate(
        [SimulatedModel(batch_time=batch_time, max_batch=max_batch)],
        [poisson_arrivals(rate=rate, count=40_000, seed=1)],
    )
    assert served.mean(warm_up=0.05) == pytest.approx(latency.mean, rel=0.03)
    for percentile in (50, 90, 99):
        assert served.percentile(percentile, warm_up=0.05) == pytest.approx(latency.percentile(percentile), rel=0.05)


def test_a_rate_that_cannot_be_served_has_no_solution() -> None:
    batch_time = BatchTime(base=1, per_item=1)
    with pytest.raises(ValueError, match="rate"):
        solve(batch_time=batch_time, max_batch=4, rate=batch_time.throughput(4))
    with pytest.raises(ValueError, match="rate"):
        inoue_bound(batch_time=batch_time, rate=1.0)
