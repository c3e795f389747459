"""How runs are counted and what is made of them, with a clock that tells the time by the work done."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from littoral.optimize.data import Feed
from littoral.optimize.engines import Engine
from littoral.optimize.speed import Latency, batch_sizes, measure, profile


class Work:
    """Engines whose batches take as long as they say."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []

    def engine(self, name: str, *, base: float, per_item: float) -> Engine:
        def run(feed: Feed) -> list[Any]:
            self.now += base + per_item * len(feed["x"])
            self.order.append(name)
            return []

        return run


@pytest.mark.parametrize(
    ("largest", "sizes"), [(1, (1,)), (2, (1, 2)), (8, (1, 2, 4, 8)), (6, (1, 2, 4, 6)), (9, (1, 2, 4, 8, 9))]
)
def test_batch_sizes(largest: int, sizes: tuple[int, ...]) -> None:
    assert batch_sizes(largest) == sizes


def test_quantiles_are_of_the_nearest_rank() -> None:
    latency = Latency(runs=tuple(float(number) for number in range(100, 0, -1)))
    assert (latency.quantile(0.5), latency.quantile(0.99)) == (50, 99)
    assert Latency(runs=(3.0, 1.0)).quantile(0.99) == 3


def test_what_was_measured_becomes_the_line() -> None:
    work = Work()
    engines = {
        "fast": work.engine("fast", base=0.002, per_item=0.001),
        "slow": work.engine("slow", base=0.3, per_item=0.5),
    }
    speeds = measure(engines, {"x": np.zeros((1, 2))}, sizes=(1, 2, 4), seconds=0.05, clock=lambda: work.now)
    assert [len(latency.runs) for latency in speeds["slow"].values()] == [5, 5, 5], "the least"
    assert sum(speeds["fast"][4].runs) == pytest.approx(0.05, abs=0.01)
    for name, base, per_item in (("fast", 0.002, 0.001), ("slow", 0.3, 0.5)):
        learned = profile(speeds[name])
        assert (learned.base, learned.per_item) == (pytest.approx(base), pytest.approx(per_item))


def test_variants_take_turns() -> None:
    work = Work()
    engines = {name: work.engine(name, base=1, per_item=0) for name in "ab"}
    measure(engines, {"x": np.zeros((1, 1))}, sizes=(1,), seconds=0.1, clock=lambda: work.now)
    assert "".join(work.order) == "aabb" + "ab" * 5


def test_a_run_that_was_interrupted_says_nothing() -> None:
    speed = {size: Latency(runs=(0.01 * size,) * 20 + (9.0,)) for size in (1, 2)}
    learned = profile(speed)
    assert learned.of(1) == pytest.approx(0.01)
    assert learned.of(2) == pytest.approx(0.02)
