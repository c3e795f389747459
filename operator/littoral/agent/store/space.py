"""Room for what is to come: what nobody uses goes, longest unused first."""

import errno
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from littoral.agent.errors import FetchError
from littoral.agent.store import entries
from littoral.agent.store.locks import Locks
from littoral.agent.store.pins import Pins
from littoral.agent.store.quota import Disk, Quota

log = logging.getLogger(__name__)

EXPECTED = "expected"
"""File beside an artifact that is being fetched: the bytes that it will have."""

FULL = (errno.ENOSPC, errno.EDQUOT)


class NoSpace(FetchError):
    """The artifact does not fit, though everything that is not in use was removed."""

    def __init__(self, *, needed: int, room: int, disk: Disk, quota: Quota, removed: int) -> None:
        super().__init__(
            f"no space in the cache: {needed} more bytes are needed and "
            + (f"{room} may be taken" if room >= 0 else f"it is {-room} bytes over its limit")
            + f" (the disk has {disk.free} bytes free, the limit is {quota}); all that is left in it is in use"
        )
        self.removed = removed
        """Things that were removed for it, in vain."""


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """Something that may be removed."""

    folder: Path
    unused_since: float


class Space:
    """The size of the cache, kept below its quota."""

    def __init__(self, *, root: Path, quota: Quota, locks: Locks, pins: Pins) -> None:
        self._root = root
        self._quota = quota
        self._locks = locks
        self._pins = pins
        self._one = threading.Lock()

    def make(self, needed: int, *, name: str) -> None:
        """See to it that `needed` more bytes fit.

        Args:
            needed: bytes still to be written for `name`.
            name: what is fetched; its own leftovers stay.

        Raises:
            NoSpace: they do not fit, and nothing more can be removed.
        """
        with self._one:  # two of one agent would count on the same bytes
            if self._room(name) >= needed:
                return
            removed = 0
            for candidate in self._candidates():
                if candidate.folder.name != name and self._evict(candidate.folder):
                    removed += 1
                    if self._room(name) >= needed:
                        return
            if (room := self._room(name)) < needed:
                disk = Disk.under(self._root)
                raise NoSpace(needed=needed, room=room, disk=disk, quota=self._quota, removed=removed)

    def trim(self) -> None:
        """Bring the cache below its quota again, as far as what is in use allows."""
        with suppress(NoSpace):
            self.make(0, name="")

    def expect(self, incoming: Path, size: int) -> None:
        """Others shall count with `size` bytes there, not only with those that have come."""
        with suppress(OSError):
            (incoming / EXPECTED).write_text(str(size))

    def used(self) -> int:
        """Bytes of all entries and of what is being fetched."""
        whole = sum(entries.recorded_size(folder) for folder in self._folders("sha256"))
        return whole + sum(entries.tree_size(folder) for folder in self._folders("incoming"))

    def _room(self, name: str) -> int:
        promised = sum(self._promised(folder) for folder in self._folders("incoming") if folder.name != name)
        return self._quota.room(used=self.used(), disk=Disk.under(self._root)) - promised

    def _candidates(self) -> list[_Candidate]:
        """What may go, first to go first: broken fetches of what nobody wants, entries, and at last broken fetches
        that would go on."""
        pinned = self._pins.all()
        leftovers = list(self._folders("incoming"))
        unwanted = [it for it in leftovers if _hex(it) not in pinned]
        unused = [it for it in self._folders("sha256") if _hex(it) not in pinned]
        wanted = [it for it in leftovers if _hex(it) in pinned]
        return [
            _Candidate(folder=folder, unused_since=since)
            for group in (unwanted, unused, wanted)
            for since, folder in sorted((entries.used_at(folder), folder) for folder in group)
        ]

    def _evict(self, folder: Path) -> bool:
        """Remove an entry or a leftover, unless somebody uses it. Pins are looked at again under its lock: who
        wants it takes that lock before the pin, and finds it gone or keeps it."""
        with self._locks.attempt(folder.name) as held:
            if not held or (folder.parent.name == "sha256" and _hex(folder) in self._pins.all()):
                return False
            log.info("%s makes room, unused since %.0f s", folder.name, time.time() - entries.used_at(folder))
            entries.discard(folder, trash=self._root / "trash")
            self._locks.forget(folder.name)
        return True

    def _promised(self, incoming: Path) -> int:
        """Bytes that are still to come there, if somebody is at it."""
        try:
            expected = int((incoming / EXPECTED).read_text())
        except (OSError, ValueError):
            return 0
        with self._locks.attempt(incoming.name) as idle:
            return 0 if idle else max(0, expected - entries.tree_size(incoming))

    def _folders(self, kind: str) -> Iterator[Path]:
        return (self._root / kind).iterdir()


def is_full(error: BaseException | None) -> bool:
    """Whether an error is, or was caused by, a disk or a quota of the disk that is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        error = error.__cause__
    return False


def _hex(folder: Path) -> str:
    return folder.name.removesuffix(entries.UNPACKED)
