"""From a step of the load to the replicas that bear it, on a lab: `python -m bench.load_step`.

A network of known speed (`bench.paced`) serves at the edge; a process of its own sends it Poisson load that jumps from
`--low` to `--high` requests/s and back. The API server's watches say when what happened.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

import click

from bench.open_loop import Outcome, open_loop
from bench.paced import PacedNetwork
from bench.report import machine
from bench.waiting import wait_until
from bench.watch import Sighting, watch
from examples.quickstart import setting_up
from examples.quickstart.cluster import Cluster
from examples.quickstart.lab import connect_lab, lab_images
from examples.quickstart.models import is_ready
from littoral.api.quantity import format_duration
from littoral.sim.workload import poisson

NAMESPACE: Final = "load"
MODEL: Final = "paced"
NETWORK: Final = PacedNetwork(base=0.06, per_item=0.03)
LATENCY: Final = 0.3
"""Seconds within which 99% of the requests are to be answered: a replica of the network keeps it up to 9 a second."""

_POOL: Final = "edge"
_KEPT: Final = 15.0  # Seconds for which 99% must be in time, for a step to be over.
_WITHIN: Final = 180.0  # Seconds.


@dataclass(frozen=True, kw_only=True)
class Phases:
    """The load: for each step, so many seconds low, then high; in the end, low.

    Attributes:
        low, high: requests per second.
        before, during, after: seconds.
    """

    low: float
    high: float
    before: float
    during: float
    after: float
    steps: int

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.steps * (self.before + self.during) + self.after

    def rises(self) -> list[float]:
        """When it jumps up."""
        return [number * (self.before + self.during) + self.before for number in range(self.steps)]

    def rate(self, moment: float) -> float:
        """Requests/s at a time in seconds."""
        return self.high if any(rise <= moment < rise + self.during for rise in self.rises()) else self.low

    def arrivals(self, *, seed: int) -> list[float]:
        """When each request is due."""
        return poisson(self.rate, peak=self.high, seconds=self.seconds, seed=seed)


@dataclass(frozen=True, kw_only=True)
class Record:
    """What was seen, in seconds after the load's beginning.

    Attributes:
        rates: (time, requests/s in the Assignment's status).
        wanted: (time, replicas in the Assignment's spec).
        pods: (created, ready, gone) of each Pod; None for what did not happen.
        outcomes: of each request.
    """

    phases: Phases
    rates: list[tuple[float, float]]
    wanted: list[tuple[float, int]]
    pods: list[tuple[float, float | None, float | None]]
    outcomes: list[Outcome]
    measured: dict[str, Any] = field(default_factory=dict)

    def dump(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str) -> Record:
        """What `dump` gave."""
        read = json.loads(text)
        return cls(
            phases=Phases(**read["phases"]),
            rates=[(at, rate) for at, rate in read["rates"]],
            wanted=[(at, count) for at, count in read["wanted"]],
            pods=[(created, ready, gone) for created, ready, gone in read["pods"]],
            outcomes=[Outcome(*outcome) for outcome in read["outcomes"]],
            measured=read["measured"],
        )

    def ready(self, moment: float) -> int:
        """Replicas that are ready at a time."""
        return sum(
            ready is not None and ready <= moment and (gone is None or gone > moment) for _, ready, gone in self.pods
        )


@click.command()
@click.option("--lab", default="lab", show_default=True, help="Name of a lab that is up.")
@click.option("--low", default=3.0, show_default=True, help="Requests/s before a step and after it.")
@click.option("--high", default=18.0, show_default=True, help="Requests/s after a step.")
@click.option("--before", default=60.0, show_default=True, help="Seconds before each step.")
@click.option("--during", default=60.0, show_default=True, help="Seconds of each step.")
@click.option("--after", default=60.0, show_default=True, help="Seconds after the last step.")
@click.option("--steps", default=3, show_default=True)
@click.option("--scale-down-after", default=20.0, show_default=True, help="The operator's `planning.scaleDownAfter`.")
@click.option("--seed", default=1, show_default=True)
@click.option("--record", type=click.Path(path_type=Path), help="Write what was seen (JSON), for bench.simulation_lab.")
@click.option("--install/--no-install", default=True, help="Install Littoral first.")
def main(*, lab: str, scale_down_after: float, seed: int, record: Path | None, install: bool, **load: Any) -> None:
    """Measure how long a step of the load takes to become replicas."""
    cluster = connect_lab(lab)
    if install:
        ca_crt = setting_up.prepare_namespace(cluster)
        planning = {"planning": {"scaleDownAfter": scale_down_after}}
        setting_up.install(cluster, images=lab_images(), ca_crt=ca_crt, timeout=300, more=planning)
    with served(cluster, lab=lab):
        seen = measure(cluster, Phases(**load), seed=seed)
    if record is not None:
        record.write_text(seen.dump())
    print(table(seen))


@contextmanager
def served(cluster: Cluster, *, lab: str) -> Iterator[None]:
    """Have the network served at the edge, by one replica that answers, while the block runs."""
    NETWORK.place(lab=lab, node=_POOL)
    metadata = {"name": MODEL, "namespace": NAMESPACE}
    pools = (setting_up.MANIFESTS / "30-pools.yaml").read_text()
    cluster.run("apply", "--filename=-", stdin=pools)
    cluster.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}])
    cluster.apply(
        [
            {
                "apiVersion": "littoral.dev/v1alpha1",
                "kind": "LatencySLO",
                "metadata": metadata,
                "spec": {"modelRef": {"name": MODEL}, "latency": format_duration(LATENCY), "overflow": "Never"},
            },
            {
                "apiVersion": "littoral.dev/v1alpha1",
                "kind": "Model",
                "metadata": metadata,
                "spec": {"variants": [NETWORK.variant()], "scaling": {"minReplicas": 1, "maxReplicas": 8}},
            },
        ]
    )
    try:
        wait_until(
            lambda: is_ready(cluster.get("models.littoral.dev", MODEL, f"--namespace={NAMESPACE}")),
            what="Ready",
            within=_WITHIN,
        )
        yield
    finally:
        cluster.run("delete", "namespace", NAMESPACE, "--timeout=120s")


def measure(cluster: Cluster, phases: Phases, *, seed: int) -> Record:
    """Send the load and watch."""
    service = cluster.get("service", MODEL, f"--namespace={NAMESPACE}")
    url = f"http://{service['spec']['clusterIP']}:80/v2/models/{MODEL}/infer"
    with ExitStack() as stack:
        assignments = stack.enter_context(watch(cluster, "assignments.littoral.dev"))
        pods = stack.enter_context(watch(cluster, "pods", f"--namespace={NAMESPACE}"))
        load = stack.enter_context(open_loop(url, phases.arrivals(seed=seed)))
        load.finish()
        began = load.began
    return Record(
        phases=phases,
        rates=[(each.at - began, rate) for each in assignments if (rate := _rate(each)) is not None],
        wanted=[(each.at - began, count) for each in assignments if (count := _wanted(each)) is not None],
        pods=_lives(pods, began=began),
        outcomes=sorted(load.outcomes),
        measured=next((found for each in reversed(assignments) if (found := _measured(each))), {}),
    )


def table(seen: Record) -> str:
    """The times of each step, as a table."""
    columns = [_times(seen, rise) for rise in seen.phases.rises()]
    lines = [
        f"{machine()}; {seen.phases.low:g} -> {seen.phases.high:g} requests/s, {len(seen.outcomes)} requests, "
        f"{sum(bool(outcome.error) for outcome in seen.outcomes)} failed",
        "",
        "| from the step to | " + " | ".join(f"step {number + 1}" for number in range(len(columns))) + " | median |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for what in columns[0]:
        values = [column[what] for column in columns]
        known = [value for value in values if value is not None]
        cells = ["-" if value is None else f"{value:.4g}" for value in (*values, median(known) if known else None)]
        lines.append(f"| {what} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _times(seen: Record, rise: float) -> dict[str, float | None]:
    end = rise + seen.phases.during
    before = next((count for at, count in reversed(seen.wanted) if at <= rise), 0)
    most = max((count for at, count in seen.wanted if rise <= at < end), default=before)
    created = sorted(at for at, _, _ in seen.pods if rise <= at < end)
    ready = sorted(at for start, at, _ in seen.pods if rise <= start < end and at is not None)
    fall = [at for at, count in seen.wanted if at >= end and count <= before]

    def after(moment: float | None) -> float | None:
        return None if moment is None else moment - rise

    known = next((at for at, rate in seen.rates if at >= rise and rate > 1.5 * seen.phases.low), None)
    asked = next((at for at, count in seen.wanted if rise <= at < end and count > before), None)
    enough = next((at for at, count in seen.wanted if rise <= at < end and count >= most), None)
    kept = _kept_from(seen.outcomes, rise, end)
    late = [outcome for outcome in seen.outcomes if rise <= outcome.due < (kept or end) and _late(outcome)]
    return {
        "the higher rate in Assignment.status, s": after(known),
        "the Assignment asks for more replicas, s": after(asked),
        "the first new Pod is created, s": after(created[0] if created else None),
        "the first new Pod is Ready, s": after(ready[0] if ready else None),
        "the Assignment asks for the most replicas, s": after(enough),
        "the last new Pod is Ready, s": after(ready[-1] if ready else None),
        "p99 is kept again, s": after(kept),
        "requests late until then": float(len(late)),
        "replicas before": float(before),
        "replicas, the most": float(most),
        "after the step's end: as few replicas again, s": fall[0] - end if fall else None,
    }


def _late(outcome: Outcome) -> bool:
    return bool(outcome.error) or outcome.seconds > LATENCY


def _kept_from(outcomes: Sequence[Outcome], start: float, end: float) -> float | None:
    """The first request from which on 99% of the next seconds' requests are in time; None if there is none."""
    for index, first in enumerate(outcomes):
        if not start <= first.due < end - _KEPT:
            continue
        following = [each for each in outcomes[index : index + 1000] if each.due < first.due + _KEPT]
        if sum(map(_late, following)) <= math.floor(0.01 * len(following)):
            return first.due
    return None


def _server(sighting: Sighting, part: str) -> dict[str, Any] | None:
    """The Model's server in the pool's Assignment, in its spec or its status."""
    if sighting.item is None or sighting.name != _POOL:
        return None
    servers: list[dict[str, Any]] = sighting.item.get(part, {}).get("servers", [])
    return next((each for each in servers if each["namespace"] == NAMESPACE), None)


def _wanted(sighting: Sighting) -> int | None:
    server = _server(sighting, "spec")
    return None if server is None else int(server["replicas"])


def _measured(sighting: Sighting) -> dict[str, Any]:
    server = _server(sighting, "status")
    models = server["models"] if server is not None else []
    return next((each.get("measured", {}) for each in models if each["name"] == MODEL), {})


def _rate(sighting: Sighting) -> float | None:
    rate = _measured(sighting).get("rate")
    return None if rate is None else float(rate)


def _lives(sightings: Sequence[Sighting], *, began: float) -> list[tuple[float, float | None, float | None]]:
    created: dict[str, float] = {}
    ready: dict[str, float] = {}
    gone: dict[str, float] = {}
    for at, name, item in sightings:
        created.setdefault(name, at - began)
        if item is None or "deletionTimestamp" in item["metadata"]:
            gone.setdefault(name, at - began)
        elif f"serves.littoral.dev/{MODEL}" in item["metadata"].get("labels", {}):
            ready.setdefault(name, at - began)
    return sorted((start, ready.get(name), gone.get(name)) for name, start in created.items())


if __name__ == "__main__":
    main()
