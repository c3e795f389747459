"""The largest batch within a latency objective."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littoral.core.capacity.batch_time import BatchTime
from littoral.core.capacity.batching import LARGEST, largest_batch


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
