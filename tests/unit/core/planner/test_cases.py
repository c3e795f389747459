"""What people expect of a plan in small worlds, one by one: variants, importance, limits, SLOs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from littoral.core.plan import Plan, Reason
from littoral.core.world import ModelKey, World
from tests.support.objects import assignment, model, node, pool, server, slo, variant
from tests.support.planning import planned

GPU = variant("trt", accelerator="nvidia-gpu", backend="tensorrt")
NPU = variant("npu", accelerator="intel-npu", backend="openvino")
CPU = variant("cpu")
LARGE = {"key": "nvidia.com/gpu.memory", "operator": "Gt", "values": ["9000"]}
GPU_NODE: dict[str, Any] = {"extended": {"nvidia.com/gpu": 1}, "labels": {"nvidia.com/gpu.memory": "8192"}}


def placed(decided: Plan, name: str = "digits", *, namespace: str = "shop") -> list[tuple[str, str]]:
    """(pool, variant) of every placement, in the planner's order."""
    return [(p.pool, p.variant) for p in decided.decisions[ModelKey(namespace, name)].placements]


def reasons(decided: Plan, name: str = "digits", *, namespace: str = "shop") -> list[tuple[str, str | None, Reason]]:
    """(pool, variant, reason) of every rejection."""
    return [(r.pool, r.variant, r.reason) for r in decided.decisions[ModelKey(namespace, name)].rejections]


def test_models_of_one_namespace_share_a_server_and_others_do_not() -> None:
    world = World(models=(model("a"), model("b"), model("c", namespace="factory")), pools=(pool(),), nodes=(node(),))
    servers = planned(world).assignments["edge"].servers
    assert [(s.namespace, s.name, [m.name for m in s.models]) for s in servers] == [
        ("factory", "triton-edge-cpu", ["c"]),
        ("shop", "triton-edge-cpu", ["a", "b"]),
    ]


@pytest.mark.parametrize(("accuracy", "expected"), [("0.80", "cpu"), ("0.75", "cpu"), ("0.74", None), (None, None)])
def test_the_least_accuracy(accuracy: str | None, expected: str | None) -> None:
    world = World(
        models=(model(variants=[CPU | ({"accuracy": accuracy} if accuracy else {})]),),
        slos=(slo(minAccuracy="0.75"),),
        pools=(pool(),),
        nodes=(node(),),
    )
    decided = planned(world)
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
    assignments = planned(world).assignments
    assert {n: s.servers[0].replicas for n, s in assignments.items() if s.servers} == expected


def test_replicas_never_exceed_the_devices() -> None:
    world = World(
        models=(model(variants=[GPU], scaling={"minReplicas": 5}),), pools=(pool(),), nodes=(node(**GPU_NODE),)
    )
    assert planned(world).assignments["edge"].servers[0].replicas == 1


def test_a_node_belongs_to_the_first_pool_by_name() -> None:
    world = World(
        models=(model(),),
        pools=(pool("b", nodeSelector={}), pool("a", nodeSelector={})),
        nodes=(node("n"),),
    )
    assert placed(planned(world)) == [("a", "onnx-cpu")]


def test_servers_are_told_which_signature_to_check() -> None:
    signed = model(verification={"publicKeySecretRef": {"name": "release-key"}})
    decided = planned(World(models=(signed, model("plain")), pools=(pool(),), nodes=(node(),)))
    (only,) = decided.assignments["edge"].servers
    assert [(it.name, it.verification) for it in only.models] == [
        ("digits", signed.spec.verification),
        ("plain", None),
    ]


def test_an_empty_world_has_an_empty_plan() -> None:
    assert planned(World()) == Plan(assignments={}, decisions={})


