"""Measures every Triton of the site, and says what of it is worth writing down."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from littoral.api.assignment import Assignment, AssignmentStatus
from littoral.api.serving import ModelState, ServerStatus
from littoral.core.capacity import BatchCounters, batches_between, merged
from littoral.site.telemetry import window
from littoral.site.telemetry.configuration import Configuration, least
from littoral.site.telemetry.exposition import Exposition, ModelVersion
from littoral.site.telemetry.figures import Figures
from littoral.site.telemetry.ledger import STALE, Artifact, Ledger, Observation, ServerKey, Subject
from littoral.site.telemetry.merging import merge
from littoral.site.telemetry.reader import UNREADABLE, Reader
from littoral.site.telemetry.statistics import Statistics
from littoral.site.telemetry.window import Estimate, Window
from littoral.site.views import PodView

logger = logging.getLogger(__name__)

INTERVAL: Final = 3.0
"""Seconds between two readings of a server."""

_STATISTICS: Final = 9.0  # Seconds between two readings of a server's statistics: batch times change slowly.
_CONFIGURATIONS: Final = 8  # Configurations that are read of a server in a round: it may have a hundred new models.
_SHARE: Final = 0.2  # The part of a core's time that reading may take, however many servers there are.
_MOST_SKIPPED: Final = 7  # Rounds that a server which does not answer is left alone.


@dataclass(kw_only=True)
class _Source:
    """One Pod's Triton, and what was read of it."""

    pod: PodView
    window: Window = field(default_factory=Window)
    statistics: Statistics = field(default_factory=Statistics)
    statistics_at: float = float("-inf")
    executions: Mapping[ModelVersion, float] = field(default_factory=dict)
    batches: list[tuple[Artifact, BatchCounters, float]] = field(default_factory=list)
    configurations: dict[tuple[ModelVersion, Artifact], Configuration] = field(default_factory=dict)
    refused_at: dict[tuple[ModelVersion, Artifact], float] = field(default_factory=dict)
    failures: int = 0
    skip: int = 0

    @property
    def server(self) -> ServerKey:
        return ServerKey(self.pod.namespace, self.pod.server)


