"""Which moments of a video are looked at: so many a second, and none that has passed while one was looked at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(kw_only=True)
class Sampler:
    """Ticks at `rate` a second from 0 on.

    Attributes:
        rate: ticks a second.
        skipped: ticks that passed while the frame of an earlier one was still looked at. They are not made up for.
    """

    rate: float
    skipped: int = 0
    _next: int = 0

    def next(self, now: float) -> float:
        """Return the time of the next tick, in seconds; it may have begun, but the one after it has not.

        now: seconds since tick 0. Each call is for a tick after that of the call before.
        """
        newest = int(now * self.rate + 1e-9)
        if newest > self._next:
            self.skipped += newest - self._next
            self._next = newest
        tick = self._next
        self._next += 1
        return tick / self.rate

    def next_in_order(self) -> float:
        """Return the time of the next tick, whatever the time is: for recordings that need not keep up."""
        tick = self._next
        self._next += 1
        return tick / self.rate
