"""Learning a batch time from what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from littoral.core.capacity.batch_time import BatchTime
from littoral.core.capacity.statistics import BatchCounters

HALF_LIFE: Final = 1800.0
"""Seconds of work after which what was measured counts half."""

PRIOR_EXECUTIONS: Final = 20.0
"""How many measured batches a prior weighs as much as."""

# More batches of one size do not make the line fit better: what is left then is that batch times are no exact line.
_ENOUGH_EXECUTIONS = 1000.0
# A reading moves the mean of a size at most this much: the first batches after a load take many times as long, and
# an accident must not look like the truth. What persists is followed all the same, in a few readings.
_LARGEST_STEP = 3.0
# The relative deviations from the line that are taken for noise at least, and how many times the usual one is odd.
_LEAST_DEVIATION = 0.02
_ODD = 1.5
_ROUNDS = 8
# The least that an item adds, as a part of the time of the batch that was measured: no throughput is unbounded.
_LEAST_PER_ITEM = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The batches of one size: how many, less those forgotten, and the mean of their seconds."""

    executions: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that was measured of one variant on one kind of device, by batch size."""

    sizes: Mapping[int, Measured]

    @classmethod
    def none(cls) -> Evidence:
        """Nothing measured yet."""
        return cls({})

    @property
    def executions(self) -> float:
        """How many batches it rests on, less those forgotten."""
        return sum(measured.executions for measured in self.sizes.values())

    def observed(self, batches: BatchCounters, *, elapsed: float) -> Evidence:
        """The evidence after one more reading.

        Args:
            batches: what ran between the last reading and this one.
            elapsed: seconds between them. Idle times and clocks that jump back forget nothing.
        """
        batches = {size: batch for size, batch in batches.items() if batch.usable}
        if not batches:
            return self
        kept = 0.5 ** (max(elapsed, 0.0) / HALF_LIFE)
        sizes = {
            size: Measured(executions=measured.executions * kept, seconds=measured.seconds)
            for size, measured in self.sizes.items()
            # What is all but forgotten has no say, and would be reported for ever.
            if measured.executions * kept > 0.01
        }
        for size, batch in batches.items():
            known = sizes.get(size)
            mean = batch.seconds / batch.executions
            if known is None:
                sizes[size] = Measured(executions=batch.executions, seconds=mean)
                continue
            mean = min(max(mean, known.seconds / _LARGEST_STEP), known.seconds * _LARGEST_STEP)
            total = known.executions + batch.executions
            sizes[size] = Measured(
                executions=total,
                seconds=known.seconds + (mean - known.seconds) * batch.executions / total,
            )
        return Evidence(dict(sorted(sizes.items())))

    def batch_time(self, *, max_batch: int, prior: BatchTime | None = None) -> BatchTime | None:
        """The batch time that explains best what was measured.

        The prior says first how long batches take and, when some are measured, still how time divides between batch
        and items, less and less the more sizes are measured.

        Args:
            max_batch: the largest batch that can occur.
            prior: what the Model's `profile` states, or what was learned elsewhere.

        Returns:
            None where there is neither evidence nor a prior.
        """
        points = [_Point.of(size, measured) for size, measured in self.sizes.items()]
        if not points:
            return prior
        if prior is None:
            prior = _split(points[0]) if len(points) == 1 else None
        if prior is not None:
            prior = prior.scaled(_level(points, prior))
            points += [
                _Point(items=float(items), seconds=prior.of(items), weight=PRIOR_EXECUTIONS)
                for items in sorted({1, max(max_batch, 2)})
            ]
        return _fit(points)


@dataclass(frozen=True, slots=True)
class _Point:
    items: float
    seconds: float
    weight: float

    @classmethod
    def of(cls, size: int, measured: Measured) -> _Point:
        return cls(items=float(size), seconds=measured.seconds, weight=min(measured.executions, _ENOUGH_EXECUTIONS))


def _split(point: _Point) -> BatchTime:
    """What to believe of other sizes when one is measured: that nothing is gained beyond half of what this one shows.

    From batches of one nobody knows that batching gains anything.
    """
    base = (1 - 1 / point.items) / 2 * point.seconds
    return BatchTime(base=base, per_item=(point.seconds - base) / point.items)


def _level(points: Sequence[_Point], prior: BatchTime) -> float:
    """How many times as long as in the prior batches take; without much evidence near 1."""
    weight = sum(point.weight for point in points)
    logarithms = sum(point.weight * math.log(point.seconds / prior.of(point.items)) for point in points)
    return math.exp(logarithms / (weight + PRIOR_EXECUTIONS))


def _fit(points: Sequence[_Point]) -> BatchTime:
    """The line with the least relative deviations, those that stand out counting less (Huber 1964)."""
    line = _line(points, [point.weight for point in points])
    for _ in range(_ROUNDS):
        # Noise grows with the time itself: the one on the line, for a point far below it is no more certain for that.
        deviations = [abs(point.seconds / line.of(point.items) - 1) for point in points]
        odd = _ODD * max(1.48 * median(deviations), _LEAST_DEVIATION)
        line = _line(
            points,
            [
                point.weight * odd / max(deviation, odd) / line.of(point.items) ** 2
                for point, deviation in zip(points, deviations, strict=True)
            ],
        )
    return line


def _line(points: Sequence[_Point], weights: Sequence[float]) -> BatchTime:
    """The line of least weighted squares among those that are batch times."""
    weighted = list(zip(points, weights, strict=True))
    total = sum(weights)
    items = sum(weight * point.items for point, weight in weighted) / total
    seconds = sum(weight * point.seconds for point, weight in weighted) / total
    spread = sum(weight * (point.items - items) ** 2 for point, weight in weighted)
    together = sum(weight * (point.items - items) * (point.seconds - seconds) for point, weight in weighted)
    slope = max(together / spread if spread > 0 else 0.0, _LEAST_PER_ITEM * seconds / items)
    if slope * items <= seconds:
        return BatchTime(base=seconds - slope * items, per_item=slope)
    # The best line through the origin.
    squares = sum(weight * point.items**2 for point, weight in weighted)
    return BatchTime(
        base=0.0, per_item=sum(weight * point.items * point.seconds for point, weight in weighted) / squares
    )
