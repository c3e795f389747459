"""The forecast itself: from a series to the rate that a planner has to be ready for."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import accumulate
from statistics import NormalDist
from typing import Final

from littoral.core.forecast.season import rise
from littoral.core.forecast.series import SCALES, Moments, Series
from littoral.core.forecast.spread import upper

_STEP: Final = math.log(SCALES[1] / SCALES[0])


def forecast(series: Series, *, at: float, horizon: float, quantile: float, floor: float = 0.0) -> float:
    """The rate that demand stays below with the given probability, for as long as loading takes.

    The longer the horizon, the longer ago the last reading and the higher the quantile, the higher is the forecast. It
    foresees a rise, never a fall: a planner that finds it too high loses a little, one that finds it too low is late.

    Args:
        series: what is known.
        at: now, in seconds since the epoch. Before the last reading (a clock that was set back) counts as its end.
        horizon: seconds until capacity that is ordered now can serve; 0 or more.
        quantile: the probability, at least 0.75 and less than 1.
        floor: requests/s to be ready for in any case; 0 or more.

    Returns:
        Requests/s of one reading, at any time until the horizon; finite. The floor, where nothing is known.

    Raises:
        ValueError: when an argument is out of its bounds or not a number.
    """
    if not (0.75 <= quantile < 1 and horizon >= 0 and math.isfinite(at) and 0 <= floor < math.inf):
        raise ValueError(f"no forecast with {at=}, {horizon=}, {quantile=}, {floor=}")
    if not series.moments:
        return floor
    moments = Moments.unpack(series.moments)
    ahead = max(0.0, at - series.end) + horizon
    # An average with time constant s lags by s. As demand lies above it now, so will it lie s from now above what it is
    # now. Never less for a longer time, even where the estimates say so.
    trends = accumulate((max(0.0, error) for error in moments.errors), max)
    variances = accumulate(
        (square - error * error for square, error in zip(moments.squares, moments.errors, strict=True)), max
    )
    trend = _between(tuple(trends), ahead)
    if series.season is not None:
        trend = max(trend, rise(series.season, start=series.end, end=series.end + ahead))
    variance = _between(tuple(variances), ahead)
    return max(floor, trend + upper(moments.means[0], variance=variance, deviations=_deviations(quantile)))


def _between(values: tuple[float, ...], seconds: float) -> float:
    """The value at a time scale from those at `SCALES`: linear in the logarithm of time, constant beyond the ends."""
    if seconds <= SCALES[0]:
        return values[0]
    if seconds >= SCALES[-1]:
        return values[-1]
    index, share = divmod(math.log(seconds / SCALES[0]) / _STEP, 1)
    lower = int(index)
    return values[lower] + share * (values[min(lower + 1, len(values) - 1)] - values[lower])


@lru_cache(maxsize=64)
def _deviations(quantile: float) -> float:
    return NormalDist().inv_cdf(quantile)
