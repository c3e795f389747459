"""Texts of Secrets, and moments, as the API server has them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from littoral.cluster.micro_time import micro_time
from littoral.cluster.secrets import decoded, encoded


def test_what_is_encoded_comes_back() -> None:
    secret = {"data": encoded({"token": "a.b-c", "name": "Küste\n", "empty": ""})}
    assert [decoded(secret, key) for key in ("token", "name", "empty")] == ["a.b-c", "Küste\n", ""]


def test_a_patch_removes_what_is_none() -> None:
    assert encoded({"joinSecret": None}) == {"joinSecret": None}


@pytest.mark.parametrize("secret", [{}, {"data": None}, {"data": {}}, {"data": {"token": None}}])
def test_what_is_not_there_is_none(secret: dict[str, object]) -> None:
    assert decoded(secret, "token") is None


@pytest.mark.parametrize("value", ["%", "YQ", "/w=="])
def test_what_is_no_text_is_an_error(value: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decoded({"data": {"token": value}}, "token")


def test_a_moment_is_in_utc_with_microseconds() -> None:
    there = timezone(timedelta(hours=2))
    assert micro_time(datetime(2026, 11, 28, 20, 30, tzinfo=there)) == "2026-11-28T18:30:00.000000Z"
    assert micro_time(datetime(2026, 11, 28, 20, 30, 1, 42, tzinfo=UTC)) == "2026-11-28T20:30:01.000042Z"