@pytest.mark.parametrize(
    ("variants", "fields", "expected", "rejected"),
    [
        pytest.param([GPU, CPU], GPU_NODE, "trt", [], id="the first variant where its device is"),
        pytest.param([GPU, CPU], {}, "cpu", [("trt", Reason.NO_DEVICE)], id="the next one where it is not"),
        pytest.param([CPU, GPU], GPU_NODE, "cpu", [], id="order is preference, not power"),
        pytest.param(
            [GPU | {"nodeSelector": {"matchExpressions": [LARGE]}}, CPU],
            GPU_NODE,
            "cpu",
            [("trt", Reason.NO_DEVICE)],
            id="a device that the variant's nodeSelector refuses",
        ),
        pytest.param(
            [CPU | {"cpu": "5"}, NPU],
            {},
            None,
            [("npu", Reason.NO_DEVICE), (None, Reason.INSUFFICIENT_CPU)],
            id="nothing fits",
        ),
        pytest.param([CPU | {"memory": "9Gi"}], {}, None, [(None, Reason.INSUFFICIENT_MEMORY)], id="too little memory"),
        pytest.param(
            [CPU | {"backend": "tensorrt"}],
            {},
            None,
            [("cpu", Reason.UNSUPPORTED_BACKEND), (None, Reason.NO_VARIANT_FITS)],
            id="a backend that cannot drive the class",
        ),
    ],
)
def test_the_variant_for_a_pool(
    variants: Sequence[dict[str, Any]],
    fields: dict[str, Any],
    expected: str | None,
    rejected: list[tuple[str | None, Reason]],
) -> None:
    decided = planned(World(models=(model(variants=variants),), pools=(pool(),), nodes=(node(**fields),)))
    assert placed(decided) == ([("edge", expected)] if expected else [])
    assert [(v, reason) for _, v, reason in reasons(decided)] == rejected


def test_too_little_device_memory_makes_it_the_next_variant() -> None:
    variants = [GPU | {"memory": "9Gi"}, CPU]
    decided = planned(World(models=(model(variants=variants),), pools=(pool(),), nodes=(node(**GPU_NODE),)))
    assert placed(decided) == [("edge", "cpu")]


@pytest.mark.parametrize("fields", [{"ready": False}, {"schedulable": False}])
def test_a_node_that_takes_nothing_new_keeps_what_runs_there(fields: dict[str, Any]) -> None:
    world = World(models=(model(),), pools=(pool(),), nodes=(node(**fields),))
    assert reasons(planned(world)) == [("edge", None, Reason.NO_NODE_USABLE)]
    running = assignment("edge", servers=[server("digits")])
    assert placed(planned(world, assignments=[running])) == [("edge", "onnx-cpu")]


def test_the_last_device_goes_to_the_most_important_model() -> None:
    modest = model("modest", namespace="a", variants=[GPU, CPU], priority=10)
    urgent = model("urgent", namespace="b", variants=[GPU, CPU], priority=500)
    decided = planned(World(models=(modest, urgent), pools=(pool(),), nodes=(node(**GPU_NODE),)))
    assert placed(decided, "urgent", namespace="b") == [("edge", "trt")]
    assert placed(decided, "modest", namespace="a") == [("edge", "cpu")]


def test_limits_of_a_pool_are_kept() -> None:
    models = (model("a", namespace="a", priority=2), model("b", namespace="b", priority=1))
    decided = planned(World(models=models, pools=(pool(limits={"servers": 1}),), nodes=(node(),)))
    assert placed(decided, "a", namespace="a") == [("edge", "onnx-cpu")]
    assert reasons(decided, "b", namespace="b") == [("edge", None, Reason.POOL_FULL)]


@pytest.mark.parametrize(
    ("slos", "expected", "rejected"),
    [
        ([{}], {"here", "there"}, []),
        ([{"overflow": "Never"}], {"here", "there"}, [("cloud", None, Reason.STAYS_AT_SITE)]),
        ([{"sites": {"matchNames": ["here"]}}], {"here"}, [("there", None, Reason.SITE_NOT_SELECTED)]),
    ],
)
def test_where_slos_let_a_model_run(slos: Sequence[dict[str, Any]], expected: set[str], rejected: list[Any]) -> None:
    world = World(
        models=(model(),),
        slos=tuple(slo(**fields) for fields in slos),
        pools=(pool("here"), pool("there"), pool("cloud", tier="cloud")),
        nodes=tuple(node(name, pool=name) for name in ("here", "there", "cloud")),
    )
    decided = planned(world)
    assert {name for name, _ in placed(decided)} - {"cloud"} == expected
    assert set(rejected) <= set(reasons(decided))
    assert {name for name, _, _ in rejected}.isdisjoint(name for name, _ in placed(decided))


def test_variants_that_no_node_can_run_together_get_servers_of_their_own() -> None:
    models = tuple(
        model(name, variants=[CPU | {"nodeSelector": {"matchLabels": {"product": name}}}]) for name in ("a", "b")
    )
    nodes = tuple(node(name, labels={"product": name}) for name in ("a", "b"))
    servers = planned(World(models=models, pools=(pool(),), nodes=nodes)).assignments["edge"].servers
    assert sorted(served.name for each in servers for served in each.models) == ["a", "b"]
    assert len(servers) == 2


