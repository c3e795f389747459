"""What latency a rate means, what rate a latency allows, and what to do where they do not meet.

Arrivals are Poisson and carry one item each. Several instances are taken to have a queue each, with an equal part of
the arrivals: so it is between replicas, and instances that share a queue do better (docs/capacity.md says how much).
All rates are in items per second, all times in seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from littoral.core.capacity.batch_time import BatchTime
from littoral.core.capacity.table import curve

# No server is so slow that this many would be bought.
_MOST_INSTANCES: Final = 100_000
_MOST_SPEEDUP: Final = 1e6


def latency(
    *, batch_time: BatchTime, max_batch: int, rate: float, percentile: float | None, instances: int = 1
) -> float:
    """The latency that `percentile` % of the requests stay within, or the mean where it is None.

    Args:
        max_batch: the largest batch that Triton forms: its largest `preferred_batch_size`, else `max_batch_size`,
            and 1 where it does not batch.
        rate: 0 or more, over all instances.

    Returns:
        Seconds from arrival to answer; infinite where the instances cannot keep up.

    Raises:
        ValueError: an argument is out of range.
    """
    _check(instances=instances, rate=rate)
    return curve(batch_time, max_batch=max_batch, percentile=percentile).latency(rate / instances)


def max_rate(
    *, batch_time: BatchTime, max_batch: int, percentile: float | None, budget: float, instances: int = 1
) -> float:
    """The highest rate at which the percentile, or the mean, meets the budget: the inverse of `latency`.

    Returns:
        0 where even an idle server takes longer; never more than `knots.HIGHEST_UTILISATION` of the throughput.

    Raises:
        ValueError: an argument is out of range.
    """
    _check(instances=instances, budget=budget)
    return instances * curve(batch_time, max_batch=max_batch, percentile=percentile).rate(budget)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """By how much a budget is missed, and what would meet it: any one of the four would do.

    Attributes:
        missed_by: seconds over the budget; infinite where the instances cannot keep up.
        max_rate: items per second at which the budget would be met.
        budget: seconds that would be met at this rate; infinite where the instances cannot keep up.
        instances: how many would meet the budget at this rate; None where no number would.
        speedup: how many times as fast batches would have to be; None where it would take a million times.
    """

    missed_by: float
    max_rate: float
    budget: float
    instances: int | None
    speedup: float | None


def shortfall(
    *,
    batch_time: BatchTime,
    max_batch: int,
    rate: float,
    percentile: float | None,
    budget: float,
    instances: int = 1,
) -> Shortfall | None:
    """Why a budget cannot be met.

    Returns:
        None where it is met.

    Raises:
        ValueError: an argument is out of range.
    """
    _check(instances=instances, rate=rate, budget=budget)
    alone = curve(batch_time, max_batch=max_batch, percentile=percentile)
    possible = alone.rate(budget)
    if possible > 0 and rate <= instances * possible:
        return None
    reached = alone.latency(rate / instances)
    needed = math.ceil(rate / possible) if possible > 0 else None
    return Shortfall(
        missed_by=max(reached - budget, 0.0),
        max_rate=instances * possible,
        budget=reached,
        instances=needed if needed is None or needed <= _MOST_INSTANCES else None,
        speedup=_speedup(batch_time, max_batch=max_batch, percentile=percentile, rate=rate / instances, budget=budget),
    )


def _speedup(
    batch_time: BatchTime, *, max_batch: int, percentile: float | None, rate: float, budget: float
) -> float | None:
    """The least speedup with which one instance meets the budget, to a thousandth."""
    alone = curve(batch_time, max_batch=max_batch, percentile=percentile)

    def enough(speedup: float) -> bool:
        # A server that is twice as fast is the same server in a world where time runs half as fast.
        return alone.rate(budget * speedup) * speedup >= max(rate, math.ulp(0.0))

    if not enough(_MOST_SPEEDUP):
        return None
    low, high = 1.0, _MOST_SPEEDUP
    while high > 1.001 * low:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _check(*, instances: int, rate: float = 0.0, budget: float = 1.0) -> None:
    if instances < 1:
        raise ValueError(f"not a number of instances: {instances}")
    if not rate >= 0:
        raise ValueError(f"not a rate: {rate}")
    if not budget > 0:
        raise ValueError(f"not a latency budget: {budget} s")
