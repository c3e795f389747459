"""What people are told about their objects."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from littoral.api.assignment import Assignment
from littoral.api.conditions import find_condition
from littoral.api.meta import Condition
from littoral.api.model import ModelStatus
from littoral.core.planner import plan
from littoral.core.world import World, key_of
from littoral.hub.statuses import model_status, pool_status, slo_status
from tests.support.objects import DIGEST, assignment, model, node, pool, slo, variant

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def conditions_of(status: Any) -> dict[str, tuple[str, str]]:
    """type -> (status, reason)."""
    return {condition.type: (condition.status, condition.reason) for condition in status.conditions}


def ready(status: Any) -> Condition:
    """The condition Ready."""
    found = find_condition(status.conditions, "Ready")
    assert found is not None
    return found


def site_says(state: str, *, ready_replicas: int = 0, digest: str = DIGEST, message: str = "") -> Assignment:
    """The Assignment of pool edge with what its site reports of Model digits."""
    said = {
        "name": "digits",
        "variant": "onnx-cpu",
        "digest": digest,
        "state": state,
        "readyReplicas": ready_replicas,
        "message": message,
    }
    report = {"name": "triton-edge-cpu", "namespace": "shop", "models": [said]}
    return assignment(status={"observedGeneration": 3, "servers": [report]})


def told(said: Assignment | None, *, world: World | None = None) -> ModelStatus:
    """The status of Model digits."""
    world = world or World(models=(model(),), pools=(pool(),), nodes=(node(),))
    return model_status(
        world.models[0],
        decision=plan(world).decisions[key_of(world.models[0])],
        world=world,
        assignments={} if said is None else {"edge": said},
        now=NOW,
    )


@pytest.mark.parametrize(
    ("said", "expected", "message"),
    [
        pytest.param(
            site_says("Ready", ready_replicas=1),
            {"Ready": ("True", "Serving")},
            "serves in edge (onnx-cpu)",
            id="serves",
        ),
        pytest.param(
            site_says("Fetching", message="3 of 9 MB"),
            {"Ready": ("False", "Progressing"), "Reconciling": ("True", "Progressing")},
            "edge: Fetching: 3 of 9 MB",
            id="on its way",
        ),
        pytest.param(
            None,
            {"Ready": ("False", "Progressing"), "Reconciling": ("True", "Progressing")},
            "edge: Pending: its site has yet to report on it",
            id="not heard of",
        ),
        pytest.param(
            site_says("Ready", ready_replicas=1, digest="sha256:" + "f" * 64),
            {"Ready": ("False", "Progressing"), "Reconciling": ("True", "Progressing")},
            "edge: Pending: its site has yet to report on it",
            id="the report is about another artifact",
        ),
        pytest.param(
            site_says("Failed", message="digest differs"),
            {"Ready": ("False", "ModelFailed"), "Stalled": ("True", "ModelFailed")},
            "edge: digest differs",
            id="failed",
        ),
    ],
)
def test_conditions_of_a_model(said: Assignment | None, expected: dict[str, tuple[str, str]], message: str) -> None:
    status = told(said)
    assert conditions_of(status) == expected
    assert ready(status).message == message


def test_the_status_of_a_model_says_where_and_why() -> None:
    status = told(site_says("Ready", ready_replicas=1))
    assert (status.placed, status.replicas, status.ready_replicas) == ("1/1", 1, 1)
    assert status.url == "http://digits.shop"
    assert status.selector == "serves.littoral.dev/digits=true"
    placement = status.placements[0]
    assert (placement.pool, placement.site, placement.variant, placement.server, placement.state) == (
        "edge",
        "edge",
        "onnx-cpu",
        "triton-edge-cpu",
        "Ready",
    )
    assert placement.reason == "PreferredVariant"
    assert placement.message == ("onnx-cpu is the only variant that pool edge can run: it has 4 CPU cores")


@pytest.mark.parametrize(
    ("world", "message"),
    [
        (World(models=(model(),)), "there is no NodePool: create one that selects your nodes"),
        (
            World(
                models=(model(variants=[variant("npu", accelerator="intel-npu", backend="openvino")]),),
                pools=(pool(),),
                nodes=(node(),),
            ),
            "none of the 1 variants fits pool edge: npu: no node of pool edge has intel-npu",
        ),
    ],
)
def test_a_model_without_a_place_says_what_to_do(world: World, message: str) -> None:
    status = told(None, world=world)
    assert conditions_of(status) == {"Ready": ("False", "NoPlacement"), "Stalled": ("True", "NoPlacement")}
    assert ready(status).message == message


def test_telling_the_same_again_changes_nothing() -> None:
    first = told(site_says("Ready", ready_replicas=1))
    world = World(models=(model().with_status(first),), pools=(pool(),), nodes=(node(),))
    later = model_status(
        world.models[0],
        decision=plan(world).decisions[key_of(world.models[0])],
        world=world,
        assignments={"edge": site_says("Ready", ready_replicas=1)},
        now=datetime(2027, 1, 1, tzinfo=UTC),
    )
    assert later == first


@pytest.mark.parametrize(
    ("fields", "expected", "message"),
    [
        ({}, {"Ready": ("True", "InForce")}, "p99 of digits within 50ms"),
        (
            {"sites": {"matchNames": ["edge", "mars"]}},
            {"Ready": ("False", "SiteNotFound"), "Stalled": ("True", "SiteNotFound")},
            "no NodePool has site mars; known sites: edge",
        ),
    ],
)
def test_an_slo(fields: dict[str, Any], expected: dict[str, tuple[str, str]], message: str) -> None:
    mine = slo(**fields)
    status = slo_status(mine, world=World(models=(model(),), slos=(mine,), pools=(pool(),)), now=NOW)
    assert conditions_of(status) == expected
    assert ready(status).message == message


def test_an_slo_without_its_model() -> None:
    status = slo_status(slo("nobody"), world=World(models=(model(),)), now=NOW)
    assert conditions_of(status)["Stalled"] == ("True", "ModelNotFound")
    assert "there is no Model nobody in namespace shop" in ready(status).message


@pytest.mark.parametrize(
    ("pools", "nodes", "expected"),
    [
        ((pool(),), (node(),), {"Ready": ("True", "NodesReady")}),
        ((pool(),), (), {"Ready": ("False", "NoNode"), "Reconciling": ("True", "NoNode")}),
        (
            (pool(),),
            (node(ready=False),),
            {"Ready": ("False", "NodesNotReady"), "Reconciling": ("True", "NodesNotReady")},
        ),
        (
            (pool(), pool("all", nodeSelector={})),
            (node(),),
            {"Ready": ("False", "OverlappingNodes"), "Stalled": ("True", "OverlappingNodes")},
        ),
    ],
)
def test_conditions_of_a_pool(pools: tuple[Any, ...], nodes: tuple[Any, ...], expected: dict[str, Any]) -> None:
    assert conditions_of(pool_status(pools[0], world=World(pools=pools, nodes=nodes), now=NOW)) == expected


def test_a_pool_says_what_was_found_in_it() -> None:
    gpu = {
        "extended": {"nvidia.com/gpu": 2},
        "labels": {"nvidia.com/gpu.product": "L4", "nvidia.com/gpu.memory": "23034"},
    }
    status = pool_status(pool(), world=World(pools=(pool(),), nodes=(node("1", **gpu), node("2", **gpu))), now=NOW)
    assert (status.nodes, status.ready_nodes) == (2, 2)
    assert [(a.device_class, a.product, a.count, a.memory, a.nodes) for a in status.accelerators] == [
        ("cpu", "", 8, None, 2),
        ("nvidia-gpu", "L4", 4, "23034Mi", 2),
    ]
