"""How long a variant takes on this machine, batch by batch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from littoral.core.capacity import BatchTime, Evidence
from littoral.core.capacity.statistics import BatchCounter
from littoral.optimize.data import Feed, batch_of
from littoral.optimize.engines import Engine

_LEAST_RUNS: Final = 5
_WARM_UP: Final = 2
# All variants take turns, so that what else the machine does meanwhile strikes all alike.
_TURNS: Final = 5


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Seconds of the runs of one batch size, each run's."""

    runs: tuple[float, ...]

    def quantile(self, level: float) -> float:
        """Nearest rank: of fewer than 100 runs, p99 is the slowest."""
        return sorted(self.runs)[math.ceil(level * len(self.runs)) - 1]


Speed = Mapping[int, Latency]
"""By batch size."""


def batch_sizes(largest: int) -> tuple[int, ...]:
    """1, 2, 4, ... and the largest itself."""
    return (*(2**power for power in range((largest - 1).bit_length())), largest)


def measure(
    engines: Mapping[str, Engine],
    item: Feed,
    *,
    sizes: Sequence[int],
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Speed]:
    """Run each engine for about so many seconds at each batch size, and at least five times.

    Args:
        item: the input that a batch repeats.
        clock: seconds.
    """
    runs: dict[str, dict[int, list[float]]] = {name: {size: [] for size in sizes} for name in engines}
    for size in sizes:
        batch = batch_of(item, size) if size > 1 else dict(item)
        for engine in engines.values():
            for _ in range(_WARM_UP):
                engine(batch)
        for turn in range(1, _TURNS + 1):
            for name, engine in engines.items():
                taken = runs[name][size]
                enough = math.ceil(turn * _LEAST_RUNS / _TURNS)
                while len(taken) < enough or sum(taken) < seconds * turn / _TURNS:
                    start = clock()
                    engine(batch)
                    taken.append(clock() - start)
    return {
        name: {size: Latency(runs=tuple(taken)) for size, taken in by_size.items()} for name, by_size in runs.items()
    }


def profile(speed: Speed) -> BatchTime:
    """The line base + n * perItem through what was measured, as the operator learns it from Triton's statistics.

    Through the medians: a run that the machine interrupted says nothing of the network.
    """
    counters = {
        size: BatchCounter(executions=len(latency.runs), seconds=len(latency.runs) * latency.quantile(0.5))
        for size, latency in speed.items()
    }
    learned = Evidence.none().observed(counters, elapsed=0).batch_time(max_batch=max(speed))
    if learned is None:
        raise ValueError("no run took any time")
    return learned
