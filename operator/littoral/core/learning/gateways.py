"""What gateways report: which requests arrive at which site, and how far other pools are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from littoral.api.assignment import Assignment
from littoral.api.nodepool import Tier
from littoral.api.quantity import parse_decimal, parse_duration
from littoral.core.learning.sticky import Sticky, upwards
from littoral.core.world import ModelKey, World

_HALF_LIFE: Final = 30.0
"""Seconds after which a new round trip counts as much as what was before it: a route that flaps moves nothing."""

_NEAREST: Final = 0.001
"""Seconds of a round trip below which it is all the same."""

_FARTHEST: Final = 3600.0
"""Seconds of a round trip beyond which it is all the same."""

Way = tuple[str, str]
"""(pool, other pool)."""


def arrivals(assignments: Iterable[Assignment]) -> dict[tuple[ModelKey, str | None], float]:
    """Requests/s that clients send to each Model at each site that has a gateway; None for the cloud, which is none.

    They are counted where they arrive, wherever they are served. A Model that a healthy gateway routes and has not
    counted is asked by nobody.
    """
    rates: dict[tuple[ModelKey, str | None], float] = {}
    for assignment in assignments:
        gateway, spec = assignment.status.gateway, assignment.spec
        if gateway is None:
            continue
        site = None if spec.tier == Tier.CLOUD else spec.site
        counted = {ModelKey(it.namespace, it.name): float(parse_decimal(it.arrived)) for it in gateway.routes}
        if gateway.ready_replicas > 0 and not gateway.message:
            counted = {ModelKey(it.namespace, it.name): 0.0 for it in spec.routes} | counted
        for key, rate in counted.items():
            rates[key, site] = rates.get((key, site), 0.0) + rate
    return rates


class RoundTrips:
    """The memory of how far pools are from each other."""

    def __init__(self) -> None:
        self._seconds: dict[Way, float] = {}
        self._read_at: float | None = None
        self._sticky: Sticky[Way] = Sticky(rise=0.25, fall=0.25)

    def observe(self, assignments: Iterable[Assignment], *, now: float) -> None:
        """Take one reading.

        Args:
            now: seconds since the epoch. It may jump.
        """
        elapsed = 0.0 if self._read_at is None else max(0.0, now - self._read_at)
        self._read_at = now
        kept = 0.5 ** (elapsed / _HALF_LIFE)
        for assignment in assignments:
            gateway = assignment.status.gateway
            for it in gateway.round_trips if gateway is not None else ():
                way, seconds = (assignment.name, it.pool), min(parse_duration(it.time), _FARTHEST)
                before = self._seconds.get(way, seconds)
                self._seconds[way] = before * kept + seconds * (1 - kept)

    def ask(self, world: World) -> Mapping[Way, float]:
        """The seconds of each way between pools that there are; coarse, so that what varies a little moves nothing."""
        pools = {pool.name for pool in world.pools}
        self._seconds = {way: seconds for way, seconds in self._seconds.items() if pools.issuperset(way)}
        self._sticky.retain(set(self._seconds))
        return {way: self._sticky.settle(way, upwards(max(_NEAREST, it))) for way, it in self._seconds.items()}
