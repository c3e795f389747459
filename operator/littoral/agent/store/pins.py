"""What is in use on the node, and by whom: it is not removed to make room.

An agent pins with an empty file for each entry, in a folder whose lock file it holds: empty files can be made where
nothing else can be written any more, and the lock is freed by the kernel however the agent ends. Besides, what each
server served last stays pinned for a while though no agent runs (`served.json`): after a power cut in the night it
is what will be wanted.
"""

import fcntl
import logging
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from littoral.agent.memory import served_digests
from littoral.agent.store import entries
from littoral.agent.store.locks import Locks

log = logging.getLogger(__name__)

REMEMBERED = 30 * 86400.0
"""Seconds for which what a server served last is kept though no agent of that server has been seen."""

_LOCK = "lock"
_REGISTRY = ".pins"


class Pins:
    """The pins of this agent and of all others that share the cache."""

    def __init__(self, *, root: Path, states: Path, entries_root: Path, locks: Locks) -> None:
        """
        Args:
            root: one folder for each agent.
            states: where the states of the node's servers are kept, each in a folder with its `served.json`.
            entries_root: where the entries are, to date those that a dead agent has used.
        """
        self._root = root
        self._states = states
        self._entries = entries_root
        self._locks = locks
        self._mine: Path | None = None
        self._lease: int | None = None
        self._held: set[str] = set()
        self._failed: set[str] = set()

    def __del__(self) -> None:
        if self._lease is not None:
            os.close(self._lease)

    def add(self, name: str) -> None:
        """Pin `name`, which need not be there yet."""
        if name in self._held:
            return
        try:
            (self._folder() / name).touch()
            self._held.add(name)
        except OSError as error:  # no inode left: what serves is still remembered in served.json
            if name not in self._failed:
                log.warning("%s is not pinned: %s", name, error)
            self._failed.add(name)

    def mine(self) -> set[str]:
        """What this agent has pinned."""
        return set(self._held)

    def drop(self, name: str) -> None:
        """No longer pin `name`."""
        self._held.discard(name)
        self._failed.discard(name)
        if self._mine is not None:
            (self._mine / name).unlink(missing_ok=True)

    def all(self) -> set[str]:
        """Digests (hex) of everything that is in use. The folders of agents that have died are cleared away."""
        pinned: set[str] = set()
        with self._locks.brief(_REGISTRY):
            for folder in self._root.iterdir():
                if folder == self._mine or self._alive(folder):
                    pinned.update(_names(folder))
                else:
                    self._bury(folder)
        pinned.update(self._remembered())
        return {name.removesuffix(entries.UNPACKED) for name in pinned}

    def _folder(self) -> Path:
        if self._mine is None:
            folder = self._root / uuid.uuid4().hex
            with self._locks.brief(_REGISTRY):  # or it looks like that of a dead one
                folder.mkdir()
                self._lease = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
                fcntl.flock(self._lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._mine = folder
        return self._mine

    def _alive(self, folder: Path) -> bool:
        try:
            descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(descriptor)

    def _bury(self, folder: Path) -> None:
        for name in _names(folder):
            entries.touch_used(self._entries / name)
        entries.remove(folder)

    def _remembered(self) -> Iterator[str]:
        for path in self._states.glob("**/served.json"):
            if time.time() - entries.used_at(path) < REMEMBERED:
                yield from served_digests(path)


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir() if path.name != _LOCK]
    except OSError:
        return []
