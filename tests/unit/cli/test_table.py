"""Tables, ages and latencies: what people see, to the letter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import click
import pytest

from littoral.cli import style
from littoral.cli.table import table
from littoral.cli.times import age, local, milliseconds

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def plain(text: str) -> list[str]:
    """Lines without colours."""
    return click.unstyle(text).splitlines()


def test_columns_are_as_wide_as_they_need_to_be() -> None:
    rows = [["edge", "1/1", "8 cpu"], ["cloud-of-ours", "", ""]]
    assert plain(table(["POOL", "NODES", "DEVICES"], rows)) == [
        "POOL            NODES   DEVICES",
        "edge            1/1     8 cpu",
        "cloud-of-ours   -",
    ]


def test_colours_take_no_room() -> None:
    assert plain(table(["A", "B"], [[style.good("x"), "1"], ["yyy", "2"]])) == ["A     B", "x     1", "yyy   2"]


def test_the_last_column_is_wrapped_beneath_itself() -> None:
    text = table(["POOL", "WHY"], [["edge", "no node has the device that this variant needs"]], indent=2, width=40)
    assert plain(text) == [
        "  POOL   WHY",
        "  edge   no node has the device that",
        "         this variant needs",
    ]


def test_a_terminal_without_room_still_gets_readable_lines() -> None:
    lines = plain(table(["A", "WHY"], [["a" * 60, "no node has the device that this variant needs"]], width=40))
    assert [line.strip() for line in lines[2:]] == ["that this variant needs"]


def test_no_rows_leave_the_header() -> None:
    assert plain(table(["A", "B"], [])) == ["A   B"]
    assert table([], []) == ""


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (330, "5m30s"),
        (600, "10m"),
        (3 * 3600 - 1, "179m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 120, "3h2m"),
        (8 * 3600 + 120, "8h"),
        (47 * 3600, "47h"),
        (2 * 86400, "2d"),
        (3 * 86400 + 4 * 3600, "3d4h"),
        (9 * 86400 + 3600, "9d"),
        (729 * 86400, "729d"),
        (730 * 86400, "2y"),
        (800 * 86400, "2y70d"),
        (9 * 365 * 86400, "9y"),
    ],
)
def test_ages_as_kubectl_shows_them(seconds: int, shown: str) -> None:
    assert age(NOW - timedelta(seconds=seconds), now=NOW) == shown


def test_an_unknown_age() -> None:
    assert age(None, now=NOW) == "<unknown>"


def test_times_are_local() -> None:
    assert local(NOW, timezone(timedelta(hours=1), "CET")) == "2026-01-01 01:00:00 CET"


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.00084, "0.84ms"), (0.0314, "31.4ms"), (0.9996, "1s"), (1.24, "1.24s"), (0.5, "500ms")]
)
def test_latencies(seconds: float, shown: str) -> None:
    assert milliseconds(seconds) == shown
