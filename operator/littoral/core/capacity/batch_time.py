"""How long one batch takes."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTime:
    """Seconds that a server is busy with a batch of n items: `base + per_item * n`.

    Attributes:
        base: seconds that every batch costs, 0 or more.
        per_item: seconds that every item adds, more than 0.

    Raises:
        ValueError: one of them is out of range or not finite.
    """

    base: float
    per_item: float

    def __post_init__(self) -> None:
        if not (0 <= self.base < math.inf and 0 < self.per_item < math.inf):
            raise ValueError(f"not a batch time: base {self.base} s, per item {self.per_item} s")

    def of(self, items: float) -> float:
        """Seconds of a batch of that many items."""
        return self.base + self.per_item * items

    def throughput(self, max_batch: int) -> float:
        """Items per second of a server that always has full batches: no arrival rate may reach it."""
        return max_batch / self.of(max_batch)

    def scaled(self, factor: float) -> BatchTime:
        """The batch time of a server that takes `factor` times as long."""
        return BatchTime(base=self.base * factor, per_item=self.per_item * factor)
