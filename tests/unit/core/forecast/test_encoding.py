"""A series as text, and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from littoral.core.forecast import Series, decode, encode, update


def of_days(days: float) -> Series:
    series, now = Series(), 1_700_000_000.0
    for index in range(int(days * 1440)):
        series = update(series, count=60 + 7 * (index % 13), start=now, end=now + 60)
        now += 60
    return series


@pytest.mark.parametrize(
    ("series", "longest"),
    [
        pytest.param(Series(), 30, id="nothing"),
        pytest.param(of_days(0.005), 350, id="some minutes"),
        pytest.param(of_days(2), 650, id="two days"),
    ],
)
def test_what_is_written_is_short_and_is_read_as_it_was(series: Series, longest: int) -> None:
    text = encode(series)
    assert len(text) <= longest
    assert encode(decode(text)) == text
    if series.season is not None:
        again = decode(text).season
        assert again is not None
        assert again.profile == series.season.profile


GOOD = json.loads(encode(of_days(2)))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("{", id="cut off"),
        pytest.param("[]", id="a list"),
        pytest.param("null", id="null"),
        pytest.param('"series"', id="a string"),
        pytest.param("{}", id="no members"),
    ],
)
def test_what_is_not_a_series_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        decode(text)


@pytest.mark.parametrize(
    "change",
    [
        {"age": -1},
        {"age": "5"},
        {"age": None},
        {"age": True},
        {"end": float("nan")},
        {"end": float("inf")},
        {"means": [1, 2, 3]},
        {"means": [1, 2, 3, -4]},
        {"means": [1, 2, 3, float("nan")]},
        {"means": 4},
        {"errors": []},
        {"squares": [1, 2, 3, "4"]},
        {"season": []},
        {"season": None},
        {"season": GOOD["season"] | {"profile": "AAAA"}},
        {"season": GOOD["season"] | {"profile": "not base64"}},
        {"season": GOOD["season"] | {"profile": 7}},
        {"season": GOOD["season"] | {"seconds": -1}},
    ],
    ids=str,
)
def test_a_series_that_someone_has_spoiled_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        decode(json.dumps(GOOD | change))
