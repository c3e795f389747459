"""What measured latencies teach about the model of capacity: a factor for each variant, device class and pool.

The model knows neither the network in front of the server, nor the other work of its host, nor that requests come in
bursts. Whatever they add shows as measured latencies above the predicted ones, and the factor learns it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

HALF_LIFE: Final = 3600.0
"""Seconds after which a measurement counts half."""

LARGEST: Final = 20.0
"""No measurement makes the prediction grow more: beyond it something is broken, not slow."""

SMALLEST: Final = 0.8
"""No measurement makes the prediction shrink more: a quiet hour must not talk the capacity up."""

STALE: Final = 120.0
"""Seconds after which a measurement says nothing about the load it is compared with."""

# How many requests must lie beyond a percentile for it to be one, and how many make it certain.
_LEAST_BEYOND = 3.0
_ENOUGH_BEYOND = 30.0
# What the model itself weighs, in certain measurements.
_PRIOR = 1.0
# A single certain measurement moves the factor half of the way; more than this many never slow it down.
_MOST_WEIGHT = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """By how much the predicted percentile of one variant on one device class in one pool is to be multiplied.

    Attributes:
        logarithm: the sum of the logarithms of measured / predicted, weighted.
        weight: the sum of the weights, less what was forgotten.
    """

    logarithm: float = 0.0
    weight: float = 0.0

    @property
    def factor(self) -> float:
        """Between `SMALLEST` and `LARGEST`; 1 when nothing was measured."""
        return min(max(math.exp(self.logarithm / (self.weight + _PRIOR)), SMALLEST), LARGEST)

    def latency(self, predicted: float) -> float:
        """The corrected latency in seconds; infinite where the prediction is."""
        return predicted * self.factor

    def budget(self, budget: float) -> float:
        """The budget in seconds that the model must meet for the corrected latency to meet this one."""
        return budget / self.factor

    def observed(
        self, *, measured: float, predicted: float, percentile: float, requests: float, age: float, elapsed: float
    ) -> Correction:
        """The correction after one more measurement.

        A measurement that is stale, of too few requests, or of a server that the model takes for overloaded, teaches
        nothing.

        Args:
            measured: the percentile in seconds.
            predicted: the same by the model, uncorrected, at the rate that was measured with it.
            percentile: above 0 and below 100.
            requests: how many the measured percentile is of.
            age: seconds since it was measured.
            elapsed: seconds since the last measurement.
        """
        beyond = requests * (1 - percentile / 100)
        if not (_positive(measured) and _positive(predicted) and 0 <= age <= STALE and beyond >= _LEAST_BEYOND):
            return self
        weight = min(beyond / _ENOUGH_BEYOND, 1.0)
        ratio = min(max(measured / predicted, SMALLEST), LARGEST)
        kept = 0.5 ** (max(elapsed, 0.0) / HALF_LIFE)
        total = self.weight * kept + weight
        logarithm = self.logarithm * kept + weight * math.log(ratio)
        # A long quiet history must not outweigh what has changed.
        shrink = min(1.0, _MOST_WEIGHT / total)
        return Correction(logarithm=logarithm * shrink, weight=total * shrink)


def _positive(value: float) -> bool:
    return 0 < value < math.inf
