"""What is planned while members are not heard of: nothing of theirs, and for what they may send on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from littoral.api.assignment import Assignment
from littoral.core.plan import Plan, Reason
from littoral.core.planner import RateKey, Speed, Tuning, build_problem, plan
from littoral.core.planner.silence import silences
from littoral.core.staging import stage
from littoral.core.world import ModelKey, World
from tests.support.objects import assignment, model, node, pool, server, slo

DIGITS = ModelKey("shop", "digits")
OCR = ModelKey("shop", "ocr")
SINCE = datetime(2026, 11, 28, 18, tzinfo=UTC)
SAID = "member store-12 has not been heard of since 2026-11-28T18:00:00Z"
Demand = dict[tuple[ModelKey, str | None], float | None]


def world(*models: Any, slos: Any = (), limit: int = 1) -> World:
    """A store that is a member, with one server, another store, and a cloud with room."""
    there = {"gateway": {"address": "gateway.example:8443"}}
    return World(
        models=models or (model(),),
        slos=tuple(slos),
        pools=(
            pool("cloud", tier="cloud", **there),
            pool("store", member="store-12", limits={"servers": limit}, **there),
            pool("other", **there),
        ),
        nodes=(
            node("c1", pool="cloud"),
            node("c2", pool="cloud"),
            node("n", pool="store", member="store-12"),
            node("o", pool="other"),
        ),
    )


def away(there: World) -> World:
    return replace(there, unreachable={"store-12": SINCE})


def applied(decided: Plan) -> list[Assignment]:
    return [
        Assignment.parse({"metadata": {"name": n, "generation": 1}, "spec": s.dump()})
        for n, s in decided.assignments.items()
    ]


def replicas(decided: Plan, key: ModelKey = DIGITS) -> dict[str, int]:
    """Replicas of a Model in each pool that is planned."""
    return {
        name: sum(
            server.replicas
            for server in spec.servers
            if server.namespace == key.namespace and key.name in {served.name for served in server.models}
        )
        for name, spec in decided.assignments.items()
    }


def before_and_after(
    there: World, *, demand: Demand, later: Demand | None = None, **inputs: Any
) -> tuple[Plan, Plan, list[Assignment]]:
    """The plan while all are heard of, the one on what it made once the store is not, and what runs."""
    inputs = {"tuning": Tuning(), "rates": speeds(there)} | inputs
    first = plan(build_problem(there, demand=demand, **inputs))
    running = applied(first)
    then = build_problem(away(there), demand=demand if later is None else later, assignments=running, **inputs)
    return first, plan(then), running


def speeds(there: World) -> dict[RateKey, Speed]:
    return {
        RateKey(ModelKey(m.namespace or "", m.name), v.name, v.accelerator, None): Speed(10.0, 20.0)
        for m in there.models
        for v in m.spec.variants
    }


def test_what_the_store_cannot_serve_itself_is_planned_elsewhere_as_before() -> None:
    demand: Demand = {(DIGITS, "store"): 35.0, (DIGITS, "other"): 0.0}
    first, decided, _ = before_and_after(world(), demand=demand)
    assert replicas(first) == {"store": 1, "cloud": 3, "other": 0}
    assert replicas(decided) == {"cloud": 3, "other": 0}
    # 25 of the 35, and no more: the rest is served there, as far as anybody knows.
    assert [(f.site, f.pool, f.rate) for f in decided.flows if f.rate] == [("store", "cloud", pytest.approx(25.0))]


def test_what_arrives_elsewhere_is_planned_whatever_the_store_does() -> None:
    demand: Demand = {(DIGITS, "store"): 35.0, (DIGITS, "other"): 0.0}
    _, decided, _ = before_and_after(world(), demand=demand, later=demand | {(DIGITS, None): 20.0})
    assert replicas(decided)["cloud"] == 5
    _, decided, _ = before_and_after(world(), demand=demand, later=demand | {(DIGITS, "other"): 10.0})
    assert replicas(decided) == {"cloud": 3, "other": 1}


def test_servers_that_models_share_are_filled_by_priority() -> None:
    there = world(model(priority=2), model("ocr", priority=1))
    demand: Demand = {(DIGITS, "store"): 6.0, (OCR, "store"): 6.0}
    running = [assignment("store", servers=[server("digits", "ocr", pool="store")])]
    problem = build_problem(away(there), demand=demand, rates=speeds(there), assignments=running)
    found = silences(problem)
    assert dict(found[DIGITS].spills) == {"store": 0.0}
    assert dict(found[OCR].spills) == {"store": pytest.approx(2.0)}


@pytest.mark.parametrize("known", [None, 0.0, 5.0])
def test_what_the_store_serves_moves_nowhere(known: float | None) -> None:
    """Not even a Model whose demand is unknown."""
    there = world(slos=(slo(sites={"matchNames": ["store"]}, demand={"floor": "2"} if known else {}),))
    demand: Demand = {} if known is None else {(DIGITS, "store"): known}
    first, decided, running = before_and_after(there, demand=demand)
    assert first.assignments["store"].servers or known == 0.0
    assert replicas(decided) == {"cloud": 0, "other": 0}
    assert not decided.decisions[DIGITS].shortfall
    assert "store" not in stage(decided, current={it.name: it for it in running})


def test_what_stands_by_in_the_cloud_stays() -> None:
    there = world(slos=(slo(sites={"matchNames": ["store"]}),))
    first, decided, _ = before_and_after(there, demand={(DIGITS, "store"): 5.0}, tuning=Tuning(standby=True))
    assert replicas(first)["cloud"] == replicas(decided)["cloud"] == 1


def test_a_model_stays_where_it_could_be_sent_to_though_nobody_asks_there_now() -> None:
    """The forecast falls while nobody hears of the store: that is no evidence."""
    demand: Demand = {(DIGITS, "store"): 35.0, (DIGITS, "other"): 0.0}
    first, decided, _ = before_and_after(world(), demand=demand, later=demand | {(DIGITS, "store"): 1.0})
    assert replicas(first)["cloud"] == 3
    assert replicas(decided)["cloud"] == 1


def test_requests_that_must_stay_at_the_store_are_nobody_else_s_matter() -> None:
    there = world(slos=(slo(overflow="Never", sites={"matchNames": ["store"]}),))
    _, decided, _ = before_and_after(there, demand={(DIGITS, "store"): 35.0})
    assert replicas(decided) == {"cloud": 0, "other": 0}
    assert not decided.decisions[DIGITS].shortfall


def test_decisions_tell_of_what_goes_on_there_and_of_what_does_not_begin() -> None:
    first, decided, running = before_and_after(world(), demand={(DIGITS, "store"): 5.0, (DIGITS, "other"): 0.0})
    (there,) = first.assignments["store"].servers
    (placed,) = decided.decisions[DIGITS].placements
    assert (placed.pool, placed.server, placed.reason) == ("store", there.name, Reason.MEMBER_UNREACHABLE)
    assert placed.message == f"{SAID}; what runs there goes on"

    more = world(model(), model("ocr"))
    then = plan(build_problem(away(more), demand={(OCR, "store"): 5.0}, assignments=running))
    said = {it.pool: it for it in then.decisions[OCR].rejections}
    assert said["store"].reason == Reason.MEMBER_UNREACHABLE
    assert said["store"].message == f"{SAID}; nothing new is placed there"
    # What is asked for there and does not run there is served from elsewhere, as if the store had no room.
    assert replicas(then, OCR)["cloud"] == 1


def test_bounds_on_replicas_count_those_that_nobody_hears_of() -> None:
    bounded = world(model(scaling={"minReplicas": 1, "maxReplicas": 3}))
    demand: Demand = {(DIGITS, "store"): 10.0, (DIGITS, "other"): 0.0}
    first, decided, _ = before_and_after(bounded, demand=demand)
    assert replicas(first) == {"cloud": 0, "store": 1, "other": 0}
    assert replicas(decided) == {"cloud": 0, "other": 0}
    _, decided, _ = before_and_after(bounded, demand=demand, later=demand | {(DIGITS, "other"): 90.0})
    assert sum(replicas(decided).values()) == 2
    assert "scaling.maxReplicas of 3 is reached" in decided.decisions[DIGITS].shortfall


def test_where_all_pools_are_away_nothing_is_planned_and_nothing_is_missing() -> None:
    there = world(slos=(slo(demand={"floor": "5"}),))
    there = replace(there, pools=tuple(it for it in there.pools if it.name == "store"))
    _, decided, _ = before_and_after(there, demand={(DIGITS, None): 3.0, (DIGITS, "store"): 5.0})
    assert decided.assignments == {}
    assert not decided.decisions[DIGITS].shortfall


def test_a_neighbour_goes_on_sending_to_the_store() -> None:
    """What the hub does not hear of may be near to others."""
    there = world(model(scaling={"maxReplicas": 1}))
    near = pool(
        "other", network={"roundTrip": {"store": "1ms"}}, gateway={"address": "o.example:1"}, limits={"servers": 0}
    )
    there = replace(there, pools=(*there.pools[:2], near))
    first, decided, running = before_and_after(
        there, demand={(DIGITS, "other"): 5.0, (DIGITS, "store"): 1.0}, tuning=Tuning(gateways=True)
    )
    (route,) = first.assignments["other"].routes
    assert [target.pool for target in route.next] == ["store"]
    (route,) = stage(decided, current={it.name: it for it in running})["other"].routes
    assert "store" in [target.pool for target in route.next]
