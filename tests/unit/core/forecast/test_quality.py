"""How good the forecast is on the recorded traces and on generated shapes."""

from __future__ import annotations

from functools import cache

import pytest

from bench.arrivals import SHAPES, counts, generated, trace
from bench.forecast import INTERVAL, score
from bench.forecasters import Ewma, Littoral, Naive

HALF = slice(340, None)
REST = slice(60, None)


@cache
def recorded(name: str) -> list[int]:
    return counts(trace(name), interval=INTERVAL)


@pytest.mark.parametrize("quantile", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("horizon", [5.0, 30.0, 120.0])
@pytest.mark.parametrize("name", ["code", "conv"])
def test_on_a_recorded_trace_it_loses_less_than_the_last_reading_or_an_average(
    name: str, horizon: float, quantile: float
) -> None:
    readings = recorded(name)
    mine, *others = (
        score(make, readings, horizon=horizon, quantile=quantile, judged=HALF) for make in (Littoral, Naive, Ewma)
    )
    assert mine.loss < min(other.loss for other in others)
    assert mine.coverage >= quantile - 0.01


@pytest.mark.parametrize(("shape", "slack"), [("steady", 0.02), ("step", 0.04), ("ramp", 0.15), ("diurnal", 0.07)])
def test_on_a_generated_shape_it_suffices_as_often_as_was_asked(shape: str, slack: float) -> None:
    readings = generated(SHAPES[shape], seconds=3600, interval=INTERVAL, seed=7)
    for horizon in (5.0, 30.0, 120.0):
        assert score(Littoral, readings, horizon=horizon, quantile=0.95, judged=REST).coverage >= 0.95 - slack


def test_a_steady_demand_costs_little() -> None:
    readings = generated(SHAPES["steady"], seconds=3600, interval=INTERVAL, seed=7)
    assert score(Littoral, readings, horizon=120, quantile=0.95, judged=REST).cost < 1.25
