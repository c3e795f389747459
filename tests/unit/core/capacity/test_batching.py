"""The largest batch within a latency objective."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littoral.core.capacity.batch_time import BatchTime
from littoral.core.capacity.batching import LARGEST, largest_batch, most_outstanding


@pytest.mark.parametrize(
    ("base", "per_item", "budget", "size"),
    [
        (0.001, 0.0005, 0.05, 32),  # 2 * (1 + 32 * 0.5) = 34 ms; 64 would take 66
        (0.001, 0.0005, 0.066, 64),  # exactly
        (0.0, 0.025, 0.05, 1),  # two would take 100 ms
        (1.0, 1.0, 0.05, 1),  # not even one is in time: larger ones are later still
        (0.0, 1e-9, 1.0, LARGEST),
    ],
)
def test_largest_batch(base: float, per_item: float, budget: float, size: int) -> None:
    assert largest_batch(BatchTime(base=base, per_item=per_item), budget=budget) == size


@given(
    batch_time=st.builds(BatchTime, base=st.floats(0, 10), per_item=st.floats(1e-6, 10)),
    budgets=st.tuples(st.floats(1e-6, 3600), st.floats(1e-6, 3600)).map(sorted),
)
def test_a_request_that_just_missed_a_batch_is_in_time(batch_time: BatchTime, budgets: list[float]) -> None:
    less, more = (largest_batch(batch_time, budget=it) for it in budgets)
    assert less <= more
    assert less == 1 or 2 * batch_time.of(less) <= budgets[0]
    assert less == LARGEST or 2 * batch_time.of(2 * less) > budgets[0]


@pytest.mark.parametrize(
    ("base", "per_item", "max_batch", "budget", "most"),
    [
        (0.06, 0.02, 8, 0.3, 9),  # 60 + 20 for one, 60 + 8 * 20 for eight: 300 ms; by Little's law it were 10
        (0.06, 0.02, 8, 0.2999, 8),
        (0.0, 0.01, 1, 0.1, 10),  # without batches there is nothing to lose
        (0.01, 0.01, 1, 0.1, 5),
        (1.0, 1.0, 8, 0.1, 1),  # not even one is in time
    ],
)
def test_most_outstanding(base: float, per_item: float, max_batch: int, budget: float, most: int) -> None:
    assert most_outstanding(BatchTime(base=base, per_item=per_item), max_batch=max_batch, budget=budget) == most


def answered(batch_time: BatchTime, *, outstanding: int, max_batch: int, begun: int) -> float:
    """Seconds until the last of so many is answered, when a batch of `begun` of them has just begun."""
    seconds, left = batch_time.of(begun), outstanding - begun
    while left > 0:
        seconds += batch_time.of(min(left, max_batch))
        left -= max_batch
    return seconds


@given(
    batch_time=st.builds(BatchTime, base=st.floats(0, 0.1), per_item=st.floats(1e-3, 0.1)),
    max_batch=st.integers(1, 16),
    budget=st.floats(0.001, 1),
)
def test_the_last_of_the_most_is_in_time_and_of_one_more_it_is_not(
    batch_time: BatchTime, max_batch: int, budget: float
) -> None:
    def worst(outstanding: int) -> float:
        # The last one is not in the batch that has begun, unless it is alone.
        begun = range(1, min(max_batch, outstanding - 1) + 1) if outstanding > 1 else [1]
        return max(answered(batch_time, outstanding=outstanding, max_batch=max_batch, begun=it) for it in begun)

    most = most_outstanding(batch_time, max_batch=max_batch, budget=budget)
    assert most == 1 or worst(most) <= budget + 1e-9
    assert worst(most + 1) > budget - 1e-9
