"""What nobody can keep: each absurd or contradictory wish gets a plan, and is told by how much and what would help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from littoral.core.planner import RateKey, Speed, build_problem, plan
from littoral.core.world import ModelKey, World
from tests.support.objects import model, node, pool, slo, variant

DIGITS = ModelKey("shop", "digits")
CPU = variant("cpu", cpu="1")
GPU = variant("trt", accelerator="nvidia-gpu", backend="tensorrt")
EDGE = node("e", cpu=2.0)
CLOUD = node("c", pool="cloud", cpu=4.0, extended={"nvidia.com/gpu": 1})
POOLS = (pool("edge"), pool("cloud", tier="cloud"))
FAR = (pool("edge", network={"roundTrip": {"cloud": "60ms"}}), pool("cloud", tier="cloud"))


def said(
    variants: Sequence[Mapping[str, Any]],
    slos: Sequence[Any],
    *,
    demand: Mapping[tuple[ModelKey, str | None], float | None] | None = None,
    pools: Sequence[Any] = POOLS,
    nodes: Sequence[Any] = (EDGE, CLOUD),
    rates: Mapping[RateKey, Speed] | None = None,
    **spec: Any,
) -> str:
    there = World(models=(model(variants=variants, **spec),), slos=tuple(slos), pools=tuple(pools), nodes=tuple(nodes))
    decided = plan(build_problem(there, demand=demand, rates=rates))
    return decided.decisions[DIGITS].shortfall


def slow(latency: float) -> dict[RateKey, Speed]:
    return {RateKey(DIGITS, "cpu", "cpu", None): Speed(0.0, saturation=20.0, latency=latency)}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param(
            {
                "slos": [slo(overflow="Never", minAccuracy="0.9")],
                "variants": [GPU | {"accuracy": "0.95"}, CPU | {"accuracy": "0.8"}],
            },
            "it runs nowhere: LatencySLO digits-slo asks for an accuracy of 0.9, and cpu, the most accurate "
            "that pool edge can run, has 0.1 less: lower minAccuracy to 0.8, or add a variant; pool cloud "
            "could run it, but LatencySLO digits-slo has overflow: Never: allow it",
            id="accuracy that only the cloud has, but to stay",
        ),
        pytest.param(
            {
                "slos": [slo(overflow="Never"), slo(minAccuracy="0.9")],
                "variants": [GPU | {"accuracy": "0.95"}, CPU | {"accuracy": "0.8"}],
                "demand": {(DIGITS, "edge"): 5.0},
            },
            "5 of 5 requests/s at site edge are not served: LatencySLO digits-slo asks for an accuracy of "
            "0.9, and cpu, the most accurate that pool edge can run, has 0.1 less: lower minAccuracy to 0.8, "
            "or add a variant; pool cloud could run it, but LatencySLO digits-slo has overflow: Never: allow it",
            id="the same of two SLOs",
        ),
        pytest.param(
            {
                "slos": [slo(minAccuracy="0.99")],
                "variants": [GPU | {"accuracy": "0.95"}, CPU | {"accuracy": "0.8"}],
                "demand": {(DIGITS, "edge"): 5.0},
            },
            "5 of 5 requests/s at site edge are not served: LatencySLO digits-slo asks for an accuracy of "
            "0.99, and trt, the most accurate that pool cloud can run, has 0.04 less: lower minAccuracy to "
            "0.95, or add a variant",
            id="accuracy that nobody has",
        ),
        pytest.param(
            {"slos": [slo(minAccuracy="0.99")], "variants": [CPU], "demand": {(DIGITS, "edge"): 5.0}},
            "5 of 5 requests/s at site edge are not served: LatencySLO digits-slo asks for an accuracy of "
            "0.99, and no variant that pool edge can run states one: state the accuracy of cpu",
            id="accuracy that is not stated",
        ),
        pytest.param(
            {"slos": [slo(demand={"floor": "1e12"})], "variants": [CPU]},
            "1e+12 of 1e+12 requests/s at site edge are not served: 1e+11 more replicas of cpu on cpu would do",
            id="a floor beyond all there is",
        ),
        pytest.param(
            {"slos": [slo(latency="50ms")], "variants": [GPU], "pools": FAR, "demand": {(DIGITS, "edge"): 5.0}},
            "5 requests/s at site edge are served as well as can be, but not p99 within 50ms: the way to "
            "pool cloud and back alone takes 60ms, 10ms too long; a pool at the site that can run a variant, "
            "or a latency above 60ms, would do",
            id="a latency below the round trip",
        ),
        pytest.param(
            {
                "slos": [slo(latency="1ms", percentile="99.999", overflow="Never")],
                "variants": [CPU],
                "rates": slow(0.02),
                "demand": {(DIGITS, "edge"): 5.0},
            },
            "5 requests/s at site edge are served as well as can be, but not p99.999 within 1ms: the "
            "fastest, cpu in pool edge, takes 20ms at low load, 19ms too long; a latency of at least 24ms, "
            "or a variant 20 times as fast, would do",
            id="a latency below that of an idle server",
        ),
        pytest.param(
            {
                "slos": [slo(latency="1ms"), slo(latency="5ms", percentile="50")],
                "variants": [CPU],
                "rates": slow(0.02),
                "demand": {(DIGITS, "edge"): 5.0},
            },
            "5 requests/s at site edge are served as well as can be, but not p99 within 1ms: the fastest, "
            "cpu in pool cloud, takes 20ms at low load, 19ms too long; a latency of at least 24ms, or a "
            "variant 20 times as fast, would do",
            id="two latencies",
        ),
        pytest.param(
            {"slos": [], "variants": [CPU], "nodes": []},
            "it is not kept ready anywhere: no pool that its requests may go to has a node: pools edge, "
            "cloud would need one",
            id="zero nodes",
        ),
        pytest.param(
            {"slos": [], "variants": [CPU], "nodes": [], "pools": []},
            "it is not kept ready anywhere: there is no NodePool: create one that selects your nodes",
            id="zero pools",
        ),
        pytest.param(
            {"slos": [], "variants": [CPU], "nodes": [], "demand": {(DIGITS, "edge"): 5.0}},
            "5 of 5 requests/s at site edge are not served: no pool that its requests may go to has a node: "
            "pools edge, cloud would need one",
            id="zero nodes with demand",
        ),
        pytest.param(
            {"slos": [], "variants": [GPU], "nodes": [EDGE], "demand": {(DIGITS, "edge"): 5.0}},
            "5 of 5 requests/s at site edge are not served: no node of pools edge, cloud has nvidia-gpu: add "
            "a node, or a variant for what there is",
            id="no device",
        ),
        pytest.param(
            {
                "slos": [slo(overflow="Never", sites={"matchNames": ["mars"]})],
                "variants": [CPU],
                "demand": {(DIGITS, "mars"): 5.0},
            },
            "5 of 5 requests/s at site mars are not served: pool cloud could run it, but LatencySLO "
            "digits-slo has overflow: Never: allow it",
            id="to stay at a site that has no pool",
        ),
        pytest.param(
            {"slos": [], "variants": [CPU], "scaling": {"minReplicas": 9}, "demand": {(DIGITS, "edge"): 5.0}},
            "6 of the 9 replicas of scaling.minReplicas have room: devices or memory for 3 more would do",
            id="minReplicas beyond all there is",
        ),
        pytest.param(
            {"slos": [], "variants": [CPU], "scaling": {"maxReplicas": 1}, "demand": {(DIGITS, "edge"): 50.0}},
            "40 of 50 requests/s at site edge are not served: scaling.maxReplicas of 1 is reached: raise it",
            id="maxReplicas in the way",
        ),
        pytest.param(
            {"slos": [], "variants": [CPU], "pools": [pool("edge", limits={"servers": 0})]},
            "it is not kept ready at site edge: room for cpu on cpu in pool edge would do",
            id="no server allowed",
        ),
    ],
)
def test_what_is_said(asked: dict[str, Any], expected: str) -> None:
    assert said(**asked) == expected


@pytest.mark.parametrize("priorities", [(0, 0), (1_000_000, 1_000_000), (1_000_000, 0)])
def test_equal_and_extreme_priorities_are_a_total_order(priorities: tuple[int, int]) -> None:
    both = [
        model(name, namespace=f"team-{name}", variants=[GPU], priority=priority)
        for name, priority in zip(("a", "b"), priorities, strict=True)
    ]
    demand = {(ModelKey(f"team-{name}", name), None): 5.0 for name in ("a", "b")}
    there = World(models=tuple(both), pools=POOLS, nodes=(CLOUD,))
    assert [flow.model.name for flow in plan(build_problem(there, demand=demand)).flows] == ["a"]


def test_nothing_falls_short_where_nothing_is_asked() -> None:
    assert said([CPU], [], demand={(DIGITS, "edge"): 0.0}, nodes=[]) == ""
    assert said([CPU], []) == ""
