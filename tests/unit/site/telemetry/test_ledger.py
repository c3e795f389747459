"""What is reported, when, and what survives a restart."""

from __future__ import annotations

from typing import Any

import pytest

from littoral.api.assignment import AssignedModelStatus, Assignment, AssignmentStatus, ServerReport
from littoral.api.measurement import DeviceMeasurement, ModelMeasurement
from littoral.core.capacity import BatchCounter
from littoral.site.telemetry.configuration import Configuration
from littoral.site.telemetry.exposition import Counts, Memory
from littoral.site.telemetry.figures import AT_LEISURE, SOON
from littoral.site.telemetry.ledger import STALE, URGENT, Artifact, Ledger, Observation, ServerKey, Subject
from littoral.site.telemetry.window import Distribution, Estimate
from tests.support.objects import assignment, server

SERVER = ServerKey("shop", "triton-edge-cpu")
DIGEST, OTHER = "sha256:" + "0" * 64, "sha256:" + "1" * 64
RAN = {2: BatchCounter(executions=100, seconds=0.4)}


def seen(rate: float, *, digest: str = DIGEST, **fields: Any) -> dict[ServerKey, Observation]:
    """A minute of model a at this rate, each request taking 10 ms."""
    weight = 60 * rate
    estimate = Estimate(
        rates=Counts(answered=rate, items=rate, executions=rate, seconds=rate / 100),
        requests=weight,
        distributions=(Distribution(weight=weight, quantiles=((0.5, 0.01), (0.99, 0.02))),) if rate else (),
    )
    learned = {
        "batches": {Artifact("a", digest): (RAN, 9.0)},
        "memory": {Artifact("a", digest): 2.0**28},
        "load_time": {Artifact("a", digest): 1.5},
        "configurations": {Artifact("a", digest): Configuration(max_batch=8, instances=2)},
    }
    return {SERVER: Observation(estimates={"a": estimate}, **learned | fields)}


def status(
    *, digest: str = DIGEST, variant: str = "onnx-cpu", measured: ModelMeasurement | None = None
) -> AssignmentStatus:
    model = AssignedModelStatus(name="a", variant=variant, digest=digest, measured=measured)
    return AssignmentStatus(servers=(ServerReport(name=SERVER.server, namespace="shop", models=(model,)),))


class Site:
    """A ledger, the Assignment as the API server has it, and a clock."""

    def __init__(self, written: AssignmentStatus | None = None) -> None:
        self.ledger = Ledger()
        self.assignment: Assignment = assignment(servers=[server("a")]).with_status(written or AssignmentStatus())
        self.at = 1000.0
        self.writes = 0
        self.write()

    def write(self, new: AssignmentStatus | None = None) -> ModelMeasurement | None:
        """One pass of the site role."""
        annotated = self.ledger.annotate(self.assignment, new or status(), at=self.at)
        self.writes += annotated != self.assignment.status
        self.assignment = self.assignment.with_status(annotated)
        return annotated.servers[0].models[0].measured

    def observe(self, observations: dict[ServerKey, Observation], *, after: float = 3.0) -> bool:
        self.at += after
        return self.ledger.observe(observations, at=self.at)

    @property
    def rate(self) -> str | None:
        measured = self.write()
        return measured.rate if measured is not None else None


def test_what_is_measured_is_reported() -> None:
    site = Site()
    assert site.rate is None
    assert site.observe(seen(20))
    measured = site.write()
    assert measured is not None
    assert measured.dump() == {
        "rate": "20",
        "latency": {"requests": 1200, "mean": "10ms", "p50": "10ms", "p95": "20ms", "p99": "20ms"},
        "queue": "0s",
        "batch": "1",
        "batches": [{"size": 2, "count": 100, "time": "4ms"}],
        "memory": "256Mi",
        "loadTime": "1.5s",
        "maxBatch": 8,
        "instances": 2,
    }


def test_a_site_where_nothing_changes_writes_nothing() -> None:
    site = Site()
    site.observe(seen(20))
    site.write()
    writes = site.writes
    for round_ in range(200):
        changed = site.observe(seen(20 + round_ % 3 / 4, batches={}))
        assert not changed
        site.write()
    assert site.writes == writes


def test_news_wait_for_their_turn() -> None:
    site = Site()
    site.observe(seen(20))
    assert not site.observe(seen(10), after=SOON - 1)
    assert site.rate == "20"
    assert site.observe(seen(10), after=1)
    assert site.rate == "10"


def test_a_load_that_rises_does_not_wait_but_not_again_and_again() -> None:
    site = Site()
    site.observe(seen(2))
    site.observe(seen(2), after=URGENT)
    assert site.observe(seen(8), after=1), "a reading in which the load rises sees a part of the rise"
    assert site.observe(seen(20), after=3), "the next one sees the whole"
    site.at += SOON - 2
    assert not site.observe(seen(200), after=1)
    assert site.observe(seen(200), after=1)
    assert not site.observe(seen(2000), after=SOON / 2)


