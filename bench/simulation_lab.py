"""The simulator against the lab: the requests that `bench.load_step --record` sent, once more, simulated.

    python -m bench.load_step --record run.json && python -m bench.simulation_lab run.json

The simulation is told what the lab has measured: the batch time, how long a Pod takes to serve, the way there and back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import click

from bench.load_step import LATENCY, NETWORK, Phases, Record
from bench.open_loop import Outcome
from bench.report import machine
from littoral.api.quantity import parse_duration
from littoral.core.capacity import BatchTime, Evidence, Measured
from littoral.sim.cluster import Run, simulate
from littoral.sim.policies.littoral import Littoral
from littoral.sim.scenario import POD_START, Place, Scenario
from littoral.sim.workload import Workload

_EVERY: Final = 5.0  # Seconds between two rows of replicas.
_PERCENTILE: Final = "99"


@click.command()
@click.argument("record", type=click.Path(path_type=Path, exists=True))
@click.option("--quantile", default=0.95, show_default=True, help="The operator's `planning.forecastQuantile`.")
@click.option("--scale-down-after", default=20.0, show_default=True, help="The operator's `planning.scaleDownAfter`.")
def main(*, record: Path, quantile: float, scale_down_after: float) -> None:
    """Simulate a run of the lab, and put both side by side."""
    seen = Record.parse(record.read_text())
    where = scenario(seen)
    workload = Workload(
        name="lab", arrivals={"site": [outcome.due for outcome in seen.outcomes]}, seconds=seen.phases.seconds
    )
    policy = Littoral(where, quantile=quantile, scale_down_after=scale_down_after)
    run = simulate(where, workload, policy)
    (place,) = where.places
    print(
        f"{machine()}; batch time {1e3 * place.batch_time.base:.0f} + {1e3 * place.batch_time.per_item:.0f} n ms, "
        f"{place.start:.1f} s from a Pod's creation until it serves, {1e3 * place.round_trip:.0f} ms on the way\n"
    )
    print(_late_table(seen, run))
    print()
    print(_replica_table(seen, run, start=place.start))


def scenario(seen: Record) -> Scenario:
    """What the lab was, in the simulator's words."""
    batch_time = _batch_time(seen.measured)
    alone = [outcome.seconds for outcome in seen.outcomes if outcome.due < seen.phases.before and not outcome.error]
    starts = [ready - created for created, ready, _ in seen.pods if ready is not None and created > 0]
    place = Place(
        pool="edge",
        devices=8,
        price=1.0,
        batch_time=batch_time,
        max_batch=NETWORK.max_batch,
        load=max(median(starts) - POD_START, 0.0) if starts else 0.0,
        # Half of the requests of a quiet minute meet nobody: what they take beyond their batch is the way.
        round_trip=max(median(alone) - batch_time.of(1), 0.0),
    )
    return Scenario(name="lab", places=(place,), latency=LATENCY, percentile=_PERCENTILE, patience=30.0)


def _batch_time(measured: Mapping[str, Any]) -> BatchTime:
    """As the operator reads it."""
    sizes = {
        sample["size"]: Measured(executions=float(sample["count"]), seconds=parse_duration(sample["time"]))
        for sample in measured.get("batches", ())
    }
    prior = BatchTime(base=NETWORK.base, per_item=NETWORK.per_item)
    return Evidence(sizes).batch_time(max_batch=NETWORK.max_batch, prior=prior) or prior


def _parts(phases: Phases) -> dict[str, tuple[float, float]]:
    parts: dict[str, tuple[float, float]] = {}
    for number, rise in enumerate(phases.rises(), start=1):
        parts[f"before step {number}"] = rise - phases.before, rise
        parts[f"step {number}, the first 15 s"] = rise, rise + 15
        parts[f"step {number}, the rest"] = rise + 15, rise + phases.during
    return parts | {"after": (phases.seconds - phases.after, phases.seconds)}


def _late_table(seen: Record, run: Run) -> str:
    simulated = [Outcome(due, seconds, "") for due, seconds in zip(run.times, run.latencies, strict=True)]
    lines = [
        "| requests | sent | late on the lab | late in the simulation | p50 on the lab | simulated | p99 on the lab "
        "| simulated |",
        "|---" * 8 + "|",
    ]
    for name, (start, end) in _parts(seen.phases).items():
        cells = []
        for outcomes in (seen.outcomes, simulated):
            seconds = sorted(each.seconds for each in outcomes if start <= each.due < end)
            late = sum(each > LATENCY for each in seconds) / max(len(seconds), 1)
            cells.append((f"{late:.1%}", _quantile(seconds, 0.5), _quantile(seconds, 0.99), len(seconds)))
        lab, sim = cells
        lines.append(f"| {name} | {lab[3]} | {lab[0]} | {sim[0]} | {lab[1]} | {sim[1]} | {lab[2]} | {sim[2]} |")
    return "\n".join(lines)


def _quantile(ordered: Sequence[float], level: float) -> str:
    return f"{1e3 * ordered[min(int(level * len(ordered)), len(ordered) - 1)]:.0f} ms" if ordered else "-"


def _replica_table(seen: Record, run: Run, *, start: float) -> str:
    """Replicas that serve, whenever either number changes."""
    lines = ["| seconds | requests/s | serve on the lab | serve in the simulation |", "|---" * 4 + "|"]
    before = None
    for number in range(int(seen.phases.seconds / _EVERY)):
        moment = number * _EVERY
        simulated = sum(
            (life.created + start <= moment or life.created == 0) and life.gone > moment for life in run.lifetimes
        )
        now = seen.phases.rate(moment), seen.ready(moment), simulated
        if now != before:
            lines.append(f"| {moment:.0f} | {now[0]:g} | {now[1]} | {now[2]} |")
        before = now
    return "\n".join(lines)


if __name__ == "__main__":
    main()
