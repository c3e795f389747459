"""A file that comes in pieces, in any order, perhaps in several lives of the agent.

    <target>                  the bytes, with holes
    <target>.partial.json     which of them are there, and of what

The side file is written after the bytes that it tells of are on disk, so what it says holds after a power cut too.
"""

import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from littoral.agent import digest
from littoral.agent.files import write_atomically

log = logging.getLogger(__name__)


class PartialFile:
    """The file at `target`, and what is known of the bytes in it. Its methods may be called from several threads."""

    def __init__(self, target: Path, *, identity: str) -> None:
        """Open it; what an earlier try has left of the same source is kept.

        Args:
            identity: names the source; it is kept as a hash, for a URI may hold a secret.
        """
        self._target = target
        self._side = side_file(target)
        self._identity = hashlib.sha256(identity.encode()).hexdigest()
        self.version: str | None = None
        """What tells one content of the source from another, such as an ETag. None: this cannot be resumed."""
        self.size: int | None = None
        self._done: list[tuple[int, int]] = []
        self._lock = threading.Lock()
        self._hashing = threading.Lock()
        self._saving = threading.Lock()
        self._finished = False
        self._sha256 = hashlib.sha256()
        self._hashed = 0
        self._descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if not self._recall():
            self.begin(version=None, size=None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Note what is there, if it is not finished, and let go of the file."""
        with self._saving:  # somebody else's note is being written
            pass
        try:
            if not self._finished:
                self.save()
        except OSError as failure:
            log.warning("what has come of %s is not noted for the next try: %s", self._target, failure.strerror)
        finally:
            os.close(self._descriptor)

    @property
    def received(self) -> int:
        """Bytes that are there."""
        with self._lock:
            return sum(stop - start for start, stop in self._done)

    @property
    def complete(self) -> bool:
        """Whether all bytes are there."""
        return self.size is not None and self.received == self.size

    def begin(self, *, version: str | None, size: int | None) -> None:
        """Forget what is there: this is another content."""
        with self._lock:
            self._side.unlink(missing_ok=True)
            os.ftruncate(self._descriptor, 0)
            self.version, self.size, self._done = version, size, []
            self._sha256, self._hashed = hashlib.sha256(), 0

    def gaps(self) -> Iterator[tuple[int, int | None]]:
        """What is missing, as (start, stop) in order; stop is None where the end is not known."""
        position = 0
        for start, stop in tuple(self._done):
            if start > position:
                yield position, start
            position = stop
        if self.size is None:
            yield position, None
        elif position < self.size:
            yield position, self.size

    def write(self, start: int, chunk: bytes | memoryview) -> None:
        """Put bytes in their place, and hash them if all before them are hashed."""
        view = memoryview(chunk).cast("B")
        written = 0
        while written < len(view):
            written += os.pwrite(self._descriptor, view[written:], start + written)
        if self._hashing.acquire(blocking=False):
            try:
                if self._hashed == start:
                    self._sha256.update(view)
                    self._hashed += len(view)
            finally:
                self._hashing.release()
        with self._lock:
            self._done = _merged(self._done, start, start + len(view))

    def catch_up(self, *, wait: bool = True) -> None:
        """Hash what is there without a hole from the start. It is read from the page cache as a rule.

        Args:
            wait: for another thread that is at it; without, that one's work will do.
        """
        if not self._hashing.acquire(blocking=wait):
            return
        try:
            stop = self._done[0][1] if self._done and self._done[0][0] == 0 else 0
            while self._hashed < stop:
                chunk = os.pread(self._descriptor, min(digest.CHUNK, stop - self._hashed), self._hashed)
                if not chunk:
                    raise OSError(f"{self._target.name} was cut short by somebody else")
                self._sha256.update(chunk)
                self._hashed += len(chunk)
        finally:
            self._hashing.release()

    @property
    def behind(self) -> int:
        """Bytes that `catch_up` would hash."""
        done = self._done
        return max(done[0][1] - self._hashed, 0) if done and done[0][0] == 0 else 0

    def finish(self) -> str:
        """The hex SHA-256 of the whole. The side file goes: the file is an ordinary file from now on."""
        self.catch_up()
        with self._saving:
            self._finished = True
            self._side.unlink(missing_ok=True)
        return self._sha256.hexdigest()

    def save(self) -> None:
        """Note what is there, once it is on disk."""
        if self.version is None or not self._saving.acquire(blocking=False):
            return
        try:
            if self._finished:
                return
            with self._lock:
                done = list(self._done)
            os.fdatasync(self._descriptor)
            content = {"source": self._identity, "version": self.version, "size": self.size, "done": done}
            write_atomically(self._side, json.dumps(content))
        finally:
            self._saving.release()

    def _recall(self) -> bool:
        try:
            content = json.loads(self._side.read_bytes())
            done = [(int(start), int(stop)) for start, stop in content["done"]]
            held = os.fstat(self._descriptor).st_size
            if content["source"] != self._identity or any(stop > held for _, stop in done):
                return False
            self.version, self.size, self._done = str(content["version"]), content["size"], done
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return True


def side_file(target: Path) -> Path:
    """Where it is noted what is there of `target`."""
    return target.with_name(f"{target.name}.partial.json")


def _merged(done: list[tuple[int, int]], start: int, stop: int) -> list[tuple[int, int]]:
    """`done`, which is in order and has no overlaps, with one interval more."""
    merged: list[tuple[int, int]] = []
    for interval in sorted([*done, (start, stop)]):
        if merged and interval[0] <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], interval[1]))
        else:
            merged.append(interval)
    return merged
