"""When requests come, and where: recorded traces, scaled up, and generated shapes."""

from __future__ import annotations

import csv
import gzip
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

SPREAD: Final = 10.0
"""Seconds over which the copies of a trace are shifted: more would smooth its bursts away, less would stack them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The arrivals at every site.

    Attributes:
        name: what reports call it.
        arrivals: for each site, by name, the times of its requests in seconds, ascending.
        seconds: how long it lasts.
    """

    name: str
    arrivals: Mapping[str, Sequence[float]]
    seconds: float

    @property
    def warm(self) -> float:
        """When policies have seen enough to be judged at all."""
        return min(300.0, self.seconds / 6)

    @property
    def half(self) -> float:
        """When the half that is judged begins; what comes before is for tuning."""
        return self.seconds / 2

    def first(self, seconds: float) -> Workload:
        """Its beginning."""
        arrivals = {site: [time for time in times if time < seconds] for site, times in self.arrivals.items()}
        return Workload(name=self.name, arrivals=arrivals, seconds=min(seconds, self.seconds))

    def merged(self) -> list[tuple[float, str]]:
        """Every request as (time, site), ascending."""
        return sorted((time, site) for site, times in self.arrivals.items() for time in times)


def read_trace(path: Path) -> list[float]:
    """When each request of a recorded trace came, in seconds after the first one.

    Args:
        path: CSV, or CSV compressed with gzip, with a column TIMESTAMP: seconds, or a date and time (ISO 8601).

    Raises:
        ValueError: there is no such column, no request, or a time that cannot be read.
        OSError: the file cannot be read.
    """
    with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as file:
        rows = csv.DictReader(file)
        if "TIMESTAMP" not in (rows.fieldnames or ()):
            raise ValueError(f"{path} has no column TIMESTAMP")
        times = sorted(_seconds(row["TIMESTAMP"].strip()) for row in rows)
    if not times:
        raise ValueError(f"{path} has no request")
    return [time - times[0] for time in times]


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        # datetime reads six digits after the point, and recorders write seven.
        return datetime.fromisoformat(text[:26]).timestamp()


def superposed(times: Sequence[float], *, copies: int, seed: int, spread: float = SPREAD) -> list[float]:
    """As many copies of a trace on top of each other, each shifted by up to `spread` seconds.

    Shifts are short so that the bursts stay, and so that nothing of one half comes into the other.
    """
    draw = random.Random(seed)  # noqa: S311 - no secret
    shifts = [draw.uniform(0, spread) for _ in range(copies)]
    return sorted(time + shift for shift in shifts for time in times)


def poisson(shape: Callable[[float], float], *, peak: float, seconds: float, seed: int) -> list[float]:
    """Arrivals of a Poisson process whose rate changes with time (Lewis and Shedler 1979: by thinning).

    Args:
        shape: requests/s at a time in seconds.
        peak: requests/s that the shape never exceeds.
    """
    draw = random.Random(seed)  # noqa: S311 - no secret
    found = []
    now = draw.expovariate(peak)
    while now < seconds:
        if draw.random() * peak < shape(now):
            found.append(now)
        now += draw.expovariate(peak)
    return found


def _step(moment: float) -> float:
    return 45.0 if 600 <= moment % 1800 < 1200 else 15.0


def _diurnal(moment: float) -> float:
    return 30 * (1 + 0.8 * math.sin(2 * math.pi * moment / 1800 - math.pi / 2))


def _flash(moment: float) -> float:
    since = moment % 1800 - 600
    return 15 + (75 * min(1.0, since / 30) * math.exp(-max(0.0, since - 30) / 180) if since > 0 else 0.0)


SHAPES: Final[Mapping[str, Callable[[float], float]]] = {
    "steady": lambda moment: 30.0,
    "step": _step,
    "diurnal": _diurnal,
    "flash": _flash,
}
"""Requests/s over one hour whose halves are alike: the first is for tuning, the second is judged."""

PEAK: Final = 90.0
"""Requests/s that no shape exceeds."""


def generated(name: str, *, seconds: float = 3600.0, seed: int = 1, scale: float = 1.0) -> Workload:
    """One of `SHAPES`, at one site, its rate multiplied by `scale`."""
    shape = SHAPES[name]
    times = poisson(lambda moment: scale * shape(moment), peak=scale * PEAK, seconds=seconds, seed=seed)
    return Workload(name=name, arrivals={"site": times}, seconds=seconds)


def replayed(path: Path, *, name: str, copies: int, seed: int = 1) -> Workload:
    """A recorded trace at one site, `copies` times as many requests."""
    times = superposed(read_trace(path), copies=copies, seed=seed)
    return Workload(name=name, arrivals={"site": times}, seconds=times[-1])