def test_a_model_that_is_hardly_asked_waits_longer() -> None:
    site = Site()
    site.observe(seen(20))
    site.observe(seen(0, batches={}), after=SOON)
    assert not site.observe(seen(0.05, batches={}), after=AT_LEISURE - 1)
    assert site.observe(seen(0.05, batches={}), after=1)


def test_many_models_are_written_less_often() -> None:
    site = Site()
    names = [f"m{number}" for number in range(99)]
    models = tuple(AssignedModelStatus(name=name, variant="v", digest=DIGEST) for name in ["a", *names])
    both = AssignmentStatus(servers=(ServerReport(name=SERVER.server, namespace="shop", models=models),))
    site.write(both)
    site.observe(seen(20))
    assert not site.observe(seen(10), after=59)
    assert site.observe(seen(10), after=1)
    assert site.observe(seen(100), after=1), "but a load that rises does not wait"


def test_one_write_tells_all_the_news() -> None:
    site = Site()
    site.observe(seen(20))
    site.observe(seen(20), after=AT_LEISURE)
    assert site.observe(seen(0, memory={Artifact("a", DIGEST): 2.0**29}))
    measured = site.write()
    assert measured is not None
    assert (measured.rate, measured.memory) == ("0", "512Mi")


def test_a_server_that_does_not_answer_keeps_what_was_learned() -> None:
    site = Site()
    site.observe(seen(20))
    assert not site.observe({}, after=STALE)
    assert site.observe({}, after=3)
    measured = site.write()
    assert measured is not None
    assert measured.dump().keys() == {"batches", "memory", "loadTime", "maxBatch", "instances"}
    assert site.observe(seen(20), after=SOON)
    assert site.rate == "20"


def test_a_restart_of_the_operator_forgets_nothing_and_writes_nothing() -> None:
    before = Site()
    before.observe(seen(20))
    before.write()
    site = Site(before.assignment.status)
    assert site.writes == 0
    assert not site.observe({}), "not a server was heard yet"
    assert not site.observe(seen(20, batches={}))
    assert site.rate == "20"
    assert site.writes == 0
    # And the evidence goes on where it stopped.
    site.observe(seen(40))
    measured = site.write()
    assert measured is not None
    assert measured.batches[0].count > 190


@pytest.mark.parametrize("new", [status(digest=OTHER), status(variant="onnx-int8")], ids=["digest", "variant"])
def test_another_artifact_begins_anew(new: AssignmentStatus) -> None:
    site = Site()
    site.observe(seen(20))
    assert site.write() is not None
    assert site.write(new) is None


def test_what_was_learned_of_the_artifact_before_is_not_the_new_ones() -> None:
    site = Site()
    site.observe(seen(20))
    site.write(status(digest=OTHER))
    assert site.observe(seen(20, digest=DIGEST), after=URGENT)
    measured = site.write(status(digest=OTHER))
    assert measured is not None
    assert measured.rate == "20", "what clients ask does not depend on the artifact"
    assert (measured.batches, measured.memory, measured.load_time) == ((), None, None)
    assert (measured.max_batch, measured.instances) == (None, None)


def test_a_changed_configuration_of_the_same_artifact_is_rewritten() -> None:
    site = Site()
    site.observe(seen(20))
    changed = {Artifact("a", DIGEST): Configuration(max_batch=1, instances=4)}
    assert site.observe(seen(20, configurations=changed), after=SOON)
    measured = site.write()
    assert measured is not None
    assert (measured.max_batch, measured.instances) == (1, 4)
    assert not site.observe(seen(20, configurations={}, batches={}), after=SOON), "not asked again is not forgotten"
    assert site.write() == measured


def test_a_device_is_reported_when_its_memory_moves() -> None:
    site = Site()
    site.observe(seen(0, device=Memory(used=3e9, total=8 * 2.0**30)))
    site.write()
    assert site.assignment.status.servers[0].device == DeviceMeasurement(memory_used="2861Mi", memory_total="8Gi")
    assert not site.observe(seen(0, batches={}, device=Memory(used=3.1e9, total=8 * 2.0**30)), after=SOON)
    assert site.observe(seen(0, batches={}, device=Memory(used=4e9, total=8 * 2.0**30)), after=SOON)


def test_accounts_that_are_silent_for_long_are_closed_and_opened_again_from_the_status() -> None:
    site = Site()
    site.observe(seen(20))
    site.observe({}, after=STALE + 1)
    learned = site.write()
    assert learned is not None
    other = {ServerKey("bank", "triton-edge-cpu"): Observation(device=Memory(used=1, total=2))}
    assert site.observe(other, after=7200)
    assert site.ledger.figures() == {}
    assert site.write() == learned
    assert site.ledger.figures().keys() == {Subject(*SERVER, "a")}
