"""Several Tritons that serve the same model, taken together. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from littoral.site.telemetry.window import Distribution, Estimate

# Levels such as 0.99 are no binary fractions: their sums miss them by less than this.
_ROUNDING = 1e-9


def merge(estimates: Iterable[Estimate]) -> Estimate:
    """What all of them do. The order does not matter, and none of them is `IDLE`."""
    rates, requests, pending = Estimate().rates, 0.0, 0.0
    distributions: list[Distribution] = []
    for estimate in estimates:
        rates = rates.plus(estimate.rates)
        requests += estimate.requests
        pending += estimate.pending
        distributions += estimate.distributions
    return Estimate(rates=rates, requests=requests, pending=pending, distributions=tuple(distributions))


def quantile(distributions: Sequence[Distribution], level: float) -> float | None:
    """A latency that at least the part `level` of all requests stays within.

    Of each replica only some quantiles are known, so a request counts as if it took as long as the next one above it.
    That is the lowest bound that is safe whatever lies between: no lower than the quantile of all requests together,
    no higher than that of the slowest replica, and exact where there is one, or where all are alike. A slow replica
    that got few of the requests weighs little.

    Args:
        level: above 0 and below 1.

    Returns:
        Seconds; None where there are too few requests for the level, or no quantiles that reach it.
    """
    total = sum(distribution.weight for distribution in distributions)
    if total * (1 - level) < 1 - _ROUNDING:
        return None
    within = 0.0
    for seconds, weight in sorted(_bounds(distributions)):
        within += weight
        if within >= (level - _ROUNDING) * total:
            return seconds
    return None


def _bounds(distributions: Iterable[Distribution]) -> Iterable[tuple[float, float]]:
    """For each known quantile, how many requests lie between the one before and it."""
    for distribution in distributions:
        below, longest = 0.0, 0.0
        for level, seconds in distribution.quantiles:
            # Triton's quantiles are estimates of their own, and may be out of order.
            longest = max(longest, seconds)
            yield longest, (level - below) * distribution.weight
            below = level
