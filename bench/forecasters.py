"""The forecasters that were compared, each as simple as its name says. All get the same readings."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import Final, Protocol

from littoral.core.forecast import Series, forecast, update

QUANTILES: Final = (0.9, 0.95, 0.99)
_Z: Final = {quantile: NormalDist().inv_cdf(quantile) for quantile in QUANTILES}


class Forecaster(Protocol):
    """Takes one reading after the other; rates are in requests/s, times in seconds."""

    def observe(self, rate: float, *, seconds: float) -> None:
        """Take a reading that lasted so long."""

    def forecast(self, *, horizon: float, quantile: float) -> float:
        """The rate that the reading which ends after the horizon stays below."""


class Littoral:
    """What Littoral does."""

    def __init__(self, start: float = 0.0) -> None:
        self.series = Series()
        self._now = start

    def observe(self, rate: float, *, seconds: float) -> None:
        start, self._now = self._now, self._now + seconds
        self.series = update(self.series, count=rate * seconds, start=start, end=self._now)

    def forecast(self, *, horizon: float, quantile: float) -> float:
        return forecast(self.series, at=self._now, horizon=horizon, quantile=quantile)


class Naive:
    """The last reading."""

    def __init__(self) -> None:
        self._rate = 0.0

    def observe(self, rate: float, *, seconds: float) -> None:
        self._rate = rate

    def forecast(self, *, horizon: float, quantile: float) -> float:
        return self._rate


class Ewma:
    """An exponentially weighted average, and `spread` standard deviations above it where asked."""

    def __init__(self, *, constant: float = 30.0, memory: float = 300.0, spread: bool = False) -> None:
        self._constant, self._memory, self._spread = constant, memory, spread
        self._mean: float | None = None
        self._variance = 0.0

    def observe(self, rate: float, *, seconds: float) -> None:
        if self._mean is None:
            self._mean, self._variance = rate, rate / seconds
            return
        error = rate - self._mean
        self._variance += _gain(seconds, self._memory) * (error * error - self._variance)
        self._mean += _gain(seconds, self._constant) * error

    def forecast(self, *, horizon: float, quantile: float) -> float:
        return (self._mean or 0.0) + (_Z[quantile] * math.sqrt(self._variance) if self._spread else 0.0)


class DampedHolt:
    """Level and damped trend; the variance of the error grows with the horizon as that of the ETS model A,N,N."""

    _LEVEL, _TREND, _DAMPING, _MEMORY = 0.3, 0.1, 0.9, 0.02

    def __init__(self) -> None:
        self._level: float | None = None
        self._trend = self._variance = 0.0
        self._seconds = 1.0

    def observe(self, rate: float, *, seconds: float) -> None:
        self._seconds = seconds
        if self._level is None:
            self._level, self._variance = rate, rate / seconds
            return
        expected = self._level + self._DAMPING * self._trend
        error = rate - expected
        self._variance += self._MEMORY * (error * error - self._variance)
        self._level = expected + self._LEVEL * error
        self._trend = self._DAMPING * self._trend + self._LEVEL * self._TREND * error

    def forecast(self, *, horizon: float, quantile: float) -> float:
        steps = max(1, round(horizon / self._seconds))
        damped = sum(self._DAMPING**step for step in range(1, steps + 1))
        deviation = math.sqrt(self._variance * (1 + (steps - 1) * self._LEVEL**2))
        return max(0.0, (self._level or 0.0) + self._trend * damped + _Z[quantile] * deviation)


class QuantileDescent:
    """One number for each quantile, moved by the gradient of its pinball loss."""

    def __init__(self) -> None:
        self._levels = dict.fromkeys(QUANTILES, 0.0)
        self._scale = 0.0

    def observe(self, rate: float, *, seconds: float) -> None:
        self._scale += (0.02 if self._scale else 1.0) * (rate - self._scale)
        for quantile, level in self._levels.items():
            step = 0.01 * self._scale / (1 - quantile)
            self._levels[quantile] = max(0.0, level + step * (quantile - (rate <= level)))

    def forecast(self, *, horizon: float, quantile: float) -> float:
        return self._levels[quantile]


class Window:
    """The highest reading of the last minutes, or their quantile."""

    def __init__(self, *, window: float = 300.0, highest: bool = True) -> None:
        self._window, self._highest = window, highest
        self._rates: deque[float] = deque()

    def observe(self, rate: float, *, seconds: float) -> None:
        self._rates.append(rate)
        while len(self._rates) > self._window / seconds:
            self._rates.popleft()

    def forecast(self, *, horizon: float, quantile: float) -> float:
        rates = sorted(self._rates)
        return rates[-1] if self._highest else rates[math.ceil(quantile * len(rates)) - 1]


class PeakHold:
    """The highest reading, which fades."""

    def __init__(self, *, constant: float = 300.0) -> None:
        self._constant = constant
        self._peak = 0.0

    def observe(self, rate: float, *, seconds: float) -> None:
        self._peak = max(rate, self._peak * math.exp(-seconds / self._constant))

    def forecast(self, *, horizon: float, quantile: float) -> float:
        return self._peak


class Experts:
    """Others together: their mean, weighted by exp(-pinball loss at this horizon and quantile, over the mean rate)."""

    _RATE, _FORGET = 2.0, 0.99

    def __init__(self) -> None:
        self._experts: tuple[Forecaster, ...] = (Ewma(spread=True), DampedHolt(), Window(highest=False), PeakHold())
        self._losses: dict[tuple[float, float], list[float]] = {}
        self._pending: dict[tuple[float, float], deque[tuple[float, list[float]]]] = {}
        self._now = self._scale = 0.0

    def observe(self, rate: float, *, seconds: float) -> None:
        self._now += seconds
        self._scale += (0.02 if self._scale else 1.0) * (rate - self._scale)
        for (horizon, quantile), bets in self._pending.items():
            while bets and bets[0][0] <= self._now:
                _, said = bets.popleft()
                losses = self._losses.setdefault((horizon, quantile), [0.0] * len(said))
                for index, value in enumerate(said):
                    loss = pinball(value, rate, quantile=quantile) / (1 - quantile) / max(self._scale, 1e-9)
                    losses[index] = self._FORGET * losses[index] + loss
        for expert in self._experts:
            expert.observe(rate, seconds=seconds)

    def forecast(self, *, horizon: float, quantile: float) -> float:
        said = [expert.forecast(horizon=horizon, quantile=quantile) for expert in self._experts]
        self._pending.setdefault((horizon, quantile), deque()).append((self._now + horizon, said))
        losses = self._losses.get((horizon, quantile), [0.0] * len(said))
        weights = [math.exp(-self._RATE * (loss - min(losses))) for loss in losses]
        return sum(weight * value for weight, value in zip(weights, said, strict=True)) / sum(weights)


CANDIDATES: Final[Mapping[str, Callable[[], Forecaster]]] = {
    "naive": Naive,
    "ewma": Ewma,
    "ewma+spread": lambda: Ewma(spread=True),
    "damped-holt": DampedHolt,
    "descent": QuantileDescent,
    "window-max": Window,
    "window-quantile": lambda: Window(highest=False),
    "peak-hold": PeakHold,
    "experts": Experts,
    "littoral": Littoral,
}


def pinball(forecast: float, truth: float, *, quantile: float) -> float:
    """The loss whose mean is least for the true quantile."""
    return max(quantile * (truth - forecast), (quantile - 1) * (truth - forecast))


def _gain(seconds: float, constant: float) -> float:
    return -math.expm1(-seconds / constant)
