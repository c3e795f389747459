"""Batch times are learned from little and from much evidence, and in spite of what is odd in it."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from littoral.core.capacity import BatchCounter, BatchTime, Evidence
from littoral.core.capacity.evidence import HALF_LIFE

TRUTH = BatchTime(base=0.008, per_item=0.002)
PRIOR = BatchTime(base=0.004, per_item=0.001)


def reading(executions: Mapping[int, int], *, truth: BatchTime = TRUTH) -> dict[int, BatchCounter]:
    """That many batches of each size, of exactly the time they should take."""
    return {size: BatchCounter(executions=count, seconds=count * truth.of(size)) for size, count in executions.items()}


def learned(*readings: dict[int, BatchCounter], prior: BatchTime | None = None) -> BatchTime:
    evidence = Evidence.none()
    for batches in readings:
        evidence = evidence.observed(batches, elapsed=5)
    batch_time = evidence.batch_time(max_batch=8, prior=prior)
    assert batch_time is not None
    return batch_time


def assert_close(found: BatchTime, wanted: BatchTime, *, rel: float) -> None:
    for size in (1, 8):
        assert found.of(size) == pytest.approx(wanted.of(size), rel=rel)


def test_nothing_is_known_at_first() -> None:
    assert Evidence.none().batch_time(max_batch=8) is None
    assert Evidence.none().batch_time(max_batch=8, prior=PRIOR) == PRIOR


def test_two_sizes_make_a_line() -> None:
    assert_close(learned(reading({1: 50, 8: 50})), TRUTH, rel=1e-6)


def test_much_evidence_outweighs_a_prior_that_is_wrong() -> None:
    wrong = BatchTime(base=0.0, per_item=0.05)
    assert_close(learned(reading({1: 2000, 4: 500, 8: 500}), prior=wrong), TRUTH, rel=0.05)


def test_little_evidence_hardly_moves_a_prior() -> None:
    found = learned(reading({1: 1}), prior=PRIOR)
    assert PRIOR.of(1) < found.of(1) < 1.1 * PRIOR.of(1)


def test_one_size_alone_tells_the_level_and_the_prior_how_it_divides() -> None:
    found = learned(reading({1: 5000}), prior=PRIOR)
    assert found.of(1) == pytest.approx(TRUTH.of(1), rel=0.02)
    assert found.base / found.per_item == pytest.approx(PRIOR.base / PRIOR.per_item, rel=0.05)


def test_without_a_prior_batches_of_one_promise_no_gain_from_batching() -> None:
    found = learned(reading({1: 100}))
    assert found.base == pytest.approx(0, abs=1e-9)
    assert found.per_item == pytest.approx(TRUTH.of(1))


def test_without_a_prior_one_larger_size_promises_half_of_what_it_shows() -> None:
    found = learned(reading({4: 100}))
    assert found.of(4) == pytest.approx(TRUTH.of(4))
    assert found.base == pytest.approx(TRUTH.of(4) * 3 / 8)


def test_times_that_fall_with_the_size_still_make_a_batch_time() -> None:
    found = learned({1: BatchCounter(executions=50, seconds=1.0), 8: BatchCounter(executions=50, seconds=0.5)})
    assert found.per_item > 0
    assert 0.01 <= found.of(4) <= 0.02


def test_times_that_rise_faster_than_the_size_make_one_without_a_base() -> None:
    found = learned({1: BatchCounter(executions=50, seconds=0.05), 8: BatchCounter(executions=50, seconds=1.0)})
    assert found.base == 0
    assert found.per_item > 0


def test_one_odd_size_among_several_is_seen_through() -> None:
    batches = reading({1: 300, 2: 300, 4: 300, 6: 300, 8: 300})
    batches[4] = BatchCounter(executions=300, seconds=300 * 4 * TRUTH.of(4))
    assert_close(learned(batches), TRUTH, rel=0.15)


def test_one_odd_reading_is_seen_through() -> None:
    ordinary = [reading({1: 20, 8: 20})] * 10
    odd = {1: BatchCounter(executions=1, seconds=30.0)}
    assert_close(learned(*ordinary, odd), TRUTH, rel=0.02)


def test_what_persists_is_followed() -> None:
    slower = TRUTH.scaled(10)
    evidence = Evidence.none().observed(reading({1: 1000, 8: 1000}), elapsed=5)
    for _ in range(20):
        evidence = evidence.observed(reading({1: 1000, 8: 1000}, truth=slower), elapsed=HALF_LIFE / 4)
    batch_time = evidence.batch_time(max_batch=8)
    assert batch_time is not None
    assert_close(batch_time, slower, rel=0.1)


def test_noise_averages_out() -> None:
    generator = random.Random(11)
    readings = [
        {
            size: BatchCounter(executions=20, seconds=20 * TRUTH.of(size) * generator.lognormvariate(0, 0.3))
            for size in generator.sample(range(1, 9), 4)
        }
        for _ in range(100)
    ]
    assert_close(learned(*readings), TRUTH, rel=0.1)


@pytest.mark.parametrize(
    "batches",
    [
        {},
        {1: BatchCounter(executions=0, seconds=0)},
        {1: BatchCounter(executions=5, seconds=0)},
        {1: BatchCounter(executions=5, seconds=float("nan"))},
        {1: BatchCounter(executions=5, seconds=float("inf"))},
    ],
)
def test_what_is_no_measurement_changes_nothing(batches: dict[int, BatchCounter]) -> None:
    evidence = Evidence.none().observed(reading({1: 10, 2: 10}), elapsed=5)
    assert evidence.observed(batches, elapsed=1e9) == evidence


def test_old_evidence_is_forgotten_as_new_comes() -> None:
    evidence = Evidence.none().observed(reading({1: 1000, 8: 1000}), elapsed=5)
    assert evidence.observed(reading({1: 1}), elapsed=HALF_LIFE).executions == pytest.approx(1001, rel=0.01)
    assert set(evidence.observed(reading({1: 1}), elapsed=30 * HALF_LIFE).sizes) == {1}


def test_a_clock_that_jumps_back_gives_no_evidence_weight() -> None:
    evidence = Evidence.none().observed(reading({1: 1000}), elapsed=5)
    assert evidence.observed(reading({1: 1}), elapsed=-1e9).executions == 1001
