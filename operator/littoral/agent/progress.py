"""How far a fetch has come, and how fast it goes."""

import time
from collections import deque
from dataclasses import dataclass, field

WINDOW = 10.0
"""Seconds that the speed is taken over: long enough that a number can be read, short enough that it is of now."""

NEWS = 5.0
"""Seconds between two reports: each one is written into the status of an Assignment and of a Model."""

_STEP = 0.25
"""Seconds between two marks on the way."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Progress at one moment, as it is reported."""

    received: int = 0
    """Bytes that are here, those that an earlier try has left included."""
    total: int | None = None
    """Bytes in all, where the source says so."""
    speed: float = 0.0
    """Bytes per second, lately."""

    @property
    def left(self) -> float | None:
        """Seconds that the rest takes at this speed; None while nothing tells."""
        if self.total is None or self.speed <= 0:
            return None
        return max(self.total - self.received, 0) / self.speed

    def __str__(self) -> str:
        """Such as `1.2 GiB of 3.4 GiB, 11 MiB/s, 3m20s left`; empty before the first byte."""
        if self.received == 0:
            return ""
        parts = [_size(self.received) if self.total is None else f"{_size(self.received)} of {_size(self.total)}"]
        if self.speed > 0:
            parts.append(f"{_size(self.speed)}/s")
        if self.left is not None:
            parts.append(f"{_time(self.left)} left")
        return ", ".join(parts)


@dataclass(kw_only=True)
class Progress:
    """Written by the one fetch it belongs to."""

    received: int = 0
    """Bytes that are here, those that an earlier try has left included."""
    total: int | None = None
    """Bytes in all, where the source says so."""
    fetched: int = 0
    """Bytes that this try has brought, be they of use in the end or not."""
    _marks: deque[tuple[float, int]] = field(default_factory=deque, repr=False)
    _shown: Shown = field(default_factory=Shown, repr=False)
    _shown_at: float = field(default=-NEWS, repr=False)

    def add(self, count: int) -> None:
        """So many bytes more are here."""
        self.received += count
        self.fetched += count
        now = time.monotonic()
        if not self._marks or now - self._marks[-1][0] >= _STEP:
            self._marks.append((now, self.fetched - count if not self._marks else self.fetched))
        while now - self._marks[0][0] > WINDOW and len(self._marks) > 1:
            self._marks.popleft()

    def shown(self) -> Shown:
        """The progress, as it was a few seconds ago at most."""
        now = time.monotonic()
        if self._marks and now - self._shown_at >= NEWS:
            began, before = self._marks[0]
            speed = (self.fetched - before) / max(now - began, _STEP)
            self._shown = Shown(received=self.received, total=self.total, speed=speed)
            self._shown_at = now
        return self._shown


def _size(count: float) -> str:
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    while count >= 1024 and len(units) > 1:
        count /= 1024
        units.pop(0)
    return f"{count:.1f} {units[0]}" if count < 9.95 and units[0] != "B" else f"{count:.0f} {units[0]}"


def _time(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60}s"
    return f"{whole // 3600}h{whole % 3600 // 60}m"
