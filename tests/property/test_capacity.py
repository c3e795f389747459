"""What holds of every prediction of latency, rate and batch time."""

from __future__ import annotations

import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littoral.core.capacity import (
    BatchCounter,
    BatchTime,
    Correction,
    Evidence,
    batches_between,
    latency,
    max_rate,
    read_batch_stats,
    shortfall,
)
from littoral.core.capacity.sharing import Tenant, fits, shared_latency

seconds = st.floats(1e-5, 10)
batch_times = st.builds(BatchTime, base=st.just(0.0) | seconds, per_item=seconds)
max_batches = st.integers(1, 200)
percentiles = st.none() | st.floats(1, 99.999)
loads = st.floats(0, 0.999)
growth = st.floats(1.01, 3)


@given(batch_times, max_batches, percentiles, loads, loads)
def test_latency_rises_with_the_rate(
    batch_time: BatchTime, max_batch: int, percentile: float | None, one: float, other: float
) -> None:
    def at(load: float) -> float:
        rate = load * batch_time.throughput(max_batch)
        return latency(batch_time=batch_time, max_batch=max_batch, rate=rate, percentile=percentile)

    less, more = sorted((one, other))
    assert batch_time.of(1) <= at(less) * (1 + 1e-9)
    assert at(less) <= at(more) * (1 + 1e-9)


@given(batch_times, max_batches, percentiles, st.floats(0, 0.95), growth, st.booleans())
def test_latency_rises_with_the_batch_time(
    batch_time: BatchTime, max_batch: int, percentile: float | None, load: float, factor: float, base: bool
) -> None:
    slower = BatchTime(
        base=batch_time.base * (factor if base else 1), per_item=batch_time.per_item * (1 if base else factor)
    )
    rate = load * batch_time.throughput(min(max_batch, 128))
    fast, slow = (
        latency(batch_time=each, max_batch=max_batch, rate=rate, percentile=percentile) for each in (batch_time, slower)
    )
    assert fast <= slow * (1 + 1e-9)


@given(batch_times, max_batches, loads, st.floats(1, 99.999), st.floats(1, 99.999))
def test_higher_percentiles_are_higher(
    batch_time: BatchTime, max_batch: int, load: float, one: float, other: float
) -> None:
    rate = load * batch_time.throughput(max_batch)
    lower, higher = (
        latency(batch_time=batch_time, max_batch=max_batch, rate=rate, percentile=percentile)
        for percentile in sorted((one, other))
    )
    assert lower <= higher


@given(batch_times, max_batches, percentiles, st.floats(1e-5, 1e3), st.integers(1, 50))
def test_the_highest_rate_meets_the_budget_and_a_higher_one_does_not(
    batch_time: BatchTime, max_batch: int, percentile: float | None, budget: float, instances: int
) -> None:
    rate = max_rate(
        batch_time=batch_time, max_batch=max_batch, percentile=percentile, budget=budget, instances=instances
    )
    highest = 0.98 * instances * batch_time.throughput(min(max_batch, 128))
    assert 0 <= rate <= highest * (1 + 1e-9)

    def at(rate: float) -> float:
        return latency(
            batch_time=batch_time, max_batch=max_batch, rate=rate, percentile=percentile, instances=instances
        )

    if rate == 0:
        assert at(1e-6 * highest) > budget * (1 - 1e-9)
    else:
        assert at(rate) <= budget * (1 + 1e-9)
        assert rate >= highest * (1 - 1e-9) or at(rate * (1 + 1e-6)) >= budget * (1 - 1e-9)


@given(batch_times, max_batches, percentiles, st.floats(1e-5, 1e3), growth)
def test_a_longer_budget_allows_no_lower_rate(
    batch_time: BatchTime, max_batch: int, percentile: float | None, budget: float, factor: float
) -> None:
    less, more = (
        max_rate(batch_time=batch_time, max_batch=max_batch, percentile=percentile, budget=each)
        for each in (budget, budget * factor)
    )
    assert less <= more * (1 + 1e-9)


@given(batch_times, max_batches, percentiles, st.floats(0, 1e4), st.floats(1e-4, 10), st.integers(1, 5))
def test_a_shortfall_is_said_exactly_where_the_rate_is_too_high(
    batch_time: BatchTime, max_batch: int, percentile: float | None, rate: float, budget: float, instances: int
) -> None:
    arguments = {"batch_time": batch_time, "max_batch": max_batch, "percentile": percentile, "budget": budget}
    most = max_rate(**arguments, instances=instances)
    short = shortfall(**arguments, rate=rate, instances=instances)
    assert (short is None) == (most > 0 and rate <= most)
    if short is not None:
        assert short.missed_by >= 0
        assert short.instances is None or short.instances > instances * (1 - 1e-9)
        assert short.speedup is None or short.speedup >= 1


