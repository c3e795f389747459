"""What holds of every forecast, whatever was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from littoral.core.forecast import Series, decode, encode, forecast, update
from littoral.core.forecast.series import Moments


class Reading(NamedTuple):
    count: float
    start: float
    end: float


@st.composite
def plausible(draw: st.DrawFn, *, most: int = 30) -> list[Reading]:
    """Readings in order, with gaps; whole seconds and counts, so that sums of them are exact."""
    readings, now = [], draw(st.integers(0, 2_000_000_000))
    for _ in range(draw(st.integers(1, most))):
        now += draw(st.sampled_from((0, 0, 0, 1, 60, 5000)))
        length = draw(st.sampled_from((2, 5, 5, 5, 30, 120)))
        readings.append(Reading(draw(st.integers(0, 50) | st.integers(0, 100_000)), now, now + length))
        now += length
    return readings


anything = st.floats() | st.integers(-(10**9), 2**64)
wild = st.lists(
    st.builds(Reading, anything, anything, anything) | st.builds(Reading, st.integers(0, 100), *[st.floats(0, 2e9)] * 2)
)
quantiles = st.floats(0.75, 0.9999)
horizons = st.floats(0, 1000)


def series_of(readings: Sequence[Reading], series: Series | None = None) -> Series:
    series = series or Series()
    for count, start, end in readings:
        series = update(series, count=count, start=start, end=end)
    return series


def no_less(larger: float, smaller: float) -> bool:
    return larger >= smaller * (1 - 1e-12)


@given(wild, st.floats(-1e12, 1e12), horizons, quantiles, st.floats(0, 1e6))
def test_it_is_a_number_and_no_less_than_the_floor(
    readings: list[Reading], at: float, horizon: float, quantile: float, floor: float
) -> None:
    said = forecast(series_of(readings), at=at, horizon=horizon, quantile=quantile, floor=floor)
    assert math.isfinite(said)
    assert said >= floor


@given(plausible(), horizons, quantiles)
def test_it_is_bounded_by_what_was_seen(readings: list[Reading], horizon: float, quantile: float) -> None:
    series = series_of(readings)
    rates = [reading.count / (reading.end - reading.start) for reading in readings]
    said = forecast(series, at=series.end, horizon=horizon, quantile=quantile)
    # 4 standard deviations and their skewness, of a demand that was never above the highest rate.
    assert min(rates) * (1 - 1e-9) <= said <= max(rates) * 12


@given(plausible())
def test_no_average_leaves_the_range_of_the_readings(readings: list[Reading]) -> None:
    rates = [reading.count / (reading.end - reading.start) for reading in readings]
    for mean in Moments.unpack(series_of(readings).moments).means:
        assert min(rates) * (1 - 1e-9) <= mean <= max(rates) * (1 + 1e-9)


@given(plausible(), horizons, quantiles, quantiles)
def test_a_higher_quantile_asks_for_no_less(
    readings: list[Reading], horizon: float, first: float, second: float
) -> None:
    series = series_of(readings)
    low, high = (forecast(series, at=series.end, horizon=horizon, quantile=q) for q in sorted((first, second)))
    assert no_less(high, low)


@given(plausible(), st.lists(horizons, min_size=2, max_size=2), quantiles)
def test_a_longer_horizon_asks_for_no_less(readings: list[Reading], pair: list[float], quantile: float) -> None:
    series = series_of(readings)
    short, long = (forecast(series, at=series.end, horizon=horizon, quantile=quantile) for horizon in sorted(pair))
    assert no_less(long, short)


@given(plausible(), horizons, quantiles, st.floats(0, 1e6))
def test_missing_readings_widen_the_forecast(
    readings: list[Reading], horizon: float, quantile: float, silence: float
) -> None:
    series = series_of(readings)
    now, later = (forecast(series, at=series.end + wait, horizon=horizon, quantile=quantile) for wait in (0.0, silence))
    assert no_less(later, now)


@given(plausible(), horizons, quantiles, st.integers(-3, 9))
def test_twice_the_demand_is_twice_the_forecast(
    readings: list[Reading], horizon: float, quantile: float, power: int
) -> None:
    # Powers of two, since then not even the rounding differs.
    factor = 2.0**power
    series, scaled = (
        series_of(readings),
        series_of([reading._replace(count=reading.count * factor) for reading in readings]),
    )
    said, expected = (forecast(it, at=it.end, horizon=horizon, quantile=quantile) for it in (scaled, series))
    assert math.isclose(said, factor * expected, rel_tol=1e-2)


@given(plausible(), st.integers(1, 5))
def test_a_reading_that_comes_again_changes_nothing(readings: list[Reading], times: int) -> None:
    once = series_of(readings)
    repeated = series_of([reading for reading in readings for _ in range(times)])
    assert repeated == once


@given(plausible(), plausible(), st.integers(1, 10**9), horizons, quantiles)
def test_a_clock_that_is_set_back_is_as_if_it_had_not_been(
    before: list[Reading], after: list[Reading], jump: int, horizon: float, quantile: float
) -> None:
    known = series_of(before)
    shift = int(known.end) - int(after[0].start)
    straight, jumped = (
        series_of([Reading(count, start + by, end + by) for count, start, end in after], known)
        for by in (shift, shift - jump - 1000)
    )
    assert jumped.moments == straight.moments


@given(plausible(), st.integers(10, 10**9), horizons, quantiles)
def test_a_clock_that_jumps_ahead_leaves_a_steady_demand_alone(
    readings: list[Reading], jump: int, horizon: float, quantile: float
) -> None:
    steady = [reading._replace(count=8 * (reading.end - reading.start)) for reading in readings]
    known = series_of(steady)
    straight, jumped = (series_of([Reading(40, known.end + by, known.end + by + 5)], known) for by in (0, jump))
    assert jumped.moments == straight.moments


@given(plausible(most=60), horizons, quantiles)
def test_a_series_survives_being_written_and_read(readings: list[Reading], horizon: float, quantile: float) -> None:
    series = series_of(readings)
    again = decode(encode(series))
    assert encode(again) == encode(series)
    highest = max(reading.count / (reading.end - reading.start) for reading in readings)
    said, expected = (forecast(it, at=series.end, horizon=horizon, quantile=quantile) for it in (again, series))
    assert math.isclose(said, expected, rel_tol=1e-3, abs_tol=1e-2 * highest)
    # And it takes the next reading as the same one would.
    following = Reading(10, series.end, series.end + 5)
    assert math.isclose(
        forecast(series_of([following], again), at=series.end + 5, horizon=horizon, quantile=quantile),
        forecast(series_of([following], series), at=series.end + 5, horizon=horizon, quantile=quantile),
        rel_tol=1e-3,
        abs_tol=1e-2 * highest,
    )
