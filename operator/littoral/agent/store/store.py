"""The cache as the agent sees it: ensure that an artifact is there, and say what is in use."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from littoral.agent.errors import AgentError, ArtifactError, FetchError
from littoral.agent.progress import Progress
from littoral.agent.store import entries
from littoral.agent.store.entries import ARTIFACT, Entry
from littoral.agent.store.locks import Locks
from littoral.agent.store.pins import Pins
from littoral.agent.store.quota import Quota
from littoral.agent.store.scrub import PERIOD, RATE, SlowHash, Stopped
from littoral.agent.store.space import NoSpace, Space, is_full

log = logging.getLogger(__name__)

LEFTOVER_AGE = 86400.0
"""Seconds for which what has come of a fetch that broke is kept for the next try."""

WATCH = 0.25
"""Seconds between two looks at the space while something is fetched."""

CONTENT = "content"
"""Folder beside an archive that is being unpacked."""

MARGIN = 1 << 20
"""Bytes to have free before a write is tried again that found the disk full and does not know what it needs."""

ATTEMPTS = 3
"""How often in a row a fetch is tried that finds the disk full, each time after something has made room."""

T = TypeVar("T")

Fetch = Callable[[Path], Awaitable[str]]
"""Writes an artifact to a path, where part of it may be already, and returns the hex digest of the whole."""

Unpack = Callable[[Path, Path, threading.Event], Mapping[str, str]]
"""Unpacks the archive at the first path into the second, which is not there yet, unless the event is set meanwhile.
Returns relative path -> hex SHA-256 of each file."""


class DigestError(ArtifactError):
    """What was fetched is not what was asked for."""

    def __init__(self, *, expected: str, actual: str) -> None:
        super().__init__(f"wrong digest: expected sha256:{expected}, got sha256:{actual}")


class Store:
    """The cache in the folder `root`, which several agents of a node may share."""

    def __init__(self, root: Path, *, quota: Quota | None = None, states: Path | None = None) -> None:
        """
        Args:
            root: the folder; made if it is not there.
            quota: how large it may become.
            states: where the servers of the node keep their state. Default: `<root>/state`.
        """
        self._root = root
        self._verified: dict[str, Entry] = {}
        for folder in ("sha256", "incoming", "locks", "pins", "trash"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        self._locks = Locks(root / "locks")
        self._pins = Pins(
            root=root / "pins", states=states or root / "state", entries_root=root / "sha256", locks=self._locks
        )
        self._space = Space(root=root, quota=quota or Quota(), locks=self._locks, pins=self._pins)

    def sweep(self) -> None:
        """Remove what those who were killed have left: what was being deleted, and fetches that nobody took up
        again for a day."""
        for grave in (self._root / "trash").iterdir():
            entries.remove(grave)
        for leftover in (self._root / "incoming").iterdir():
            if time.time() - _last_write(leftover) > LEFTOVER_AGE:
                with self._locks.attempt(leftover.name) as held:
                    if held:
                        entries.discard(leftover, trash=self._root / "trash")

    def get(self, name: str) -> Entry | None:
        """The entry of that name, if this process has hashed its bytes and they are still there."""
        entry = self._verified.get(name)
        return entry if entry is not None and entry.path.exists() else None

    def retain(self, names: Collection[str]) -> None:
        """These are in use and no others: the rest may make room for something else."""
        mine = self._pins.mine()
        for name in mine - set(names):
            # Before the pin goes: from then on another agent may remove it.
            self._verified.pop(name, None)
            entries.touch_used(self._folder(name))
            self._pins.drop(name)
        for name in set(names) - mine:
            self._pins.add(name)

    async def ensure(
        self, name: str, fetch: Fetch, *, progress: Progress | None = None, unpack: Unpack | None = None
    ) -> Entry:
        """The entry of that name: found and hashed, or fetched, or brought by another agent meanwhile. It is pinned.

        What is found is hashed once in the life of the process: the cache outlives the agent, on a disk that
        others can write to and that can lose a block.

        Args:
            name: digest of the artifact as it is fetched, in hex; with the suffix `.unpacked` if it is unpacked.
            fetch: brings it, if need be. What it leaves when it fails is there at the next try.
            progress: of the fetch, by which room is made before the disk is full.
            unpack: for an archive, of which what is in it is kept.

        Raises:
            DigestError: what was fetched is something else; nothing of it is kept.
            NoSpace: it does not fit.
            AgentError: whatever `fetch` and `unpack` raise.
        """
        async with self._locks.exclusive(name):
            self._pins.add(name)
            entry = await asyncio.to_thread(entries.inspect, self._folder(name))
            if entry is None:
                entry = await self._add(name, fetch, progress or Progress(), unpack)
            return self._found(entry)

    async def recall(self, name: str) -> Entry | None:
        """The entry of that name if it is there, hashed and pinned; nothing is fetched."""
        async with self._locks.exclusive(name):
            self._pins.add(name)
            entry = await asyncio.to_thread(entries.inspect, self._folder(name))
            return None if entry is None else self._found(entry)

    def name_of(self, path: str) -> str | None:
        """The entry that a path leads into; None if it leads elsewhere."""
        try:
            return Path(path).relative_to(self._root / "sha256").parts[0]
        except (ValueError, IndexError):
            return None

    async def scrub(self, *, period: float = PERIOD, rate: int = RATE) -> None:
        """Hash every entry that was not hashed for `period` seconds, and remove what is damaged: who needs it finds
        it gone and fetches it again."""
        slow = SlowHash(rate=rate)
        for folder in sorted((self._root / "sha256").iterdir(), key=entries.checked_at):
            if time.time() - entries.checked_at(folder) < period:
                continue
            checking = asyncio.ensure_future(asyncio.to_thread(entries.inspect, folder, of_file=slow))
            try:
                entry = await asyncio.shield(checking)
            except asyncio.CancelledError:
                slow.stop()
                with suppress(Stopped):
                    await checking
                raise
            if entry is not None:
                entries.touch_checked(folder)
                continue
            async with self._locks.exclusive(folder.name):
                if folder.exists() and await asyncio.to_thread(entries.inspect, folder) is None:
                    log.warning("%s in the cache is damaged: removed", folder.name)
                    self._verified.pop(folder.name, None)
                    await self._discard(folder)

    async def tend(self) -> None:
        """Keep the cache within its quota and its bytes right, for as long as the agent runs."""
        while True:
            try:
                await asyncio.to_thread(self._space.trim)
                await self.scrub()
            except OSError as error:
                log.warning("the cache could not be checked: %s", error)
            await asyncio.sleep(PERIOD / 24)

    def used(self) -> int:
        """Bytes that the cache takes."""
        return self._space.used()

    def _found(self, entry: Entry) -> Entry:
        folder = self._folder(entry.name)
        self._pins.add(entry.name)  # again: it may have been unwanted for a moment
        entries.touch_used(folder)
        entries.touch_checked(folder)
        self._verified[entry.name] = entry
        return entry

    async def _add(self, name: str, fetch: Fetch, progress: Progress, unpack: Unpack | None) -> Entry:
        incoming, final = self._root / "incoming" / name, self._folder(name)
        if final.exists():  # damaged: its bytes are of no use, and their room may be
            await self._discard(final)
        if unpack is not None and ((incoming / ARTIFACT).is_dir() or (incoming / CONTENT).exists()):
            await self._discard(incoming)  # somebody was killed while it was unpacked
        incoming.mkdir(exist_ok=True)
        try:
            actual = await self._fetched(incoming, fetch, progress)
            if actual != (expected := name.removesuffix(entries.UNPACKED)):
                raise DigestError(expected=expected, actual=actual)
            files = (
                None if unpack is None else await self._write(incoming, lambda stop: _unpack(incoming, unpack, stop))
            )
            size = await self._write(incoming, lambda _: entries.seal(incoming, files=files))
        except (ArtifactError, NoSpace):  # it is of no use, or its room is of more use to others
            await self._discard(incoming)
            raise
        incoming.rename(final)
        entries.sync(final.parent)
        return Entry(name=name, path=final / ARTIFACT, bytes=size)

    async def _fetched(self, incoming: Path, fetch: Fetch, progress: Progress) -> str:
        """The digest of what was fetched. Room is made as soon as the size is known, and again where it was too
        little all the same: others write to the disk as well."""
        for attempt in range(1, ATTEMPTS + 1):
            fetching = asyncio.ensure_future(fetch(incoming / ARTIFACT))
            watching = asyncio.ensure_future(self._watch(incoming, progress))
            try:
                await asyncio.wait((fetching, watching), return_when=asyncio.FIRST_COMPLETED)
                if watching.done() and not fetching.done():
                    watching.result()  # it does not fit
                actual = await fetching
                await asyncio.to_thread(self._space.make, 0, name=incoming.name)
                return actual
            except (AgentError, OSError) as error:
                if isinstance(error, NoSpace) or not is_full(error):
                    raise
                if attempt == ATTEMPTS:
                    raise FetchError(f"the cache's disk is full: {error}") from error
                await self._give_way(incoming, _left(progress))
            finally:
                for task in (fetching, watching):
                    task.cancel()
                await asyncio.gather(fetching, watching, return_exceptions=True)
        raise AssertionError("unreachable")

    async def _watch(self, incoming: Path, progress: Progress) -> None:
        """Make room for what is still to come, while it comes.

        Raises:
            NoSpace: it does not fit.
        """
        expected: int | None = None
        while True:
            if progress.total is None or progress.total != expected:
                if progress.total is not None:
                    self._space.expect(incoming, progress.total)
                expected = progress.total
                await asyncio.to_thread(self._space.make, _left(progress), name=incoming.name)
            await asyncio.sleep(WATCH)

    async def _write(self, incoming: Path, work: Callable[[threading.Event], T]) -> T:
        """Do what writes to the disk in a thread; once more, after room was made, if the disk is full.

        Raises:
            NoSpace: it is still full.
        """
        for last in (False, True):
            stop = threading.Event()
            thread = asyncio.ensure_future(asyncio.to_thread(work, stop))
            try:
                return await asyncio.shield(thread)
            except asyncio.CancelledError:
                stop.set()
                await asyncio.wait([thread])  # nobody may write there any more when the lock is free
                raise
            except OSError as error:
                if last or not is_full(error):
                    raise FetchError(f"the cache cannot be written: {error.strerror or error}") from error
                await self._give_way(incoming, entries.tree_size(incoming))
        raise AssertionError("unreachable")

    async def _give_way(self, incoming: Path, needed: int) -> None:
        """Make room where the disk was found full. What was removed may be enough, though less than was hoped for.

        Raises:
            NoSpace: there was nothing to remove.
        """
        try:
            await asyncio.to_thread(self._space.make, max(needed, MARGIN), name=incoming.name)
        except NoSpace as error:
            if not error.removed:
                raise

    async def _discard(self, folder: Path) -> None:
        await asyncio.to_thread(entries.discard, folder, trash=self._root / "trash")

    def _folder(self, name: str) -> Path:
        return self._root / "sha256" / name


def _unpack(incoming: Path, unpack: Unpack, stop: threading.Event) -> Mapping[str, str]:
    """Put what is in the archive in its place."""
    archive, content = incoming / ARTIFACT, incoming / CONTENT
    entries.remove(content)  # of a try that found the disk full
    files = unpack(archive, content, stop)
    archive.unlink()
    content.rename(archive)
    return files


def _left(progress: Progress) -> int:
    return 0 if progress.total is None else max(0, progress.total - progress.received)


def _last_write(folder: Path) -> float:
    """When something below `folder` was last written, in seconds since 1970."""
    times = [entries.used_at(folder)]
    for parent, folders, files in os.walk(folder):
        times += [entries.used_at(Path(parent, name)) for name in (*folders, *files)]
    return max(times)
