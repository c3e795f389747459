"""Several replicas taken together."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littoral.site.telemetry.exposition import Counts
from littoral.site.telemetry.merging import merge, quantile
from littoral.site.telemetry.window import IDLE, Distribution, Estimate
from tests.unit.site.telemetry.pages import LEVELS

samples = st.lists(st.floats(min_value=1e-4, max_value=10), min_size=1, max_size=300)


def exact(values: list[float], level: float) -> float:
    """The least value that at least the part `level` of all is not above."""
    return sorted(values)[max(math.ceil(level * len(values) - 1e-9) - 1, 0)]


def distribution(values: list[float]) -> Distribution:
    return Distribution(weight=len(values), quantiles=tuple((level, exact(values, level)) for level in LEVELS))


def flat(weight: float, seconds: float) -> Distribution:
    return Distribution(weight=weight, quantiles=tuple((level, seconds) for level in LEVELS))


@given(st.lists(samples, min_size=1, max_size=5), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_a_merged_quantile_is_on_the_safe_side_and_no_further_than_the_slowest(
    replicas: list[list[float]], level: float
) -> None:
    found = quantile([distribution(values) for values in replicas], level)
    everything = [value for values in replicas for value in values]
    if found is None:
        assert len(everything) * (1 - level) < 1
        return
    assert exact(everything, level) <= found <= max(everything)


@given(samples, st.integers(min_value=1, max_value=4), st.sampled_from(LEVELS[:4]))
def test_replicas_that_are_alike_are_as_one(values: list[float], count: int, level: float) -> None:
    alone = quantile([distribution(values * 100)], level)
    assert alone == exact(values * 100, level)
    assert quantile([distribution(values * 100)] * count, level) == alone


@pytest.mark.parametrize(
    ("distributions", "level", "expected"),
    [
        pytest.param([], 0.5, None, id="nothing"),
        pytest.param([flat(1, 0.1)], 0.5, None, id="half of one request"),
        pytest.param([flat(2, 0.1)], 0.5, 0.1, id="half of two"),
        pytest.param([flat(99, 0.1)], 0.99, None, id="too few for one in a hundred"),
        pytest.param([flat(100, 0.1)], 0.99, 0.1, id="just enough"),
        pytest.param([flat(60, 0.1), flat(40, 0.3)], 0.99, 0.3, id="two together are enough"),
        pytest.param([flat(10_000, 0.1), flat(1, 5.0)], 0.99, 0.1, id="a slow one that got one request"),
        pytest.param([flat(900, 0.1), flat(100, 5.0)], 0.95, 5.0, id="a slow one that got a tenth"),
        pytest.param([flat(900, 0.1), flat(100, 5.0)], 0.50, 0.1, id="which half of the requests never meet"),
        pytest.param(
            [Distribution(weight=1000, quantiles=((0.5, 0.2), (0.95, 0.1), (0.99, 0.3)))], 0.95, 0.2, id="out of order"
        ),
        pytest.param([Distribution(weight=1000, quantiles=((0.5, 0.2),))], 0.99, None, id="levels that do not reach"),
    ],
)
def test_quantile(distributions: list[Distribution], level: float, expected: float | None) -> None:
    assert quantile(distributions, level) == expected


def test_rates_add_up() -> None:
    one = Estimate(rates=Counts(answered=3, seconds=0.3), requests=30, pending=1, distributions=(flat(30, 0.1),))
    two = Estimate(rates=Counts(answered=1, failures=1, seconds=0.3), requests=9, distributions=(flat(9, 0.3),))
    both = merge([one, two])
    assert both.rates == Counts(answered=4, failures=1, seconds=0.6)
    assert (both.requests, both.pending) == (39, 1)
    assert both.distributions == (flat(30, 0.1), flat(9, 0.3))
    assert merge([]) == IDLE
    assert merge([one, IDLE]) == one
    assert merge([two, one]).rates == both.rates
