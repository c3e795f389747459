"""The planner at four sizes, from nothing and after one change: time, distance from the LP bound, memory.

    python -m bench.planner [--sizes 10x10,100x50] [--shares] [--profile]

The worlds are seeded. Of the pools, one in 250 (at least one) is in the cloud; the others are stores of 8 to 12
nodes, some with GPUs or NPUs. Each Model is wanted at one to three stores (more where there are few Models), in three
variants; namespaces have about 40 Models each. 99% of the requests must be answered within 50 ms, also beside the other
Models of a server; with --shares, speeds alone are known, and servers are shared by adding up shares of them.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import random
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from bench.report import machine
from littoral.api.assignment import Assignment
from littoral.api.latencyslo import LatencySLO
from littoral.api.model import Model
from littoral.api.nodepool import NodePool
from littoral.core.capacity import BatchTime, max_rate
from littoral.core.hardware import Node
from littoral.core.plan import Plan
from littoral.core.planner import Memo, Problem, RateKey, Service, Speed, build_problem, plan
from littoral.core.planner.demands import Part, demands, in_order, split
from littoral.core.planner.relaxation import relax
from littoral.core.world import ModelKey, World

DIGEST = "sha256:" + "0123456789abcdef" * 4
BACKENDS = {"nvidia-gpu": "tensorrt", "intel-npu": "openvino", "cpu": "onnxruntime"}
SPEEDS = {"nvidia-gpu": (150.0, 600.0, 16), "intel-npu": (60.0, 200.0, 8), "cpu": (8.0, 40.0, 2)}
"""Requests/s of one replica at an edge, the least and the most among Models, and the most items of a batch."""
BASE_SHARE = 0.6
BUDGET = 0.05
ROUND_TRIP = 0.01


@dataclass(frozen=True, kw_only=True)
class Case:
    """A world with what is asked of it."""

    world: World
    demand: Mapping[tuple[ModelKey, str | None], float | None]
    rates: Mapping[RateKey, Speed]

    def problem(self, *, before: Problem | None = None, decided: Plan | None = None) -> Problem:
        """The problem, with what an earlier plan made run."""
        return build_problem(
            self.world, demand=self.demand, rates=self.rates, before=before, assignments=_applied(decided)
        )


def case(models: int, pools: int, *, seed: int = 1, shares: bool = False) -> Case:
    """A world of a given size. The same seed makes the same world."""
    draw = random.Random(seed)  # noqa: S311 (not for secrets)
    cloud = max(1, pools // 250)
    stores = [f"store-{index}" for index in range(pools - cloud)]
    made_pools, made_nodes = [], []
    for store in stores:
        made_pools.append(_pool(store, tier="edge", site=store))
        made_nodes += _store_nodes(store, draw)
    for index in range(cloud):
        made_pools.append(_pool(f"cloud-{index}", tier="cloud"))
        made_nodes += [
            _node(f"cloud-{index}-{n}", f"cloud-{index}", cpu=64.0, extended={"nvidia.com/gpu": 8}, gpu="24564")
            for n in range(max(4, models * 2 // cloud // 100))
        ]
    made_models, slos = [], []
    demand: dict[tuple[ModelKey, str | None], float | None] = {}
    rates: dict[RateKey, Speed] = {}
    for index in range(models):
        key = ModelKey(f"team-{index % max(1, models // 40)}", f"model-{index}")
        classes = sorted(BACKENDS) if draw.random() < 0.7 else ["cpu", "nvidia-gpu"]
        made_models.append(_model(key, classes, priority=draw.choice((50, 100, 100, 200)), draw=draw))
        sites = draw.sample(stores, k=min(len(stores), draw.randint(1, 3)))
        slos.append(_slo(key, sites, draw))
        services = {name: _service(name, draw.uniform(*SPEEDS[name][:2])) for name in classes}
        near = {name: _speed(service, 0.0, shares=shares) for name, service in services.items()}
        far = {name: _speed(service, ROUND_TRIP, shares=shares) for name, service in services.items()}
        for site in sites:
            demand[key, site] = round(min(400.0, draw.lognormvariate(2.5, 1.1)), 2)
            for name in classes:
                rates[RateKey(key, name, name, site)] = near[name]
        for other in range(cloud):
            for name in classes:
                rates[RateKey(key, name, name, f"cloud-{other}")] = far[name]
    world = World(models=tuple(made_models), slos=tuple(slos), pools=tuple(made_pools), nodes=tuple(made_nodes))
    return Case(world=world, demand=demand, rates=rates)


def _service(name: str, rate: float) -> Service:
    """A Model whose replicas can take so many requests/s."""
    max_batch = SPEEDS[name][2]
    low, high = 1e-5, BUDGET
    while high - low > 1e-3 * low:
        single = (low + high) / 2
        batch_time = BatchTime(base=BASE_SHARE * single, per_item=(1 - BASE_SHARE) * single)
        possible = max_rate(batch_time=batch_time, max_batch=max_batch, percentile=99.0, budget=BUDGET)
        low, high = (low, single) if possible < rate else (single, high)
    batch_time = BatchTime(base=BASE_SHARE * low, per_item=(1 - BASE_SHARE) * low)
    return Service(batch_time=batch_time, max_batch=max_batch, percentile=99.0, budget=BUDGET)


def _speed(service: Service, round_trip: float, *, shares: bool) -> Speed:
    service = replace(service, budget=service.budget - round_trip)
    rate = max_rate(batch_time=service.batch_time, max_batch=service.max_batch, percentile=99.0, budget=service.budget)
    return Speed(rate, service.batch_time.throughput(service.max_batch), service=None if shares else service)


def changed(before: Case, *, factor: float = 2.0) -> Case:
    """The same, with other demand at one site."""
    site = min(site for _, site in before.demand if site is not None)
    demand = {pair: (v or 0.0) * factor if pair[1] == site else v for pair, v in before.demand.items()}
    return Case(world=before.world, demand=demand, rates=before.rates)


def _store_nodes(store: str, draw: random.Random) -> list[Node]:
    kinds: list[tuple[float, dict[str, int], str | None]] = [
        (8.0, {}, None),
        (8.0, {"npu.intel.com/accel": 1}, None),
        (16.0, {"nvidia.com/gpu": 1}, "16384"),
    ]
    return [
        _node(f"{store}-{n}", store, cpu=cpu, extended=extended, gpu=gpu)
        for n in range(draw.randint(8, 12))
        for cpu, extended, gpu in draw.choices(kinds, weights=(6, 2, 2))
    ]


def _node(name: str, pool: str, *, cpu: float, extended: dict[str, int], gpu: str | None) -> Node:
    labels = {"littoral.dev/pool": pool} | ({"nvidia.com/gpu.memory": gpu} if gpu else {})
    return Node(
        name=name, ready=True, schedulable=True, cpu=cpu, memory=cpu * 4 * 2**30, labels=labels, extended=extended
    )


def _pool(name: str, *, tier: str, site: str | None = None) -> NodePool:
    prices = {"nvidia-gpu": "0.35", "intel-npu": "0.05", "cpu": "0.02"}
    if tier == "cloud":
        prices = {"nvidia-gpu": "1.20", "cpu": "0.10"}
    spec = {
        "tier": tier,
        "nodeSelector": {"matchLabels": {"littoral.dev/pool": name}},
        "accelerators": [{"class": c, "costPerHour": price} for c, price in prices.items()],
    }
    return NodePool.parse({"metadata": {"name": name}, "spec": spec | ({"site": site} if site else {})})


def _model(key: ModelKey, classes: list[str], *, priority: int, draw: random.Random) -> Model:
    variants = [
        {
            "name": name,
            "accelerator": name,
            "backend": BACKENDS[name],
            "artifact": {"uri": f"https://models.example/{key.name}-{name}", "digest": DIGEST},
            "memory": f"{draw.randint(100, 1500)}Mi",
        }
        | ({"cpu": "1"} if name == "cpu" else {})
        for name in sorted(classes, reverse=True)
    ]
    spec = {"priority": priority, "variants": variants, "scaling": {"maxReplicas": 100}}
    return Model.parse({"metadata": {"name": key.name, "namespace": key.namespace}, "spec": spec})


def _slo(key: ModelKey, sites: list[str], draw: random.Random) -> LatencySLO:
    overflow = "Never" if draw.random() < 0.1 else "Allow"
    spec = {
        "modelRef": {"name": key.name},
        "latency": "50ms",
        "sites": {"matchNames": sorted(sites)},
        "overflow": overflow,
    }
    return LatencySLO.parse({"metadata": {"name": f"{key.name}-slo", "namespace": key.namespace}, "spec": spec})


def _applied(decided: Plan | None) -> list[Assignment]:
    if decided is None:
        return []
    return [Assignment.parse({"metadata": {"name": n}, "spec": s.dump()}) for n, s in decided.assignments.items()]


def measure(models: int, pools: int, *, shares: bool, profile: bool) -> str:
    """One row of the table."""
    start = case(models, pools, shares=shares)
    gc.collect()
    world_memory = _peak()
    memo = Memo()
    first = _Clock()
    problem = start.problem()
    read = first.lap()
    with cProfile.Profile() if profile else _nothing() as profiler:
        decided = plan(problem, memo=memo)
    planned = first.lap()
    plan_memory = _peak() - world_memory
    if isinstance(profiler, cProfile.Profile):
        profiler.print_stats("tottime")
    wanted = sum(amount or 0.0 for amount in start.demand.values())
    served = sum(flow.rate for flow in decided.flows)

    # The world goes on with what was planned; then one site changes.
    running = _applied(decided)
    settled = build_problem(start.world, demand=start.demand, rates=start.rates, before=problem, assignments=running)
    again = plan(settled, memo=memo)
    needless = sum(again.assignments[name] != spec for name, spec in decided.assignments.items())
    after = changed(start)
    gc.collect()
    second = _Clock()
    changed_problem = build_problem(
        after.world, demand=after.demand, rates=after.rates, before=settled, assignments=running
    )
    read_again = second.lap()
    with cProfile.Profile() if profile else _nothing() as profiler:
        plan(changed_problem, memo=memo)
    planned_again = second.lap()
    if isinstance(profiler, cProfile.Profile):
        profiler.print_stats("tottime")

    bound, integer_bound = _bounds(problem, decided)
    return (
        f"{f'{models:,} x {pools:,}':>15} {len(start.world.nodes):>7,} {len(demands(problem)):>8,} "
        f"{_both(read, 1)} {_both(planned, 1)} {decided.cost / bound - 1:>8.1%} "
        f"{decided.cost / integer_bound - 1:>9.1%} {served / wanted:>7.2%} {needless:>6} "
        f"{_both(read_again, 1e3)} {_both(planned_again, 1e3)} {plan_memory:>6.0f}"
    )


class _Clock:
    """Seconds between laps: on the wall, and of the processor, which other processes on the machine do not stretch."""

    def __init__(self) -> None:
        self._last = (time.perf_counter(), time.process_time())

    def lap(self) -> tuple[float, float]:
        now = (time.perf_counter(), time.process_time())
        wall, processor = now[0] - self._last[0], now[1] - self._last[1]
        self._last = now
        return wall, processor


def _both(seconds: tuple[float, float], unit: float) -> str:
    digits = 2 if unit == 1 else 0
    return f"{f'{seconds[0] * unit:.{digits}f}/{seconds[1] * unit:.{digits}f}':>11}"


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class _nothing:  # noqa: N801 (stands where a context manager does)
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def _bounds(problem: Problem, decided: Plan) -> tuple[float, float]:
    """What serving as much must cost at least: by the LP of the whole problem at once, and by the integer programs of
    its parts, in which the cloud may still be had by fractions."""
    found = demands(problem)
    served: dict[tuple[ModelKey, str | None], float] = {}
    for flow in decided.flows:
        served[flow.model, flow.site] = served.get((flow.model, flow.site), 0.0) + flow.share

    def bound(part: Part, *, whole: bool) -> float:
        shares = [min(1.0, served.get((demand.model.key, demand.site), 0.0)) for demand in part.demands]
        relaxed = relax(part, problem, served=shares, whole=whole)
        return relaxed.bound if relaxed is not None else float("nan")

    everything = Part(in_order(found), tuple(problem.pools.values()), fluid=False)
    parts = split([demand.at_its_cheapest() for demand in found], problem)
    return bound(everything, whole=False), sum(bound(part, whole=True) for part in parts)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="10x10,100x50,1000x200,5000x1000")
    parser.add_argument("--shares", action="store_true")
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    print(f"The planner, models x pools\n{machine()}\n")
    print("Times are wall/processor: from nothing in s, after one site changed in ms.\n")
    print(
        f"{'models x pools':>15} {'nodes':>7} {'demands':>8} {'read':>11} {'plan':>11} {'over LP':>8} {'over MIP':>9} "
        f"{'served':>7} {'moved':>6} {'read again':>11} {'plan again':>11} {'+MiB':>6}"
    )
    for size in arguments.sizes.split(","):
        models, pools = map(int, size.split("x"))
        print(measure(models, pools, shares=arguments.shares, profile=arguments.profile), flush=True)


if __name__ == "__main__":
    main()
