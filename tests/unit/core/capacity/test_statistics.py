"""Triton's batch statistics, as they come and as they should not."""

from __future__ import annotations

from typing import Any

import pytest

from littoral.core.capacity import BatchCounter, batches_between, merged, read_batch_stats


def entry(size: Any, *, count: Any = 10, infer: Any = 2_000_000, **others: Any) -> dict[str, Any]:
    """One element of `batch_stats`."""
    return {
        "batch_size": size,
        "compute_input": {"count": count, "ns": 100_000},
        "compute_infer": {"count": count, "ns": infer},
        "compute_output": {"count": count, "ns": 50_000},
        **others,
    }


def counter(executions: float, seconds: float) -> BatchCounter:
    return BatchCounter(executions=executions, seconds=seconds)


def test_a_batch_takes_its_input_its_inference_and_its_output() -> None:
    counters = read_batch_stats(
        {"name": "digits", "version": "1", "batch_stats": [entry(1), entry(4, infer=6_000_000)]}
    )
    assert counters == {1: counter(10, pytest.approx(2.15e-3)), 4: counter(10, pytest.approx(6.15e-3))}


def test_64_bit_numbers_may_be_strings() -> None:
    counters = read_batch_stats({"batch_stats": [entry("1", count="10", infer="2000000")]})
    assert counters == {1: counter(10, pytest.approx(2.15e-3))}


@pytest.mark.parametrize(
    "spoilt",
    [
        None,
        "text",
        entry(None),
        entry(True),
        entry(0),
        entry(-4),
        entry(1.5),
        entry(float("nan")),
        entry(1, count=float("nan")),
        entry(1, count=-1),
        entry(1, infer=float("inf")),
        entry(1, infer="soon"),
        entry(1, compute_infer=None),
        entry(1, compute_infer=[]),
    ],
)
def test_what_cannot_be_read_is_left_out(spoilt: Any) -> None:
    assert set(read_batch_stats({"batch_stats": [spoilt, entry(2)]})) == {2}


@pytest.mark.parametrize("model_stat", [{}, {"batch_stats": None}, {"batch_stats": 7}, {"batch_stats": []}])
def test_there_may_be_no_batches(model_stat: dict[str, Any]) -> None:
    assert read_batch_stats(model_stat) == {}


def test_the_difference_of_two_readings() -> None:
    before = {1: counter(10, 0.5), 2: counter(3, 0.2)}
    after = {1: counter(30, 1.7), 2: counter(3, 0.2), 4: counter(1, 0.1)}
    assert batches_between(before, after) == {1: counter(20, pytest.approx(1.2)), 4: counter(1, 0.1)}


@pytest.mark.parametrize(
    "after",
    [
        pytest.param({1: counter(4, 0.2), 2: counter(9, 0.9)}, id="a counter went back"),
        pytest.param({1: counter(12, 0.4), 2: counter(9, 0.9)}, id="its time went back"),
        pytest.param({2: counter(9, 0.9)}, id="a size is gone"),
    ],
)
def test_after_a_reset_all_counts_from_nothing(after: dict[int, BatchCounter]) -> None:
    assert batches_between({1: counter(10, 0.5), 2: counter(3, 0.2)}, after) == after


def test_a_count_without_time_is_no_measurement() -> None:
    assert batches_between({}, {1: counter(0, 0.0), 2: counter(5, 0.0), 4: counter(0, 1.0)}) == {}


def test_several_servers_count_together() -> None:
    total = merged([{1: counter(1, 0.1)}, {}, {1: counter(2, 0.3), 8: counter(1, 0.5)}])
    assert total == {1: counter(3, pytest.approx(0.4)), 8: counter(1, 0.5)}
