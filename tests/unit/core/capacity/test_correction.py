"""Measured latencies correct the model, and only where they can be believed."""

from __future__ import annotations

import math
from typing import Any

import pytest

from littoral.core.capacity import Correction
from littoral.core.capacity.correction import HALF_LIFE, LARGEST, SMALLEST, STALE

MEASURED = {"measured": 0.030, "predicted": 0.020, "percentile": 99.0, "requests": 10_000, "age": 5.0, "elapsed": 10.0}


def after(count: int, correction: Correction | None = None, **changes: Any) -> Correction:
    correction = correction or Correction()
    for _ in range(count):
        correction = correction.observed(**{**MEASURED, **changes})
    return correction


def test_nothing_measured_changes_nothing() -> None:
    assert Correction().factor == 1
    assert Correction().latency(0.02) == 0.02


def test_it_approaches_what_is_measured() -> None:
    factors = [after(count).factor for count in (0, 1, 5, 50)]
    assert factors == sorted(factors)
    assert factors[1] == pytest.approx(math.sqrt(1.5))
    assert factors[-1] == pytest.approx(1.5, rel=0.03)


def test_latency_and_budget_are_corrected_alike() -> None:
    correction = after(5)
    assert correction.latency(correction.budget(0.05)) == pytest.approx(0.05)
    assert correction.latency(math.inf) == math.inf


@pytest.mark.parametrize(
    "useless",
    [
        pytest.param({"age": STALE + 1}, id="stale"),
        pytest.param({"age": -1}, id="from the future"),
        pytest.param({"requests": 100}, id="one request beyond the percentile"),
        pytest.param({"percentile": 99.99, "requests": 10_000}, id="one beyond a high percentile"),
        pytest.param({"requests": math.nan}, id="no count"),
        pytest.param({"predicted": math.inf}, id="overloaded"),
        pytest.param({"predicted": 0.0}, id="no prediction"),
        pytest.param({"measured": 0.0}, id="nothing measured"),
        pytest.param({"measured": math.nan}, id="not a number"),
        pytest.param({"measured": math.inf}, id="infinite"),
    ],
)
def test_what_says_nothing_teaches_nothing(useless: dict[str, float]) -> None:
    assert after(1, after(3), **useless) == after(3)


def test_few_requests_weigh_less() -> None:
    assert 1 < after(1, requests=500).factor < after(1).factor


def test_it_is_bounded() -> None:
    assert after(200, measured=1e6).factor <= LARGEST
    assert after(200, measured=1e-9).factor >= SMALLEST


def test_a_long_history_does_not_outweigh_a_change() -> None:
    quiet = after(10_000, measured=0.020)
    assert quiet.factor == pytest.approx(1)
    assert after(40, quiet, measured=0.040).factor > 1.7


def test_time_forgets() -> None:
    assert after(1, after(10), measured=0.020, elapsed=20 * HALF_LIFE).factor == pytest.approx(1, rel=1e-3)


def test_a_clock_that_jumps_back_makes_nothing_weigh_more() -> None:
    assert after(1, after(3), elapsed=-1e9) == after(1, after(3), elapsed=0)
