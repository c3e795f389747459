"""From a mean and a variance to an upper quantile."""

from __future__ import annotations

import math


def upper(mean: float, *, variance: float, deviations: float) -> float:
    """The quantile of a demand that the normal distribution has `deviations` standard deviations above its mean.

    Demand is skewed: it bursts upwards, and cannot fall below 0. So the skewness of a gamma distribution is taken,
    twice the coefficient of variation (up to 1, where that is an exponential distribution), and with it the first term
    of the Cornish-Fisher expansion: z + (z^2 - 1) / 6 * skewness. Below z = 1 the term would be negative, and is left
    out.

    Args:
        mean: the expected rate, 0 or more.
        variance: of the rate; taken as 0 where rounding has made it negative.
        deviations: 0 or more.

    Returns:
        A rate, which grows with `deviations` and with `variance`.
    """
    deviation = math.sqrt(max(0.0, variance))
    variation = min(1.0, deviation / mean) if mean > 0 else 1.0
    return mean + deviation * (deviations + max(0.0, deviations * deviations - 1) / 3 * variation)
