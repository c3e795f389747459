"""What holds of every plan while members are not heard of: nothing of theirs changes, and the rest goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littoral.api.assignment import Assignment
from littoral.core.plan import Plan, Reason
from littoral.core.planner import Memo, Problem, RateKey, Speed, Tuning, build_problem, plan
from littoral.core.staging import stage
from littoral.core.world import ModelKey, World, key_of
from tests.property.test_planner import POOLS, SITES, Demand, Rates, models, nodes, quick, served_by_model, slos
from tests.support.objects import DIGEST, pool

pytestmark = pytest.mark.filterwarnings("error")

SINCE = datetime(2026, 11, 28, 18, tzinfo=UTC)
Found = tuple[World, Demand, Rates, Tuning]


MEMBERS = {"berlin": "member-of-berlin", "paris": "member-of-paris"}


@st.composite
def memberships(draw: st.DrawFn) -> tuple[Found, frozenset[str]]:
    """Two sites that are members, a cloud that may be one, Models that are asked for; and who is not heard of."""
    members = MEMBERS | ({"cloud": "member-of-cloud"} if not draw(st.integers(0, 4)) else {})
    pools = tuple(
        pool(
            name,
            tier="cloud" if name == "cloud" else "edge",
            network={"roundTrip": {"paris": "5ms"}} if name == "berlin" and draw(st.booleans()) else {},
            gateway={"address": "gateway.example:8443"},
            **({"member": members[name]} if name in members else {}),
        )
        for name in POOLS
    )
    there = tuple(
        replace(draw(nodes(f"{name}-{number}")), member=members.get(name), labels={"littoral.dev/pool": name})
        for name in POOLS
        for number in range(draw(st.integers(1, 3)))
    )
    found = draw(st.lists(models(), min_size=1, max_size=4, unique_by=key_of))
    world = World(models=tuple(found), slos=tuple(draw(st.lists(slos(), max_size=2))), pools=pools, nodes=there)
    amounts = st.none() | st.sampled_from((0.0, 0.01, 0.5, 3.0, 12.0, 40.0))
    demand: Demand = {(key_of(m), site): draw(amounts) for m in found for site in SITES if draw(st.integers(0, 4))}
    demand |= {(key_of(m), None): draw(amounts) for m in found if not draw(st.integers(0, 4))}
    rates = {
        RateKey(key_of(m), v.name, v.accelerator, name): Speed(draw(st.sampled_from((4.0, 10.0, 50.0))), 60.0)
        for m in found
        for v in m.spec.variants
        for name in POOLS
        if draw(st.integers(0, 3))
    }
    tuning = Tuning(whole=draw(st.sampled_from((0, 60))), gateways=draw(st.booleans()), standby=draw(st.booleans()))
    gone = frozenset(name for name in members if draw(st.booleans()))
    return (world, demand, rates, tuning), gone


def without(world: World, gone: frozenset[str]) -> World:
    return replace(world, unreachable={f"member-of-{name}": SINCE for name in gone})


def applied(decided: Plan) -> list[Assignment]:
    """The Assignments of a plan, once all sites report that they serve."""
    return [
        Assignment.parse(
            {
                "metadata": {"name": name, "generation": 1},
                "spec": spec.dump(),
                "status": {
                    "observedGeneration": 1,
                    "servers": [
                        {
                            "namespace": server.namespace,
                            "name": server.name,
                            "models": [
                                {
                                    "name": model.name,
                                    "variant": model.variant,
                                    "digest": DIGEST,
                                    "state": "Ready",
                                    "readyReplicas": server.replicas,
                                }
                                for model in server.models
                            ],
                        }
                        for server in spec.servers
                    ],
                },
            }
        )
        for name, spec in decided.assignments.items()
    ]


def places(decided: Plan, but: frozenset[str] = frozenset()) -> set[tuple[ModelKey, str]]:
    return {(key, it.pool) for key, d in decided.decisions.items() for it in d.placements if it.pool not in but}


def build(found: Found, world: World, running: list[Assignment], before: Problem | None = None) -> Problem:
    _, demand, rates, tuning = found
    return build_problem(world, demand=demand, rates=rates, tuning=tuning, assignments=running, before=before)


@given(memberships())
@quick
def test_nothing_of_theirs_changes_and_what_is_heard_of_stays(case: tuple[Found, frozenset[str]]) -> None:
    found, gone = case
    world, demand, rates, tuning = found
    first = plan(build_problem(world, demand=demand, rates=rates, tuning=tuning))
    running = applied(first)
    current: Mapping[str, Assignment] = {it.name: it for it in running}
    decided = plan(build(found, without(world, gone), running))

    # Their Assignments are not written, and people are told of what they have.
    assert decided.frozen.keys() == gone
    assert decided.assignments.keys() == first.assignments.keys() - gone
    assert stage(decided, current=current).keys() == decided.assignments.keys()
    there = {
        (ModelKey(server.namespace, model.name), name, server.name, server.replicas)
        for name in gone
        for server in current[name].spec.servers
        for model in server.models
    }
    told = {
        (key, it.pool, it.server, it.replicas)
        for key, decision in decided.decisions.items()
        for it in decision.placements
        if it.reason == Reason.MEMBER_UNREACHABLE
    }
    assert told == there

    # What is elsewhere stays, unless there is less of something than is asked for.
    if not any(decision.shortfall for it in (first, decided) for decision in it.decisions.values()):
        assert places(first, gone) <= places(decided, gone)


@given(memberships())
@quick
def test_who_goes_and_comes_back_finds_all_as_it_was(case: tuple[Found, frozenset[str]]) -> None:
    found, gone = case
    world, demand, rates, tuning = found
    first = plan(build_problem(world, demand=demand, rates=rates, tuning=tuning))
    running = applied(first)
    again = plan(build(found, world, running))
    staged = stage(plan(build(found, without(world, gone), running)), current={it.name: it for it in running})
    if again.assignments == first.assignments == {**first.assignments, **staged}:
        meanwhile = [it.model_copy(update={"spec": staged.get(it.name, it.spec)}) for it in running]
        assert plan(build(found, world, meanwhile)).assignments == first.assignments


@given(memberships(), st.lists(st.sampled_from((None, 0.0, 7.0, 70.0)), min_size=4, max_size=4))
@quick
def test_a_memo_changes_no_plan(case: tuple[Found, frozenset[str]], amounts: list[float | None]) -> None:
    """While members go and come, demand changes, and what is planned runs."""
    found, gone = case
    world, demand, rates, tuning = found
    memo = Memo()
    problem: Problem | None = None
    running: list[Assignment] = []
    for turn, amount in enumerate(amounts):
        there = without(world, gone) if turn in (1, 2) else world
        changed = demand | dict.fromkeys(sorted(demand, key=str)[:1], amount)
        now = (world, changed, rates, tuning)
        problem = build(now, there, running, before=problem)
        anew = build(now, there, running)
        with_memo, fresh = plan(problem, memo=memo), plan(anew)
        assert with_memo.assignments == fresh.assignments
        assert set(with_memo.flows) == set(fresh.flows)
        assert problem.same(build(now, there, running, before=problem))
        kept = {it.name: it for it in running}
        running = [kept[name] for name in sorted(gone & kept.keys())] if turn in (1, 2) else []
        running += applied(with_memo)


@given(memberships())
@quick
def test_a_member_that_goes_makes_another_problem(case: tuple[Found, frozenset[str]]) -> None:
    found, gone = case
    world = found[0]
    before = build(found, world, [])
    after = build(found, without(world, gone), [], before=before)
    back = build(found, world, [], before=after)
    assert before.same(after) == (not gone)
    assert before.same(back)
    later = {member: since.replace(hour=19) for member, since in without(world, gone).unreachable.items()}
    assert after.same(build(found, replace(world, unreachable=later), [], before=after)) == (not gone)
    assert served_by_model(plan(back)) == served_by_model(plan(before))
