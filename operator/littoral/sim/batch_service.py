"""The batch-service queue, solved numerically: one server, Poisson arrivals, batches of `base + per_item * n` seconds.

When the server is free it takes all that wait, up to the largest batch; a request that finds it idle starts at once.
The number that waits at the end of a batch is a Markov chain, whose stationary distribution follows from a linear
system; by PASTA a request sees the time average of it, and from there its latency is a matter of counting. This is
independent of `littoral.sim.queueing`, slower than a closed form and far more exact than a simulation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from littoral.core.capacity.batch_time import BatchTime

Vector = NDArray[np.float64]

_NEGLIGIBLE = 1e-13


@dataclass(frozen=True, kw_only=True)
class Latency:
    """The stationary distribution of the latency.

    Attributes:
        mean: seconds.
        values: seconds, ascending.
        cumulated: the probability of a latency of at most each of `values`.
    """

    mean: float
    values: Vector
    cumulated: Vector

    def percentile(self, percentile: float) -> float:
        """The latency in seconds that `percentile` % of the requests stay within."""
        return float(np.interp(percentile / 100, self.cumulated, self.values))


def solve(*, batch_time: BatchTime, max_batch: int, rate: float, steps: int = 0) -> Latency:
    """The latency at `rate` requests per second.

    Args:
        steps: at how many instants of a batch an arrival is looked at; 0 for enough for 1% of the latency.

    Raises:
        ValueError: the server cannot keep up with the rate.
    """
    times = np.array([batch_time.of(items) for items in range(1, max_batch + 1)])
    if not 0 < rate < batch_time.throughput(max_batch):
        raise ValueError(f"rate {rate} is not between 0 and {batch_time.throughput(max_batch)}")
    waiting = _waiting(times=times, rate=rate)
    steps = steps or max(100, 200 // max_batch)

    # How often, per batch, a batch of each size starts that leaves nobody waiting, and a full one that leaves 0, 1, ...
    # An empty queue waits for one request and serves it alone.
    starts = waiting[1:].copy()
    starts[0] += waiting[0]
    partial, full = starts[: max_batch - 1], starts[max_batch - 1 :]
    idle = waiting[0] / rate
    cycle = idle + float(np.dot(partial, times[:-1])) + float(full.sum() * times[-1])

    atoms: list[tuple[Vector, Vector]] = [(times[:1], np.array([idle / cycle]))]
    for elapsed in (np.arange(steps) + 0.5) / steps:
        for frequency, time in zip(partial, times, strict=False):
            weight = frequency * time / (cycle * steps)
            if weight > _NEGLIGIBLE:
                ahead = weight * _poisson(rate * elapsed * time)
                atoms += _from_arrival(ahead, rest=(1 - elapsed) * time, times=times, rate=rate)
        ahead = times[-1] / (cycle * steps) * np.convolve(full, _poisson(rate * elapsed * times[-1]))
        atoms += _from_arrival(ahead, rest=(1 - elapsed) * times[-1], times=times, rate=rate)

    values = np.concatenate([value for value, _ in atoms])
    weights = np.concatenate([weight for _, weight in atoms])
    order = np.argsort(values, kind="stable")
    values, weights = values[order], weights[order]
    total = weights.sum()
    # An atom stands for the whole step around it, except the first: those who find the server idle all wait the same.
    cumulated = (np.cumsum(weights) - weights / 2) / total
    cumulated[0] = weights[0] / total
    return Latency(mean=float(np.dot(values, weights) / total), values=values, cumulated=cumulated)


def _waiting(*, times: Vector, rate: float) -> Vector:
    """The distribution of the number that waits when a batch ends."""
    most = len(times)
    load = rate * times[-1]
    # Far out the tail falls like exp(-2 k (1 - utilisation) / utilisation); 32 is what leaves 1e-14 of it.
    states = int(most + load + 10 * math.sqrt(load) + 16 * load / (most - load) + 40)
    transition = np.zeros((states, states))
    arrivals = [_poisson(rate * time) for time in times]
    for state in range(states):
        items = max(1, min(state, most))
        left = max(state - most, 0)
        row = arrivals[items - 1][: states - left]
        transition[state, left : left + len(row)] = row
        # What would fall off the end stays at it.
        transition[state, -1] += 1 - row.sum()
    system = transition.T - np.eye(states)
    system[-1, :] = 1.0
    right = np.zeros(states)
    right[-1] = 1.0
    solution: Vector = np.clip(np.linalg.solve(system, right), 0.0, None)
    solution /= solution.sum()
    return solution


def _from_arrival(ahead: Vector, *, rest: float, times: Vector, rate: float) -> list[tuple[Vector, Vector]]:
    """Latencies of a request, and their probabilities.

    Args:
        ahead: the probability, with the weight of this case, of each number of requests waiting before it.
        rest: seconds until the running batch ends.
    """
    most = len(times)
    found = []
    for full_batches in range(math.ceil(len(ahead) / most)):
        places = ahead[full_batches * most : (full_batches + 1) * most]
        if places.sum() < _NEGLIGIBLE:
            continue
        wait = rest + full_batches * times[-1]
        together = np.convolve(places, _poisson(rate * wait))
        sizes = np.zeros(most)
        sizes[: len(together[:most])] = together[:most]
        sizes[-1] += together[most:].sum()
        found.append((wait + times, sizes))
    return found


def _poisson(mean: float) -> Vector:
    """The probabilities of 0, 1, 2, ... until what is left is negligible."""
    if mean == 0:
        return np.ones(1)
    count = np.arange(int(mean + 9 * math.sqrt(mean) + 14))
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.maximum(count[1:], 1)))])
    probabilities: Vector = np.exp(count * math.log(mean) - mean - factorials)
    return probabilities


def inoue_bound(*, batch_time: BatchTime, rate: float) -> float:
    """An upper bound in seconds of the mean latency without a largest batch; Inoue 2021, arXiv 1912.06322.

    The smaller of two: the first is the sharper one under low load, the second under high load.

    Raises:
        ValueError: the server cannot keep up with the rate.
    """
    slope, base = batch_time.per_item, batch_time.base
    load = rate * slope
    if not 0 <= load < 1:
        raise ValueError(f"rate {rate} is not between 0 and {1 / slope}")
    low = (slope + base) / (2 * (1 - load)) * (1 + 2 * rate * base + (1 - rate * base) / (1 + load))
    high = 1.5 * base / (1 - load) + slope / 2 * (load + 2) / (1 - load * load)
    return min(low, high)
