"""Learning a batch time from what was measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
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
    trust = [1.0] * len(points)
    line = _line(points, trust)
    for _ in range(_ROUNDS):
        deviations = list(_deviations(points, line))
        odd = _ODD * max(1.48 * median(deviations), _LEAST_DEVIATION)
        trust = [min(1.0, odd / deviation) if deviation > 0 else 1.0 for deviation in deviations]
        line = _line(points, trust)
    return line


def _deviations(points: Sequence[_Point], line: BatchTime) -> Iterator[float]:
    return (abs(point.seconds - line.of(point.items)) / point.seconds for point in points)


def _line(points: Sequence[_Point], trust: Sequence[float]) -> BatchTime:
    # Noise grows with the time itself, so each point counts by its relative deviation.
    weights = [point.weight * each / point.seconds**2 for point, each in zip(points, trust, strict=True)]
    total = sum(weights)
    items = sum(weight * point.items for weight, point in zip(weights, points, strict=True)) / total
    seconds = sum(weight * point.seconds for weight, point in zip(weights, points, strict=True)) / total
    spread = sum(weight * (point.items - items) ** 2 for weight, point in zip(weights, points, strict=True))
    together = sum(
        weight * (point.items - items) * (point.seconds - seconds)
        for weight, point in zip(weights, points, strict=True)
    )
    least = _LEAST_PER_ITEM * seconds / items
    slope = max(together / spread if spread > 0 else 0.0, least)
    if slope * items <= seconds:
        return BatchTime(base=seconds - slope * items, per_item=slope)
    # The best line through the origin.
    through_origin = sum(
        weight * point.items * point.seconds for weight, point in zip(weights, points, strict=True)
    ) / sum(weight * point.items**2 for weight, point in zip(weights, points, strict=True))
    return BatchTime(base=0.0, per_item=through_origin)