class Telemetry:
    """Follows Pods, and adds to an Assignment's status what it measures of them."""

    def __init__(
        self,
        *,
        on_change: Callable[[], None],
        reader: Callable[[], Reader] = Reader,
        interval: float = INTERVAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_change` is called when `annotate` has something new to say."""
        self._on_change = on_change
        self._new_reader = reader
        self._reader: Reader | None = None
        self._interval = interval
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._sources: dict[str, _Source] = {}
        self._statuses: Mapping[str, ServerStatus] = {}
        self._ledger = Ledger()

    def follow(self, pods: Iterable[PodView], statuses: Mapping[str, ServerStatus]) -> None:
        """Measure exactly these Pods from now on.

        Args:
            statuses: what each agent says, by its Pod's uid: which version in Triton is the wanted artifact.
        """
        wanted = {pod.uid: pod for pod in pods if pod.address and pod.server and not pod.leaving}
        self._statuses = statuses
        self._sources = {uid: self._sources.get(uid) or _Source(pod=pod) for uid, pod in wanted.items()}
        if self._task is None and self._sources:
            self._task = asyncio.create_task(self._run(), name="telemetry")

    async def close(self) -> None:
        """Stop measuring."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._reader is not None:
            await self._reader.close()

    def snapshot(self) -> dict[Subject, Figures]:
        """The newest figures of every model that an annotated Assignment asks for, reported or not."""
        return self._ledger.figures()

    def annotate(self, assignment: Assignment, status: AssignmentStatus) -> AssignmentStatus:
        """The new status of the Assignment, with what was measured in it; see `Ledger.annotate`."""
        return self._ledger.annotate(assignment, status, at=self._clock())

    async def poll(self) -> None:
        """Read every server once; tell `on_change` if there are news."""
        if self._reader is None:
            self._reader = self._new_reader()
        await asyncio.gather(*(self._read(self._reader, source) for source in self._sources.values()))
        if self._ledger.observe(self._observations(), at=self._clock()):
            self._on_change()

    async def _run(self) -> None:
        pause = self._interval
        while True:
            await asyncio.sleep(pause)
            began, busy = self._clock(), time.thread_time()
            try:
                await self.poll()
            except Exception:
                logger.exception("a round of measuring failed and will be tried again")
            busy = time.thread_time() - busy
            pause = max(began + self._interval - self._clock(), busy * (1 / _SHARE - 1))

    async def _read(self, reader: Reader, source: _Source) -> None:
        if source.skip > 0:
            source.skip -= 1
            return
        try:
            exposition = await reader.metrics(source.pod.address)
            source.window = window.advance(source.window, exposition, at=self._clock())
            if self._has_new_statistics(source, exposition):
                self._learn(source, await reader.statistics(source.pod.address), exposition)
            await self._configure(reader, source)
        except UNREADABLE as error:
            logger.debug("Triton of %s/%s: %r", source.pod.namespace, source.pod.name, error)
            source.failures += 1
            source.skip = min(2 ** min(source.failures - 1, 10) - 1, _MOST_SKIPPED)
        else:
            source.failures = 0

    async def _configure(self, reader: Reader, source: _Source) -> None:
        """Ask how the versions that are new are configured; a version keeps its configuration while it is loaded."""
        wanted = _artifacts(self._statuses.get(source.pod.uid)).items()
        now = self._clock()
        source.configurations = {key: known for key, known in source.configurations.items() if key in wanted}
        source.refused_at = {
            key: at for key, at in source.refused_at.items() if key in wanted and now - at < _STATISTICS
        }
        unknown = [key for key in wanted if key not in source.configurations and key not in source.refused_at]
        for key in unknown[:_CONFIGURATIONS]:
            try:
                source.configurations[key] = await reader.configuration(source.pod.address, key[0])
            except UNREADABLE as error:
                # It may have been unloaded meanwhile, which says nothing of the other readings; or Triton is slow, so
                # that other configurations had better wait for the next round.
                logger.debug("configuration of %s in Pod %s: %r", key[0].model, source.pod.name, error)
                source.refused_at[key] = now
                return

    def _has_new_statistics(self, source: _Source, exposition: Exposition) -> bool:
        if self._clock() - source.statistics_at < _STATISTICS:
            return False
        return source.executions != _executions(exposition)

    def _learn(self, source: _Source, statistics: Statistics, exposition: Exposition) -> None:
        now = self._clock()
        artifacts = _artifacts(self._statuses.get(source.pod.uid))
        for key, counters in statistics.batches.items():
            # The first reading of a version says only where counting begins: its first batches take much longer.
            before = source.statistics.batches.get(key)
            if before is not None and key in artifacts:
                ran = batches_between(before, counters)
                source.batches.append((artifacts[key], ran, now - source.statistics_at))
        source.statistics, source.statistics_at = statistics, now
        source.executions = _executions(exposition)

    def _observations(self) -> dict[ServerKey, Observation]:
        now = self._clock()
        fresh: dict[ServerKey, list[_Source]] = {}
        for source in self._sources.values():
            if source.window.read_at is not None and now - source.window.read_at <= STALE:
                fresh.setdefault(source.server, []).append(source)
        return {server: self._observation(sources) for server, sources in fresh.items()}

    def _observation(self, sources: list[_Source]) -> Observation:
        estimates: dict[str, list[Estimate]] = {}
        batches: dict[Artifact, list[tuple[BatchCounters, float]]] = {}
        memory: dict[Artifact, float] = {}
        load_time: dict[Artifact, float] = {}
        configurations: dict[Artifact, list[Configuration]] = {}
        for source in sources:
            for model, estimate in window.estimates(source.window).items():
                estimates.setdefault(model, []).append(estimate)
            for artifact, counters, elapsed in source.batches:
                batches.setdefault(artifact, []).append((counters, elapsed))
            source.batches.clear()
            for (_, artifact), configuration in source.configurations.items():
                configurations.setdefault(artifact, []).append(configuration)
            status = self._statuses.get(source.pod.uid)
            for key, artifact in _artifacts(status).items():
                if (used := source.statistics.memory.get(key)) is not None:
                    memory[artifact] = max(memory.get(artifact, 0.0), used)
            for said in status.models if status is not None else ():
                if said.load_seconds is not None:
                    artifact = Artifact(said.name, said.digest)
                    load_time[artifact] = max(load_time.get(artifact, 0.0), said.load_seconds)
        devices = [seen for source in sources if (seen := source.window.latest.memory) is not None]
        return Observation(
            estimates={model: merge(each) for model, each in estimates.items()},
            batches={
                artifact: (merged(counters for counters, _ in each), max(elapsed for _, elapsed in each))
                for artifact, each in batches.items()
            },
            memory=memory,
            load_time=load_time,
            configurations={artifact: least(each) for artifact, each in configurations.items()},
            device=min(devices, key=lambda device: device.total - device.used, default=None),
        )


def _artifacts(status: ServerStatus | None) -> dict[ModelVersion, Artifact]:
    """The versions in a Triton that are the wanted artifacts."""
    if status is None:
        return {}
    return {
        ModelVersion(model.name, str(model.version)): Artifact(model.name, model.digest)
        for model in status.models
        if model.ready and model.state == ModelState.READY
    }


def _executions(exposition: Exposition) -> dict[ModelVersion, float]:
    return {key: metrics.counts.executions for key, metrics in exposition.versions.items()}
