"""What is known of every model of the site, and what of it stands in the Assignments. No I/O, and no clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Final, NamedTuple

from littoral.api.assignment import AssignedModelStatus, Assignment, AssignmentStatus, ServerReport
from littoral.api.measurement import DeviceMeasurement, ModelMeasurement
from littoral.core.capacity import BatchCounters, Evidence
from littoral.site.telemetry import figures
from littoral.site.telemetry.configuration import Configuration
from littoral.site.telemetry.exposition import Memory
from littoral.site.telemetry.figures import Figures
from littoral.site.telemetry.window import Estimate

STALE: Final = 15.0
"""Seconds after which a server that does not answer counts as one that nothing is known of."""

URGENT: Final = 30.0
"""Seconds in which two writes at most do not wait: a load that comes and goes must not become a stream of them. They
are two, since the reading in which a load rises sees a part of it, and the next one the whole."""

# Seconds between two writes, for each model that is written: of a hundred models one always has news, and all of them
# are sent.
_PER_MODEL: Final = 0.6
_FORGOTTEN: Final = 3600.0  # Seconds of silence after which the Assignment itself is memory enough.
_DEVICE_MOVED: Final = 0.05


class ServerKey(NamedTuple):
    """Names a server of the site."""

    namespace: str
    server: str


class Subject(NamedTuple):
    """Names a model on a server."""

    namespace: str
    server: str
    model: str


class Artifact(NamedTuple):
    """What a model is made of: another artifact takes other times."""

    model: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What was seen of one server in a round: all its replicas that answer, together.

    Attributes:
        estimates: by model; empty where no replica was read twice yet.
        batches: what ran since the last round, and within how many seconds.
        memory: bytes that a replica takes.
        load_time: seconds of the last load.
        configurations: what each replica can do at once.
        device: of the replica that has least memory left.
    """

    estimates: Mapping[str, Estimate] = field(default_factory=dict)
    batches: Mapping[Artifact, tuple[BatchCounters, float]] = field(default_factory=dict)
    memory: Mapping[Artifact, float] = field(default_factory=dict)
    load_time: Mapping[Artifact, float] = field(default_factory=dict)
    configurations: Mapping[Artifact, Configuration] = field(default_factory=dict)
    device: Memory | None = None


_NOTHING: Final = Observation()


@dataclass(kw_only=True)
class _Account:
    """One model on one server: the artifact, what is known of it and what was reported."""

    variant: str
    digest: str
    heard_at: float
    evidence: Evidence
    now: Figures
    reported: Figures
    measurement: ModelMeasurement | None

    def observe(self, observation: Observation, *, model: str, at: float) -> None:
        artifact = Artifact(model, self.digest)
        if (batches := observation.batches.get(artifact)) is not None:
            counters, elapsed = batches
            self.evidence = self.evidence.observed(counters, elapsed=elapsed)
        estimate = observation.estimates.get(model)
        if estimate is None and at - self.heard_at <= STALE:
            return
        configuration = observation.configurations.get(artifact)
        learned = Figures(
            batches=self.evidence.sizes,
            memory=observation.memory.get(artifact, self.now.memory),
            load_time=observation.load_time.get(artifact, self.now.load_time),
            max_batch=configuration.max_batch if configuration is not None else self.now.max_batch,
            instances=configuration.instances if configuration is not None else self.now.instances,
        )
        if estimate is None:
            self.now = learned
        else:
            self.heard_at = at
            self.now = learned.at(estimate)

    def report(self) -> None:
        self.reported = self.now
        self.measurement = figures.write(self.now)


