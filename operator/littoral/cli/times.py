"""Moments and spans of time, for people."""

from __future__ import annotations

from datetime import datetime, tzinfo

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_YEAR = 365 * _DAY


def age(since: datetime | None, *, now: datetime) -> str:
    """The time since a moment in two units at most, as kubectl shows ages: `119s`, `5m30s`, `47h`, `3d4h`.

    The second unit goes when the first one alone says enough; a moment of which nothing is known is `<unknown>`, and
    one in the future (a clock that is ahead) counts as now.
    """
    if since is None:
        return "<unknown>"
    seconds = max(int((now - since).total_seconds()), 0)
    for size, mark, part, part_mark, both_until, until in (
        (1, "s", 1, "s", 0, 2 * _MINUTE),
        (_MINUTE, "m", 1, "s", 10 * _MINUTE, 3 * _HOUR),
        (_HOUR, "h", _MINUTE, "m", 8 * _HOUR, 2 * _DAY),
        (_DAY, "d", _HOUR, "h", 8 * _DAY, 2 * _YEAR),
    ):
        if seconds < until:
            return _units(seconds, size, mark, part, part_mark, both=seconds < both_until)
    return _units(seconds, _YEAR, "y", _DAY, "d", both=seconds < 8 * _YEAR)


def _units(seconds: int, size: int, mark: str, part: int, part_mark: str, *, both: bool) -> str:
    whole, rest = divmod(seconds, size)
    return f"{whole}{mark}" + (f"{rest // part}{part_mark}" if both and rest // part else "")


def local(moment: datetime, zone: tzinfo | None = None) -> str:
    """A moment in the local zone (or in `zone`), to the second: `2026-11-24 08:05:10 CET`."""
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S %Z").rstrip()


def milliseconds(seconds: float) -> str:
    """A latency with three digits at most: `0.84ms`, `31ms`, `1.2s`."""
    if seconds >= 1:
        return f"{seconds:.3g}s"
    return f"{seconds * 1000:.3g}ms" if seconds < 0.9995 else "1s"
