"""A member is not heard of for hours: learning and planning, pass after pass, leave all as it was."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from littoral.api.assignment import Assignment, AssignmentSpec
from littoral.core.learning import Learner
from littoral.core.planner import Memo, Problem, Tuning, plan
from littoral.core.staging import stage
from littoral.core.world import World
from tests.support.objects import DIGEST, model, node, pool, slo

SINCE = datetime(2026, 11, 28, 18, tzinfo=UTC)
SPEED = {"batches": [{"size": 1, "count": 9000, "time": "20ms"}], "maxBatch": 1, "loadTime": "3s"}
WORLD = World(
    models=(model(),),
    slos=(slo(latency="500ms"),),
    pools=(
        pool("cloud", tier="cloud", gateway={"address": "gateway.example:8443"}),
        pool("store", member="store-12", limits={"servers": 1}),
    ),
    nodes=(node("c1", pool="cloud"), node("c2", pool="cloud"), node("n1", pool="store", member="store-12")),
)


class Hub:
    """Passes of the hub, and sites that do at once what they are told."""

    def __init__(self) -> None:
        self.learner, self.memo = Learner(), Memo()
        self.problem: Problem | None = None
        self.running: dict[str, Assignment] = {}
        self.now = 0.0

    def step(self, world: World, *, arriving: float, seconds: float) -> None:
        """One pass, some time after the last one."""
        self.now += seconds
        inputs = self.learner.learn(world, list(self.running.values()), now=self.now)
        self.problem = inputs.problem(
            world, self.running.values(), tuning=Tuning(standby=True, gateways=True), before=self.problem
        )
        decided = plan(self.problem, memo=self.memo)
        for name, spec in stage(decided, current=self.running).items():
            self.running[name] = report(name, spec, arriving=arriving)

    @property
    def replicas(self) -> dict[str, int]:
        """Replicas of each pool."""
        return {name: sum(it.replicas for it in found.spec.servers) for name, found in self.running.items()}


def report(name: str, spec: AssignmentSpec, *, arriving: float) -> Assignment:
    """What a site that does as it is told says of it. All requests arrive at the store."""
    said = {"name": "digits", "variant": "onnx-cpu", "digest": DIGEST, "state": "Ready", "measured": SPEED}
    servers = [
        {"namespace": it.namespace, "name": it.name, "models": [said | {"readyReplicas": it.replicas}]}
        for it in spec.servers
    ]
    counted = {"namespace": "shop", "name": "digits", "arrived": str(arriving if name == "store" else 0)}
    status = {"observedGeneration": 1, "servers": servers, "gateway": {"readyReplicas": 1, "routes": [counted]}}
    return Assignment.parse({"metadata": {"name": name, "generation": 1}, "spec": spec.dump(), "status": status})


@pytest.mark.parametrize("arriving", [5.0, 90.0])
def test_hours_of_silence_change_nothing(arriving: float) -> None:
    hub = Hub()
    for _ in range(120):
        hub.step(WORLD, arriving=arriving, seconds=5)
    before, forecast = hub.replicas, hub.learner.dump()
    assert before["store"] == 1
    # More than the store can do: the cloud has the rest.
    assert (before["cloud"] > 1) == (arriving > 50)
    store = hub.running["store"]

    away = replace(WORLD, unreachable={"store-12": SINCE})
    for minute in range(300):
        hub.step(away, arriving=0, seconds=60)
        assert hub.replicas == before, f"after {minute} minutes"
        assert hub.running["store"] is store
    assert hub.learner.dump() == forecast

    for _ in range(12):
        hub.step(WORLD, arriving=arriving, seconds=5)
        assert hub.replicas == before
