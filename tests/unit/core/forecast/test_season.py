"""When the profile of the day is used, and when it is not."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from littoral.core.forecast import Series, forecast, update
from littoral.core.forecast.season import SLOT, SLOTS, Season, observe, rise

HOUR, DAY, INTERVAL = 3600.0, 86400.0, 60.0
OPENING = 8 * HOUR


def shop(moment: float) -> float:
    """Open from 8 to 20."""
    return 50.0 if 8 <= moment / HOUR % 24 < 20 else 1.0


def shop_closed_at_the_weekend(moment: float) -> float:
    return 1.0 if moment // DAY % 7 >= 5 else shop(moment)


def quiet(moment: float) -> float:
    return 10.0


def irregular(moment: float) -> float:
    """Opens at another hour each day."""
    return 50.0 if (moment // DAY * 5) % 24 <= moment / HOUR % 24 < (moment // DAY * 5) % 24 + 4 else 1.0


def until(moment: float, rate: Callable[[float], float]) -> Series:
    """The series after readings from the epoch up to a moment."""
    series = Series()
    for index in range(int(moment / INTERVAL)):
        start = index * INTERVAL
        series = update(series, count=rate(start) * INTERVAL, start=start, end=start + INTERVAL)
    return series


@pytest.mark.parametrize(
    ("rate", "days", "foreseen"),
    [
        pytest.param(shop, 0, False, id="the first day"),
        pytest.param(shop, 1, False, id="the second: once is no habit"),
        pytest.param(shop, 3, True, id="the fourth"),
        pytest.param(irregular, 5, False, id="a shop without a habit"),
        pytest.param(quiet, 3, False, id="no change to foresee"),
    ],
)
def test_an_opening_is_foreseen_where_it_is_a_habit(rate: Callable[[float], float], days: int, foreseen: bool) -> None:
    series = until(days * DAY + OPENING - 60, rate)
    said = forecast(series, at=series.end, horizon=120, quantile=0.95)
    assert said > 40 if foreseen else said < 20


def test_nothing_is_foreseen_before_its_time() -> None:
    series = until(3 * DAY + OPENING - 300, shop)
    assert forecast(series, at=series.end, horizon=120, quantile=0.95) < 10
    assert forecast(series, at=series.end, horizon=301, quantile=0.95) > 40


def test_while_nothing_is_heard_the_habit_goes_on() -> None:
    series = until(3 * DAY + OPENING - HOUR, shop)
    assert forecast(series, at=series.end + HOUR + 60, horizon=0, quantile=0.95) > 40


def test_a_closing_is_not_foreseen() -> None:
    series = until(3 * DAY + 20 * HOUR - 60, shop)
    assert forecast(series, at=series.end, horizon=600, quantile=0.75) >= 49


def test_a_weekend_costs_the_profile_credit_but_not_all() -> None:
    friday, monday = (
        forecast(series, at=series.end, horizon=120, quantile=0.75)
        for series in (until(day * DAY + OPENING - 60, shop_closed_at_the_weekend) for day in (4, 7))
    )
    assert friday > 40
    assert monday < friday


@pytest.mark.parametrize(
    ("missed", "expected"), [(0.0, 40.0), (5.0, 40.0), (7.5, 20.0), (9.0, 8.0), (10.0, 0.0), (20.0, 0.0)]
)
def test_a_profile_counts_as_far_as_it_was_better_than_none(missed: float, expected: float) -> None:
    profile = struct.pack(f"<{SLOTS}e", *(10.0 if slot < 32 else 50.0 for slot in range(SLOTS)))
    season = Season(slot=31, profile=profile, missed=missed, changed=10.0)
    assert rise(season, start=32 * SLOT - 1, end=32 * SLOT + 1) == pytest.approx(expected)


def test_no_season_is_begun_before_the_first_request() -> None:
    assert until(DAY, lambda moment: 0.0).season is None


def test_a_slot_that_was_hardly_measured_teaches_nothing() -> None:
    season = observe(None, count=5, start=0, end=60)
    after = observe(season, count=5, start=SLOT, end=SLOT + 60)
    assert after is not None
    assert (after.profile, after.last) == (Season(slot=0).profile, None)


def test_a_reading_longer_than_a_slot_teaches_nothing() -> None:
    season = observe(None, count=5, start=0, end=60)
    assert observe(season, count=5, start=60, end=7200) is season


def test_a_rate_beyond_half_precision_is_kept_at_its_limit() -> None:
    season = observe(None, count=1e9 * 600, start=0, end=600)
    after = observe(season, count=1, start=SLOT, end=SLOT + 60)
    assert after is not None
    assert rise(after, start=0, end=DAY) == 0


def test_a_clock_that_is_set_back_begins_another_slot() -> None:
    season = observe(None, count=900, start=10 * SLOT, end=11 * SLOT)
    after = observe(season, count=60, start=3 * SLOT, end=3 * SLOT + 60)
    assert after is not None
    assert (after.slot, after.requests, after.last) == (3, 60, None)
