"""From a mean and a variance to an upper quantile."""

from __future__ import annotations

import math


def upper(mean: float, *, variance: float, deviations: float) -> float:
    """The quantile of a gamma distribution, as Wilson and Hilferty approximate it (1931, PNAS 17, 684).

    Demand is skewed: it bursts upwards and cannot fall below 0. Their formula is mean * (1 + c * u)^3 with the
    coefficient of variation c and u = z / 3 - c / 9. Here it is written so that it holds for a mean of 0, and the shape
    of the distribution is no more skewed than the exponential one (c = 1), where the formula begins to fail.

    Args:
        mean: the expected rate, 0 or more.
        variance: of the rate; taken as 0 where rounding has made it negative.
        deviations: z, the quantile of the standard normal distribution, above 2/3: below, more variance would lower
            the result.

    Returns:
        A rate, which grows with `deviations` and with `variance`.
    """
    deviation = math.sqrt(max(0.0, variance))
    variation = min(1.0, deviation / mean) if mean > 0 else 1.0
    root = deviations / 3 - variation / 9
    return mean + deviation * root * (3 + 3 * variation * root + (variation * root) ** 2)
