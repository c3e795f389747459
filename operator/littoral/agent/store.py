"""The content-addressed cache on the node: artifacts by digest, each there whole or not at all.

    <cache>/sha256/<hex>/artifact       the file, or the directory
    <cache>/sha256/<hex>/entry.json     its size, by which damage is seen at a glance
    <cache>/incoming/<hex>/             what is being fetched; worthless until it is renamed
    <cache>/locks/<hex>                 held while <hex> is fetched, so that two agents on a node fetch it
    once

An entry appears by one rename after its bytes and names are on disk: whoever is killed at whatever moment
leaves a good cache. Entries are never changed in place. Nothing here needs a daemon or a database.
"""

import asyncio
import fcntl
import json
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from littoral.agent import digest
from littoral.agent.errors import ArtifactError

LOCK_POLL = 0.2
"""Seconds between two looks at a lock that another agent holds."""

Fetch = Callable[[Path], Awaitable[str]]
"""Writes an artifact to a path and returns the hex digest of what it wrote."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An artifact in the cache."""

    hex: str
    path: Path
    """The file, or the directory."""
    bytes: int


class DigestError(ArtifactError):
    """What was fetched is not what was asked for."""

    def __init__(self, *, expected: str, actual: str) -> None:
        super().__init__(f"wrong digest: expected sha256:{expected}, got sha256:{actual}")


class Store:
    """The cache in the folder `root`, which several agents of a node may share."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._verified: dict[str, Entry] = {}
        for folder in ("sha256", "incoming", "locks"):
            (root / folder).mkdir(parents=True, exist_ok=True)

    def sweep(self) -> None:
        """Remove what fetches that were killed have left, except where another agent is at work."""
        for leftover in (self._root / "incoming").iterdir():
            with self._lock(leftover.name) as held:
                if held:
                    _remove(leftover)

    def get(self, hex_digest: str) -> Entry | None:
        """The entry of that digest, if this process has hashed its bytes and they are still there."""
        entry = self._verified.get(hex_digest)
        return entry if entry is not None and entry.path.exists() else None

    async def ensure(self, hex_digest: str, fetch: Fetch) -> Entry:
        """The entry of that digest: found and hashed, or fetched, or brought by another agent meanwhile.

        What is found is hashed once in the life of the process: the cache outlives the agent, on a disk that
        others can write to and that can lose a block.

        Raises:
            DigestError: what was fetched is something else; nothing of it is kept.
            AgentError: whatever `fetch` raises.
        """
        async with self._exclusive(hex_digest):
            entry = await asyncio.to_thread(self._inspect, hex_digest) or await self._add(hex_digest, fetch)
        self._verified[hex_digest] = entry
        return entry

    async def recall(self, hex_digest: str) -> Entry | None:
        """The entry of that digest if it is there, hashed; nothing is fetched."""
        async with self._exclusive(hex_digest):
            entry = await asyncio.to_thread(self._inspect, hex_digest)
        if entry is not None:
            self._verified[hex_digest] = entry
        return entry

    async def _add(self, hex_digest: str, fetch: Fetch) -> Entry:
        incoming = self._root / "incoming" / hex_digest
        final = self._folder(hex_digest)
        _remove(incoming)
        incoming.mkdir()
        try:
            actual = await fetch(incoming / "artifact")
            if actual != hex_digest:
                raise DigestError(expected=hex_digest, actual=actual)
            size = await asyncio.to_thread(_seal, incoming)
            _remove(final)  # a damaged entry
            incoming.rename(final)
            _sync(final.parent)
        finally:
            _remove(incoming)
        return Entry(hex=hex_digest, path=final / "artifact", bytes=size)

    def _inspect(self, hex_digest: str) -> Entry | None:
        """The entry on disk if it is whole. Its size is looked at first: a truncated file need not be
        hashed."""
        folder = self._folder(hex_digest)
        artifact = folder / "artifact"
        try:
            size = json.loads((folder / "entry.json").read_bytes())["bytes"]
            if size != _size(artifact) or digest.of_path(artifact) != hex_digest:
                return None
        except (OSError, ValueError, KeyError, TypeError, ArtifactError):
            return None
        return Entry(hex=hex_digest, path=artifact, bytes=size)

    @asynccontextmanager
    async def _exclusive(self, hex_digest: str) -> AsyncIterator[None]:
        """Hold the lock of that digest. Looked at again and again: a wait in a thread could not be
        cancelled."""
        while True:
            with self._lock(hex_digest) as held:
                if held:
                    yield
                    return
            await asyncio.sleep(LOCK_POLL)

    @contextmanager
    def _lock(self, hex_digest: str) -> Iterator[bool]:
        """Try to take the lock of that digest; yields whether it is held. The kernel frees it when its holder
        dies."""
        descriptor = os.open(self._root / "locks" / hex_digest, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
        finally:
            os.close(descriptor)

    def _folder(self, hex_digest: str) -> Path:
        return self._root / "sha256" / hex_digest


def _seal(incoming: Path) -> int:
    """Write down the size of what has come, and put all of it on disk. Returns the size in bytes."""
    artifact = incoming / "artifact"
    size = _size(artifact)
    (incoming / "entry.json").write_text(json.dumps({"bytes": size}))
    for folder, _, files in os.walk(incoming, topdown=False):
        for name in files:
            path = Path(folder, name)
            path.chmod(0o444)  # Triton reads it as another user; nobody writes it again
            _sync(path)
        Path(folder).chmod(0o755)
        _sync(Path(folder))
    return size


def _size(artifact: Path) -> int:
    if artifact.is_dir():
        return sum((artifact / path).stat().st_size for path in digest.walk(artifact))
    return artifact.stat().st_size


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
