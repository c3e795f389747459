"""The loop: wait for a tick, take its frame, ask, keep, wake the forwarder. One frame at a time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from examples.vision.kserve import Model, ModelError, ModelUnavailable

from .analysis import Finding, analyse, annotate
from .ring import Ring
from .sampling import Sampler
from .sources import Ended, Frame, Source, SourceError

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Analytics:
    """What runs: frames of one source through one Model into one ring.

    Attributes:
        source_name: as it stands in the results.
        keep_up: skip the ticks that pass while a frame is looked at; else look at all of them, one after another,
            which only a recording can bear.
        reopen: opens the source again when it has ended; None ends the loop.
        longest_side: of the pictures that are kept, in pixels; 0 keeps none.
        kept: called after each result.
        frames: how many frames were kept, lost to the Model, to the disk or to the source, by that word.
        last_kept: time.monotonic() of the newest result.
    """

    source: Source
    source_name: str
    model: Model
    ring: Ring
    sampler: Sampler
    keep_up: bool = True
    reopen: Callable[[], Source] | None = None
    longest_side: int = 1280
    kept: Callable[[], None] = lambda: None
    frames: Counter[str] = field(default_factory=Counter)
    boxes: int = 0
    inference_seconds: Callable[[float], None] = lambda seconds: None
    last_kept: float | None = None
    _not_before: float = 0.0
    _seen: int = 0

    async def run(self) -> None:
        """Run until the source has ended for good, or until cancelled; raise SourceError if it has nothing to show."""
        while True:
            before = self._seen
            try:
                await self._play()
            except Ended:
                log.info("%s has ended", self.source_name)
                self.source.close()
                if self.reopen is None:
                    return
                if self._seen == before:
                    raise SourceError(f"{self.source_name}: there is no frame in it") from None
                self.source = await asyncio.to_thread(self.reopen)
                self.sampler = Sampler(rate=self.sampler.rate, skipped=self.sampler.skipped)

    async def _play(self) -> None:
        start = time.monotonic()
        while True:
            if self.keep_up:
                position = self.sampler.next(time.monotonic() - start)
                await asyncio.sleep(start + position - time.monotonic())
            else:
                position = self.sampler.next_in_order()
                await asyncio.sleep(max(0.0, self._not_before - time.monotonic()))
            try:
                frame = await asyncio.to_thread(self.source.frame_at, position)
            except SourceError as error:
                self._seen += 1
                self.frames["unreadable"] += 1
                log.warning("%s", error)
                continue
            if frame is not None:
                self._seen += 1
                await self.process(frame)

    async def process(self, frame: Frame) -> None:
        """Look at one frame and keep what is found; a frame that is lost is counted by why, and logged."""
        seen = datetime.now(UTC)
        if self.keep_up and time.monotonic() < self._not_before:
            # Whoever answers for the Model has said when to come back.
            self.frames["unavailable"] += 1
            return
        while True:
            try:
                finding = await analyse(frame, model=self.model)
                break
            except ModelError as error:
                if isinstance(error, ModelUnavailable):
                    self._not_before = time.monotonic() + error.retry_after
                    if not self.keep_up:
                        log.warning("%s; again in %g s", error, error.retry_after)
                        await asyncio.sleep(error.retry_after)
                        continue
                self.frames["unavailable" if isinstance(error, ModelUnavailable) else "failed"] += 1
                log.warning("frame %d: %s", frame.index, error)
                return
        self.inference_seconds(finding.seconds)
        try:
            await asyncio.to_thread(self._keep, frame, finding, seen)
        except OSError as error:
            self.frames["not-kept"] += 1
            log.error("frame %d cannot be kept: %s", frame.index, error)
            return
        self.frames["kept"] += 1
        self.boxes += len(finding.boxes)
        self.last_kept = time.monotonic()
        self.kept()

    def _keep(self, frame: Frame, finding: Finding, seen: datetime) -> None:
        picture = annotate(frame.picture, finding.boxes, longest_side=self.longest_side) if self.longest_side else None
        self.ring.append(finding.describe(frame, source=self.source_name, seen=seen), picture=picture)
