"""How far the model of capacity can be trusted: against simulations, and against a real Triton (`--triton`).

`python -m bench.capacity` takes some minutes on two cores.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from statistics import median

import click

from bench.report import print_table
from littoral.core.capacity import BatchTime, latency, max_rate
from littoral.core.capacity.sharing import Tenant, headroom, shared_latency
from littoral.sim.batch_service import inoue_bound, solve
from littoral.sim.queueing import Served, Sharing, SimulatedModel, poisson_arrivals, simulate

# Not those of the table, so that its interpolation is part of the error.
RATIOS = (0.0, 1.5, 6.0, 50.0)
MAX_BATCH = (1, 5, 12, 48)
LOADS = (0.10, 0.30, 0.50, 0.70, 0.90, 0.95)
PERCENTILES = (50.0, 95.0, 99.0)
WARM_UP = 0.05


@dataclass(frozen=True, kw_only=True)
class Case:
    """One server under one load, as a part of its throughput."""

    ratio: float
    max_batch: int
    load: float
    instances: int = 1

    @property
    def batch_time(self) -> BatchTime:
        """With a batch of one of a second, since only ratios matter."""
        return BatchTime(base=self.ratio / (1 + self.ratio), per_item=1 / (1 + self.ratio))

    @property
    def rate(self) -> float:
        """Items per second."""
        return self.load * self.instances * self.batch_time.throughput(self.max_batch)

    def predicted(self, percentile: float | None) -> float:
        """Seconds by the model."""
        return latency(
            batch_time=self.batch_time,
            max_batch=self.max_batch,
            rate=self.rate,
            percentile=percentile,
            instances=self.instances,
        )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Predicted over found, less 1: for the mean against the exact solution and a simulation, then percentiles."""

    case: Case
    exact_mean: float
    mean: float
    percentiles: tuple[float, ...]


def compare(case: Case) -> Outcome:
    """Simulate one case; longer under high load, where what happens depends longest on what happened before."""
    served = _simulated(case, count=400_000 if case.load > 0.8 else 100_000)
    exact = (
        solve(batch_time=case.batch_time, max_batch=case.max_batch, rate=case.rate).mean
        if case.instances == 1
        else served.mean(warm_up=WARM_UP)
    )
    return Outcome(
        case=case,
        exact_mean=case.predicted(None) / exact - 1,
        mean=case.predicted(None) / served.mean(warm_up=WARM_UP) - 1,
        percentiles=tuple(
            case.predicted(percentile) / served.percentile(percentile, warm_up=WARM_UP) - 1
            for percentile in PERCENTILES
        ),
    )


def _simulated(case: Case, *, count: int) -> Served:
    model = SimulatedModel(batch_time=case.batch_time, max_batch=case.max_batch, instances=case.instances)
    (served,) = simulate([model], [poisson_arrivals(rate=case.rate, count=count, seed=1)])
    return served


def single_servers(pool: ProcessPoolExecutor) -> list[tuple[str, str]]:
    """One server with one model."""
    cases = [Case(ratio=ratio, max_batch=most, load=load) for ratio, most, load in product(RATIOS, MAX_BATCH, LOADS)]
    outcomes = list(pool.map(compare, cases, chunksize=4))
    rows = []
    for load in (*LOADS, None):
        group = [outcome for outcome in outcomes if load in (None, outcome.case.load)]
        name = "all loads" if load is None else f"load {load:.0%}"
        rows += [
            (f"{name}, mean against the exact solution", _errors([outcome.exact_mean for outcome in group])),
            (f"{name}, mean against the simulation", _errors([outcome.mean for outcome in group])),
        ]
        rows += [
            (f"{name}, p{percentile:g}", _range([outcome.percentiles[index] for outcome in group]))
            for index, percentile in enumerate(PERCENTILES)
        ]
    return rows


def several_instances(pool: ProcessPoolExecutor) -> list[tuple[str, str]]:
    """Instances that share a queue, which the model takes to have one each."""
    rows = []
    for instances in (2, 4):
        cases = [
            Case(ratio=ratio, max_batch=most, load=load, instances=instances)
            for ratio, most, load in product((1.0, 20.0), (1, 8), (0.3, 0.7, 0.9))
        ]
        outcomes = list(pool.map(compare, cases))
        rows += [(f"{instances} instances, mean", _range([outcome.mean for outcome in outcomes]))]
        rows += [
            (f"{instances} instances, p{percentile:g}", _range([outcome.percentiles[index] for outcome in outcomes]))
            for index, percentile in enumerate(PERCENTILES)
        ]
    return rows


def bounds() -> list[tuple[str, str]]:
    """Inoue's bound of the mean, which knows no largest batch, against the exact solution."""
    rows = []
    for ratio in (0.1, 1.0, 3.0, 10.0):
        batch_time = BatchTime(base=ratio, per_item=1)
        found = []
        for load in (0.05, 0.1, 0.2, 0.3, 0.5, 0.7):
            exact = solve(batch_time=batch_time, max_batch=200, rate=load).mean
            found.append(f"{inoue_bound(batch_time=batch_time, rate=load) / exact - 1:+.1%}")
        rows.append((f"base / per_item {ratio:g}, rate x per_item 5, 10, 20, 30, 50, 70%", " ".join(found)))
    return rows


