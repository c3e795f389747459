"""`littoral simulate`: what a service's requests would have met under Littoral, HPA, KEDA and others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from littoral.cli.options import EndsWithOne, document, output_option

if TYPE_CHECKING:
    from littoral.sim.scenario import Scenario
    from littoral.sim.workload import Workload

_SHAPES: Final = ("steady", "step", "diurnal", "flash")
_POLICIES: Final = ("Littoral", "HPA", "KEDA", "static peak", "clairvoyant")


@click.command(cls=EndsWithOne)
@click.option("--trace", "traces", type=click.Path(path_type=Path, exists=True, dir_okay=False), multiple=True,
              metavar="FILE",
              help="Recorded requests: CSV (or .csv.gz) with a column TIMESTAMP. Can be repeated.")  # fmt: skip
@click.option("--copies", type=click.IntRange(min=1), default=1, show_default=True,
              help="Times as many requests as a trace has, its copies shifted by up to 10 s.")  # fmt: skip
@click.option("--shape", "shapes", type=click.Choice(_SHAPES), multiple=True,
              help="Generated requests. Can be repeated.  [default: step, without --trace]")  # fmt: skip
@click.option("--policy", "policies", type=click.Choice(_POLICIES, case_sensitive=False), multiple=True,
              help="Policy to run. Can be repeated.  [default: all]")  # fmt: skip
@click.option("--latency", default="1s", show_default=True, help="Latency that the SLO allows.")
@click.option("--percentile", default="99.9", show_default=True, help="Requests in 100 that must keep it.")
@click.option("--base", default="120ms", show_default=True, help="What every batch takes.")
@click.option("--per-item", default="80ms", show_default=True, help="What every request adds to its batch.")
@click.option("--max-batch", type=click.IntRange(min=1), default=8, show_default=True, help="Most requests in a batch.")
@click.option("--load", default="20s", show_default=True, help="How long a replica fetches and loads the model.")
@click.option("--balancing", type=click.Choice(("Random", "Least"), case_sensitive=False), default="Random",
              show_default=True, help="Between replicas: as a Service does it, or to the least busy.")  # fmt: skip
@click.option("--seed", type=int, default=1, show_default=True, help="Of all that is random.")
@click.option("--quick", is_flag=True, help="Try few settings of each policy.")
@click.option("--plot", "picture", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Write a plot (SVG): the share of late requests over the cost.")  # fmt: skip
@output_option("text", "json", "yaml")
def simulate(
    traces: tuple[Path, ...],
    copies: int,
    shapes: tuple[str, ...],
    policies: tuple[str, ...],
    latency: str,
    percentile: str,
    base: str,
    per_item: str,
    max_batch: int,
    load: str,
    balancing: str,
    seed: int,
    quick: bool,
    picture: Path | None,
    output: str,
) -> None:
    """Compare policies on recorded or generated requests. No cluster is needed.

    Replicas that batch as Triton does serve the requests; how many there are is up to a policy. Littoral's decides
    with the operator's own forecast, capacity and planner. Each policy is run with several settings; the cheapest one
    that keeps 99.9% of the requests of the first half within the SLO is shown, as it did on the second half.

    \b
    Examples:
      littoral simulate --shape flash --quick
      littoral simulate --trace requests.csv --latency 200ms --base 8ms --per-item 3ms
      littoral simulate --trace requests.csv.gz --copies 10 --policy littoral --policy keda -o json
      littoral simulate --shape step --shape diurnal --plot comparison.svg
    """
    from littoral.cli.table import table
    from littoral.sim.compare import compare, contenders
    from littoral.sim.report import HEADERS, rows
    from littoral.sim.report import document as as_document
    from littoral.sim.report import plot as as_plot

    scenario = _scenario(
        latency=latency,
        percentile=percentile,
        base=base,
        per_item=per_item,
        max_batch=max_batch,
        load=load,
        balancing=balancing,
    )
    wanted = {name.lower() for name in policies or _POLICIES}
    comparisons = []
    for workload in _workloads(traces, shapes, copies=copies, seed=seed):
        chosen = [c for c in contenders(scenario, workload, fine=not quick) if c.name.lower() in wanted]
        comparisons.append(compare(scenario, workload, chosen))
    if picture is not None:
        picture.write_text(as_plot(comparisons))
    if output == "text":
        click.echo(table([header.upper() for header in HEADERS], rows(comparisons)))
    else:
        click.echo(document({"comparisons": as_document(comparisons)}, output=output))


def _workloads(traces: tuple[Path, ...], shapes: tuple[str, ...], *, copies: int, seed: int) -> list[Workload]:
    from littoral.sim.workload import generated, replayed

    found = []
    for path in traces:
        try:
            found.append(replayed(path, name=path.name.split(".")[0], copies=copies, seed=seed))
        except (ValueError, OSError, UnicodeDecodeError) as error:
            raise click.UsageError(f"cannot read the trace {path}: {error}") from error
    names = shapes or (() if traces else ("step",))
    return [*found, *(generated(name, seed=seed) for name in names)]


def _scenario(
    *, latency: str, percentile: str, base: str, per_item: str, max_batch: int, load: str, balancing: str
) -> Scenario:
    from littoral.api.quantity import parse_duration
    from littoral.core.capacity import BatchTime
    from littoral.sim.scenario import Balancing, one_pool

    try:
        scenario = one_pool(load=parse_duration(load), balancing=Balancing(balancing))
        batch_time = BatchTime(base=parse_duration(base), per_item=parse_duration(per_item))
        place = replace(scenario.places[0], batch_time=batch_time, max_batch=max_batch)
        scenario = replace(scenario, places=(place,), latency=parse_duration(latency), percentile=percentile)
        rate = scenario.rates[0]
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if rate <= 0:
        raise click.UsageError(
            f"no replica can keep {latency} for {percentile}% of the requests: a request alone takes "
            f"{batch_time.of(1) * 1e3:.0f} ms, and may find the server busy"
        )
    return scenario
