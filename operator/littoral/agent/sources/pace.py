"""A cap on the bytes per second that all fetches of an agent take together."""

import asyncio
import time


class Pace:
    """A token bucket, kept as the time at which what was taken so far is paid for (the generic cell rate algorithm,
    ITU-T I.371): it needs no task that fills it."""

    BURST = 0.5
    """Seconds of the rate that may be taken at once after a pause."""

    def __init__(self, bytes_per_second: float | None = None) -> None:
        """
        Args:
            bytes_per_second: None for no cap.
        """
        self._rate = bytes_per_second
        self._paid = 0.0

    def chunk(self, largest: int) -> int:
        """How many bytes to take at a time, `largest` at most: with a slow cap few, or it comes in jerks."""
        return largest if self._rate is None else max(min(largest, int(self._rate * self.BURST / 2)), 4096)

    async def take(self, count: int) -> None:
        """Return when `count` bytes more may have been taken."""
        if self._rate is None:
            return
        now = time.monotonic()
        self._paid = max(self._paid, now - self.BURST) + count / self._rate
        if self._paid > now:
            await asyncio.sleep(self._paid - now)
