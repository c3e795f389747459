"""The planner's decisions, one by one: what runs where, and which reason is given for what does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from littoral.core.plan import Plan, Reason
from littoral.core.planner import plan
from littoral.core.world import ModelKey, World
from tests.support.objects import model, node, pool, slo, variant

GPU = variant("trt", accelerator="nvidia-gpu", backend="tensorrt")
NPU = variant("npu", accelerator="intel-npu", backend="openvino")
CPU = variant("cpu")
LARGE = {"key": "nvidia.com/gpu.memory", "operator": "Gt", "values": ["9000"]}
GPU_NODE = {"extended": {"nvidia.com/gpu": 1}, "labels": {"nvidia.com/gpu.memory": "8192"}}


def placed(decided: Plan, name: str = "digits", *, namespace: str = "shop") -> list[tuple[str, str]]:
    """(pool, variant) of every placement, in the planner's order."""
    return [(p.pool, p.variant) for p in decided.decisions[ModelKey(namespace, name)].placements]


def reasons(decided: Plan, name: str = "digits", *, namespace: str = "shop") -> list[tuple[str, str | None, Reason]]:
    """(pool, variant, reason) of every rejection."""
    return [(r.pool, r.variant, r.reason) for r in decided.decisions[ModelKey(namespace, name)].rejections]


def test_a_model_runs_in_every_pool_that_can_run_it_the_edge_first() -> None:
    world = World(
        models=(model(variants=[CPU]),),
        pools=(pool("cloud", tier="cloud"), pool("edge")),
        nodes=(node("c", pool="cloud"), node("e")),
    )
    assert placed(plan(world)) == [("edge", "cpu"), ("cloud", "cpu")]


@pytest.mark.parametrize(
    ("variants", "nodes", "expected", "rejected"),
    [
        pytest.param([GPU, CPU], [GPU_NODE], "trt", [], id="the first variant where its device is"),
        pytest.param([GPU, CPU], [{}], "cpu", [("trt", Reason.NO_DEVICE)], id="the next one where it is not"),
        pytest.param([CPU, GPU], [GPU_NODE], "cpu", [], id="order is preference, not power"),
        pytest.param(
            [GPU | {"nodeSelector": {"matchExpressions": [LARGE]}}, CPU],
            [GPU_NODE],
            "cpu",
            [("trt", Reason.NO_DEVICE)],
            id="a device that the variant's nodeSelector refuses",
        ),
        pytest.param(
            [GPU | {"memory": "9Gi"}, CPU],
            [GPU_NODE],
            "cpu",
            [("trt", Reason.INSUFFICIENT_MEMORY)],
            id="too little device memory",
        ),
        pytest.param(
            [CPU | {"cpu": "5"}, NPU],
            [{}],
            None,
            [("cpu", Reason.INSUFFICIENT_CPU), ("npu", Reason.NO_DEVICE), (None, Reason.NO_VARIANT_FITS)],
            id="nothing fits",
        ),
        pytest.param(
            [CPU | {"memory": "9Gi"}],
            [{}],
            None,
            [("cpu", Reason.INSUFFICIENT_MEMORY), (None, Reason.NO_VARIANT_FITS)],
            id="too little memory",
        ),
        pytest.param(
            [CPU | {"backend": "tensorrt"}],
            [{}],
            None,
            [("cpu", Reason.UNSUPPORTED_BACKEND), (None, Reason.NO_VARIANT_FITS)],
            id="a backend that cannot drive the class",
        ),
        pytest.param(
            [CPU], [], None, [("cpu", Reason.NO_NODE), (None, Reason.NO_VARIANT_FITS)], id="a pool without nodes"
        ),
        pytest.param([CPU], [{"ready": False}], "cpu", [], id="a node whose link is down keeps what it has"),
        pytest.param([CPU], [{"schedulable": False}], "cpu", [], id="a cordoned node keeps what it has"),
    ],
)
def test_the_variant_for_a_pool(
    variants: Sequence[dict[str, Any]],
    nodes: Sequence[dict[str, Any]],
    expected: str | None,
    rejected: list[tuple[str | None, Reason]],
) -> None:
    world = World(
        models=(model(variants=variants),),
        pools=(pool(),),
        nodes=tuple(node(f"n{index}", **dict(fields)) for index, fields in enumerate(nodes)),
    )
    decided = plan(world)
    assert placed(decided) == ([("edge", expected)] if expected else [])
    assert [(v, reason) for _, v, reason in reasons(decided)] == rejected


def test_models_of_one_namespace_share_a_server_and_others_do_not() -> None:
    world = World(models=(model("a"), model("b"), model("c", namespace="factory")), pools=(pool(),), nodes=(node(),))
    servers = plan(world).assignments["edge"].servers
    assert [(s.namespace, s.name, [m.name for m in s.models]) for s in servers] == [
        ("factory", "triton-edge-cpu", ["c"]),
        ("shop", "triton-edge-cpu", ["a", "b"]),
    ]


def test_the_last_device_goes_to_the_most_important_model() -> None:
    world = World(
        models=(
            model("modest", namespace="a", variants=[GPU, CPU], priority=10),
            model("urgent", namespace="b", variants=[GPU, CPU], priority=500),
        ),
        pools=(pool(),),
        nodes=(node(**GPU_NODE),),
    )
    decided = plan(world)
    assert placed(decided, "urgent", namespace="b") == [("edge", "trt")]
    assert placed(decided, "modest", namespace="a") == [("edge", "cpu")]
    assert reasons(decided, "modest", namespace="a") == [("edge", "trt", Reason.DEVICES_TAKEN)]


