"""What the hours of the day are like: the usual rate of each quarter of an hour, used where it has proved right."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, replace
from typing import Final

SLOT: Final = 900.0
"""Seconds of a slot."""

SLOTS: Final = 96
"""Slots of a day."""

UNKNOWN: Final = struct.pack(f"<{SLOTS}e", *(math.nan for _ in range(SLOTS)))
"""The profile of a day of which nothing is known."""

_HIGHEST: Final = 65504.0  # the largest half-precision number
_NEW_DAY: Final = 1 / 3  # the weight of the latest day in a slot of the profile
_NEW_SLOT: Final = 1 / SLOTS  # the weight of the latest slot in the comparison: a day's memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Season:
    """The profile of a day, the slot that is being filled, and how good the profile has been."""

    slot: int
    """The slot that is being filled, counted from the epoch."""
    requests: float = 0.0
    """Requests in it so far."""
    seconds: float = 0.0
    """Seconds of it that readings cover."""
    last: float | None = None
    """Rate in the slot before, in requests/s; absent where it was not measured."""
    profile: bytes = UNKNOWN
    """Usual rate in each slot of the day (UTC), in requests/s: half-precision numbers, NaN where not known."""
    missed: float = 0.0
    """How far the profile was from the truth about the change between two slots: mean, in requests/s."""
    changed: float = 0.0
    """How large that change was: the error of expecting none."""


def observe(season: Season | None, *, count: float, start: float, end: float) -> Season | None:
    """The season after a reading; none is begun before the first request.

    Args:
        season: what was known before.
        count: requests in the interval, 0 or more.
        start, end: the interval, in seconds since the epoch. One that is longer than a slot says nothing about slots.
    """
    duration = end - start
    if duration > SLOT or (season is None and count == 0):
        return season
    slot = int((start + duration / 2) // SLOT)
    if season is None:
        season = Season(slot=slot)
    elif slot != season.slot:
        season = _close(season, following=slot)
    return replace(season, requests=season.requests + count, seconds=season.seconds + duration)


def rise(season: Season, *, start: float, end: float) -> float:
    """How much more than in the slot of `start` the profile expects in any slot until `end`, in requests/s.

    It counts as far as the profile has been better than expecting no change: not at all where it was not better, in
    full where it was twice as good.
    """
    if season.missed >= season.changed:
        return 0.0
    first = int(start // SLOT)
    base = _usual(season, first)
    if math.isnan(base):
        return 0.0
    ahead = min(end - start, SLOT * SLOTS)
    last = int((start + ahead) // SLOT)
    rates = (_usual(season, slot) for slot in range(first, last + 1))
    highest = max(rate for rate in rates if not math.isnan(rate))
    return (highest - base) * min(1.0, 2 * (1 - season.missed / season.changed))


def _close(season: Season, *, following: int) -> Season:
    """The season with its slot learned and the next one begun."""
    if season.seconds < SLOT / 2:
        return Season(slot=following, profile=season.profile, missed=season.missed, changed=season.changed)
    rate = season.requests / season.seconds
    missed, changed = season.missed, season.changed
    usual = _usual(season, season.slot)
    if season.last is not None:
        change = rate - season.last
        # A profile that does not know expects no change, so that it starts without any credit.
        expected = usual - _usual(season, season.slot - 1)
        missed += _NEW_SLOT * (abs(change - (0.0 if math.isnan(expected) else expected)) - missed)
        changed += _NEW_SLOT * (abs(change) - changed)
    profile = bytearray(season.profile)
    learned = rate if math.isnan(usual) else usual + _NEW_DAY * (rate - usual)
    struct.pack_into("<e", profile, 2 * (season.slot % SLOTS), min(learned, _HIGHEST))
    return Season(
        slot=following,
        last=rate if following == season.slot + 1 else None,
        profile=bytes(profile),
        missed=missed,
        changed=changed,
    )


def _usual(season: Season, slot: int) -> float:
    usual: float = struct.unpack_from("<e", season.profile, 2 * (slot % SLOTS))[0]
    return usual
