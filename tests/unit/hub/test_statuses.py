"""What people are told about their objects."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from littoral.api.assignment import Assignment
from littoral.api.conditions import find_condition
from littoral.api.meta import Condition
from littoral.api.model import ModelStatus
from littoral.core.planner import RateKey, Speed
from littoral.core.world import ModelKey, World, key_of
from littoral.hub.statuses import model_status, pool_status, slo_status
from tests.support.objects import DIGEST, assignment, model, node, pool, server, slo, variant
from tests.support.planning import planned

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
        decision=planned(world).decisions[key_of(world.models[0])],
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
    assert placement.message == (
        "onnx-cpu is the only variant and runs on cpu: it is kept ready, since its load is unknown or small"
    )


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
        decision=planned(world).decisions[key_of(world.models[0])],
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
    world = World(models=(model(),), slos=(mine,), pools=(pool(),))
    status = slo_status(mine, world=world, decisions={}, now=NOW)
    assert conditions_of(status) == expected
    assert ready(status).message == message


@pytest.mark.parametrize(
    ("rate", "expected", "message"),
    [
        pytest.param(50.0, ("True", "EnoughCapacity"), "the plan has capacity for what is expected", id="kept"),
        pytest.param(
            0.0,
            ("False", "NotEnoughCapacity"),
            "20 requests/s at site edge are served as well as can be, but not p99 within 50ms: the fastest, "
            "onnx-cpu in pool edge, takes 80ms at low load, 30ms too long; a latency of at least 96ms, or a variant "
            "1.6 times as fast, would do",
            id="too slow",
        ),
    ],
)
def test_whether_an_slo_can_be_kept(rate: float, expected: tuple[str, str], message: str) -> None:
    mine = slo(demand={"floor": "20"})
    world = World(models=(model(),), slos=(mine,), pools=(pool(),), nodes=(node(),))
    key = RateKey(ModelKey("shop", "digits"), "onnx-cpu", "cpu", "edge")
    decisions = planned(world, rates={key: Speed(rate, 60.0, 0.08)}).decisions
    status = slo_status(mine, world=world, decisions=decisions, now=NOW)
    attainable = find_condition(status.conditions, "Attainable")
    assert attainable is not None
    assert (attainable.status, attainable.reason) == expected
    assert attainable.message == message
    assert conditions_of(status)["Ready"] == ("True", "InForce")


def test_an_idle_model_is_ready_without_a_place() -> None:
    world = World(models=(model(),), pools=(pool(),), nodes=(node(),))
    decision = planned(world, demand={(ModelKey("shop", "digits"), "edge"): 0.0}).decisions[ModelKey("shop", "digits")]
    status = model_status(world.models[0], decision=decision, world=world, assignments={}, now=NOW)
    assert conditions_of(status) == {"Ready": ("True", "Idle")}


def test_a_model_that_grows_is_ready_and_on_its_way() -> None:
    mine = slo(demand={"floor": "20"})
    world = World(models=(model(),), slos=(mine,), pools=(pool(),), nodes=(node(),))
    decision = planned(world).decisions[ModelKey("shop", "digits")]
    status = model_status(
        world.models[0],
        decision=decision,
        world=world,
        assignments={"edge": site_says("Ready", ready_replicas=1)},
        now=NOW,
        demand={"edge": 18.5, None: 1.5},
    )
    assert (status.replicas, status.ready_replicas) == (2, 1)
    assert conditions_of(status) == {"Ready": ("True", "Progressing"), "Reconciling": ("True", "Progressing")}
    assert [(it.site, it.rate) for it in status.demand] == [("edge", "18.5"), (None, "1.5")]


def test_an_slo_without_its_model() -> None:
    status = slo_status(slo("nobody"), world=World(models=(model(),)), decisions={}, now=NOW)
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


@pytest.mark.parametrize(
    ("observed", "expected", "message"),
    [
        (None, ("Unknown", "AwaitingReport"), "littoral invite store-12 prints the token with which it joins"),
        (-1, ("Unknown", "AwaitingReport"), "member store-12 has yet to report"),
        (1, ("False", "NoNode"), "no node of member store-12 has the labels"),
    ],
)
def test_a_pool_of_a_member_that_has_reported_no_node(
    observed: int | None, expected: tuple[str, str], message: str
) -> None:
    member = pool(member="store-12")
    said = None if observed is None else assignment(status={"observedGeneration": observed})
    # A node of the hub's own cluster with the labels is none of the pool's.
    status = pool_status(member, world=World(pools=(member,), nodes=(node(),)), now=NOW, assignment=said)
    assert conditions_of(status) == {"Ready": expected, "Reconciling": ("True", expected[1])}
    assert message in ready(status).message
    assert status.nodes == 0


def test_nodes_of_one_name_in_two_clusters_do_not_overlap() -> None:
    anywhere = {"matchLabels": {"gpu": "yes"}}
    pools = (pool("here", nodeSelector=anywhere), pool("there", nodeSelector=anywhere, member="store-12"))
    nodes = tuple(node("n1", pool="x", labels={"gpu": "yes"}, member=member) for member in (None, "store-12"))
    said = assignment("there", status={"observedGeneration": 1})
    for each in pools:
        status = pool_status(each, world=World(pools=pools, nodes=nodes), now=NOW, assignment=said)
        assert conditions_of(status) == {"Ready": ("True", "NodesReady")}
        assert status.nodes == 1


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


def two_places(*unreachable: str) -> World:
    """A store that is a member, and a cloud; the Model is in both."""
    since = datetime(2026, 11, 28, 18, tzinfo=UTC)
    return World(
        models=(model(),),
        slos=(slo(),),
        pools=(pool("store", member="store-12"), pool("cloud", tier="cloud", gateway={"address": "c.example:1"})),
        nodes=(node("c", pool="cloud"), node("n", pool="store", member="store-12")),
        unreachable=dict.fromkeys(unreachable, since),
    )


def running(pool: str, *, state: str = "Ready", ready_replicas: int = 1, digest: str = DIGEST) -> Assignment:
    served = server("digits", pool=pool)
    served["models"][0]["artifact"]["digest"] = digest
    said = {
        "name": "digits",
        "variant": "onnx-cpu",
        "digest": digest,
        "state": state,
        "readyReplicas": ready_replicas,
        "message": "" if state == "Ready" else "as it was",
    }
    report = {"name": served["name"], "namespace": "shop", "models": [said]}
    return assignment(pool, servers=[served], status={"observedGeneration": 3, "servers": [report]})


UNHEARD = "member store-12 has not been heard of since 2026-11-28T18:00:00Z; what runs there goes on"


@pytest.mark.parametrize(
    ("places", "expected", "message"),
    [
        pytest.param(
            [running("store"), running("cloud")],
            {"Ready": ("True", "Serving")},
            f"serves in cloud (onnx-cpu); {UNHEARD}",
            id="another place serves",
        ),
        pytest.param(
            [running("store"), running("cloud", state="Loading", ready_replicas=0)],
            {"Ready": ("False", "Progressing"), "Reconciling": ("True", "Progressing")},
            "cloud: Loading: as it was",
            id="another place is on its way",
        ),
        pytest.param(
            [running("store", state="Failed", ready_replicas=0), running("cloud")],
            {"Ready": ("True", "Serving")},
            f"serves in cloud (onnx-cpu); {UNHEARD}",
            id="what had failed there may be well",
        ),
    ],
)
def test_a_model_one_of_whose_places_is_not_heard_of(
    places: list[Assignment], expected: dict[str, tuple[str, str]], message: str
) -> None:
    world = two_places("store-12")
    decided = planned(world, assignments=places)
    status = model_status(
        world.models[0],
        decision=decided.decisions[key_of(world.models[0])],
        world=world,
        assignments={it.name: it for it in places},
        now=NOW,
    )
    assert conditions_of(status) == expected
    assert ready(status).message == message
    there = next(it for it in status.placements if it.pool == "store")
    assert (there.reason, there.replicas) == ("MemberUnreachable", 1)
    assert there.message.startswith(UNHEARD)
    assert status.placed == f"{sum(it.ready_replicas > 0 for it in status.placements)}/2"


@pytest.mark.parametrize("state", ["Ready", "Failed", "Loading"])
def test_a_model_that_is_only_where_nobody_hears_of_it(state: str) -> None:
    """Nobody knows whether it is ready; and what it is there is the artifact that it had."""
    world = replace(two_places("store-12"), slos=(slo(overflow="Never"),))
    place = running("store", state=state, ready_replicas=int(state == "Ready"), digest="sha256:" + "f" * 64)
    decision = planned(world, assignments=[place]).decisions[key_of(world.models[0])]
    status = model_status(world.models[0], decision=decision, world=world, assignments={"store": place}, now=NOW)
    assert conditions_of(status) == {"Ready": ("Unknown", "MemberUnreachable")}
    assert ready(status).message == UNHEARD
    (there,) = status.placements
    assert (there.state, there.ready_replicas) == (state, int(state == "Ready"))


def test_a_pool_whose_member_is_not_heard_of() -> None:
    world = two_places("store-12")
    status = pool_status(world.pools[0], world=world, now=NOW, assignment=running("store"))
    assert conditions_of(status) == {"Ready": ("Unknown", "MemberUnreachable")}
    assert ready(status).message == UNHEARD
    # As it was reported last.
    assert (status.nodes, status.ready_nodes, status.devices) == (1, 1, "4 cpu")
    assert status.unreachable_since == datetime(2026, 11, 28, 18, tzinfo=UTC)
    assert type(status).parse(status.dump()) == status
    other = pool_status(world.pools[1], world=world, now=NOW)
    assert other.unreachable_since is None
    assert conditions_of(other) == {"Ready": ("True", "NodesReady")}
    # It is back.
    member = world.pools[0].with_status(status)
    back = pool_status(member, world=two_places(), now=NOW, assignment=running("store"))
    assert conditions_of(back) == {"Ready": ("True", "NodesReady")}
    assert back.unreachable_since is None