@pytest.mark.parametrize(
    ("preferred", "expected"),
    [
        pytest.param({}, Reason.DEVICES_TAKEN, id="somebody more important has the device"),
        pytest.param({"memory": "9Gi"}, Reason.INSUFFICIENT_MEMORY, id="the device is too small"),
        pytest.param({"accelerator": "intel-npu", "backend": "openvino"}, Reason.NO_DEVICE, id="there is none"),
    ],
)
def test_why_a_preferred_variant_is_not_the_one(preferred: dict[str, Any], expected: Reason) -> None:
    world = World(
        models=(
            model("first", namespace="other", priority=900, variants=[GPU]),
            model("digits", variants=[GPU | preferred, CPU]),
        ),
        pools=(pool(),),
        nodes=(node(**GPU_NODE),),
    )
    decided = planned(world)
    assert placed(decided) == [("edge", "cpu")]
    assert reasons(decided) == [("edge", "trt", expected)]


def test_a_preferred_variant_that_costs_more_says_so() -> None:
    dear: dict[str, Any] = {
        "accelerators": [{"class": "nvidia-gpu", "costPerHour": "9"}, {"class": "cpu", "costPerHour": "0.1"}]
    }
    world = World(
        models=(model(variants=[GPU, CPU]),),
        slos=(slo(demand={"floor": "5"}),),
        pools=(pool(**dear),),
        nodes=(node(**GPU_NODE),),
    )
    decided = planned(world)
    assert placed(decided) == [("edge", "cpu")]
    assert reasons(decided) == [("edge", "trt", Reason.NOT_NEEDED)]


def test_a_site_is_told_of_its_cache_and_bandwidth() -> None:
    world = World(pools=(pool(cache={"quota": "40Gi"}, network={"bandwidth": "2Mi"}),), nodes=(node(),))
    spec = planned(world).assignments["edge"]
    assert (spec.cache_quota, spec.bandwidth) == ("40Gi", "2Mi")


def test_an_idle_device_is_not_left_for_a_cpu_server_that_is_there_anyway() -> None:
    """To give the NPU up would save a server at the edge, and be against the Model's own order."""
    world = World(
        models=(model("digits", variants=[NPU, CPU]), model("other", variants=[CPU])),
        pools=(pool(),),
        nodes=(node(extended={"npu.intel.com/accel": 1}),),
    )
    demand = {(ModelKey("shop", name), "edge"): 1.0 for name in ("digits", "other")}
    assert placed(planned(world, demand=demand)) == [("edge", "npu")]


@pytest.mark.parametrize(("cores", "expected"), [(1.0, 1), (1.9, 2), (4.0, 4)])
def test_a_server_on_the_cpu_has_no_more_replicas_on_a_node_than_it_has_cores(cores: float, expected: int) -> None:
    """They would take the cores from each other, look slower, and so ask for even more of them."""
    world = World(models=(model(variants=[CPU | {"cpu": "10m"}]),), pools=(pool(),), nodes=(node(cpu=cores),))
    decided = planned(world, demand={(ModelKey("shop", "digits"), "edge"): 1000.0})
    assert sum(it.replicas for it in decided.decisions[ModelKey("shop", "digits")].placements) == expected
    assert "are not served" in decided.decisions[ModelKey("shop", "digits")].shortfall


def test_a_server_without_room_for_more_replicas_takes_nobody_in_that_it_cannot_serve() -> None:
    """The other Model gets a server of its own, however much the more important one asks for."""
    world = World(
        models=(model("first", priority=900), model("other")),
        pools=(pool(),),
        nodes=(node(cpu=2.0),),
    )
    demand = {(ModelKey("shop", "first"), "edge"): 500.0, (ModelKey("shop", "other"), "edge"): 1.0}
    decided = planned(world, demand=demand)
    assert placed(decided, "other") == [("edge", "onnx-cpu")]
    assert not decided.decisions[ModelKey("shop", "other")].shortfall


def test_a_dear_replica_elsewhere_keeps_no_idle_one() -> None:
    """Hysteresis is a share of all that is planned together: what only shrinks needs none."""
    world = World(
        models=(model("digits"), model("standing-by")),
        slos=(slo("standing-by"),),
        pools=(pool(), pool("cloud", tier="cloud", accelerators=[{"class": "cpu", "costPerHour": "10"}])),
        nodes=(node(), node("c", pool="cloud")),
    )
    current = [assignment("edge", servers=[server("digits", "standing-by") | {"replicas": 3}])]
    demand = {(ModelKey("shop", "digits"), "edge"): 5.0}
    (only,) = planned(world, demand=demand, assignments=current).assignments["edge"].servers
    assert only.replicas == 1
