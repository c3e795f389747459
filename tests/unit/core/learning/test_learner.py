"""All that is learned, together: what the planner is told, and what outlives the process."""

from __future__ import annotations

import json

import pytest

from littoral.core.learning import Inputs, Learner, LearnerTuning
from littoral.core.planner import RateKey
from littoral.core.world import ModelKey, World
from tests.support.objects import model, pool, slo
from tests.support.sites import reporting, said

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
