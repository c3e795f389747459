"""Locks between the agents of a node: files that the kernel unlocks when their holder dies."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

POLL = 0.2
"""Seconds between two looks at a lock that another agent holds."""


class Locks:
    """One lock for each name, in the folder `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @asynccontextmanager
    async def exclusive(self, name: str) -> AsyncIterator[None]:
        """Hold the lock of `name`. Looked at again and again: a wait in a thread could not be cancelled."""
        while True:
            with self.attempt(name) as held:
                if held:
                    yield
                    return
            await asyncio.sleep(POLL)

    @contextmanager
    def attempt(self, name: str) -> Iterator[bool]:
        """Try to take the lock of `name`; yields whether it is held."""
        descriptor = os.open(self._root / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            yield _take(descriptor, self._root / name)
        finally:
            os.close(descriptor)

    def forget(self, name: str) -> None:
        """Remove the file of a lock that the caller holds: nobody will want it soon."""
        (self._root / name).unlink(missing_ok=True)

    @contextmanager
    def brief(self, name: str) -> Iterator[None]:
        """Wait for the lock of `name`, which everyone holds for milliseconds only."""
        descriptor = os.open(self._root / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _take(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The file may have been forgotten since it was opened: then the lock of its name is another one.
        return os.stat(path).st_ino == os.fstat(descriptor).st_ino
    except (BlockingIOError, FileNotFoundError):
        return False
