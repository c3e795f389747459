"""Littoral against HPA, KEDA, a static peak and a clairvoyant plan, on both traces and four generated shapes.

    python -m bench.simulation [--processes 2] [--balancing Least] [--plot docs/simulation.svg]

It takes some minutes. Every number follows from the seeds: another machine prints the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Final

import click

from bench.arrivals import TRACES
from bench.report import machine
from littoral.sim.cluster import Routing
from littoral.sim.compare import Comparison, Contender, Line, contenders, try_all
from littoral.sim.report import markdown, plot
from littoral.sim.scenario import Balancing, Scenario, edge_and_cloud, one_pool
from littoral.sim.workload import SHAPES, Workload, generated, replayed

COPIES: Final = 5
SITES: Final = "three sites"
FOLDER: Final = Path(__file__).parent / "traces"


def workload(name: str) -> Workload:
    """A workload of the comparison, by name."""
    if name == SITES:
        return Workload(
            name=SITES,
            arrivals={
                "bursts": recorded("code", copies=2).arrivals["site"],
                "steady": recorded("conv", copies=2).arrivals["site"],
                "flash": generated("flash", scale=0.4, seed=3).arrivals["site"],
            },
            seconds=3400.0,
        ).first(3400.0)
    return recorded(name, copies=COPIES) if name in TRACES else generated(name)


def recorded(name: str, *, copies: int) -> Workload:
    """A recorded trace, some times as many requests."""
    return replayed(FOLDER / f"azure-llm-2023-{name}.csv.gz", name=name, copies=copies)


def scenario(name: str, balancing: Balancing) -> Scenario:
    """The scenario that a workload is run on."""
    if name == SITES:
        return edge_and_cloud(sites=("bursts", "steady", "flash"), balancing=balancing)
    return one_pool(balancing=balancing)


def entries(name: str, balancing: Balancing) -> Iterator[Contender]:
    """Who takes part: at several sites each policy with and without a gateway that spills."""
    where, what = scenario(name, balancing), workload(name)
    for contender in contenders(where, what):
        if name != SITES:
            yield contender
            continue
        yield contender._replace(name=f"{contender.name}, no spill", routing=Routing.WEIGHTED)
        yield contender._replace(routing=Routing.SPILL)


def line(task: tuple[str, str], balancing: Balancing) -> Line:
    """One policy on one workload."""
    name, policy = task
    contender = next(each for each in entries(name, balancing) if each.name == policy)
    return try_all(scenario(name, balancing), workload(name), contender)


@click.command()
@click.option("--processes", default=2, show_default=True)
@click.option("--balancing", type=click.Choice([*map(str, Balancing)]), default="Random", show_default=True)
@click.option("--workload", "names", multiple=True, default=(*TRACES, *SHAPES, SITES), show_default=True)
@click.option("--plot", "picture", type=click.Path(path_type=Path), help="Write the plot (SVG).")
def main(*, processes: int, balancing: str, names: tuple[str, ...], picture: Path | None) -> None:
    """Compare, and print the table."""
    kind = Balancing(balancing)
    tasks = [(name, contender.name) for name in names for contender in entries(name, kind)]
    with ProcessPoolExecutor(processes) as pool:
        lines = list(pool.map(line, tasks, repeat(kind)))
    comparisons = [
        Comparison(
            workload=name,
            scenario=scenario(name, kind).name,
            lines={each.name: each for (of, _), each in zip(tasks, lines, strict=True) if of == name},
        )
        for name in names
    ]
    print(f"{machine()}; balancing: {balancing}\n\n{markdown(comparisons)}")
    if picture is not None:
        # With spill nothing is late: there is no curve to draw.
        picture.write_text(plot([each for each in comparisons if each.workload != SITES]))


if __name__ == "__main__":
    main()
