"""The latency of the batch-service queue as a curve over the arrival rate, interpolated in a table.

The table is exact where it has entries (`latency.yaml` says how it was made). Between two knots of a curve the latency
is (c + d x) / (X - x), with x the rate and X the throughput: it rises like that towards X, and inverts in closed form.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

import yaml

from littoral.core.capacity import knots
from littoral.core.capacity.batch_time import BatchTime

SAFETY: Final = 1.03
"""What is added to every percentile: between the entries of the table they are up to so much above the line."""

_MEAN: Final = "mean"


@dataclass(frozen=True, slots=True)
class Curve:
    """How the latency of one server rises with the arrival rate. Both directions are monotone.

    Attributes:
        unit: seconds of a batch of one item.
        throughput: items per unit of a server that always has full batches.
        latencies: at each knot, ascending, in units.
    """

    unit: float
    throughput: float
    latencies: Sequence[float]

    def latency(self, rate: float) -> float:
        """Seconds at `rate` items per second; infinite from the throughput on.

        Beyond `knots.HIGHEST_UTILISATION` it is extrapolated.
        """
        x = rate * self.unit
        if x >= self.throughput:
            return math.inf
        after = bisect_right(range(knots.COUNT - 1), x, lo=1, key=self._knot)
        c, d = self._segment(after)
        return self.unit * (c + d * x) / (self.throughput - x)

    def rate(self, latency: float) -> float:
        """The highest rate, in items per second, with at most that latency in seconds.

        Returns:
            0 when even an idle server takes longer; at most `knots.HIGHEST_UTILISATION` of the throughput.
        """
        y = latency / self.unit
        if y < self.latencies[0]:
            return 0.0
        after = bisect_right(self.latencies, y)
        if after == knots.COUNT:
            return self._knot(knots.COUNT - 1) / self.unit
        c, d = self._segment(after)
        x = (y * self.throughput - c) / (y + d)
        # Rounding must not lead out of the segment.
        return min(max(x, self._knot(after - 1)), self._knot(after)) / self.unit

    def _knot(self, index: int) -> float:
        return knots.knot(index, throughput=self.throughput)

    def _segment(self, after: int) -> tuple[float, float]:
        """c and d between the knots `after - 1` and `after`."""
        x0, x1 = self._knot(after - 1), self._knot(after)
        g0 = self.latencies[after - 1] * (self.throughput - x0)
        g1 = self.latencies[after] * (self.throughput - x1)
        d = (g1 - g0) / (x1 - x0)
        return g0 - d * x0, d


@dataclass(frozen=True, slots=True)
class _Table:
    max_batch: Sequence[int]
    base_share: Sequence[float]
    percentiles: Sequence[float]
    # By what is asked for; then a row for each max_batch and, within, each base_share.
    rows: dict[float | str, Sequence[Sequence[float]]]


@cache
def _table() -> _Table:
    document = yaml.safe_load((files("littoral.core.capacity") / "latency.yaml").read_text())
    return _Table(
        max_batch=document["max_batch"],
        base_share=document["base_share"],
        percentiles=document["percentiles"],
        rows={
            name: [tuple(map(float, line.split())) for line in document[name].splitlines()]
            for name in (_MEAN, *document["percentiles"])
        },
    )


def curve(batch_time: BatchTime, *, max_batch: int, percentile: float | None) -> Curve:
    """The latency of one server with Poisson arrivals of one item each.

    Args:
        max_batch: the most items in a batch; the table ends at 128, and what is beyond counts as 128.
        percentile: above 0 and below 100; the next tabulated one is taken (50, 90, 95, 99, 99.9, 99.99), and the last
            one for all that is above it. None for the mean.

    Raises:
        ValueError: `max_batch` or `percentile` is out of range.
    """
    table = _table()
    if max_batch < 1:
        raise ValueError(f"not a largest batch: {max_batch}")
    if percentile is not None and not 0 < percentile < 100:
        raise ValueError(f"not a percentile: {percentile}")
    row = _MEAN if percentile is None else _next(table.percentiles, percentile)
    safety = 1.0 if percentile is None else SAFETY
    most = min(max_batch, table.max_batch[-1])
    unit = batch_time.of(1)
    share = batch_time.base / unit

    size, size_weight = _place([-1 / entry for entry in table.max_batch], -1 / most)
    base, base_weight = _place(table.base_share, share)
    rows, stride = table.rows[row], len(table.base_share)
    corners = (
        ((1 - size_weight) * (1 - base_weight), rows[size * stride + base]),
        ((1 - size_weight) * base_weight, rows[size * stride + base + 1]),
        (size_weight * (1 - base_weight), rows[(size + 1) * stride + base]),
        (size_weight * base_weight, rows[(size + 1) * stride + base + 1]),
    )
    latencies = tuple(
        safety * sum(weight * values[index] for weight, values in corners if weight) for index in range(knots.COUNT)
    )
    return Curve(unit=unit, throughput=batch_time.throughput(most) * unit, latencies=latencies)


def _next(percentiles: Sequence[float], percentile: float) -> float:
    return percentiles[min(bisect_left(percentiles, percentile), len(percentiles) - 1)]


def _place(axis: Sequence[float], value: float) -> tuple[int, float]:
    """The entry before `value`, and how far it is on the way to the one after it (0 to 1)."""
    before = min(max(bisect_right(axis, value) - 1, 0), len(axis) - 2)
    return before, min(max((value - axis[before]) / (axis[before + 1] - axis[before]), 0.0), 1.0)
