"""What has happened to servers: how old they are, and where variants have failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from littoral.api.assignment import Assignment
from littoral.core.learning.places import BROKEN_AFTER, FIRST_RETRY, LAST_RETRY, Ages, Failures
from littoral.core.learning.reports import reports
from littoral.core.world import ModelKey, World
from tests.support.objects import DIGEST, assignment, model, pool, server, variant
from tests.support.sites import reporting, said

DIGITS = ModelKey("shop", "digits")
SERVER = ("edge", "shop", "triton-edge-cpu")
OTHER_DIGEST = "sha256:" + "f" * 64
WORLD = World(models=(model(variants=[variant("onnx-cpu"), variant("small")]),), pools=(pool(),))
FAILED: dict[str, Any] = {"state": "Failed", "readyReplicas": 0}


def with_replicas(replicas: int) -> list[Assignment]:
    return [assignment("edge", servers=[server("digits", replicas=replicas)])]


class TestAges:
    def test_what_a_new_process_sees_first_has_just_changed(self) -> None:
        ages = Ages()
        ages.observe(with_replicas(2), now=1000.0)
        assert ages.ask(now=1000.0) == {SERVER: 0.0}
        ages.observe(with_replicas(2), now=1300.0)
        assert ages.ask(now=1300.0) == {SERVER: 300.0}

    @pytest.mark.parametrize("replicas", [1, 3])
    def test_another_number_of_replicas_is_a_change(self, replicas: int) -> None:
        ages = Ages()
        ages.observe(with_replicas(2), now=1000.0)
        ages.observe(with_replicas(replicas), now=1300.0)
        assert ages.ask(now=1310.0) == {SERVER: 10.0}

    def test_a_server_that_comes_back_is_new(self) -> None:
        ages = Ages()
        ages.observe(with_replicas(2), now=1000.0)
        ages.observe([assignment("edge")], now=1100.0)
        assert ages.ask(now=1100.0) == {}
        ages.observe(with_replicas(2), now=1200.0)
        assert ages.ask(now=1200.0) == {SERVER: 0.0}

    def test_a_clock_that_was_set_back_makes_nothing_younger_than_new(self) -> None:
        ages = Ages()
        ages.observe(with_replicas(2), now=1000.0)
        assert ages.ask(now=10.0) == {SERVER: 0.0}


class Trial:
    """Reports what the variant that is tried in a pool does."""

    def __init__(self, world: World = WORLD) -> None:
        self.world = world
        self.memory = Failures()
        self.now = 1e6

    def see(self, *, after: float = 0.0, name: str = "onnx-cpu", **fields: Any) -> list[str]:
        """The variants that are barred in the pool by now."""
        self.now += after
        self.memory.observe(reports([reporting("edge", said(variant=name, **fields))]), now=self.now)
        return self.barred()

    def barred(self, *, after: float = 0.0) -> list[str]:
        self.now += after
        found = self.memory.ask(self.world, now=self.now)
        assert {(key, place) for key, _, place in found} <= {(DIGITS, "edge")}
        return sorted(name for _, name, _ in found)


@pytest.mark.parametrize("reason", [None, "LoadFailed", "Unsupported", "DigestMismatch", "InternalError", "NewReason"])
def test_what_fails_for_long_enough_is_broken(reason: str | None) -> None:
    trial = Trial()
    fields = FAILED | ({"reason": reason} if reason else {})
    assert trial.see(**fields) == []
    assert trial.see(after=BROKEN_AFTER - 1, **fields) == []
    assert trial.see(after=1, **fields) == ["onnx-cpu"]


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(FAILED | {"reason": "FetchFailed"}, id="its source cannot be reached"),
        pytest.param(FAILED | {"reason": "TritonUnavailable"}, id="Triton is not there"),
        pytest.param(FAILED | {"reason": "StorageFailed"}, id="the disk is full"),
        pytest.param(FAILED | {"reason": "ServiceRefused"}, id="somebody else has the Service"),
        pytest.param({"state": "Failed", "readyReplicas": 1, "reason": "LoadFailed"}, id="another replica answers"),
        pytest.param(FAILED | {"digest": OTHER_DIGEST}, id="the report is about an earlier artifact"),
        pytest.param({"state": "Loading", "readyReplicas": 0}, id="it is loading"),
        pytest.param({"state": "Unknown", "readyReplicas": 0}, id="nobody knows"),
    ],
)
def test_what_is_no_fault_of_the_variant(fields: dict[str, Any]) -> None:
    trial = Trial()
    assert [trial.see(after=60.0, **fields) for _ in range(10)] == [[]] * 10


def test_what_answers_in_between_is_not_broken() -> None:
    trial = Trial()
    trial.see(**FAILED)
    trial.see(after=20.0)
    trial.see(after=5.0, **FAILED)
    assert trial.see(after=BROKEN_AFTER - 1, **FAILED) == []


def test_attempts_in_between_do_not_hide_that_it_fails() -> None:
    trial = Trial()
    trial.see(**FAILED)
    trial.see(after=10.0, state="Loading", readyReplicas=0)
    trial.see(after=10.0, state="Failed", readyReplicas=0, reason="FetchFailed")
    assert trial.see(after=10.0, **FAILED) == ["onnx-cpu"]


def fail(trial: Trial, name: str = "onnx-cpu") -> None:
    trial.see(name=name, **FAILED)
    assert name in trial.see(name=name, after=BROKEN_AFTER, **FAILED)


def test_it_is_tried_again_after_pauses_that_double() -> None:
    trial = Trial()
    pauses: Sequence[float] = [min(LAST_RETRY, FIRST_RETRY * 2**n) for n in range(9)]
    assert pauses[-1] == LAST_RETRY
    for pause in pauses:
        fail(trial)
        assert trial.barred(after=pause - 1) == ["onnx-cpu"]
        assert trial.barred(after=1) == []
    trial.see()
    fail(trial)
    assert trial.barred(after=FIRST_RETRY) == [], "what has served begins anew"


@pytest.mark.parametrize(
    "corrected",
    [
        pytest.param(
            {"artifact": {"uri": "https://models.example/network.onnx", "digest": OTHER_DIGEST}}, id="artifact"
        ),
        pytest.param({"backend": "openvino"}, id="backend"),
        pytest.param({"parameters": {"intra_op_thread_count": "2"}}, id="parameters"),
    ],
)
def test_a_corrected_variant_is_another_chance(corrected: dict[str, Any]) -> None:
    trial = Trial()
    fail(trial)
    trial.world = World(models=(model(variants=[variant(**corrected), variant("small")]),), pools=(pool(),))
    assert trial.barred() == []
    trial.world = WORLD
    assert trial.barred() == []


@pytest.mark.parametrize(
    "variants", [pytest.param([variant("small")], id="the variant"), pytest.param(None, id="the Model")]
)
def test_what_is_gone_is_forgotten(variants: list[dict[str, Any]] | None) -> None:
    trial = Trial()
    fail(trial)
    trial.world = World(models=(model(variants=variants),) if variants else ())
    assert trial.barred() == []
    trial.world = WORLD
    assert trial.barred() == []


def test_where_all_variants_have_failed_none_is_barred() -> None:
    trial = Trial()
    fail(trial)
    trial.see(name="small", **FAILED)
    assert trial.see(name="small", after=BROKEN_AFTER, **FAILED) == []


@pytest.mark.parametrize("jump", [-1e5, 1e9])
def test_a_clock_that_jumps_bars_nothing_for_long(jump: float) -> None:
    trial = Trial()
    fail(trial)
    trial.now += jump
    assert trial.barred() == []


def test_one_pool_says_nothing_of_another() -> None:
    memory = Failures()
    broken = reporting("edge", said(**FAILED))
    fine = reporting("other", said())
    for now in (0.0, BROKEN_AFTER):
        memory.observe(reports([broken, fine]), now=now)
    assert memory.ask(WORLD, now=BROKEN_AFTER) == {(DIGITS, "onnx-cpu", "edge")}


def test_digests_are_those_of_the_tests() -> None:
    """Else nothing above says anything."""
    assert all(v.artifact.digest == DIGEST for v in WORLD.models[0].spec.variants)
