"""What stays while a plan is being brought about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from littoral.api.assignment import Assignment
from littoral.api.routes import Route
from littoral.core.planner import RateKey, Speed, Tuning
from littoral.core.staging import stage
from littoral.core.world import ModelKey, World
from tests.support.objects import DIGEST, assignment, model, node, pool, server, slo, variant
from tests.support.planning import planned

NPU = variant("npu", accelerator="intel-npu", backend="openvino")
CPU = variant("onnx-cpu")


def running(name: str, *servers: Mapping[str, Any], ready: Sequence[str]) -> Assignment:
    """An Assignment whose site reports that the servers named in `ready` answer for all their Models."""
    reports = [
        {
            "name": each["name"],
            "namespace": each["namespace"],
            "models": [
                {"name": m["name"], "variant": m["variant"], "digest": DIGEST, "state": "Ready", "readyReplicas": 1}
                for m in each["models"]
            ],
        }
        for each in servers
        if each["name"] in ready
    ]
    return assignment(name, servers=servers, status={"observedGeneration": 3, "servers": reports})


def staged(world: World, *current: Assignment) -> dict[str, list[tuple[str, list[str]]]]:
    """pool -> [(server, its Models)] of what is written next."""
    specs = stage(planned(world), current={each.name: each for each in current})
    return {name: [(s.name, [m.name for m in s.models]) for s in spec.servers] for name, spec in specs.items()}


ON_NPU = server("digits", accelerator="intel-npu")
ON_CPU = server("digits")
LOST_NPU = World(models=(model(variants=[NPU, CPU]),), pools=(pool(),), nodes=(node(),))


@pytest.mark.parametrize(
    ("current", "expected"),
    [
        pytest.param(
            [running("edge", ON_NPU, ready=["triton-edge-intel-npu"])],
            [("triton-edge-cpu", ["digits"]), ("triton-edge-intel-npu", ["digits"])],
            id="the old one stays while the new one is not ready",
        ),
        pytest.param(
            [running("edge", ON_NPU, ON_CPU, ready=["triton-edge-intel-npu"])],
            [("triton-edge-cpu", ["digits"]), ("triton-edge-intel-npu", ["digits"])],
            id="and until it is",
        ),
        pytest.param(
            [running("edge", ON_NPU, ON_CPU, ready=["triton-edge-intel-npu", "triton-edge-cpu"])],
            [("triton-edge-cpu", ["digits"])],
            id="then it goes",
        ),
        pytest.param(
            [running("edge", ON_NPU, ready=[])],
            [("triton-edge-cpu", ["digits"])],
            id="what does not serve has nothing to go on with",
        ),
        pytest.param([], [("triton-edge-cpu", ["digits"])], id="nothing runs"),
    ],
)
def test_a_model_that_moves(current: list[Assignment], expected: list[tuple[str, list[str]]]) -> None:
    assert staged(LOST_NPU, *current) == {"edge": expected}


def test_a_model_that_is_deleted_goes_at_once() -> None:
    world = World(models=(model("other"),), pools=(pool(),), nodes=(node(),))
    current = running("edge", server("digits", "other"), ready=["triton-edge-cpu"])
    assert staged(world, current) == {"edge": [("triton-edge-cpu", ["other"])]}


def test_data_that_must_stay_at_its_site_leaves_the_cloud_at_once() -> None:
    world = World(
        models=(model(),),
        slos=(slo(overflow="Never"),),
        pools=(pool(), pool("cloud", tier="cloud")),
        nodes=(node(), node("c", pool="cloud")),
    )
    current = running("cloud", server("digits", pool="cloud"), ready=["triton-cloud-cpu"])
    assert staged(world, current) == {"edge": [("triton-edge-cpu", ["digits"])], "cloud": []}


def test_a_model_that_fits_nowhere_any_more_goes_on_where_it_serves() -> None:
    world = World(models=(model(variants=[NPU]),), pools=(pool(),), nodes=(node(),))
    current = running("edge", ON_NPU, ready=["triton-edge-intel-npu"])
    assert staged(world, current) == {"edge": [("triton-edge-intel-npu", ["digits"])]}


def test_only_the_model_that_moves_stays_behind_on_its_old_server() -> None:
    world = World(
        models=(model("digits", variants=[NPU, CPU]), model("other", variants=[NPU, CPU])),
        pools=(pool(),),
        nodes=(node(),),
    )
    old = server("digits", "other", accelerator="intel-npu")
    new = server("other")
    current = running("edge", old, new, ready=["triton-edge-intel-npu", "triton-edge-cpu"])
    assert staged(world, current) == {
        "edge": [("triton-edge-cpu", ["digits", "other"]), ("triton-edge-intel-npu", ["digits"])]
    }


def test_a_plan_that_is_brought_about_is_written_as_it_is() -> None:
    world = World(models=(model(),), pools=(pool(),), nodes=(node(),))
    decided = planned(world)
    current = running("edge", ON_CPU, ready=["triton-edge-cpu"])
    assert stage(decided, current={"edge": current}) == decided.assignments


def test_a_model_that_a_more_important_one_displaces_makes_room() -> None:
    world = World(
        models=(model("first", namespace="other", priority=900, variants=[NPU]), model(variants=[NPU])),
        pools=(pool(),),
        nodes=(node(extended={"npu.intel.com/accel": 1}),),
    )
    current = running("edge", ON_NPU, ready=["triton-edge-intel-npu"])
    assert staged(world, current) == {"edge": [("triton-edge-intel-npu", ["first"])]}


def test_an_idle_model_is_let_go_at_once() -> None:
    world = World(models=(model(),), pools=(pool(),), nodes=(node(),))
    decided = planned(world, demand={(ModelKey("shop", "digits"), "edge"): 0.0})
    current = running("edge", ON_CPU, ready=["triton-edge-cpu"])
    assert stage(decided, current={"edge": current})["edge"].servers == ()


@pytest.mark.parametrize(("ready", "replicas"), [([], 3), (["triton-cloud-cpu"], 1)], ids=["awaited", "there"])
def test_replicas_stay_until_what_takes_their_load_over_serves(ready: list[str], replicas: int) -> None:
    """Three replicas become one, since the rest of the load goes to the cloud: not before the cloud serves."""
    world = World(
        models=(model(),),
        slos=(slo(demand={"floor": "25"}),),
        pools=(pool(limits={"servers": 1}), pool("cloud", tier="cloud")),
        nodes=(node(), node("c", pool="cloud")),
    )
    key = RateKey(ModelKey("shop", "digits"), "onnx-cpu", "cpu", None)
    decided = planned(world, rates={key: Speed(10.0)})
    at_the_edge = [it for it in decided.decisions[ModelKey("shop", "digits")].placements if it.pool == "edge"]
    assert [it.replicas for it in at_the_edge] == [1]
    edge = running("edge", ON_CPU | {"replicas": 3}, ready=["triton-edge-cpu"])
    cloud = running("cloud", server("digits", pool="cloud"), ready=ready)
    now = stage(decided, current={"edge": edge, "cloud": cloud})
    assert [it.replicas for it in now["edge"].servers] == [replicas]


class TestRoutes:
    """Gateways go on sending requests to where a Model goes on serving."""

    WORLD = World(
        models=(model(variants=[CPU]),),
        pools=(pool("here"), pool("east", tier="cloud"), pool("west", tier="cloud")),
        nodes=(node("h", pool="here", cpu=0.1), node("w", pool="west")),
    )

    def staged(self, *current: Assignment, world: World = WORLD, gateways: bool = True) -> dict[str, list[str]]:
        """pool -> the other pools of its route; pools without one are left out."""
        decided = planned(world, tuning=Tuning(gateways=gateways))
        specs = stage(decided, current={each.name: each for each in current})
        return {name: [t.pool for r in spec.routes for t in r.next] for name, spec in specs.items() if spec.routes}

    def current(self, *, ready: Sequence[str] = ()) -> list[Assignment]:
        """The Model serves in the east, and is to do so in the west, since the east has lost its nodes."""
        routed = {"namespace": "shop", "name": "digits", "next": [{"pool": "east"}]}
        here = assignment("here")
        route = here.spec.model_copy(update={"routes": (Route.parse(routed),)})
        east = running("east", server("digits", pool="east"), ready=["triton-east-cpu"])
        west = running("west", server("digits", pool="west"), ready=ready)
        return [here.model_copy(update={"spec": route}), east, west]

    def test_the_old_way_stays_beside_the_new_one_until_that_serves(self) -> None:
        assert self.staged(*self.current())["here"] == ["east", "west"]
        assert self.staged(*self.current(ready=["triton-west-cpu"]))["here"] == ["west"]

    def test_without_gateways_no_route_comes_back(self) -> None:
        assert self.staged(*self.current(), gateways=False) == {}

    def test_a_way_that_never_was_is_none(self) -> None:
        _, east, west = self.current()
        assert self.staged(assignment("here"), east, west)["here"] == ["west"]

    def test_data_that_must_stay_does_not_leave_on_the_way(self) -> None:
        stays = replace(self.WORLD, slos=(slo(overflow="Never", sites={"matchNames": ["here"]}), slo()))
        assert self.staged(*self.current(), world=stays)["here"] == []

    def test_a_model_without_a_place_is_still_known_where_it_serves(self) -> None:
        nowhere = replace(self.WORLD, nodes=(node("h", pool="here", cpu=0.1),))
        here, east, _ = self.current()
        ways = self.staged(here, east, world=nowhere)
        assert ways["here"] == ["east"]
