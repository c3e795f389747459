"""Arrivals to try things on: the recorded traces, and shapes that are generated."""

from __future__ import annotations

import csv
import gzip
import math
import random
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

TRACES: Final = ("code", "conv")
_FOLDER: Final = Path(__file__).parent / "traces"


def trace(name: str) -> list[float]:
    """When each request of a recorded trace arrived, in seconds after the first one."""
    with gzip.open(_FOLDER / f"azure-llm-2023-{name}.csv.gz", "rt", newline="") as file:
        # The seventh digit after the point is more than datetime reads.
        times = sorted(datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp() for row in csv.DictReader(file))
    return [moment - times[0] for moment in times]


def counts(arrivals: list[float], *, interval: float) -> list[int]:
    """Requests in each whole interval (in seconds)."""
    found = [0] * int(arrivals[-1] // interval)
    for moment in arrivals:
        index = int(moment // interval)
        if index < len(found):
            found[index] += 1
    return found


def generated(rate: Callable[[float], float], *, seconds: float, interval: float, seed: int) -> list[int]:
    """Requests in each interval of a Poisson process with that rate (requests/s at a time in seconds)."""
    random_source = random.Random(seed)  # noqa: S311
    return [
        _poisson(random_source, rate((index + 0.5) * interval) * interval) for index in range(int(seconds // interval))
    ]


def _flash_crowd(moment: float) -> float:
    """Every 20 minutes a crowd that comes within 20 s and loses interest within some minutes."""
    since = moment % 1200 - 600
    return 10 + (190 * min(1.0, since / 20) * math.exp(-max(0.0, since - 20) / 120) if since > 0 else 0)


SHAPES: Final[Mapping[str, Callable[[float], float]]] = {
    "steady": lambda moment: 20,
    "step": lambda moment: 10 if moment < 1800 else 60,
    "ramp": lambda moment: 5 + 95 * min(max((moment - 600) / 2400, 0), 1),
    "diurnal": lambda moment: 40 * (1 + 0.8 * math.sin(2 * math.pi * moment / 3600)),
    "flash": _flash_crowd,
}
"""Rates in requests/s over one hour; the day of `diurnal` is an hour long."""


def shop_day(moment: float) -> float:
    """A shop that opens at 8 and closes at 20, with more customers at noon and in the evening."""
    hour = moment / 3600 % 24
    if not 8 <= hour < 20:
        return 1
    return 30 + 25 * math.exp(-((hour - 12.5) ** 2)) + 35 * math.exp(-((hour - 18) ** 2))


def _poisson(random_source: random.Random, mean: float) -> int:
    if mean > 500:
        return max(0, round(random_source.gauss(mean, math.sqrt(mean))))
    # The number of unit-rate exponential gaps that fit into the mean.
    count, passed = 0, random_source.expovariate(1)
    while passed < mean:
        count += 1
        passed += random_source.expovariate(1)
    return count
