"""The whole loop on simulated sites: reports, learning, planning, staging, and Pods that take their time.

Everything that decides is the real thing; Pods, requests and measurements are made here. Time is simulated.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from littoral.api.assignment import (
    AssignedModelStatus,
    Assignment,
    AssignmentSpec,
    AssignmentStatus,
    Server,
    ServerReport,
)
from littoral.api.measurement import ModelMeasurement
from littoral.api.nodepool import Tier
from littoral.api.quantity import format_decimal, format_duration
from littoral.api.routes import GatewayReport, RoundTrip, RouteReport
from littoral.api.serving import ModelState, ServedModel
from littoral.core.capacity import BatchTime, Measured, latency
from littoral.core.learning import Learner
from littoral.core.plan import Plan
from littoral.core.planner import Memo, Problem, Tuning, plan
from littoral.core.staging import stage
from littoral.core.world import ModelKey, World, key_of
from littoral.site.telemetry.figures import Figures, patience, write

TICK = 5.0
MAX_BATCH = 8
WINDOW = 60.0
"""Seconds over which a site measures a rate that does not change."""

_Place = tuple[str, str, str]
_Seat = tuple[str, str, str, str]


@dataclass(kw_only=True)
class _Seen:
    """What a site has measured of one Model on one server."""

    truth: float = -1.0
    since: float = 0.0
    figures: Figures = field(default_factory=Figures)
    written_at: float = -math.inf
    measurement: ModelMeasurement | None = None


class Loop:
    """A fleet and its operator.

    Args:
        truth: how long batches of each variant take, by its name.
        starting: ticks until a Pod runs; a Model takes one more to load.
        tuning: of the planner. With gateways, they count what arrives at the pools of sites, and how far the cloud is.
    """

    def __init__(
        self,
        world: World,
        *,
        truth: Mapping[str, BatchTime],
        learner: Learner,
        starting: int = 2,
        tuning: Tuning | None = None,
    ) -> None:
        self.world = world
        self.learner = learner
        self.demand: dict[tuple[ModelKey, str], float] = {}
        self.now = 1e6
        self.assignments: dict[str, Assignment] = {}
        self.lost: dict[ModelKey, float] = {}
        self.decided: Plan | None = None
        self._truth = truth
        self._starting = starting
        self._tuning = tuning or Tuning()
        self._draw = random.Random(11)
        self._memo = Memo()
        self._problem: Problem | None = None
        self._pods: dict[_Place, list[float]] = defaultdict(list)
        self._loaded: dict[tuple[_Seat, str], float] = {}
        self._seen: dict[tuple[_Seat, str], _Seen] = defaultdict(_Seen)

    def tick(self, times: int = 1) -> None:
        """Plan, and let the sites go on for 5 s, so many times."""
        for _ in range(times):
            self.now += TICK
            self._plan()
            self._serve()

    def replicas(self, name: str = "digits", *, namespace: str = "shop") -> dict[str, int]:
        """Replicas that are assigned for a Model, by pool."""
        found = {
            pool: sum(
                server.replicas
                for server in assignment.spec.servers
                if server.namespace == namespace and any(model.name == name for model in server.models)
            )
            for pool, assignment in self.assignments.items()
        }
        return {pool: count for pool, count in found.items() if count}

    def specs(self) -> dict[str, AssignmentSpec]:
        """What is assigned."""
        return {name: assignment.spec for name, assignment in self.assignments.items()}

    def _plan(self) -> None:
        current = tuple(self.assignments.values())
        told = self.learner.learn(self.world, current, now=self.now)
        self._problem = told.problem(self.world, current, tuning=self._tuning, before=self._problem)
        self.decided = plan(self._problem, memo=self._memo)
        for name, spec in stage(self.decided, current=self.assignments).items():
            before = self.assignments.get(name)
            if before is None:
                self.assignments[name] = Assignment.parse({"metadata": {"name": name}, "spec": spec.dump()})
            elif before.spec != spec:
                self.assignments[name] = before.model_copy(update={"spec": spec})

    def _serve(self) -> None:
        ready = self._advance()
        arriving = self._arrivals(ready)
        for name, assignment in self.assignments.items():
            reports = tuple(self._report(name, server, ready, arriving) for server in assignment.spec.servers)
            status = AssignmentStatus(servers=reports, gateway=self._gateway(assignment))
            self.assignments[name] = assignment.model_copy(update={"status": status})

    def _gateway(self, assignment: Assignment) -> GatewayReport | None:
        """What the gateway of a pool has counted within the last minute, with the noise of Poisson arrivals."""
        spec = assignment.spec
        if not spec.routes:
            return None
        rates = {key: rate for (key, site), rate in self.demand.items() if spec.tier == Tier.EDGE and site == spec.site}
        return GatewayReport(
            replicas=1,
            ready_replicas=1,
            routes=tuple(
                RouteReport(
                    namespace=route.namespace,
                    name=route.name,
                    arrived=format_decimal(self._poisson(WINDOW * rates[key]) / WINDOW, places=2),
                )
                for route in spec.routes
                if (key := ModelKey(route.namespace, route.name)) in rates
            ),
            round_trips=tuple(
                RoundTrip(pool=pool.name, time=format_duration(round(self._draw.uniform(0.018, 0.022), 4)))
                for pool in self.world.pools
                if pool.spec.tier == Tier.CLOUD and pool.name != assignment.name
            ),
        )

    def _advance(self) -> dict[_Seat, int]:
        """Replicas that answer, of each Model on each server."""
        wanted = {
            (name, server.namespace, server.name): server
            for name, assignment in self.assignments.items()
            for server in assignment.spec.servers
        }
        for place in self._pods.keys() - wanted.keys():
            del self._pods[place]
        loaded: dict[tuple[_Seat, str], float] = {}
        ready: dict[_Seat, int] = {}
        for place, server in wanted.items():
            pods = self._pods[place]
            del pods[server.replicas :]
            pods += [self.now] * (server.replicas - len(pods))
            running = sum(self.now - started >= self._starting * TICK for started in pods)
            for model in server.models:
                seat = (*place, model.name)
                loaded[seat, model.variant] = self._loaded.get((seat, model.variant), self.now)
                ready[seat] = running if self.now - loaded[seat, model.variant] >= TICK else 0
        self._loaded = loaded
        return ready

    def _arrivals(self, ready: Mapping[_Seat, int]) -> dict[_Seat, float]:
        """Requests/s that each Model gets on each server: near first, what is too much for that in the cloud."""
        arriving: dict[_Seat, float] = defaultdict(float)
        tiers = {pool.name: pool.spec.tier for pool in self.world.pools}
        sites = {pool.name: pool.spec.site for pool in self.world.pools}
        self.lost = {key_of(model): 0.0 for model in self.world.models}
        for (key, site), amount in self.demand.items():
            mine = {s: n for s, n in ready.items() if (s[1], s[3]) == key and n}
            near = {s: n for s, n in mine.items() if tiers[s[0]] == Tier.EDGE and sites[s[0]] == site}
            far = {s: n for s, n in mine.items() if tiers[s[0]] == Tier.CLOUD}
            most = {s: 0.9 * n * self._batch_time(s).throughput(MAX_BATCH) for s, n in near.items()}
            here = min(amount, sum(most.values())) if far else amount
            if not near:
                here = 0.0
            if not near and not far:
                self.lost[key] += amount
            for group, part in ((near, here), (far, amount - here)):
                for seat, count in group.items():
                    arriving[seat] += part * count / sum(group.values())
        return arriving

    def _batch_time(self, seat: _Seat) -> BatchTime:
        return self._truth[self._served(seat).variant]

    def _served(self, seat: _Seat) -> ServedModel:
        servers = self.assignments[seat[0]].spec.servers
        return next(
            model
            for server in servers
            if (server.namespace, server.name) == seat[1:3]
            for model in server.models
            if model.name == seat[3]
        )

    def _report(
        self, name: str, server: Server, ready: Mapping[_Seat, int], arriving: Mapping[_Seat, float]
    ) -> ServerReport:
        models = []
        for model in server.models:
            seat = (name, server.namespace, server.name, model.name)
            count = ready[seat]
            models.append(
                AssignedModelStatus(
                    name=model.name,
                    variant=model.variant,
                    digest=model.artifact.digest,
                    state=ModelState.READY if count else ModelState.LOADING,
                    ready_replicas=count,
                    measured=self._measure(seat, model, arriving.get(seat, 0.0), count) if count else None,
                )
            )
        return ServerReport(name=server.name, namespace=server.namespace, models=tuple(models))

    def _measure(self, seat: _Seat, model: ServedModel, truth: float, replicas: int) -> ModelMeasurement | None:
        """What the site says: with the noise of Poisson arrivals, and written when it is worth a write."""
        seen = self._seen[seat, model.variant]
        if truth != seen.truth:
            seen.truth, seen.since = truth, self.now - TICK
        seconds = min(WINDOW, self.now - seen.since)
        count = self._poisson(truth * seconds)
        batch_time = self._truth[model.variant]
        figures = Figures(rate=count / seconds, seen=count, max_batch=MAX_BATCH, load_time=TICK)
        if count:
            mine = min(truth / replicas, 0.98 * batch_time.throughput(MAX_BATCH))
            p50, p95, p99 = (
                latency(batch_time=batch_time, max_batch=MAX_BATCH, rate=mine, percentile=percentile)
                * self._draw.uniform(0.95, 1.05)
                for percentile in (50.0, 95.0, 99.0)
            )
            executions = seen.figures.batches.get(1, Measured(executions=0.0, seconds=1.0)).executions + count / 4
            batches = {
                size: Measured(executions=executions, seconds=batch_time.of(size) * self._draw.uniform(0.99, 1.01))
                for size in (1, 2, 4, 8)
            }
            figures = Figures(
                rate=count / seconds,
                seen=count,
                answered=count,
                mean=p50,
                p50=p50,
                p95=p95,
                p99=p99,
                batches=batches,
                max_batch=MAX_BATCH,
                load_time=TICK,
            )
        wait = patience(seen.figures, figures)
        if seen.measurement is None or (wait is not None and self.now - seen.written_at >= wait):
            seen.figures, seen.measurement, seen.written_at = figures, write(figures), self.now
        return seen.measurement

    def _poisson(self, mean: float) -> int:
        if mean > 100:
            return max(0, round(self._draw.gauss(mean, math.sqrt(mean))))
        count, product = 0, self._draw.random()
        while product > math.exp(-mean):
            count, product = count + 1, product * self._draw.random()
        return count
