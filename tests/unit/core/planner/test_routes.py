"""The routes of gateways: what each pool's gateway does with requests for each Model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from littoral.api.assignment import Assignment
from littoral.api.latencyslo import Overflow
from littoral.api.routes import Route
from littoral.core.capacity import BatchTime
from littoral.core.plan import Plan
from littoral.core.planner import Memo, RateKey, Service, Speed, Tuning, build_problem, plan
from littoral.core.world import ModelKey, World
from tests.support.objects import model, node, pool, slo, variant

DIGITS, OCR = ModelKey("shop", "digits"), ModelKey("shop", "ocr")
CPU = variant("cpu")
FAST = Speed(100.0, 200.0, full=160.0)


def world(*models: Any, slos: Sequence[Any] = (), clouds: Sequence[str] = ("cloud",), **network: str) -> World:
    """Two sites and clouds; how far they are from site `here` as `network` says."""
    return World(
        models=models or (model(variants=[CPU], priority=7),),
        slos=tuple(slos),
        pools=(
            # Nothing costs less than at a site.
            pool("here", network={"roundTrip": network}, accelerators=[{"class": "cpu", "costPerHour": "0"}]),
            pool("there", accelerators=[{"class": "cpu", "costPerHour": "0"}]),
            pool("empty"),
            *(pool(name, tier="cloud") for name in clouds),
        ),
        nodes=(
            node("h", pool="here"),
            node("h2", pool="here"),
            node("t", pool="there"),
            *(node(c, pool=c) for c in clouds),
        ),
    )


def decide(there: World, *, gateways: bool = True, speed: Speed | None = FAST, **inputs: Any) -> Plan:
    """A plan; every Model is as fast everywhere."""
    keys = [ModelKey(it.namespace or "", it.name) for it in there.models]
    rates = {} if speed is None else {RateKey(key, "cpu", "cpu", None): speed for key in keys}
    tuning = Tuning(gateways=gateways, standby=True)
    return plan(build_problem(there, **{"rates": rates, "tuning": tuning} | inputs))


def route(decided: Plan, name: str, *, of: str = "digits") -> Route | None:
    """The route of one Model in one pool."""
    return next((it for it in decided.assignments[name].routes if it.name == of), None)


def ways(found: Route | None) -> Mapping[str, str]:
    """Where what does not fit goes, with the shares."""
    assert found is not None
    return {target.pool: target.weight for target in found.next}


def applied(decided: Plan) -> list[Assignment]:
    return [Assignment.parse({"metadata": {"name": n}, "spec": s.dump()}) for n, s in decided.assignments.items()]


def test_without_gateways_there_are_none() -> None:
    assert not any(spec.routes for spec in decide(world(), gateways=False).assignments.values())


def test_a_model_at_its_site() -> None:
    decided = decide(world(slos=[slo(), slo(latency="80ms")]), demand={(DIGITS, "here"): 50.0})
    found = route(decided, "here")
    assert found is not None
    assert (found.priority, found.overflow, found.rate, found.budget) == (7, Overflow.ALLOW, "160", "50ms")
    # A standby in the cloud is there for what does not fit.
    assert ways(found) == {"cloud": "1"}


def test_a_pool_without_nodes_has_no_gateway() -> None:
    assert decide(world()).assignments["empty"].routes == ()


@pytest.mark.parametrize(
    ("speed", "slos"),
    [
        pytest.param(None, [slo()], id="nothing is known of its speed"),
        pytest.param(FAST, [], id="nothing is asked of it"),
        pytest.param(Speed(10.0), [slo()], id="its saturation is not known"),
    ],
)
def test_rate_and_budget_are_given_together_or_not_at_all(speed: Speed | None, slos: Sequence[Any]) -> None:
    found = route(decide(world(slos=slos), speed=speed, demand={(DIGITS, "here"): 5.0}), "here")
    assert found is not None
    assert (found.rate, found.budget) == (None, None)


def test_what_is_known_of_its_batches_says_how_many_requests_a_replica_may_have() -> None:
    service = Service(batch_time=BatchTime(base=0.006, per_item=0.002), max_batch=8, percentile=99.0, budget=0.05)
    there, asked = world(slos=[slo(latency="31ms")]), {(DIGITS, "here"): 50.0}
    decided = decide(there, speed=FAST._replace(service=service), demand=asked)
    found = route(decided, "here")
    assert found is not None
    assert (found.rate, found.budget, found.limit) == ("160", "31ms", 9)
    # What was measured leaves less than the SLO asks for.
    tight = FAST._replace(service=replace(service, budget=0.0201))
    found = route(decide(there, speed=tight, demand=asked), "here")
    assert found is not None
    assert (found.budget, found.limit) == ("31ms", 4)
    # One more or less is not worth a change.
    near = FAST._replace(service=replace(service, budget=0.0299))
    found = route(decide(there, speed=near, demand=asked, assignments=applied(decided)), "here")
    assert found is not None
    assert found.limit == 9


def test_where_a_model_is_not_it_has_its_ways_alone() -> None:
    there = world(slos=[slo(sites={"matchNames": ["here"]})])
    decided = decide(there, demand={(DIGITS, "here"): 50.0, (DIGITS, "there"): 5.0})
    found = route(decided, "there")
    assert found is not None
    assert (found.rate, found.budget) == (None, None)
    assert ways(found) == {"cloud": "1"}


def test_what_must_stay_has_no_way_out_and_no_route_where_it_may_not_be() -> None:
    decided = decide(world(slos=[slo(overflow="Never")], cloud="5ms"), demand={(DIGITS, "here"): 50.0})
    found = route(decided, "here")
    assert found is not None
    assert (found.overflow, found.next) == (Overflow.NEVER, ())
    assert route(decided, "cloud") is None


def test_what_must_stay_at_one_site_may_leave_another() -> None:
    there = world(slos=[slo(overflow="Never", sites={"matchNames": ["here"]})], clouds=("cloud",))
    decided = decide(there, demand={(DIGITS, "here"): 50.0})
    assert route(decided, "there") is None


def test_the_plan_says_what_goes_where() -> None:
    """More than the site can take; two clouds with a node each, so that both get some."""
    there = world(clouds=("east", "west"), slos=[slo()], east="10ms", west="10ms")
    decided = decide(there, demand={(DIGITS, "here"): 7000.0})
    sent = {flow.pool: flow.rate for flow in decided.flows if flow.site == "here" and flow.pool != "here"}
    assert sent.keys() == {"east", "west"}
    shares = {name: float(weight) for name, weight in ways(route(decided, "here")).items()}
    assert shares == pytest.approx({name: rate / sum(sent.values()) for name, rate in sent.items()}, abs=0.006)


def test_where_the_plan_sends_nothing_the_nearer_pool_gets_more() -> None:
    """Both are full, with what arrives at no site."""
    there = world(model(variants=[CPU], scaling={"maxReplicas": 50}), clouds=("east", "west"), east="5ms", west="45ms")
    decided = decide(there, demand={(DIGITS, None): 800.0, (DIGITS, "here"): 10.0})
    assert {flow.pool for flow in decided.flows if flow.site == "here"} == {"here"}
    assert ways(route(decided, "here")) == {"east": "0.83", "west": "0.17"}
    # One that has room gets more than one that has none.
    half = decide(there, demand={(DIGITS, None): 410.0, (DIGITS, "here"): 10.0})
    full, roomy = sorted(("east", "west"), key=lambda name: sum(f.rate for f in half.flows if f.pool == name))[::-1]
    shares = {
        name: float(weight) * (trip + 5)
        for (name, weight), trip in zip(sorted(ways(route(half, "here")).items()), (5, 45), strict=True)
    }
    assert shares[roomy] > 1.5 * shares[full]


def test_too_far_is_no_way_for_what_can_wait_here() -> None:
    decided = decide(world(slos=[slo()], cloud="60ms"), demand={(DIGITS, "here"): 5.0})
    assert {placement.pool for placement in decided.decisions[DIGITS].placements} >= {"here", "cloud"}
    assert ways(route(decided, "here")) == {}


def test_another_edge_is_a_way_only_where_it_is_named() -> None:
    demand = {(DIGITS, "here"): 5.0, (DIGITS, "there"): 5.0}
    assert ways(route(decide(world(slos=[slo()], there="5ms"), demand=demand), "here")).keys() == {"there", "cloud"}
    assert ways(route(decide(world(slos=[slo()]), demand=demand), "here")).keys() == {"cloud"}


def test_a_model_that_is_nowhere_is_known_where_it_is_wanted() -> None:
    """So that its requests are counted, and bring it back."""
    demand = {(DIGITS, "here"): 0.0, (DIGITS, "there"): 0.0}
    decided = decide(world(), demand=demand, tuning=Tuning(gateways=True))
    assert decided.decisions[DIGITS].placements == ()
    assert [route(decided, name) is not None for name in ("here", "there")] == [True, True]
    assert ways(route(decided, "here")) == {}


def test_measured_round_trips_outrank_what_is_stated() -> None:
    there, demand = world(slos=[slo()], cloud="60ms"), {(DIGITS, "here"): 5.0}
    assert ways(route(decide(there, demand=demand, round_trips={("here", "cloud"): 0.02}), "here")) == {"cloud": "1"}
    # That another edge is near opens no way there.
    near = decide(there, demand=demand | {(DIGITS, "there"): 5.0}, round_trips={("here", "there"): 0.001})
    assert ways(route(near, "here")) == {}


@pytest.mark.parametrize(("full", "rate"), [(150.0, "160"), (180.0, "160"), (200.0, "200"), (120.4, "120")])
def test_a_rate_that_hardly_differs_stays(full: float, rate: str) -> None:
    there, demand = world(slos=[slo()]), {(DIGITS, "here"): 5.0}
    current = applied(decide(there, demand=demand))
    found = route(decide(there, demand=demand, speed=FAST._replace(full=full), assignments=current), "here")
    assert found is not None
    assert found.rate == rate


def test_a_memo_changes_no_route() -> None:
    there, memo = world(slos=[slo()], cloud="10ms"), Memo()
    rates = {RateKey(DIGITS, "cpu", "cpu", None): FAST}
    problem = None
    for amount in (10.0, 400.0, 3000.0, 10.0):
        inputs: dict[str, Any] = {
            "demand": {(DIGITS, "here"): amount},
            "rates": rates,
            "tuning": Tuning(gateways=True, standby=True),
        }
        problem = build_problem(there, **inputs, before=problem)
        assert plan(problem, memo=memo).assignments == plan(build_problem(there, **inputs)).assignments


def test_of_too_many_models_those_that_are_there_come_first() -> None:
    models = [model(f"m{number}", variants=[CPU]) for number in range(1100)]
    there = World(models=tuple(models), pools=(pool("here"),), nodes=(node("h", pool="here", cpu=100.0, memory=1e12),))
    demand = {(ModelKey("shop", it.name), "here"): 0.0 for it in models[:1000]}
    decided = decide(there, speed=None, demand=demand, tuning=Tuning(gateways=True))
    routes = decided.assignments["here"].routes
    assert len(routes) == 1024
    assert {f"m{number}" for number in range(1000, 1100)} <= {it.name for it in routes}
    assert list(routes) == sorted(routes, key=lambda it: (it.namespace, it.name))


@pytest.mark.parametrize(
    ("members", "address", "expected"),
    [
        pytest.param({}, None, (None, True), id="one cluster: straight to its Pods"),
        pytest.param({}, "gw.example:8443", (None, True), id="one cluster, whose gateway others may reach"),
        pytest.param({"here": "store-12"}, None, (None, False), id="of a member, with nowhere to go to"),
        pytest.param({"here": "store-12"}, "gw.example:8443", ("gw.example:8443", True), id="of a member"),
        pytest.param({"here": "m", "cloud": "m"}, "gw.example:8443", (None, True), id="both of one member"),
        pytest.param({"here": "m", "cloud": "n"}, "gw.example:8443", ("gw.example:8443", True), id="of two members"),
    ],
)
def test_what_leaves_for_another_cluster_goes_to_its_gateway(
    members: Mapping[str, str], address: str | None, expected: tuple[str | None, bool]
) -> None:
    before = world(slos=[slo()])
    split = replace(
        before,
        pools=tuple(
            pool(
                it.name,
                tier=it.spec.tier.value,
                **({"member": members[it.name]} if it.name in members else {}),
                **({"gateway": {"address": address}} if it.name == "cloud" and address else {}),
            )
            for it in before.pools
        ),
        nodes=tuple(replace(it, member=members.get(it.labels["littoral.dev/pool"])) for it in before.nodes),
    )
    decided = decide(split, demand={(DIGITS, "here"): 50.0})
    found = route(decided, "here")
    assert found is not None
    assert [it.pool for it in found.next] == (["cloud"] if expected[1] else [])
    for target in found.next:
        wanted = expected[0] and {"address": expected[0], "tlsName": "gateway-cloud.littoral.internal"}
        assert (target.gateway.dump() if target.gateway else None) == wanted
    gateway = decided.assignments["cloud"].gateway
    assert (gateway.address if gateway else None) == address


def test_the_plan_sends_nothing_to_a_cluster_that_cannot_be_reached() -> None:
    """More than the site can serve, and a cloud that its gateway has no address of."""
    for address, served in ((None, False), ("gw.example:8443", True)):
        apart = World(
            models=(model(variants=[CPU], scaling={"maxReplicas": 20}),),
            slos=(slo(),),
            pools=(
                pool("here", member="store-12", limits={"servers": 1}),
                pool("cloud", tier="cloud", **({"gateway": {"address": address}} if address else {})),
            ),
            nodes=(replace(node("h", pool="here"), member="store-12"), node("c", pool="cloud")),
        )
        decided = decide(apart, demand={(DIGITS, "here"): 150.0})
        assert any(it.pool == "cloud" and it.rate > 0 for it in decided.flows) is served
        shortfall = decided.decisions[DIGITS].shortfall
        assert ("pool cloud is of another cluster: spec.gateway.address of its NodePool" in shortfall) is not served
        assert bool(shortfall) is not served
