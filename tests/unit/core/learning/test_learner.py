"""All that is learned, together: what the planner is told, and what outlives the process."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from littoral.api.assignment import Assignment
from littoral.core.learning import Inputs, Learner, LearnerTuning
from littoral.core.planner import RateKey
from littoral.core.world import ModelKey, World
from tests.support.objects import model, pool, slo, variant
from tests.support.sites import reporting, said, with_gateway

DIGITS = ModelKey("shop", "digits")
WORLD = World(models=(model(),), slos=(slo(),), pools=(pool(), pool("cloud", tier="cloud")))
MEASURED = {
    "rate": "40",
    "latency": {"requests": 2400, "mean": "9ms", "p50": "8ms", "p95": "20ms", "p99": "30ms"},
    "batches": [{"size": 1, "count": 900, "time": "5ms"}, {"size": 4, "count": 100, "time": "11ms"}],
    "maxBatch": 8,
    "memory": "300Mi",
    "loadTime": "3s",
}
SAID = reporting("edge", said(measured=MEASURED))


def test_a_world_of_which_nothing_is_known() -> None:
    assert Learner().learn(World(), (), now=1e6) == Inputs()
    assert Learner().learn(WORLD, (), now=1e6) == Inputs()


def test_what_the_planner_is_told() -> None:
    told = Learner().learn(WORLD, [SAID], now=1e6)
    assert told.demand.keys() == {(DIGITS, "edge")}
    assert {key.pool for key in told.rates} == {None, "edge", "cloud"}
    assert told.memory == {(DIGITS, "onnx-cpu"): 300 * 2.0**20}
    assert told.ages == {("edge", "shop", "triton-edge-cpu"): 0.0}
    assert told.broken == frozenset()


def test_the_most_memory_counts() -> None:
    less = reporting("other", said(measured={"memory": "200Mi"}))
    told = Learner().learn(WORLD, [SAID, less], now=1e6)
    assert told.memory == {(DIGITS, "onnx-cpu"): 300 * 2.0**20}


def test_what_was_learned_outlives_the_process() -> None:
    before, after = Learner(), Learner()
    for now in range(0, 2000, 5):
        before.learn(WORLD, [SAID], now=now)
    after.load(before.dump())
    assert after.dump() == before.dump()
    old, new = before.learn(WORLD, [SAID], now=2000), after.learn(WORLD, [SAID], now=2000)
    assert new.rates.keys() == old.rates.keys()
    # What a site goes on saying is not learned once more.
    assert {key: speed.rate for key, speed in new.rates.items()} == {key: it.rate for key, it in old.rates.items()}
    amount = new.demand[DIGITS, "edge"]
    assert amount is not None
    assert 40 <= amount <= 50


def test_a_correction_is_kept_while_nothing_runs_in_its_pool() -> None:
    slow = reporting("edge", said(measured=MEASURED | {"latency": {"requests": 3000, "mean": "1s", "p99": "9s"}}))
    learner, fresh = Learner(), Learner()
    learner.learn(WORLD, [slow], now=0)
    learned = learner.dump()
    assert json.loads(learned)["speed"].keys() == {"shop/digits/onnx-cpu/cpu/edge"}
    learner.learn(WORLD, (), now=5)
    assert learner.dump() == learned
    fresh.load(learned)
    told, taught = fresh.learn(WORLD, (), now=10), learner.learn(WORLD, (), now=10)
    assert told.rates == {}
    # A process that has seen it run goes by that until it runs again.
    assert {key.pool for key in taught.rates} == {None, "cloud"}
    assert fresh.dump() == learned


def test_the_same_moment_twice_is_one() -> None:
    learner = Learner(LearnerTuning(scale_to_zero_after=60))
    twice = reporting("edge", said(measured=MEASURED), name="triton-edge-2-cpu")
    first = learner.learn(WORLD, [SAID, twice], now=1e6)
    saved = learner.dump()
    assert learner.learn(WORLD, [SAID, twice], now=1e6) == first
    assert learner.dump() == saved


KEY = RateKey(DIGITS, "onnx-cpu", "cpu", "edge")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "null",
        "[]",
        "7",
        "[" * 100_000,
        '{"demand": [], "speed": 3}',
        '{"demand": {"a": {}, "@": 4}, "speed": {"a/b": [1, 2]}}',
        '{"speed": {"shop/digits/onnx-cpu/cpu/edge": "what"}}',
        '{"speed": {"shop/digits/onnx-cpu/cpu/edge": [1]}}',
        '{"speed": {"shop/digits/onnx-cpu/cpu/edge": [NaN, 1]}}',
        '{"speed": {"shop/digits/onnx-cpu/cpu/edge": [1, NaN]}}',
        '{"speed": {"shop/digits/onnx-cpu/cpu/edge": [1, -1]}}',
        '{"speed": {"shop/digits/onnx-cpu/cpu/edge": [1e308, 1]}}',
        '{"speed": {"shop/digits/onnx-cpu/cpu/edge": [1, 1' + "0" * 400 + "]}}",
        '{"speed": {"shop/digits/onnx-cpu/cpu/edge": [{}, []]}}',
        '{"speed": {"shop/digits/onnx-cpu/cpu/edge": null}}',
    ],
    ids=lambda text: text[:80],
)
def test_what_cannot_be_read_is_learned_anew(text: str) -> None:
    learner, fresh = Learner(), Learner()
    learner.load(text)
    assert learner.learn(WORLD, [SAID], now=1e6) == fresh.learn(WORLD, [SAID], now=1e6)
    assert learner.dump() == fresh.dump()


def of_member(it: Assignment, member: str = "store-12") -> Assignment:
    return it.model_copy(update={"spec": it.spec.model_copy(update={"member": member})})


def unheard(world: World = WORLD) -> World:
    return replace(world, unreachable={"store-12": datetime(2026, 11, 28, 18, tzinfo=UTC)})


def test_what_nobody_hears_is_no_evidence_and_what_was_learned_is_kept() -> None:
    """A site that is away repeats nothing: its last report stays where it was."""
    learner, there = Learner(), of_member(SAID)
    for now in range(0, 600, 5):
        before = learner.learn(WORLD, [there], now=now)
    saved = json.loads(learner.dump())
    for now in range(600, 4000, 5):
        after = learner.learn(unheard(), [there], now=now)
    assert json.loads(learner.dump()) == saved
    # Neither nobody nor as much as ever: what it was, with the doubt of the time since.
    asked = after.demand[DIGITS, "edge"]
    assert asked is not None
    assert 40 <= asked <= 80
    assert after.rates == before.rates
    assert after.memory == before.memory
    # It is back, and the first thing that it says counts.
    quiet = of_member(reporting("edge", said(measured=MEASURED | {"rate": "0"})))
    for now in range(4000, 8000, 5):
        back = learner.learn(WORLD, [quiet], now=now)
    assert (back.demand[DIGITS, "edge"] or 0.0) < 1


def test_a_process_that_starts_while_a_site_is_away_learns_nothing_of_it() -> None:
    told = Learner().learn(unheard(), [of_member(SAID)], now=1e6)
    assert told.demand == {}
    assert told.rates


def test_a_failure_that_is_repeated_by_nobody_does_not_last() -> None:
    failed = of_member(reporting("edge", said(state="Failed", readyReplicas=0, reason="DigestMismatch")))
    world = replace(WORLD, models=(model(variants=[variant(), variant("other")]),))
    learner = Learner()
    learner.learn(world, [failed], now=0.0)
    assert not learner.learn(unheard(world), [failed], now=100.0).broken
    assert learner.learn(world, [failed], now=100.0).broken


def test_a_gateway_that_nobody_hears_of_still_explains_what_comes_to_the_cloud() -> None:
    """The cloud has no gateway: its servers count what the site's gateway sends there, which is the site's demand."""
    there = of_member(with_gateway(SAID, digits={"arrived": "30"}))
    cloud = reporting("cloud", said(measured={"rate": "10"}), tier="cloud")
    learner = Learner()
    for now in range(0, 300, 5):
        before = learner.learn(WORLD, [there, cloud], now=now)
    after = learner.learn(unheard(), [there, cloud], now=300)
    assert after.demand.keys() == before.demand.keys() == {(DIGITS, "edge")}


def test_what_comes_to_the_cloud_is_not_taken_for_a_silent_site_s() -> None:
    """Where no gateway counts: a site whose servers are gone sends its clients there, one that is not heard of may
    serve them itself."""
    learner, there = Learner(), of_member(SAID)
    cloud = reporting("cloud", said(measured={"rate": "10"}), tier="cloud")
    for now in range(0, 300, 5):
        learner.learn(WORLD, [there], now=now)
    told = learner.learn(unheard(), [there, cloud], now=300)
    assert told.demand[DIGITS, None] == pytest.approx(10, rel=0.5)
