"""What a series of readings leads to be forecast: step by step."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

import pytest

from littoral.core.forecast import Series, forecast, update
from littoral.core.forecast.series import Moments

INTERVAL = 5.0


def series_of(rates: Iterable[float], *, start: float = 0.0, interval: float = INTERVAL) -> Series:
    """The series after readings of these rates (requests/s), one after the other."""
    return extended(Series(), rates, start=start, interval=interval)


def extended(series: Series, rates: Iterable[float], *, start: float, interval: float = INTERVAL) -> Series:
    for index, rate in enumerate(rates):
        begin = start + index * interval
        series = update(series, count=rate * interval, start=begin, end=begin + interval)
    return series


def ahead(series: Series, *, horizon: float = 30.0, quantile: float = 0.95, later: float = 0.0) -> float:
    """The forecast at the end of the last reading, or some time later."""
    return forecast(series, at=series.end + later, horizon=horizon, quantile=quantile)


@pytest.mark.parametrize(("floor", "expected"), [(0.0, 0.0), (20.0, 20.0)])
def test_where_nothing_is_known_the_floor_is_forecast(floor: float, expected: float) -> None:
    assert forecast(Series(), at=0, horizon=30, quantile=0.95, floor=floor) == expected


def test_the_floor_holds_where_demand_is_lower_and_does_nothing_where_it_is_higher() -> None:
    series = series_of([8.0] * 20)
    alone = ahead(series)
    assert forecast(series, at=series.end, horizon=30, quantile=0.95, floor=50) == 50
    assert forecast(series, at=series.end, horizon=30, quantile=0.95, floor=5) == alone


def test_one_reading_is_enough_for_a_forecast_above_it() -> None:
    assert 10 < ahead(series_of([10.0])) < 20


def test_a_young_series_learns_soon_how_much_the_demand_varies() -> None:
    assert ahead(series_of([50.0, 10.0, 90.0, 30.0, 70.0, 50.0]), quantile=0.9) > 80


def test_a_demand_that_never_varies_is_forecast_as_it_is() -> None:
    assert ahead(series_of([10.0] * 2000)) == pytest.approx(10, rel=0.02)


def test_a_model_that_nobody_asks_is_forecast_not_to_be_asked() -> None:
    assert ahead(series_of([0.0] * 100), quantile=0.999) == 0


@pytest.mark.parametrize("quantile", [0.75, 0.9, 0.99])
@pytest.mark.parametrize("horizon", [2.0, 30.0, 600.0])
def test_a_step_is_answered_at_the_next_reading(horizon: float, quantile: float) -> None:
    noise = random.Random(1)
    before = series_of(noise.gauss(10, 1.4) for _ in range(300))
    after = extended(before, [60.0], start=before.end)
    assert ahead(before, horizon=horizon, quantile=quantile) < 20
    assert ahead(after, horizon=horizon, quantile=quantile) >= 60


@pytest.mark.parametrize("horizon", [2.0, 30.0, 600.0])
def test_after_a_step_down_the_forecast_comes_down_slowly_and_all_the_way(horizon: float) -> None:
    noise = random.Random(1)
    series = series_of(noise.gauss(60, 3.5) for _ in range(300))
    forecasts = []
    for _ in range(2880):
        series = extended(series, [0.0], start=series.end)
        forecasts.append(ahead(series, horizon=horizon))
    assert forecasts == sorted(forecasts, reverse=True)
    assert forecasts[2] > 20, "15 s of quiet prove little"
    assert forecasts[119] < 20, "10 minutes do"
    assert forecasts[-1] < 0.01


def test_a_burst_is_remembered_for_some_minutes() -> None:
    quiet = series_of([2.0] * 120)
    burst = extended(quiet, [50.0] * 6, start=quiet.end)
    later = extended(burst, [2.0] * 60, start=burst.end)
    assert ahead(later, quantile=0.99) > 2 * ahead(quiet, quantile=0.99)


def test_a_steady_rise_is_foreseen() -> None:
    slope = 0.05  # requests/s, each second
    series = series_of(20 + slope * INTERVAL * index for index in range(360))
    now = 20 + slope * series.end
    for horizon in (30.0, 120.0, 600.0):
        assert ahead(series, horizon=horizon) > now + 0.7 * slope * horizon
        assert ahead(series, horizon=horizon) < now + 2 * slope * horizon + 10


def test_a_surprise_after_a_peak_does_not_lift_the_averages_above_it() -> None:
    after_peak = series_of([10.0 + index % 2 for index in range(300)] + [100.0] * 3 + [10.0] * 400)
    averages = Moments.unpack(extended(after_peak, [99.0], start=after_peak.end).moments).means
    assert max(averages) <= 100


def test_a_fall_is_not_foreseen() -> None:
    series = series_of(200 - 0.05 * INTERVAL * index for index in range(360))
    now = 200 - 0.05 * series.end
    assert ahead(series, horizon=600.0, quantile=0.75) >= now


@pytest.mark.parametrize("interval", [1.0, 2.0, 5.0, 15.0])
def test_how_often_is_measured_does_not_matter_much(interval: float) -> None:
    slope = 0.05
    usual = series_of(20 + slope * INTERVAL * index for index in range(360))
    other = series_of((20 + slope * interval * index for index in range(int(1800 / interval))), interval=interval)
    assert ahead(other, horizon=120) == pytest.approx(ahead(usual, horizon=120), rel=0.1)


def test_readings_may_lie_apart_and_be_of_any_length() -> None:
    source, series, now = random.Random(3), Series(), 0.0
    for _ in range(400):
        now += source.choice((0.0, 0.0, 3.0, 40.0))
        length = source.uniform(1, 20)
        series = update(series, count=10 * length, start=now, end=now + length)
        now += length
    assert ahead(series) == pytest.approx(10, rel=0.05)


def test_a_reading_after_a_long_silence_counts_for_more() -> None:
    known = series_of([100.0 + index % 2 for index in range(600)])
    at_once = update(known, count=20 * 5, start=known.end, end=known.end + 5)
    later = update(known, count=20 * 5, start=known.end + 3600, end=known.end + 3605)
    assert ahead(later, quantile=0.75) < ahead(at_once, quantile=0.75)


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("count", "start", "end"),
    [
        pytest.param(10, 95, 100, id="the last one again"),
        pytest.param(999, 90, 100, id="another that ends with the last one"),
        pytest.param(10, 100, 100, id="no time"),
        pytest.param(10, 100, 100.01, id="hardly any time"),
        pytest.param(10, 105, 100, id="ends before it starts"),
        pytest.param(-1, 100, 105, id="a counter that was set back"),
        pytest.param(NAN, 100, 105, id="count is not a number"),
        pytest.param(INF, 100, 105, id="count is infinite"),
        pytest.param(1e300, 100, 105, id="count is absurd"),
        pytest.param(10, NAN, 105, id="start is not a number"),
        pytest.param(10, -INF, 105, id="start is infinite"),
        pytest.param(10, 100, NAN, id="end is not a number"),
        pytest.param(10, 100, INF, id="end is infinite"),
        pytest.param(10, INF, INF, id="both are infinite"),
    ],
)
def test_a_reading_that_cannot_be_changes_nothing(count: float, start: float, end: float) -> None:
    series = series_of([2.0] * 20)
    assert series.end == 100
    assert update(series, count=count, start=start, end=end) is series
    if (start, end) != (95, 100) and end != 100:
        assert update(Series(), count=count, start=start, end=end) == Series()


def test_a_clock_that_jumps_ahead_within_a_reading_does_harm_for_one_reading() -> None:
    series = series_of([10.0 + index % 3 for index in range(300)])
    fooled = update(series, count=50, start=series.end, end=series.end + 7200)
    assert ahead(fooled, quantile=0.99) > 1
    mended = extended(fooled, [11.0], start=fooled.end)
    assert ahead(mended) > 11


@pytest.mark.parametrize(
    "wrong",
    [
        {"quantile": 0.74},
        {"quantile": 1.0},
        {"quantile": NAN},
        {"horizon": -1.0},
        {"horizon": NAN},
        {"at": NAN},
        {"at": INF},
        {"floor": -1.0},
        {"floor": NAN},
        {"floor": INF},
    ],
)
def test_a_question_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="no forecast with"):
        forecast(series_of([1.0]), **({"at": 5.0, "horizon": 30.0, "quantile": 0.95} | wrong))
    with pytest.raises(ValueError, match="no forecast with"):
        forecast(Series(), **({"at": 5.0, "horizon": 30.0, "quantile": 0.95} | wrong))


def test_a_horizon_without_end_is_the_longest_one() -> None:
    series = series_of([10.0 + index % 3 for index in range(300)])
    assert ahead(series, horizon=INF) == ahead(series, horizon=86400)