def mix(seed: int) -> list[Tenant]:
    """Two to four models with random batch times, budgets and parts of the load."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    tenants = []
    for _ in range(draw.choice((2, 2, 3, 4))):
        unit, share = 10 ** draw.uniform(-3, -1.5), draw.choice((0.1, 0.5, 0.8, 0.95))
        batch_time = BatchTime(base=unit * share, per_item=unit * (1 - share))
        most = draw.choice((1, 4, 8, 32))
        tenant = Tenant(
            batch_time=batch_time,
            max_batch=most,
            rate=1.0,
            percentile=99,
            budget=unit * 10 ** draw.uniform(0.5, 1.5),
        )
        # Each by itself could be served up to this part of the highest rate.
        rate = draw.uniform(0.1, 1) * max_rate(
            batch_time=batch_time, max_batch=most, percentile=99, budget=tenant.budget
        )
        tenants.append(replace(tenant, rate=rate))
    return tenants


def by_shares(tenants: Sequence[Tenant]) -> float:
    """The factor at which the shares of the tenants add up to 1."""
    return 1 / sum(tenant.share for tenant in tenants)


@dataclass(frozen=True, kw_only=True)
class Shared:
    """How a rule did on one mix: the load that it allows, and the worst p99 over budget, and over the predicted."""

    utilisation: float
    worst: float
    prediction: float


def share(arguments: tuple[Callable[[Sequence[Tenant]], float], int]) -> Shared | None:
    """Load a mix up to what a rule allows, and simulate it; None where it allows nothing."""
    rule, seed = arguments
    tenants = mix(seed)
    factor = rule(tenants)
    if factor == 0:
        return None
    tenants = [replace(tenant, rate=tenant.rate * factor) for tenant in tenants]
    seconds = min(4000 / min(tenant.rate for tenant in tenants), 120_000 / sum(tenant.rate for tenant in tenants))
    served = simulate(
        [SimulatedModel(batch_time=tenant.batch_time, max_batch=tenant.max_batch) for tenant in tenants],
        [
            poisson_arrivals(rate=tenant.rate, count=max(int(seconds * tenant.rate), 1), seed=seed)
            for seed, tenant in enumerate(tenants)
        ],
        sharing=Sharing.EQUAL,
    )
    measured = [
        (run.percentile(99, warm_up=WARM_UP), tenant.budget, predicted)
        for run, tenant, predicted in zip(served, tenants, shared_latency(tenants), strict=True)
        if len(run.latencies) >= 1000
    ]
    return Shared(
        utilisation=sum(tenant.utilisation for tenant in tenants),
        worst=max(seen / budget for seen, budget, _ in measured),
        prediction=max(seen / predicted for seen, _, predicted in measured),
    )


def several_models(pool: ProcessPoolExecutor, *, mixes: int) -> list[tuple[str, str]]:
    """Models that share an accelerator, as loaded as each of two rules allows."""
    rows = []
    for name, rule in (("shares add up to 1", by_shares), ("headroom()", headroom)):
        found = [each for each in pool.map(share, [(rule, seed) for seed in range(mixes)], chunksize=2) if each]
        worst = sorted(each.worst for each in found)
        kept = sum(each <= 1 for each in worst) / len(worst)
        rows += [
            (f"{name}: mixes in which every p99 meets its budget", f"{kept:.0%} of {len(found)}"),
            (
                f"{name}: worst p99 / budget of a mix, median, 90% and worst",
                f"{median(worst):.2f}, {worst[int(0.9 * len(worst))]:.2f}, {worst[-1]:.2f}",
            ),
            (f"{name}: load allowed, median", f"{median(each.utilisation for each in found):.0%}"),
        ]
    return rows


def _errors(errors: Sequence[float]) -> str:
    sizes = [abs(error) for error in errors]
    return f"median error {median(sizes):.1%}, worst {max(sizes):.1%}"


def _range(errors: Sequence[float]) -> str:
    return f"from {min(errors):+.1%}, median {median(errors):+.1%}, to {max(errors):+.1%}"


@click.command()
@click.option("--triton", is_flag=True, help="Only a real Triton on this machine, under open-loop Poisson load.")
@click.option("--mixes", default=120, show_default=True, help="Random sets of models on one server.")
@click.option("--seconds", default=12.0, show_default=True, help="Of each load on the real Triton.")
def main(triton: bool, mixes: int, seconds: float) -> None:
    """Check the model of capacity."""
    if triton:
        # Needs onnxruntime and aiohttp, the rest of this module nothing.
        from bench.capacity_triton import measure

        print_table("Capacity: predicted and measured on Triton", measure(seconds=seconds))
        return
    with ProcessPoolExecutor(2) as pool:
        print_table("Capacity: predicted against simulated, one model on one server", single_servers(pool))
        print_table("Capacity: instances that share a queue", several_instances(pool))
        print_table("Capacity: Inoue's bound of the mean against the exact solution", bounds())
        print_table("Capacity: several models on one accelerator", several_models(pool, mixes=mixes))


if __name__ == "__main__":
    main()
