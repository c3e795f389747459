"""Littoral: the functions that the operator calls, on what the operator would know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from littoral.api.assignment import Assignment
from littoral.api.latencyslo import LatencySLO
from littoral.api.model import Model
from littoral.api.nodepool import NodePool
from littoral.core.forecast import Series, forecast, update
from littoral.core.hardware import Node, default_device_table
from littoral.core.plan import Plan
from littoral.core.planner import Memo, Problem, RateKey, Speed, Tuning, build_problem, plan
from littoral.core.world import ModelKey, World
from littoral.sim.policies.base import Observation
from littoral.sim.scenario import Place, Scenario

PERIOD: Final = 3.0
"""Seconds between two readings of the telemetry, as the site role takes them; each is followed by a plan."""

_KEY: Final = ModelKey("simulated", "model")
_DIGEST: Final = "sha256:" + "0" * 64


class Littoral:
    """forecast -> max_rate -> plan, with the world that the scenario describes.

    Args:
        quantile: of the forecast.
        scale_down_after: seconds that must have passed since a server last changed before it shrinks.
    """

    period = PERIOD

    def __init__(self, scenario: Scenario, *, quantile: float = 0.95, scale_down_after: float = 300.0) -> None:
        self._places = scenario.places
        self._quantile = quantile
        self._tuning = Tuning(scale_down_after=scale_down_after)
        self._world = _world(scenario)
        self._speeds = {
            RateKey(_KEY, place.accelerator, place.accelerator, place.pool): Speed(
                rate, place.batch_time.throughput(place.max_batch)
            )
            for place, rate in zip(scenario.places, scenario.rates, strict=True)
        }
        # What is decided now serves when it has loaded, and can be changed only after the next reading.
        self._horizon = max(place.start for place in scenario.places) + PERIOD
        self._series: dict[str, Series] = {}
        self._memo = Memo()
        self._problem: Problem | None = None
        self._plan: Plan | None = None
        self._changed: dict[tuple[str, str, str], float] = {}
        self._sizes: dict[tuple[str, str, str], int] = {}

    def decide(self, observation: Observation) -> Sequence[int]:
        """One reading and one plan."""
        now = observation.now
        if now == 0:
            return [state.replicas for state in observation.places]
        demand: dict[tuple[ModelKey, str], float | None] = {}
        for site, count in observation.arrivals.items():
            series = update(self._series.get(site, Series()), count=count, start=now - PERIOD, end=now)
            self._series[site] = series
            demand[_KEY, site] = forecast(series, at=now, horizon=self._horizon, quantile=self._quantile)
        self._problem = build_problem(
            self._world,
            demand=demand,
            rates=self._speeds,
            assignments=self._assignments(),
            ages={server: now - changed for server, changed in self._changed.items()},
            tuning=self._tuning,
            before=self._problem,
        )
        self._plan = plan(self._problem, memo=self._memo)
        self._note_changes(now)
        return [self._replicas(place) for place in self._places]

    def _assignments(self) -> list[Assignment]:
        if self._plan is None:
            return []
        return [
            Assignment.parse({"metadata": {"name": pool}, "spec": spec.dump()})
            for pool, spec in self._plan.assignments.items()
        ]

    def _note_changes(self, now: float) -> None:
        assert self._plan is not None
        sizes = {
            (pool, server.namespace, server.name): server.replicas
            for pool, spec in self._plan.assignments.items()
            for server in spec.servers
        }
        for server, replicas in sizes.items():
            if self._sizes.get(server) != replicas:
                self._changed[server] = now
        self._sizes = sizes

    def _replicas(self, place: Place) -> int:
        assert self._plan is not None
        servers = self._plan.assignments[place.pool].servers
        return sum(server.replicas for server in servers if server.accelerator == place.accelerator)


def _world(scenario: Scenario) -> World:
    """The scenario as the objects that people would have applied."""
    classes = sorted({place.accelerator for place in scenario.places})
    table = default_device_table().classes
    variants = [
        {
            "name": name,
            "accelerator": name,
            "backend": min(table[name].backends),
            "artifact": {"uri": f"https://models.example/{name}", "digest": _DIGEST},
            "memory": "1Gi",
        }
        for name in classes
    ]
    metadata = {"name": _KEY.name, "namespace": _KEY.namespace}
    model = Model.parse({"metadata": metadata, "spec": {"variants": variants, "scaling": {"maxReplicas": 1000}}})
    slo = LatencySLO.parse(
        {
            "metadata": metadata,
            "spec": {
                "modelRef": {"name": _KEY.name},
                "latency": f"{round(scenario.latency * 1e3)}ms",
                "percentile": scenario.percentile,
            },
        }
    )
    pools: dict[str, list[Place]] = {}
    for place in scenario.places:
        pools.setdefault(place.pool, []).append(place)
    return World(
        models=(model,),
        slos=(slo,),
        pools=tuple(_pool(name, places) for name, places in pools.items()),
        nodes=tuple(_node(place) for place in scenario.places),
    )


def _pool(name: str, places: Sequence[Place]) -> NodePool:
    site = places[0].site
    spec = {
        "tier": "cloud" if site is None else "edge",
        "nodeSelector": {"matchLabels": {"littoral.dev/pool": name}},
        "accelerators": [{"class": place.accelerator, "costPerHour": str(place.price)} for place in places],
    }
    return NodePool.parse({"metadata": {"name": name}, "spec": spec if site is None else spec | {"site": site}})


def _node(place: Place) -> Node:
    """One large node with all devices of a place: how they are spread over machines is not what is simulated."""
    resource = default_device_table().classes[place.accelerator].resources[0]
    return Node(
        name=f"{place.pool}-{place.accelerator}",
        ready=True,
        schedulable=True,
        cpu=float(4 * place.devices),
        memory=float(place.devices * 16 * 2**30),
        labels={"littoral.dev/pool": place.pool},
        extended={resource: place.devices},
    )
