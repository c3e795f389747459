"""From cumulative counters to what happens now."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littoral.site.telemetry.exposition import NOTHING, Counts, Exposition, ModelVersion, VersionMetrics
from littoral.site.telemetry.window import GAP, IDLE, LENGTH, Window, advance, estimates, last_change

A1, A2, B1 = ModelVersion("a", "1"), ModelVersion("a", "2"), ModelVersion("b", "1")
QUANTILES = ((0.5, 0.01), (0.99, 0.02))


def reading(pending: float = 0.0, quantiles: tuple[tuple[float, float], ...] = (), **answered: float) -> Exposition:
    """What Triton says: `a1=5` is that version 1 of model a has answered 5 requests since Triton's start."""
    return Exposition(
        versions={
            ModelVersion(key[0], key[1:]): VersionMetrics(
                counts=Counts(answered=count, items=2 * count, executions=count, seconds=count / 100),
                pending=pending,
                quantiles=quantiles,
            )
            for key, count in answered.items()
        }
    )


def fold(readings: Sequence[tuple[float, Exposition]]) -> Window:
    window = Window()
    for at, exposition in readings:
        window = advance(window, exposition, at=at)
    return window


def rate(window: Window, model: str) -> float | None:
    found = estimates(window).get(model)
    return found.rates.requests if found is not None else None


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        pytest.param([(0, reading(a1=500))], None, id="one reading says nothing"),
        pytest.param([(0, reading(a1=500)), (4, reading(a1=520))], 5, id="the difference, by the time"),
        pytest.param([(0, reading(a1=500)), (4, reading(a1=500))], 0, id="idle"),
        pytest.param([(0, reading(a1=500)), (4, reading(a1=20))], 5, id="Triton was restarted"),
        pytest.param(
            [(0, reading(a1=500, b1=1)), (4, reading(a1=20, b1=8))], 5, id="restarted, though one counter went up"
        ),
        pytest.param([(0, reading(b1=1)), (4, reading(a1=20, b1=1))], 5, id="a model that comes"),
        pytest.param([(0, reading(a1=1)), (4, reading(b1=1))], None, id="a model that goes"),
        pytest.param(
            [(0, reading(a1=500)), (2, reading()), (4, reading(a1=506))], 1.5, id="a model that is absent for a while"
        ),
        pytest.param([(0, reading(a1=500)), (4, reading(a1=510, a2=10))], 5, id="two versions while one is replaced"),
        pytest.param([(4, reading(a1=500)), (4, reading(a1=520))], None, id="no time has passed"),
        pytest.param(
            [(0, reading(a1=500)), (4, reading(a1=520)), (1, reading(a1=530))], 5, id="a clock that goes back"
        ),
        pytest.param(
            [(0, reading(a1=0)), (4, reading(a1=20)), (5 + GAP, reading(a1=9999))], None, id="after a long silence"
        ),
        pytest.param(
            [(0, reading(a1=0)), (5 + GAP, reading(a1=9999)), (9 + GAP, reading(a1=10019))],
            5,
            id="after a long silence, counting begins anew",
        ),
        pytest.param(
            [(0, reading(a1=500)), (1 + GAP, reading(a1=3)), (5 + GAP, reading(a1=23))],
            5,
            id="restarted within a long silence",
        ),
    ],
)
def test_rate(readings: list[tuple[float, Exposition]], expected: float | None) -> None:
    assert rate(fold(readings), "a") == expected


def test_after_a_restart_every_counter_begins_anew() -> None:
    window = fold([(0, reading(a1=500, b1=1)), (4, reading(a1=20, b1=8))])
    assert rate(window, "b") == 2


def test_all_that_is_estimated() -> None:
    window = fold([(0, reading(a1=0)), (4, reading(a1=40, pending=3, quantiles=QUANTILES))])
    estimate = estimates(window)["a"]
    assert estimate.rates == Counts(answered=10, items=20, executions=10, seconds=0.1)
    assert estimate.requests == 40
    assert estimate.pending == 3
    (distribution,) = estimate.distributions
    assert (distribution.weight, distribution.quantiles) == (40, QUANTILES)


