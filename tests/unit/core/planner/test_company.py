"""Models whose budgets cannot be kept on one server: which way out is taken."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from littoral.core.capacity import BatchTime, max_rate
from littoral.core.capacity.sharing import Tenant, fits
from littoral.core.plan import Plan
from littoral.core.planner import Memo, RateKey, Service, Speed, build_problem, plan
from littoral.core.world import ModelKey, World
from tests.support.objects import model, node, pool, variant

SHORT = Service(batch_time=BatchTime(base=0.002, per_item=0.0005), max_batch=8, percentile=99.0, budget=0.006)
LONG = Service(batch_time=BatchTime(base=0.010, per_item=0.010), max_batch=4, percentile=99.0, budget=0.3)
HOPELESS = Service(batch_time=LONG.batch_time, max_batch=4, percentile=99.0, budget=0.005)
GPU = variant("trt", accelerator="nvidia-gpu", backend="tensorrt")
A, B = ModelKey("shop", "a"), ModelKey("shop", "b")


def speed(service: Service) -> Speed:
    rate = max_rate(
        batch_time=service.batch_time, max_batch=service.max_batch, percentile=service.percentile, budget=service.budget
    )
    return Speed(rate, service.batch_time.throughput(service.max_batch), service=service)


def decided(
    services: dict[ModelKey, Service], amounts: dict[ModelKey, float], *, gpus: int, cloud: int = 0, **fields: Any
) -> Plan:
    priorities = {A: 2, B: 1} | fields.get("priorities", {})
    world = World(
        models=tuple(model(key.name, variants=[GPU], priority=priorities[key]) for key in services),
        pools=(pool("edge"), pool("cloud", tier="cloud")),
        nodes=(
            node("e", cpu=16.0, extended={"nvidia.com/gpu": gpus}),
            node("c", pool="cloud", cpu=16.0, extended={"nvidia.com/gpu": cloud}),
        ),
    )
    rates = {RateKey(key, "trt", "nvidia-gpu", None): speed(service) for key, service in services.items()}
    demand = {(key, "edge"): amount for key, amount in amounts.items()}
    return plan(build_problem(world, demand=demand, rates=rates), memo=Memo())


def sets(found: Plan) -> list[tuple[str, int, list[str]]]:
    """(pool, replicas, Models) of every server."""
    return sorted(
        (name, server.replicas, [served.name for served in server.models])
        for name, spec in found.assignments.items()
        for server in spec.servers
    )


def test_those_whose_budgets_allow_it_share() -> None:
    found = decided({A: SHORT, B: SHORT}, {A: 1.0, B: 1.0}, gpus=2)
    assert sets(found) == [("edge", 1, ["a", "b"])]


def test_those_whose_budgets_do_not_get_a_server_each() -> None:
    amounts = {A: 20.0, B: 8.0}
    found = decided({A: SHORT, B: LONG}, amounts, gpus=2)
    assert sum(amount / speed(s).rate for amount, s in zip(amounts.values(), (SHORT, LONG), strict=True)) < 1
    assert sets(found) == [("edge", 1, ["a"]), ("edge", 1, ["b"])]


def test_without_a_second_device_the_less_important_goes_to_the_cloud() -> None:
    found = decided({A: SHORT, B: LONG}, {A: 20.0, B: 8.0}, gpus=1, cloud=1)
    assert sets(found) == [("cloud", 1, ["b"]), ("edge", 1, ["a"])]


def tenant(service: Service, found: Plan, key: ModelKey, *, late: bool = False) -> Tenant:
    return Tenant(
        batch_time=service.batch_time,
        max_batch=service.max_batch,
        rate=sum(flow.rate for flow in found.flows if flow.model == key),
        percentile=service.percentile,
        budget=math.inf if late else service.budget,
    )


@pytest.mark.parametrize("other", [LONG, HOPELESS])
def test_without_any_room_the_less_important_is_served_as_far_as_no_budget_is_broken(other: Service) -> None:
    """Whether it is in time itself or not."""
    found = decided({A: SHORT, B: other}, {A: 20.0, B: 8.0}, gpus=1)
    short, long = tenant(SHORT, found, A), tenant(other, found, B, late=other is HOPELESS)
    assert short.rate == 20.0
    assert 0 < long.rate < 8.0
    assert fits([short, long])
    assert not fits([short, replace(long, rate=1.1 * long.rate)])
    assert "of 8 requests/s at site edge are not served" in found.decisions[B].shortfall


def test_what_is_late_anyway_gets_a_server_of_its_own() -> None:
    found = decided({A: SHORT, B: HOPELESS}, {A: 20.0, B: 8.0}, gpus=2)
    assert sets(found) == [("edge", 1, ["a"]), ("edge", 1, ["b"])]
    assert {(flow.model, flow.late) for flow in found.flows} == {(A, False), (B, True)}


def test_what_makes_no_sense_is_as_if_it_were_unknown() -> None:
    odd = Service(batch_time=SHORT.batch_time, max_batch=0, percentile=0.0, budget=float("nan"))
    rates = {RateKey(key, "trt", "nvidia-gpu", None): Speed(50.0, 80.0, service=odd) for key in (A, B)}
    world = World(
        models=tuple(model(key.name, variants=[GPU]) for key in (A, B)),
        pools=(pool("edge"),),
        nodes=(node("e", extended={"nvidia.com/gpu": 1}),),
    )
    found = plan(build_problem(world, demand={(A, "edge"): 20.0, (B, "edge"): 20.0}, rates=rates))
    assert sets(found) == [("edge", 1, ["a", "b"])]
