"""Several models on one server: what each of them suffers from the others, and how far the load can grow.

Triton runs the batches of different models at the same time, and the accelerator, or the operating system's scheduler,
divides itself between them. So a batch runs at 1/(1 + the number of other models that have a batch running).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from littoral.core.capacity.batch_time import BatchTime
from littoral.core.capacity.knots import HIGHEST_UTILISATION
from littoral.core.capacity.table import curve

_PRECISION: Final = 1e-4
_MOST_ROUNDS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A model on a server, with what it must achieve there.

    Attributes:
        batch_time: of a server of its own.
        max_batch: the largest batch that Triton forms.
        rate: items per second.
        percentile: above 0 and below 100; None for the mean.
        budget: seconds.

    Raises:
        ValueError: the rate is negative or the budget not above 0.
    """

    batch_time: BatchTime
    max_batch: int
    rate: float
    percentile: float | None
    budget: float

    def __post_init__(self) -> None:
        if not (self.rate >= 0 and self.budget > 0):
            raise ValueError(f"not a rate and a latency budget: {self.rate} and {self.budget} s")

    @property
    def share(self) -> float:
        """The part of a server of its own that it needs: its rate, of the highest that meets the budget.

        Infinite where no rate meets it. It is what a linear program can add up, and a lower bound: tenants whose shares
        exceed 1 do not fit, and whether the others do says `fits`.
        """
        most = curve(self.batch_time, max_batch=self.max_batch, percentile=self.percentile).rate(self.budget)
        return self.rate / most if most > 0 else math.inf

    @property
    def utilisation(self) -> float:
        """The part of the server's time that it needs at least, in full batches."""
        return self.rate / self.batch_time.throughput(self.max_batch)


def shared_latency(tenants: Sequence[Tenant]) -> tuple[float, ...]:
    """What the tenants' percentiles come to while all of them run on one server, in seconds.

    Infinite for a tenant that cannot keep up with its arrivals.
    """
    return tuple(
        _latency(tenant, [other for each, other in enumerate(tenants) if each != number])
        for number, tenant in enumerate(tenants)
    )


def fits(tenants: Sequence[Tenant]) -> bool:
    """Whether all of them meet their budgets on one server."""
    if sum(tenant.utilisation for tenant in tenants) > HIGHEST_UTILISATION:
        return False
    return all(reached <= tenant.budget for reached, tenant in zip(shared_latency(tenants), tenants, strict=True))


def headroom(tenants: Sequence[Tenant]) -> float:
    """The factor by which all rates can grow at once until a budget is missed: 1 or more where they fit.

    Returns:
        0 where they do not even fit with next to no load; infinite without any load.
    """
    busiest = sum(tenant.utilisation for tenant in tenants)
    if busiest == 0:
        return math.inf if fits(tenants) else 0.0
    most = HIGHEST_UTILISATION / busiest
    low, high = 0.0, most
    while high - low > _PRECISION * high:
        middle = (low + high) / 2
        if fits([replace(tenant, rate=tenant.rate * middle) for tenant in tenants]):
            low = middle
        else:
            high = middle
        if high < _PRECISION * most:
            return 0.0
    return low


@dataclass(frozen=True, slots=True)
class _Activity:
    """What a tenant does on a slowed server: the part of the time with a batch running, and seconds of a batch."""

    busy: float
    duration: float


def _latency(tenant: Tenant, others: Sequence[Tenant]) -> float:
    alone = curve(tenant.batch_time, max_batch=tenant.max_batch, percentile=tenant.percentile)

    def slowed(slowdown: float) -> float:
        # A server at half its speed is the same server in a world where time runs twice as fast.
        return slowdown * alone.latency(tenant.rate * slowdown)

    # While this tenant has a batch running, so that the others are slowed by it as well.
    activities = _activities(others)
    slowdown = 1 + sum(activity.busy for activity in activities)
    usual = slowed(slowdown)
    if usual == math.inf:
        return math.inf
    # The slowdown is an average. Those in the tail meet another one's batch: it is to them as if that model always ran,
    # but for no longer than its batch takes.
    tail = 1 - (tenant.percentile or 0.0) / 100
    return usual + sum(
        min(1.0, other.rate * (usual + activity.duration) / tail)
        * min(activity.duration, slowed(slowdown + 1 - activity.busy) - usual)
        for other, activity in zip(others, activities, strict=True)
    )


def _activities(tenants: Sequence[Tenant]) -> list[_Activity]:
    """What several tenants do that share a server with one more, which never pauses."""
    activities = [_Activity(busy=0.0, duration=0.0)] * len(tenants)
    # From below, so that the least solution is found: the more one is slowed, the more it slows the others.
    for _ in range(_MOST_ROUNDS):
        before, running = activities, sum(activity.busy for activity in activities)
        activities = [
            _activity(tenant, slowdown=2 + running - activity.busy)
            for tenant, activity in zip(tenants, before, strict=True)
        ]
        if sum(activity.busy for activity in activities) - running <= _PRECISION:
            break
    return activities


def _activity(tenant: Tenant, *, slowdown: float) -> _Activity:
    """A batch holds what arrived during the one before it."""
    items, duration = 1.0, 0.0
    for _ in range(_MOST_ROUNDS):
        duration = slowdown * tenant.batch_time.of(items)
        before, items = items, min(max(tenant.rate * duration, 1.0), float(tenant.max_batch))
        if items - before <= _PRECISION * items:
            break
    return _Activity(busy=min(tenant.rate * duration / items, 1.0), duration=duration)
