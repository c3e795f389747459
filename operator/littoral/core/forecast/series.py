"""What is remembered of one series of arrival rates, and how a reading changes it."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

from littoral.core.forecast.season import Season, observe
from littoral.core.forecast.spread import upper

SCALES: Final = (10.0, 40.0, 160.0, 640.0)
"""Time constants of the averages, in seconds: geometric, since a horizon may be anything from 2 s to 10 min."""

_MEMORY: Final = 600.0
"""Seconds after which what was learned about the errors of the averages has faded to 1/e."""

_SURPRISE: Final = 4.0
"""Standard deviations, were demand normally distributed, above which a reading shows that it has changed."""

_FIRST_SPREAD: Final = 0.25
"""The standard deviation that the first reading is taken to have, as a share of its rate."""

_SHORTEST: Final = 0.1
"""Seconds below which a reading says more about the clock than about the demand."""

_HEAVIEST: Final = 60.0
"""Seconds that a reading counts for at most. A clock that jumps ahead within a reading makes it look long and slow."""

_HIGHEST: Final = 1e9
"""Requests per second above which a reading is a mistake."""

_MOMENTS: Final = struct.Struct(f"<{3 * len(SCALES)}d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The arrivals of one Model at one site, summed up. The default is a series of which nothing is known.

    There is one for each Model and site, so it is kept small: `moments` holds what would be 12 float objects.
    """

    end: float = 0.0
    """When the last reading ended, in seconds since the epoch."""
    age: float = 0.0
    """Seconds that all readings cover."""
    moments: bytes = b""
    """What `Moments` packs; empty before the first reading."""
    season: Season | None = None
    """What the hours of the day were like; absent until a request has come."""


class Moments(NamedTuple):
    """One value for each of `SCALES`."""

    means: tuple[float, ...]
    """Exponentially weighted average of the rate, in requests/s."""
    errors: tuple[float, ...]
    """How far readings lie above that average, or the fastest one where it is lower: mean, in requests/s."""
    squares: tuple[float, ...]
    """The mean square of the same, in (requests/s)^2."""

    def pack(self) -> bytes:
        """The values as bytes."""
        return _MOMENTS.pack(*self.means, *self.errors, *self.squares)

    @classmethod
    def unpack(cls, packed: bytes) -> Moments:
        """The values that `pack` packed."""
        values, count = _MOMENTS.unpack(packed), len(SCALES)
        return cls(values[:count], values[count : 2 * count], values[2 * count :])


def update(series: Series, *, count: float, start: float, end: float) -> Series:
    """The series after one more reading.

    Readings may have gaps between them. One that ends before the last one did means that the clock was set back: it
    counts like any other, and time goes on from there.

    Args:
        series: what was known before.
        count: requests that arrived in the interval.
        start, end: the interval, in seconds since the epoch.

    Returns:
        The new series; or the same one, where the reading repeats the last one (it ends at the same time) or cannot
        be: not finite, negative, shorter than 0.1 s or above 10^9 requests/s.
    """
    duration = end - start
    if not (math.isfinite(duration) and duration >= _SHORTEST and 0 <= count <= _HIGHEST * duration):
        return series
    if series.moments and end == series.end:
        return series
    rate = count / duration
    weight = min(duration, _HEAVIEST)
    season = observe(series.season, count=count, start=start, end=end)
    if not series.moments:
        first = Moments((rate,) * len(SCALES), (0.0,) * len(SCALES), ((_FIRST_SPREAD * rate) ** 2,) * len(SCALES))
        return Series(end=end, age=weight, moments=first.pack(), season=season)

    before = Moments.unpack(series.moments)
    age = series.age + weight
    learned = _gain(weight, min(_MEMORY, age))
    # What was averaged before a gap has grown old in it.
    elapsed = weight + max(0.0, start - series.end)
    lift = _lift(before, rate)
    means, errors, squares = [], [], []
    for scale, mean, error, square in zip(SCALES, *before, strict=True):
        # From the fastest average where that is lower: that demand fell far does not show that it will rise as far.
        deviation = rate - min(mean, before.means[0])
        errors.append(error + learned * (deviation - error))
        squares.append(square + learned * (deviation * deviation - square))
        if lift > 0:
            # All move up together, so that what they say about the trend stays; none above what was seen.
            means.append(max(mean, min(rate, mean + lift)))
        else:
            means.append(mean + _gain(elapsed, scale) * (rate - mean))
    after = Moments(tuple(means), tuple(errors), tuple(squares))
    return Series(end=end, age=age, moments=after.pack(), season=season)


def _lift(moments: Moments, rate: float) -> float:
    """How far a reading lies above the fastest average, if so far that the averages must not take their time."""
    mean, error = moments.means[0], moments.errors[0]
    expected = upper(mean, variance=moments.squares[0] - error * error, deviations=_SURPRISE)
    return rate - mean if rate > expected + max(0.0, error) else 0.0


def _gain(seconds: float, constant: float) -> float:
    """The weight of what was seen for some seconds in an average with that time constant."""
    return -math.expm1(-seconds / constant)
