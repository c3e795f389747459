"""The planner's decisions, one by one: what runs where, how many, where requests go, and which reasons are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from littoral.api.assignment import Assignment
from littoral.api.model import ModelStatus
from littoral.core.plan import Plan, Reason
from littoral.core.planner import Memo, RateKey, Speed, Tuning, build_problem, plan
from littoral.core.world import ModelKey, World
from tests.support.objects import model, node, pool, slo, variant

GPU = variant("trt", accelerator="nvidia-gpu", backend="tensorrt")
NPU = variant("npu", accelerator="intel-npu", backend="openvino")
CPU = variant("cpu")
GPU_NODE: dict[str, Any] = {"extended": {"nvidia.com/gpu": 1}, "labels": {"nvidia.com/gpu.memory": "8192"}}
DIGITS = ModelKey("shop", "digits")
OCR = ModelKey("shop", "ocr")


def servers(decided: Plan) -> list[tuple[str, str, int, list[str]]]:
    """(pool, class, replicas, Models) of every server."""
    return [
        (name, server.accelerator, server.replicas, [served.name for served in server.models])
        for name, spec in sorted(decided.assignments.items())
        for server in spec.servers
    ]


def flows(decided: Plan, key: ModelKey = DIGITS) -> list[tuple[str | None, str, str, float]]:
    """(site, pool, variant, share) of what goes where."""
    return [(f.site, f.pool, f.variant, round(f.share, 3)) for f in decided.flows if f.model == key]


def reasons(decided: Plan, key: ModelKey = DIGITS) -> list[tuple[str, str | None, Reason]]:
    """(pool, variant, reason) of every rejection."""
    return [(r.pool, r.variant, r.reason) for r in decided.decisions[key].rejections]


def applied(decided: Plan) -> list[Assignment]:
    return [Assignment.parse({"metadata": {"name": n}, "spec": s.dump()}) for n, s in decided.assignments.items()]


def world(*models: Any, slos: Sequence[Any] = (), nodes: Sequence[Any] | None = None) -> World:
    """One edge node with a GPU, and two nodes in the cloud."""
    return World(
        models=models or (model(variants=[GPU, CPU]),),
        slos=tuple(slos),
        pools=(pool("cloud", tier="cloud"), pool("edge")),
        nodes=tuple(
            nodes if nodes is not None else (node("c1", pool="cloud"), node("c2", pool="cloud"), node("e", **GPU_NODE))
        ),
    )


def test_unknown_demand_keeps_one_replica_at_the_edge_in_the_preferred_variant() -> None:
    assert servers(plan(build_problem(world()))) == [("edge", "nvidia-gpu", 1, ["digits"])]


def test_where_no_edge_can_run_it_the_cloud_does() -> None:
    decided = plan(build_problem(world(nodes=[node("c", pool="cloud")])))
    assert servers(decided) == [("cloud", "cpu", 1, ["digits"])]
    assert ("edge", None, Reason.NO_VARIANT_FITS) in reasons(decided)


def test_replicas_follow_demand_and_rate() -> None:
    decided = plan(
        build_problem(
            world(model(variants=[CPU])),
            demand={(DIGITS, "edge"): 70.0},
            rates={RateKey(DIGITS, "cpu", "cpu", "edge"): Speed(20.0)},
        )
    )
    assert servers(decided) == [("edge", "cpu", 4, ["digits"])]
    assert flows(decided) == [("edge", "edge", "cpu", 1.0)]
    assert "4 replicas for a load of 3.5" in decided.decisions[DIGITS].placements[0].message


def test_known_to_be_idle_scales_to_zero() -> None:
    decided = plan(build_problem(world(), demand={(DIGITS, "edge"): 0.0}))
    assert servers(decided) == []
    assert reasons(decided)[-1] == ("cloud", None, Reason.NOT_NEEDED)


def test_a_floor_is_demand() -> None:
    asked = slo(demand={"floor": "30"})
    decided = plan(build_problem(world(model(variants=[CPU]), slos=[asked]), demand={(DIGITS, "edge"): 0.0}))
    assert servers(decided) == [("edge", "cpu", 3, ["digits"])]


def test_the_least_replicas_are_kept_whatever_the_load() -> None:
    kept = model(variants=[CPU], scaling={"minReplicas": 2})
    assert servers(plan(build_problem(world(kept), demand={(DIGITS, "edge"): 0.0}))) == [("edge", "cpu", 2, ["digits"])]


def test_the_least_replicas_are_for_the_more_important_before_load_is_for_others() -> None:
    high = model("high", variants=[GPU], priority=2, scaling={"minReplicas": 2})
    low = model("low", variants=[GPU], priority=1, namespace="other")
    there = [node("e", extended={"nvidia.com/gpu": 2})]
    demand = {(ModelKey("shop", "high"), "edge"): 1.0, (ModelKey("other", "low"), "edge"): 9.0}
    decided = plan(build_problem(world(high, low, nodes=there), demand=demand))
    assert servers(decided) == [("edge", "nvidia-gpu", 2, ["high"])]


def test_the_least_replicas_are_spread_over_the_sites() -> None:
    there = World(
        models=(model(variants=[CPU], scaling={"minReplicas": 3}),),
        pools=(pool("a"), pool("b"), pool("cloud", tier="cloud")),
        nodes=(node("m", pool="a"), node("n", pool="b"), node("c", pool="cloud")),
    )
    demand = {(DIGITS, "a"): 1.0, (DIGITS, "b"): 1.0}
    for whole in (0, 60):
        decided = plan(build_problem(there, demand=demand, tuning=Tuning(whole=whole)))
        assert servers(decided) == [("a", "cpu", 2, ["digits"]), ("b", "cpu", 1, ["digits"])]


@pytest.mark.parametrize("whole", [0, 60])
def test_the_least_replicas_that_have_no_room_at_the_site_are_in_the_cloud(whole: int) -> None:
    there = [node("e", cpu=1.0), node("c", pool="cloud")]
    kept = model(variants=[variant("cpu", cpu="1")], scaling={"minReplicas": 3})
    problem = build_problem(world(kept, nodes=there), demand={(DIGITS, "edge"): 1.0}, tuning=Tuning(whole=whole))
    assert servers(plan(problem)) == [("cloud", "cpu", 2, ["digits"]), ("edge", "cpu", 1, ["digits"])]


def test_the_least_replicas_never_exceed_the_most_of_a_model_on_the_same_server() -> None:
    one = model("one", variants=[CPU], scaling={"maxReplicas": 1})
    two = model("two", variants=[CPU], scaling={"minReplicas": 3})
    demand = {(ModelKey("shop", name), "edge"): 1.0 for name in ("one", "two")}
    decided = plan(build_problem(world(one, two), demand=demand))
    replicas = {key.name: sum(p.replicas for p in d.placements) for key, d in decided.decisions.items()}
    assert replicas == {"one": 1, "two": 3}


def test_what_the_edge_cannot_take_goes_to_the_cloud() -> None:
    small = [node("c", pool="cloud", cpu=8.0), node("e", cpu=1.0)]
    decided = plan(
        build_problem(world(model(variants=[variant("cpu", cpu="1")]), nodes=small), demand={(DIGITS, "edge"): 40.0})
    )
    assert flows(decided) == [("edge", "edge", "cpu", 0.25), ("edge", "cloud", "cpu", 0.75)]


def test_what_must_stay_is_rather_not_served() -> None:
    small = [node("c", pool="cloud", cpu=8.0), node("e", cpu=1.0)]
    asked = world(model(variants=[variant("cpu", cpu="1")]), slos=[slo(overflow="Never")], nodes=small)
    decided = plan(build_problem(asked, demand={(DIGITS, "edge"): 40.0}))
    assert flows(decided) == [("edge", "edge", "cpu", 0.25)]
    decision = decided.decisions[DIGITS]
    assert (decision.demand, decision.served) == (40.0, 10.0)
    assert decision.shortfall == (
        "30 of 40 requests/s at site edge are not served: 3 more replicas of cpu on cpu would do"
    )


def test_the_more_important_model_gets_the_device() -> None:
    low = model("low", variants=[GPU], priority=1, namespace="a")
    high = model("high", variants=[GPU], priority=2, namespace="b")
    demand = {(ModelKey("a", "low"), "edge"): 5.0, (ModelKey("b", "high"), "edge"): 5.0}
    decided = plan(build_problem(world(low, high), demand=demand))
    assert servers(decided) == [("edge", "nvidia-gpu", 1, ["high"])]
    assert reasons(decided, ModelKey("a", "low"))[0] == ("edge", None, Reason.DEVICES_TAKEN)


def test_a_model_with_a_choice_makes_room_for_one_without() -> None:
    both = model("both", variants=[GPU, NPU], priority=2, namespace="a")
    only = model("only", variants=[GPU], priority=1, namespace="b")
    there = [node("e", extended={"nvidia.com/gpu": 1, "npu.intel.com/accel": 1})]
    demand = {(ModelKey("a", "both"), "edge"): 5.0, (ModelKey("b", "only"), "edge"): 5.0}
    decided = plan(build_problem(world(both, only, nodes=there), demand=demand))
    assert servers(decided) == [("edge", "intel-npu", 1, ["both"]), ("edge", "nvidia-gpu", 1, ["only"])]


def test_models_of_one_namespace_share_a_server_and_its_replicas() -> None:
    decided = plan(
        build_problem(
            world(model(variants=[CPU]), model("ocr", variants=[CPU])),
            demand={(DIGITS, "edge"): 4.0, (OCR, "edge"): 5.0},
        )
    )
    assert servers(decided) == [("edge", "cpu", 1, ["digits", "ocr"])]


def test_model_sets_are_split_where_their_memory_is_too_much_for_one_device() -> None:
    large = GPU | {"memory": "5Gi"}
    there = [node("e", extended={"nvidia.com/gpu": 2}, labels={"nvidia.com/gpu.memory": "8192"})]
    decided = plan(build_problem(world(model(variants=[large]), model("ocr", variants=[large]), nodes=there)))
    assert servers(decided) == [("edge", "nvidia-gpu", 1, ["ocr"]), ("edge", "nvidia-gpu", 1, ["digits"])] or servers(
        decided
    ) == [("edge", "nvidia-gpu", 1, ["digits"]), ("edge", "nvidia-gpu", 1, ["ocr"])]
    names = [server.name for server in decided.assignments["edge"].servers]
    assert names == ["triton-edge-2-nvidia-gpu", "triton-edge-nvidia-gpu"]


def test_a_second_server_never_takes_the_name_of_another_pools_first() -> None:
    large = GPU | {"memory": "5Gi"}
    there = [node("e", extended={"nvidia.com/gpu": 2}, labels={"nvidia.com/gpu.memory": "8192"})]
    asked = World(
        models=(model(variants=[large]), model("ocr", variants=[large])),
        pools=(pool("edge"), pool("edge-2")),
        nodes=tuple(there),
    )
    names = {server.name for server in plan(build_problem(asked)).assignments["edge"].servers}
    assert names == {"triton-edge-nvidia-gpu", "triton-edge-3-nvidia-gpu"}


def test_measured_memory_outranks_what_is_stated() -> None:
    stated = GPU | {"memory": "1Gi"}
    problem = build_problem(world(model(variants=[stated, CPU])), memory={(DIGITS, "trt"): 9.0 * 2**30})
    decided = plan(problem)
    assert servers(decided) == [("edge", "cpu", 1, ["digits"])]


def test_cordoned_nodes_keep_what_they_have_and_get_nothing_new() -> None:
    before = world(model(variants=[CPU]), nodes=[node("e")])
    running = applied(plan(build_problem(before, demand={(DIGITS, "edge"): 15.0})))
    cordoned = world(model(variants=[CPU]), model("ocr", variants=[CPU]), nodes=[node("e", schedulable=False)])
    decided = plan(build_problem(cordoned, demand={(DIGITS, "edge"): 55.0, (OCR, "edge"): 5.0}, assignments=running))
    assert servers(decided) == [("edge", "cpu", 2, ["digits"])]
    assert reasons(decided, OCR)[0] == ("edge", None, Reason.NO_NODE_USABLE)


def test_an_inaccurate_variant_is_not_used_where_accuracy_is_asked_for() -> None:
    asked = slo(minAccuracy="0.8")
    there = world(model(variants=[GPU | {"accuracy": "0.7"}, CPU | {"accuracy": "0.9"}]), slos=[asked])
    decided = plan(build_problem(there))
    assert servers(decided) == [("edge", "cpu", 1, ["digits"])]
    assert ("edge", "trt", Reason.BELOW_MIN_ACCURACY) in reasons(decided)


def test_what_failed_to_load_is_not_tried_there_again() -> None:
    decided = plan(build_problem(world(), broken=frozenset({(DIGITS, "trt", "edge")})))
    assert servers(decided) == [("edge", "cpu", 1, ["digits"])]
    assert ("edge", "trt", Reason.LOAD_FAILED) in reasons(decided)


def test_an_slo_that_nobody_can_keep_is_served_as_well_as_can_be() -> None:
    asked = world(model(variants=[CPU]), slos=[slo(latency="50ms", overflow="Never")])
    rates = {RateKey(DIGITS, "cpu", "cpu", "edge"): Speed(0.0, saturation=20.0, latency=0.08)}
    decided = plan(build_problem(asked, demand={(DIGITS, "edge"): 28.0}, rates=rates))
    assert servers(decided) == [("edge", "cpu", 2, ["digits"])]
    assert decided.flows[0].late
    assert decided.decisions[DIGITS].shortfall == (
        "28 requests/s at site edge are served as well as can be, but not p99 within 50ms: the fastest, cpu in pool "
        "edge, takes 80ms at low load, 30ms too long; a latency of at least 96ms, or a variant 1.6 times as fast, "
        "would do"
    )


def test_a_round_trip_longer_than_the_slo_is_no_way_in_time() -> None:
    far = World(
        models=(model(variants=[CPU]),),
        slos=(slo(latency="50ms"),),
        pools=(pool("cloud", tier="cloud"), pool("edge", network={"roundTrip": {"cloud": "60ms"}})),
        nodes=(node("c", pool="cloud"), node("e")),
    )
    decided = plan(build_problem(far, demand={(DIGITS, "edge"): 500.0}))
    assert {flow.pool for flow in decided.flows} == {"edge"}


def test_another_edge_helps_only_where_the_pool_names_it() -> None:
    def served(trips: dict[str, str]) -> float:
        asked = World(
            models=(model(variants=[CPU]),),
            pools=(pool("a", network={"roundTrip": trips}), pool("b")),
            nodes=(node("n", pool="b"),),
        )
        return sum(f.rate for f in plan(build_problem(asked, demand={(DIGITS, "a"): 10.0, (DIGITS, "b"): 0.0})).flows)

    assert (served({}), served({"b": "5ms"})) == (0.0, 10.0)


@pytest.mark.parametrize("whole", [0, 60])
def test_a_model_that_is_idle_everywhere_stays_where_it_is(whole: int) -> None:
    names = [f"s{index}" for index in range(5)]
    there = World(
        models=(model(variants=[CPU], scaling={"minReplicas": 1}),),
        pools=tuple(pool(name) for name in names),
        nodes=tuple(node(f"n-{name}", pool=name) for name in names),
    )
    tuning = Tuning(whole=whole)
    idle: dict[tuple[ModelKey, str | None], float | None] = {(DIGITS, name): 0.0 for name in names}
    for name in names:
        busy = plan(build_problem(there, demand=idle | {(DIGITS, name): 5.0}, tuning=tuning))
        left = plan(build_problem(there, demand=idle, tuning=tuning, assignments=applied(busy)))
        assert servers(left) == servers(busy) == [(name, "cpu", 1, ["digits"])]


class TestNoSite:
    """Requests that arrive at no site."""

    def test_they_are_served_by_shared_pools(self) -> None:
        decided = plan(
            build_problem(world(model(variants=[CPU])), demand={(DIGITS, None): 20.0, (DIGITS, "edge"): 5.0})
        )
        assert flows(decided) == [(None, "cloud", "cpu", 1.0), ("edge", "edge", "cpu", 1.0)]
        assert servers(decided) == [("cloud", "cpu", 2, ["digits"]), ("edge", "cpu", 1, ["digits"])]

    def test_without_shared_pools_any_pool_serves_them(self) -> None:
        there = World(models=(model(variants=[CPU]),), pools=(pool("a"), pool("b")), nodes=(node("n", pool="b"),))
        decided = plan(build_problem(there, demand={(DIGITS, None): 15.0, (DIGITS, "b"): 0.0}))
        assert flows(decided) == [(None, "b", "cpu", 1.0)]

    def test_what_may_not_leave_its_site_is_not_brought_to_the_cloud_by_them(self) -> None:
        there = world(model(variants=[CPU]), slos=[slo(overflow="Never")])
        assert {flow.pool for flow in plan(build_problem(there, demand={(DIGITS, None): 15.0})).flows} == {"edge"}

    def test_what_is_not_served_of_them_is_said(self) -> None:
        small = world(model(variants=[variant("cpu", cpu="1")]), nodes=[node("c", pool="cloud", cpu=1.0)])
        decided = plan(build_problem(small, demand={(DIGITS, None): 30.0}))
        assert decided.decisions[DIGITS].shortfall.startswith(
            "20 of 30 requests/s that arrive at no site are not served"
        )

    @pytest.mark.parametrize("known", [{}, {(DIGITS, None): None}])
    def test_what_is_unknown_keeps_one_replica(self, known: dict[tuple[ModelKey, str | None], float | None]) -> None:
        clouds = World(
            models=(model(variants=[CPU]),), pools=(pool("cloud", tier="cloud"),), nodes=(node(pool="cloud"),)
        )
        assert servers(plan(build_problem(clouds, demand=known))) == [("cloud", "cpu", 1, ["digits"])]

    def test_known_to_be_none_needs_no_replica(self) -> None:
        clouds = World(
            models=(model(variants=[CPU]),), pools=(pool("cloud", tier="cloud"),), nodes=(node(pool="cloud"),)
        )
        assert servers(plan(build_problem(clouds, demand={(DIGITS, None): 0.0}))) == []

    def test_where_there_are_no_sites_floors_are_for_them(self) -> None:
        clouds = World(
            models=(model(variants=[CPU]),),
            slos=(slo(demand={"floor": "25"}),),
            pools=(pool("cloud", tier="cloud"),),
            nodes=(node(pool="cloud"),),
        )
        assert flows(plan(build_problem(clouds))) == [(None, "cloud", "cpu", 1.0)]
        assert servers(plan(build_problem(clouds))) == [("cloud", "cpu", 3, ["digits"])]


class TestChurn:
    """What runs goes on, unless there is a reason."""

    demand: ClassVar[dict[tuple[ModelKey, str], float | None]] = {(DIGITS, "edge"): 25.0}

    def test_a_little_less_demand_changes_nothing(self) -> None:
        first = plan(build_problem(world(model(variants=[CPU])), demand=self.demand))
        again = plan(
            build_problem(world(model(variants=[CPU])), demand={(DIGITS, "edge"): 21.0}, assignments=applied(first))
        )
        assert again.assignments == first.assignments

    @pytest.mark.parametrize(("age", "replicas"), [(10.0, 3), (1000.0, 1)])
    def test_a_server_shrinks_only_some_time_after_its_last_change(self, age: float, replicas: int) -> None:
        first = plan(build_problem(world(model(variants=[CPU])), demand=self.demand))
        ages = {("edge", "shop", "triton-edge-cpu"): age}
        problem = build_problem(
            world(model(variants=[CPU])), demand={(DIGITS, "edge"): 1.0}, assignments=applied(first), ages=ages
        )
        assert servers(plan(problem)) == [("edge", "cpu", replicas, ["digits"])]

    def test_more_demand_grows_the_server_that_is_there(self) -> None:
        first = plan(build_problem(world(), demand={(DIGITS, "edge"): 5.0}))
        name = first.assignments["edge"].servers[0].name
        again = plan(build_problem(world(), demand={(DIGITS, "edge"): 35.0}, assignments=applied(first)))
        assert name in {server.name for server in again.assignments["edge"].servers}

    @pytest.mark.parametrize("amount", [0.01, 0.05])
    def test_a_small_load_that_becomes_known_is_served_where_the_model_is(self, amount: float) -> None:
        """And when nothing is known of it any more, the Model stays there too."""
        there = world(model(variants=[GPU, CPU]), model("ocr", variants=[CPU]))
        unknown = plan(build_problem(there))
        known = plan(build_problem(there, demand={(DIGITS, "edge"): amount}, assignments=applied(unknown)))
        assert known.assignments == unknown.assignments
        back = plan(build_problem(there, assignments=applied(known)))
        assert back.assignments == unknown.assignments

    @pytest.mark.parametrize(("age", "kept"), [(10.0, ["a", "b"]), (1000.0, ["a"])])
    def test_of_two_pools_at_a_site_one_serves_a_load_that_is_small(self, age: float, kept: list[str]) -> None:
        there = World(
            models=(model(variants=[CPU]),),
            pools=(pool("a", site="s"), pool("b", site="s")),
            nodes=(node("m", pool="a"), node("n", pool="b")),
        )
        unknown = plan(build_problem(there))
        assert [name for name, *_ in servers(unknown)] == ["a", "b"]
        ages = {(name, "shop", f"triton-{name}-cpu"): age for name in ("a", "b")}
        known = plan(build_problem(there, demand={(DIGITS, "s"): 0.01}, assignments=applied(unknown), ages=ages))
        assert [name for name, *_ in servers(known)] == kept

    def test_a_memo_saves_the_parts_that_did_not_change(self) -> None:
        memo = Memo()
        here, tuning = world(), Tuning(whole=0)
        first = build_problem(here, demand=self.demand, tuning=tuning)
        decided = plan(first, memo=memo)
        kept = dict(memo.solved)
        # Statuses are written all the time, and change nothing.
        told = replace(here, models=tuple(m.with_status(ModelStatus(url="http://digits.shop")) for m in here.models))
        same = build_problem(told, demand=dict(self.demand), tuning=tuning, before=first)
        assert plan(same, memo=memo).assignments == decided.assignments
        assert memo.solved.keys() == kept.keys()
        assert all(memo.solved[key] is kept[key] for key in kept)


@pytest.mark.parametrize(
    ("amount", "rate"), [(6e82, 3e-226), (5e-324, 10.0), (1e308, float("nan")), (1e6, float("inf")), (20.0, -1.0)]
)
def test_numbers_at_the_edges_of_sense_are_harmless(amount: float, rate: float) -> None:
    rates = {RateKey(DIGITS, "cpu", "cpu", where): Speed(rate, rate) for where in ("edge", "cloud")}
    decided = plan(build_problem(world(model(variants=[CPU])), demand={(DIGITS, "edge"): amount}, rates=rates))
    assert all(0 <= flow.share <= 1 for flow in decided.flows)
    assert decided.decisions[DIGITS].rejections or decided.decisions[DIGITS].placements


def test_out_of_time_there_is_a_plan_all_the_same() -> None:
    demand = {(DIGITS, "edge"): 25.0}
    decided = plan(build_problem(world(), demand=demand), hurry=lambda: True)
    assert sum(flow.share for flow in decided.flows) == pytest.approx(1.0)