def test_a_version_that_is_replaced_weighs_what_it_answered() -> None:
    window = fold(
        [
            (0, reading(a1=0)),
            (4, reading(a1=30, a2=10, quantiles=QUANTILES)),
            (8, reading(a1=30, a2=50, quantiles=QUANTILES)),
        ]
    )
    assert {distribution.weight for distribution in estimates(window)["a"].distributions} == {30, 50}


def test_a_model_that_nobody_asks_is_idle() -> None:
    assert estimates(fold([(0, reading(a1=7)), (4, reading(a1=7))])) == {"a": IDLE}


def test_what_is_older_than_a_minute_is_gone() -> None:
    window = fold([(3.0 * n, reading(a1=5 * n)) for n in range(100)])
    assert sum(step.seconds for step in window.steps) == LENGTH


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        pytest.param([5] * 20, 5, id="steady"),
        pytest.param([5] * 18 + [10] * 2, 10, id="a doubled load is known within two readings"),
        pytest.param([50] * 19 + [100], 100, id="a larger one at once"),
        pytest.param([10] * 18 + [0] * 2, 0, id="as is its end"),
        pytest.param([0] * 17 + [9] * 3, 9, id="and its beginning"),
        pytest.param([1, 30, 1, 30, 1, 200, 200], 200, id="after several changes, since the last"),
    ],
)
def test_a_change_is_followed(rates: list[float], expected: float) -> None:
    begin = last_change([3 * rate for rate in rates], [3.0] * len(rates))
    assert sum(rates[begin:]) / len(rates[begin:]) == expected


@pytest.mark.parametrize("per_second", [0.05, 1, 20, 1000])
def test_chance_is_no_change(per_second: float) -> None:
    """Of a Poisson process at one rate, nearly every window is taken for what it is."""
    randomness = random.Random(4)
    begins = []
    for _ in range(300):
        arrivals, at = [0.0] * 20, randomness.expovariate(per_second)
        while at < LENGTH:
            arrivals[int(at // 3)] += 1
            at += randomness.expovariate(per_second)
        begins.append(last_change(arrivals, [3.0] * 20))
    assert sum(begin > 0 for begin in begins) <= 6


steps = st.lists(
    st.tuples(
        st.floats(min_value=-5, max_value=100),
        st.dictionaries(st.sampled_from([A1, A2, B1]), st.integers(min_value=0, max_value=10**9)),
    ),
    max_size=30,
)


@given(steps)
def test_nothing_is_ever_negative_or_infinite(steps: list[tuple[float, dict[ModelVersion, int]]]) -> None:
    window, at = Window(), 0.0
    for seconds, counts in steps:
        at += seconds
        exposition = Exposition(
            versions={
                key: VersionMetrics(counts=Counts(answered=count, seconds=count * 1e-3))
                for key, count in counts.items()
            }
        )
        window = advance(window, exposition, at=at)
        for model, estimate in estimates(window).items():
            assert model in {key.model for key in counts} | {key.model for key in window.latest.versions}
            assert all(0 <= value < float("inf") for value in (*estimate.rates, estimate.requests, estimate.pending))
        assert all(min(counts) >= 0 for step in window.steps for counts in step.counted.values())


@given(
    st.lists(st.integers(min_value=0, max_value=1000), min_size=2, max_size=15), st.integers(min_value=0, max_value=14)
)
def test_a_restart_loses_no_request_that_was_counted_after_it(arrivals: list[int], restart: int) -> None:
    """Whatever the counters do, what the window counts is what came, but for what one reading cannot show."""
    total, readings, lost = 0, [(0.0, reading(a1=0))], 0
    for index, came in enumerate(arrivals):
        # A restart right after a reading: all that comes afterwards is counted from 0.
        if index == restart:
            # If more comes than was counted before, nobody can tell that there was a restart.
            lost = total if came >= total else 0
            total = 0
        total += came
        readings.append((3.0 * (index + 1), reading(a1=total)))
    window = fold(readings)
    counted = sum(step.counted.get(A1, NOTHING).answered for step in window.steps)
    assert counted == sum(arrivals) - lost
