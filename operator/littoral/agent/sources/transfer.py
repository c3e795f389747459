"""From a source to a file, as fast as both allow and as often as it takes: ranges, resuming, the digest on the way."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from littoral.agent.errors import FetchError
from littoral.agent.progress import Progress
from littoral.agent.sources.limits import Limits, check_size, too_large
from littoral.agent.sources.partial import PartialFile

log = logging.getLogger(__name__)

GAIN = 1 << 20
"""Bytes that a try must have brought for the next one to follow at once; with less, the reconcile loop waits first."""

NOTE = 3.0
"""Seconds between two notes of what is there: what a kill costs."""

HASH_BEHIND = 8 << 20
"""Bytes that may be on disk without being hashed before a thread reads them again."""


class BrokenError(FetchError):
    """The source stopped in the middle: what has come is kept, and the rest can be asked for."""


class ChangedError(FetchError):
    """The source has something else now under the same name: what has come is worth nothing."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a source gives."""

    start: int
    """Where it begins: 0 if the source gives all, whatever was asked."""
    stop: int | None
    """Where it ends; None: where the file does."""
    size: int | None
    """Bytes of the whole; None if the source does not say."""
    version: str | None
    """What tells this content from another under the same name; None if it cannot be resumed."""
    chunks: AsyncIterator[bytes | memoryview]


class Source(Protocol):
    """A file somewhere else."""

    @property
    def identity(self) -> str:
        """Names it: what an earlier try has left belongs to the same identity."""

    def open(
        self, *, start: int = 0, stop: int | None = None, version: str | None = None
    ) -> AbstractAsyncContextManager[Part]:
        """The bytes from `start` up to `stop`, which is not among them; or all of them, from 0.

        Args:
            version: of what was read before; a source that has another one now says so, or gives all from 0.

        Raises:
            BrokenError: it stops, or is silent; also while the chunks are read.
            ChangedError: it has another version.
            FetchError: it does not give it now.
            ArtifactError: it never will.
        """


class Transfer:
    """One fetch: its files share the streams, the cap and the progress."""

    def __init__(self, *, progress: Progress, limits: Limits) -> None:
        self.progress = progress
        self.limits = limits
        self._slots = asyncio.Semaphore(limits.streams)

    async def to(self, target: Path, source: Source) -> str:
        """Bring the source to the file `target`, going on from what an earlier call has left there.

        A source that breaks is asked for the rest at once, as long as each try brings something; one that has changed
        is asked for all, once.

        Returns:
            The hex SHA-256 of the file.

        Raises:
            ArtifactError: it is larger than the limit.
            FetchError: whatever the source raises. What has come is left, and noted in `partial.side_file(target)`.
        """
        file = await asyncio.to_thread(PartialFile, target, identity=source.identity)
        noting = asyncio.create_task(_note(file))
        try:
            self.progress.received += file.received
            self.progress.total = self.progress.total or file.size
            anew = False
            while not file.complete:
                before = self.progress.fetched
                try:
                    await self._try(file, source, folder=target.parent)
                except BrokenError as error:
                    if self.progress.fetched - before < GAIN:
                        after = f" after {file.received} of {file.size or '?'} bytes" if file.received else ""
                        raise BrokenError(f"{error}{after}") from error
                except ChangedError:
                    self._begin(file, version=None, size=None)
                    if anew:  # it changes all the time
                        raise
                    anew = True
            return await asyncio.to_thread(file.finish)
        finally:
            noting.cancel()
            await asyncio.to_thread(file.close)

    async def _try(self, file: PartialFile, source: Source, *, folder: Path) -> None:
        """Ask for what is missing, from its start; if that is much, by several streams."""
        start, stop = next(file.gaps())
        if self.limits.streams > 1 and (stop is None or stop - start > self.limits.piece):
            stop = start + self.limits.piece  # the answer tells how much there is, and whether it comes in ranges
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._slots)
            part = await stack.enter_async_context(source.open(start=start, stop=stop, version=file.version))
            if part.start == 0 and (part.version, part.size) != (file.version, file.size):
                self._begin(file, version=part.version, size=part.size)
                self.progress.total = self.progress.total or part.size
            elif (part.start, part.version, part.size) != (start, file.version, file.size):
                raise ChangedError("the source has changed while it was fetched")
            check_size(part.size or 0, max_bytes=self.limits.max_bytes, folder=folder, have=file.received)
            pieces = self._pieces(file, begun=part)

            async def lead() -> None:
                await self._pour(file, part)
                await stack.aclose()  # its slot is for whoever comes next
                await self._drain(file, source, pieces)

            helpers = min(self.limits.streams - 1, len(pieces)) if self._many(file) else 0
            await together(lead(), *(self._drain(file, source, pieces) for _ in range(helpers)))

    def _pieces(self, file: PartialFile, *, begun: Part) -> deque[tuple[int, int]]:
        """What is missing besides what has begun to come."""
        if begun.stop is None or file.size is None:
            return deque()
        gaps = [(max(start, begun.stop), stop or file.size) for start, stop in file.gaps()]
        gaps = [(start, stop) for start, stop in gaps if start < stop]
        step = self.limits.piece if self._many(file) else file.size
        return deque((at, min(at + step, stop)) for start, stop in gaps for at in range(start, stop, step))

    def _many(self, file: PartialFile) -> bool:
        """Whether what is missing is worth several streams."""
        return (file.size or 0) - file.received > self.limits.parallel_from

    async def _drain(self, file: PartialFile, source: Source, pieces: deque[tuple[int, int]]) -> None:
        while pieces:
            async with self._slots:
                if not pieces:
                    return
                start, stop = pieces.popleft()
                async with source.open(start=start, stop=stop, version=file.version) as part:
                    if (part.start, part.version, part.size) != (start, file.version, file.size):
                        raise ChangedError("the source has changed while it was fetched")
                    await self._pour(file, part)
            if file.behind > HASH_BEHIND:
                await asyncio.to_thread(file.catch_up, wait=False)

    async def _pour(self, file: PartialFile, part: Part) -> None:
        """Write the chunks in a thread, one while the next one arrives."""
        position = part.start
        writing: asyncio.Future[None] | None = None
        try:
            async for chunk in part.chunks:
                if position + len(chunk) > self.limits.max_bytes:
                    raise too_large(position + len(chunk), max_bytes=self.limits.max_bytes)
                await self.limits.pace.take(len(chunk))
                if writing is not None:
                    await writing
                writing = asyncio.ensure_future(asyncio.to_thread(file.write, position, chunk))
                position += len(chunk)
                self.progress.add(len(chunk))
        finally:
            if writing is not None:
                await asyncio.wait([writing])
        if writing is not None:
            writing.result()
        if part.size is None:
            file.size = position
        elif position < (part.stop or part.size):
            raise BrokenError("the answer ended")

    def _begin(self, file: PartialFile, *, version: str | None, size: int | None) -> None:
        self.progress.received -= file.received
        file.begin(version=version, size=size)


async def _note(file: PartialFile) -> None:
    """Write down what is there from time to time. It is on disk then, which also spares the store a long wait."""
    noted = file.received
    while True:
        await asyncio.sleep(NOTE)
        if file.received != noted:
            noted = file.received
            try:
                await asyncio.to_thread(file.save)
            except OSError as error:  # a full disk is for whoever writes the bytes
                log.debug("no note of %s: %s", file, error)


async def together(*work: Coroutine[Any, Any, None]) -> None:
    """Do all of it at once; the first failure ends the rest and is raised."""
    tasks = [asyncio.ensure_future(it) for it in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
