"""What holds of learning whatever sites report, and of the loop that it closes: reports, plan, servers, reports."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from littoral.api.assignment import Assignment
from littoral.core.capacity import BatchTime
from littoral.core.learning import Inputs, Learner, LearnerTuning
from littoral.core.learning.demand import IDLE
from littoral.core.planner import Tuning, plan
from littoral.core.world import ModelKey, World
from tests.support.loop import Loop
from tests.support.objects import DIGEST, model, node, pool, slo, variant
from tests.support.sites import rate, reporting, said, with_gateway

DIGITS, OCR = ModelKey("shop", "digits"), ModelKey("shop", "ocr")
GPU = variant("trt", accelerator="nvidia-gpu", backend="tensorrt")
CPU = variant("onnx-cpu")
TRUTH = {
    "onnx-cpu": BatchTime(base=0.004, per_item=0.002),
    "trt": BatchTime(base=0.002, per_item=0.0003),
}
ROUND_TRIP = {"roundTrip": {"cloud": "30ms"}}

quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])

WORLD = World(
    models=(
        model(variants=[CPU | {"profile": {"base": "2ms", "perItem": "1ms"}}, variant("other")]),
        model("ocr", variants=[CPU], scaling={"minReplicas": 1}),
    ),
    slos=(slo(latency="50ms"),),
    pools=(pool("edge", network=ROUND_TRIP), pool("there"), pool("cloud", tier="cloud")),
    nodes=(node(), node("t", pool="there"), node("c", pool="cloud")),
)

decimals = st.sampled_from(("0", "0.001", "1", "37.5", "1000", "9" * 12, "9" * 32, "0." + "0" * 29 + "1"))
durations = st.sampled_from(("0s", "1ns", "3ms", "1.5s", "1h", "2562047h"))
counts = st.sampled_from((1, 3, 100, 2**53))


@st.composite
def measurements(draw: st.DrawFn) -> dict[str, Any]:
    """Anything that the schema lets through."""
    sizes = draw(st.lists(st.sampled_from((1, 2, 8, 2**31 - 1)), max_size=4, unique=True))
    found: dict[str, Any] = {
        "batches": [{"size": size, "count": draw(counts), "time": draw(durations)} for size in sizes]
    }
    optional: dict[str, st.SearchStrategy[Any]] = {
        "rate": decimals,
        "loadTime": durations,
        "memory": st.sampled_from(("0", "-1", "1n", "300Mi", "9E")),
        "maxBatch": st.sampled_from((1, 8, 2**31 - 1)),
        "instances": st.sampled_from((1, 2**31 - 1)),
        "latency": st.fixed_dictionaries(
            {"requests": counts, "mean": durations}, optional={"p50": durations, "p95": durations, "p99": durations}
        ),
    }
    for name, values in optional.items():
        if draw(st.booleans()):
            found[name] = draw(values)
    return found


@st.composite
def fleets(draw: st.DrawFn) -> list[Assignment]:
    """Assignments of some pools, with whatever their sites say of two Models, one of which may be gone."""
    found = [
        reporting(
            name,
            *(
                said(
                    key,
                    variant=draw(st.sampled_from(("onnx-cpu", "other", "gone"))),
                    state=draw(st.sampled_from(("Ready", "Failed", "Unknown", "Loading"))),
                    readyReplicas=draw(st.sampled_from((0, 1, 3))),
                    digest=draw(st.sampled_from((DIGEST, DIGEST, DIGEST, "sha256:" + "f" * 64))),
                    **({"measured": draw(measurements())} if draw(st.integers(0, 3)) else {}),
                )
                for key in draw(st.lists(st.sampled_from(("digits", "gone", "ocr")), unique=True))
            ),
            tier="cloud" if name == "cloud" else "edge",
        )
        for name in draw(st.lists(st.sampled_from(("cloud", "edge", "lost", "there")), unique=True))
    ]
    counted = st.dictionaries(st.sampled_from(("digits", "gone", "ocr")), decimals.map(lambda it: {"arrived": it}))
    return [
        with_gateway(
            it,
            routed=("digits", "gone", "ocr"),
            readyReplicas=draw(st.integers(0, 1)),
            round_trips=draw(st.dictionaries(st.sampled_from(("cloud", "edge", "lost")), durations)),
            **draw(counted),
        )
        if draw(st.booleans())
        else it
        for it in found
    ]


steps = st.sampled_from((0.0, 0.1, 5.0, 60.0, 86400.0, -3600.0, -1e9, 1e12))


@given(st.lists(st.tuples(fleets(), steps), max_size=6), st.sampled_from((None, 60.0)))
@quick
def test_whatever_is_reported_the_planner_is_told_something_sensible(
    story: list[tuple[list[Assignment], float]], after: float | None
) -> None:
    learner, now = Learner(LearnerTuning(scale_to_zero_after=after)), 1e9
    for fleet, step in story:
        now += step
        told = learner.learn(WORLD, fleet, now=now)
        for amount in told.demand.values():
            assert amount is not None
            assert 0 <= amount < math.inf
        for speed in told.rates.values():
            assert 0 <= speed.rate < math.inf
            assert 0 < speed.saturation < math.inf
            assert speed.rate <= speed.saturation
        assert {age >= 0 for age in told.ages.values()} <= {True}
        told_plan = plan(_problem(WORLD, told, fleet))
        assert told_plan.assignments.keys() == {pool.name for pool in WORLD.pools}
        # Twice at the same moment changes nothing.
        saved = learner.dump()
        assert learner.learn(WORLD, fleet, now=now) == told
        assert learner.dump() == saved
        # What one process has learned, another can take up.
        other = Learner()
        other.load(saved)
        assert other.dump() == saved
        other.learn(WORLD, fleet, now=now)


@given(
    st.text()
    | st.recursive(st.none() | st.floats() | st.text(), lambda it: st.lists(it) | st.dictionaries(st.text(), it)).map(
        repr
    )
)
def test_whatever_was_saved_is_taken_up_or_forgotten(text: str) -> None:
    learner = Learner()
    learner.load(text)
    learner.learn(WORLD, (), now=1e9)


@given(
    st.floats(0.02, 1e6),
    st.lists(st.floats(0.9, 1.1), min_size=100, max_size=100),
    st.floats(1.0, 60.0),
)
@quick
def test_in_a_steady_state_hardly_a_reading_is_above_what_was_asked_for(
    usual: float, noise: list[float], step: float
) -> None:
    learner, above = Learner(), 0
    asked = math.inf
    for tick, factor in enumerate(noise):
        reading = usual * factor
        above += float(rate(reading)["rate"]) > asked
        told = learner.learn(WORLD, [reporting("edge", said(measured=rate(reading)))], now=1e9 + tick * step)
        amount = told.demand[DIGITS, "edge"]
        assert amount is not None
        assert amount <= 3 * usual
        asked = amount if amount != IDLE else math.inf
    assert above <= 10


@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=30), st.floats(1.0, 1e6))
@quick
def test_what_arrives_now_is_always_asked_for(before: list[float], current: float) -> None:
    """However it was before: the forecast may be too high, but not below what is there."""
    learner = Learner()
    for tick, value in enumerate([*before, current]):
        told = learner.learn(WORLD, [reporting("edge", said(measured=rate(value)))], now=1e9 + tick * 5.0)
    # Averages take their time to follow a rise that is not sudden, by less than what the last readings spread.
    amount = told.demand[DIGITS, "edge"]
    assert amount is not None
    assert amount >= 0.5 * current


def _problem(world: World, told: Inputs, fleet: list[Assignment]) -> Any:
    return told.problem(world, fleet, tuning=Tuning(gateways=True))


def loop(
    *, gpu: bool = False, bound: str | None = "100ms", after: float | None = None, tuning: Tuning | None = None
) -> Loop:
    """Two sites and a cloud, with two Models on servers that they share."""
    variants = [GPU, CPU] if gpu else [CPU]
    device: dict[str, Any] = (
        {"extended": {"nvidia.com/gpu": 1}, "labels": {"nvidia.com/gpu.memory": "8192"}} if gpu else {}
    )
    world = World(
        models=tuple(model(name, variants=variants, scaling={"maxReplicas": 100}) for name in ("digits", "ocr")),
        slos=() if bound is None else (slo(latency=bound),),
        pools=(pool("here", network=ROUND_TRIP), pool("there", network=ROUND_TRIP), pool("cloud", tier="cloud")),
        nodes=(
            node("h1", pool="here", **device),
            node("h2", pool="here", **device),
            node("t", pool="there"),
            node("c", pool="cloud", cpu=64.0, memory=128 * 2.0**30),
        ),
    )
    return Loop(world, truth=TRUTH, learner=Learner(LearnerTuning(scale_to_zero_after=after)), tuning=tuning)


class TestLoop:
    @pytest.mark.parametrize(
        ("load", "bound", "gpu"),
        [
            pytest.param(0.0, None, False, id="nobody asks"),
            pytest.param(3.0, "100ms", False, id="hardly anybody asks"),
            pytest.param(150.0, "100ms", False, id="an SLO that is easily kept"),
            pytest.param(700.0, "20ms", False, id="an SLO that the cloud is too far away for"),
            pytest.param(3000.0, "100ms", False, id="more than the edge can take"),
            pytest.param(3000.0, None, True, id="two variants"),
        ],
    )
    def test_under_constant_load_it_comes_to_rest(self, load: float, bound: str | None, gpu: bool) -> None:
        there = loop(gpu=gpu, bound=bound)
        there.demand = {(DIGITS, "here"): load, (DIGITS, "there"): load / 4, (OCR, "here"): load / 10}
        there.tick(220)
        at_rest = there.specs()
        for _ in range(70):
            there.tick()
            assert there.specs() == at_rest
            assert set(there.lost.values()) == {0.0}

    @pytest.mark.parametrize("load", [3.0, 150.0, 700.0, 3000.0])
    def test_with_gateways_a_steady_load_rewrites_no_assignment(self, load: float) -> None:
        there = loop(tuning=Tuning(gateways=True, standby=True))
        there.demand = {(DIGITS, "here"): load, (DIGITS, "there"): load / 4, (OCR, "here"): load / 10}
        there.tick(220)
        at_rest = there.specs()
        assert {pool: len(spec.routes) for pool, spec in at_rest.items()} == {"here": 2, "there": 2, "cloud": 2}
        for _ in range(50):
            there.tick()
            assert there.specs() == at_rest
            assert set(there.lost.values()) == {0.0}

    def test_a_rise_brings_pods_within_one_tick_of_the_report(self) -> None:
        there = loop()
        there.demand = {(DIGITS, "here"): 200.0}
        there.tick(70)
        assert there.replicas()["here"] == 1
        there.demand[DIGITS, "here"] = 1200.0
        there.tick()
        there.tick()
        assert sum(there.replicas().values()) >= 4

    def test_a_fall_is_followed_slowly_and_one_way_only(self) -> None:
        there = loop()
        there.demand = {(DIGITS, "here"): 1200.0}
        there.tick(150)
        there.demand[DIGITS, "here"] = 200.0
        sizes = []
        for _ in range(260):
            there.tick()
            sizes.append(there.replicas().get("here", 0))
            assert there.lost[DIGITS] == 0.0
        assert sizes == sorted(sizes, reverse=True)
        # Five minutes at least between two steps, so that a dip costs nothing.
        assert sizes[30] >= sizes[0] - 1
        assert sizes[-1] == 1

    def test_zero_and_back(self) -> None:
        there = loop(after=600.0)
        there.demand = {(DIGITS, "here"): 200.0, (DIGITS, "there"): 200.0}
        there.tick(100)
        there.demand = {(DIGITS, "there"): 200.0}
        there.tick(125)
        assert "here" not in there.replicas()
        at_rest = there.specs()
        there.tick(100)
        assert there.specs() == at_rest

    @pytest.mark.parametrize("standby", [False, True])
    def test_gateways_count_the_request_that_brings_back_what_was_let_go_everywhere(self, standby: bool) -> None:
        """No objective asks for a standby of this one, so nothing of it is left."""
        there = loop(after=600.0, tuning=Tuning(gateways=True, standby=standby))
        there.demand = {(OCR, "here"): 200.0, (OCR, "there"): 20.0}
        there.tick(100)
        there.demand = {}
        there.tick(400)
        assert there.replicas("ocr") == {}
        there.demand = {(OCR, "here"): 200.0}
        there.tick(6)
        assert there.replicas("ocr")
        assert there.lost[OCR] == 0.0

    def test_an_idle_model_is_kept_where_nobody_could_count_its_next_request(self) -> None:
        there = loop()
        there.demand = {(DIGITS, "here"): 100.0}
        there.tick(70)
        there.demand = {}
        there.tick(200)
        kept = sum(there.replicas().values())
        assert there.replicas()["here"] >= 1
        there.demand = {(DIGITS, "here"): 3000.0}
        there.tick(2)
        assert there.lost[DIGITS] == 0.0
        assert sum(there.replicas().values()) > kept

    def test_a_restart_changes_nothing(self) -> None:
        there = loop()
        there.demand = {(DIGITS, "here"): 700.0, (OCR, "there"): 20.0}
        there.tick(130)
        at_rest = there.specs()
        saved = there.learner.dump()
        there.learner = Learner()
        there.learner.load(saved)
        for _ in range(70):
            there.tick()
            assert there.specs() == at_rest