def test_limits_of_a_pool_are_kept() -> None:
    world = World(
        models=(model("a", namespace="a", priority=2), model("b", namespace="b", priority=1)),
        pools=(pool(limits={"servers": 1}),),
        nodes=(node(),),
    )
    decided = plan(world)
    assert placed(decided, "a", namespace="a") == [("edge", "onnx-cpu")]
    assert reasons(decided, "b", namespace="b")[0] == ("edge", "onnx-cpu", Reason.POOL_FULL)


@pytest.mark.parametrize(
    ("slos", "expected", "rejected"),
    [
        pytest.param([{}], ["here", "there", "cloud"], [], id="no sites named: all"),
        pytest.param(
            [{"sites": {"matchNames": ["here"]}}],
            ["here", "cloud"],
            [("there", Reason.SITE_NOT_SELECTED)],
            id="one site",
        ),
        pytest.param(
            [{"overflow": "Never"}], ["here", "there"], [("cloud", Reason.STAYS_AT_SITE)], id="data stays at its site"
        ),
        pytest.param(
            [{"overflow": "Never", "sites": {"matchNames": ["here"]}}, {"sites": {"matchNames": ["there"]}}],
            ["here", "there", "cloud"],
            [],
            id="another SLO of the Model may overflow",
        ),
    ],
)
def test_where_slos_let_a_model_run(
    slos: Sequence[dict[str, Any]], expected: list[str], rejected: list[tuple[str, Reason]]
) -> None:
    world = World(
        models=(model(),),
        slos=tuple(slo(**fields) for fields in slos),
        pools=(pool("here"), pool("there"), pool("cloud", tier="cloud")),
        nodes=tuple(node(name, pool=name) for name in ("here", "there", "cloud")),
    )
    decided = plan(world)
    assert [name for name, _ in placed(decided)] == expected
    assert [(name, reason) for name, _, reason in reasons(decided)] == rejected


@pytest.mark.parametrize(("accuracy", "expected"), [("0.80", "cpu"), ("0.75", "cpu"), ("0.74", None), (None, None)])
def test_the_least_accuracy(accuracy: str | None, expected: str | None) -> None:
    world = World(
        models=(model(variants=[CPU | ({"accuracy": accuracy} if accuracy else {})]),),
        slos=(slo(minAccuracy="0.75"),),
        pools=(pool(),),
        nodes=(node(),),
    )
    decided = plan(world)
    assert placed(decided) == ([("edge", expected)] if expected else [])
    if expected is None:
        assert reasons(decided)[0] == ("edge", "cpu", Reason.BELOW_MIN_ACCURACY)


@pytest.mark.parametrize(
    ("least", "most", "expected"),
    [
        (0, 20, {"here": 1, "there": 1}),
        (2, 20, {"here": 1, "there": 1}),
        (3, 20, {"here": 2, "there": 1}),
        (5, 20, {"here": 3, "there": 2}),
        (1, 1, {"here": 1}),
    ],
)
def test_replicas(least: int, most: int, expected: dict[str, int]) -> None:
    world = World(
        models=(model(scaling={"minReplicas": least, "maxReplicas": most}),),
        pools=(pool("here"), pool("there")),
        nodes=(node("h", pool="here"), node("t", pool="there")),
    )
    assignments = plan(world).assignments
    assert {n: s.servers[0].replicas for n, s in assignments.items() if s.servers} == expected


def test_replicas_never_exceed_the_devices() -> None:
    world = World(
        models=(model(variants=[GPU], scaling={"minReplicas": 5}),), pools=(pool(),), nodes=(node(**GPU_NODE),)
    )
    assert plan(world).assignments["edge"].servers[0].replicas == 1


def test_a_server_needs_a_node_that_suits_all_its_models() -> None:
    def of(name: str, product: str) -> Any:
        selector = {"matchLabels": {"product": product}}
        return model(name, variants=[CPU | {"nodeSelector": selector}])

    world = World(
        models=(of("a", "x"), of("b", "y")),
        pools=(pool(),),
        nodes=(node("1", labels={"product": "x"}), node("2", labels={"product": "y"})),
    )
    decided = plan(world)
    assert placed(decided, "a") == [("edge", "cpu")]
    assert reasons(decided, "b")[0] == ("edge", "cpu", Reason.CONFLICTING_NODE_SELECTORS)
    selector = decided.assignments["edge"].servers[0].node_selector
    assert selector is not None
    assert selector.match_labels == {"product": "x"}


def test_a_node_belongs_to_the_first_pool_by_name() -> None:
    world = World(
        models=(model(),),
        pools=(pool("b", nodeSelector={}), pool("a", nodeSelector={})),
        nodes=(node("n"),),
    )
    assert placed(plan(world)) == [("a", "onnx-cpu")]


def test_a_signature_that_nobody_can_check_keeps_a_model_out() -> None:
    signed = model(verification={"publicKeySecretRef": {"name": "release-key"}})
    decided = plan(World(models=(signed,), pools=(pool(),), nodes=(node(),)))
    assert placed(decided) == []
    assert reasons(decided) == [("edge", None, Reason.SIGNATURE_UNSUPPORTED)]


def test_an_empty_world_has_an_empty_plan() -> None:
    assert plan(World()) == Plan(assignments={}, decisions={})