counters = st.dictionaries(
    st.integers(1, 64),
    st.builds(BatchCounter, executions=st.floats(0, 1e6), seconds=st.floats(0, 1e4)),
    max_size=6,
)


@given(st.lists(st.tuples(counters, st.floats(-10, 1e5)), max_size=5), st.none() | batch_times, max_batches)
def test_whatever_was_measured_makes_a_batch_time(
    readings: list[tuple[dict[int, BatchCounter], float]], prior: BatchTime | None, max_batch: int
) -> None:
    evidence = Evidence.none()
    for batches, elapsed in readings:
        evidence = evidence.observed(batches, elapsed=elapsed)
    found = evidence.batch_time(max_batch=max_batch, prior=prior)
    if evidence.sizes:
        assert found is not None
        assert found.of(1) > 0
    else:
        assert found == prior


@given(
    batch_times,
    st.none() | batch_times,
    st.lists(st.integers(1, 32), min_size=2, max_size=6, unique=True),
    st.integers(0, 2**32),
)
def test_the_truth_is_found_through_noise(
    truth: BatchTime, prior: BatchTime | None, sizes: list[int], seed: int
) -> None:
    # Drawn by a seed: hypothesis would look for noise that is none.
    generator = random.Random(seed)
    evidence = Evidence.none()
    for _ in range(10):
        evidence = evidence.observed(
            {
                size: BatchCounter(executions=200, seconds=200 * truth.of(size) * generator.lognormvariate(0, 0.02))
                for size in sizes
            },
            elapsed=5,
        )
    found = evidence.batch_time(max_batch=32, prior=prior)
    assert found is not None
    for size in sizes:
        assert found.of(size) == pytest.approx(truth.of(size), rel=0.25)


@given(counters, counters)
def test_no_difference_is_negative(before: dict[int, BatchCounter], after: dict[int, BatchCounter]) -> None:
    for counter in batches_between(before, after).values():
        assert counter.executions > 0
        assert 0 < counter.seconds < math.inf


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("count", "ns", "x")), inner),
    max_leaves=5,
)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(("batch_size", "compute_infer", "compute_input", "compute_output")), json_values
        )
        | json_values,
        max_size=4,
    )
)
def test_no_statistics_break_the_reading(entries: list[object]) -> None:
    document = json.loads(json.dumps({"batch_stats": entries}))
    for size, counter in read_batch_stats(document).items():
        assert size >= 1
        assert 0 <= counter.executions < math.inf


@given(
    st.lists(
        st.tuples(st.floats(), st.floats(), st.floats(1, 99.99), st.floats(), st.floats(), st.floats(0, 1e6)),
        max_size=6,
    ),
    seconds,
    seconds,
)
def test_corrections_stay_bounded_and_monotone(measurements: list[tuple[float, ...]], one: float, other: float) -> None:
    correction = Correction()
    for measured, predicted, percentile, requests, age, elapsed in measurements:
        correction = correction.observed(
            measured=measured,
            predicted=predicted,
            percentile=percentile,
            requests=requests,
            age=age,
            elapsed=elapsed,
        )
    assert 0.8 <= correction.factor <= 20
    shorter, longer = sorted((one, other))
    assert correction.budget(shorter) <= correction.budget(longer) < math.inf


tenants = st.builds(
    Tenant,
    batch_time=batch_times,
    max_batch=st.integers(1, 32),
    rate=st.floats(0, 1e3),
    percentile=percentiles,
    budget=st.floats(1e-3, 100),
)


@given(st.lists(tenants, min_size=1, max_size=4))
def test_company_never_helps(sharing: list[Tenant]) -> None:
    for tenant, reached in zip(sharing, shared_latency(sharing), strict=True):
        alone = latency(
            batch_time=tenant.batch_time,
            max_batch=tenant.max_batch,
            rate=tenant.rate,
            percentile=tenant.percentile,
        )
        assert reached >= alone * (1 - 1e-9)
    if fits(sharing):
        assert all(fits([tenant]) for tenant in sharing)