class Ledger:
    """Keeps accounts of the models that Assignments ask for."""

    def __init__(self) -> None:
        self._accounts: dict[str, dict[Subject, _Account]] = {}
        self._devices: dict[ServerKey, Memory] = {}
        self._reported_at = float("-inf")
        self._urgent_at = (float("-inf"), float("-inf"))

    def figures(self) -> dict[Subject, Figures]:
        """The newest figures of every model, reported or not."""
        return {subject: account.now for subject, account in self._all()}

    def observe(self, observations: Mapping[ServerKey, Observation], *, at: float) -> bool:
        """Take note of a round. Servers that are not in it did not answer.

        Args:
            at: now, in seconds on a clock that does not go back.

        Returns:
            Whether `annotate` has something else to say from now on.
        """
        news: list[_Account] = []
        waits: list[float] = []
        for subject, account in self._all():
            observation = observations.get(ServerKey(subject.namespace, subject.server), _NOTHING)
            account.observe(observation, model=subject.model, at=at)
            wait = figures.patience(account.reported, account.now)
            if wait is not None:
                news.append(account)
                waits.append(wait)
        devices = {key: seen.device for key, seen in observations.items() if seen.device is not None}
        moved = {key: device for key, device in devices.items() if _moved(self._devices.get(key), device)}
        if moved:
            waits.append(figures.SOON)
        if not waits or not self._may_report(min(waits), at=at):
            return False
        for account in news:
            account.report()
        self._devices |= moved
        self._reported_at = at
        self._forget(at=at)
        return True

    def annotate(self, assignment: Assignment, status: AssignmentStatus, *, at: float) -> AssignmentStatus:
        """The status with what was measured in it: the same, until `observe` says otherwise.

        What the Assignment's own status says of the same artifact is gone on with: a restart of the operator forgets
        nothing, and writes nothing.
        """
        before = {
            Subject(server.namespace, server.name, model.name): model
            for server in assignment.status.servers
            for model in server.models
        }
        accounts = self._accounts.get(assignment.name, {})
        kept: dict[Subject, _Account] = {}

        def annotated(server: ServerReport, model: AssignedModelStatus) -> AssignedModelStatus:
            subject = Subject(server.namespace, server.name, model.name)
            account = accounts.get(subject)
            if account is None or (account.variant, account.digest) != (model.variant, model.digest):
                account = _open(model, before=before.get(subject), at=at)
            kept[subject] = account
            return model.model_copy(update={"measured": account.measurement})

        servers = tuple(
            server.model_copy(
                update={
                    "device": _device(self._devices.get(ServerKey(server.namespace, server.name))),
                    "models": tuple(annotated(server, model) for model in server.models),
                }
            )
            for server in status.servers
        )
        self._accounts[assignment.name] = kept
        return status.model_copy(update={"servers": servers})

    def _all(self) -> Iterator[tuple[Subject, _Account]]:
        return chain.from_iterable(accounts.items() for accounts in self._accounts.values())

    def _forget(self, *, at: float) -> None:
        self._accounts = {
            name: {subject: account for subject, account in accounts.items() if at - account.heard_at < _FORGOTTEN}
            for name, accounts in self._accounts.items()
        }

    def _may_report(self, wait: float, *, at: float) -> bool:
        if wait == figures.AT_ONCE:
            before, last = self._urgent_at
            if at - before >= URGENT:
                self._urgent_at = last, at
                return True
            wait = figures.SOON
        return at - self._reported_at >= max(wait, _PER_MODEL * sum(map(len, self._accounts.values())))


def _open(model: AssignedModelStatus, *, before: AssignedModelStatus | None, at: float) -> _Account:
    measurement = None
    if before is not None and (before.variant, before.digest) == (model.variant, model.digest):
        measurement = before.measured
    known = figures.read(measurement) if measurement is not None else Figures()
    return _Account(
        variant=model.variant,
        digest=model.digest,
        heard_at=at,
        evidence=Evidence(known.batches),
        now=known,
        reported=known,
        measurement=measurement,
    )


def _moved(before: Memory | None, now: Memory) -> bool:
    if before is None or before.total != now.total:
        return True
    return abs(now.used - before.used) > _DEVICE_MOVED * now.total


def _device(memory: Memory | None) -> DeviceMeasurement | None:
    if memory is None:
        return None
    return DeviceMeasurement(memory_used=figures.mebibytes(memory.used), memory_total=figures.mebibytes(memory.total))
