"""Results on disk, the newest so many bytes of them: JSON lines with the pictures beside them.

    DIRECTORY/stream                 a random name of this directory's results: the first part of their keys
    DIRECTORY/forwarded              the number of the last result that the collector has
    DIRECTORY/results/NUMBER.jsonl   a segment: results in order, from that number on
    DIRECTORY/pictures/NUMBER.jpg    the annotated frame of that result

A result that `append` has returned for survives a crash. What a crash may leave is found when the ring is opened: the
half of a line, a picture without its result, files that were to be removed. Where the bytes do not suffice, the oldest
segment goes as a whole; what of it was not forwarded yet is counted as dropped.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import durable

_DIGITS = 16
_PATTERN = "[0-9]" * _DIGITS
_SHARE = 16  # of the bytes, that one segment may have
_MOST_RESULTS = 256  # in one segment
_LEAST_BYTES = 64 * 1024


class RingError(Exception):
    """The directory cannot be used as a ring; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One result: its number, counted from 1 without gaps, its key, and what it says."""

    number: int
    key: str
    body: Mapping[str, Any]


@dataclass(kw_only=True)
class _Segment:
    first: int
    count: int = 0
    size: int = 0
    pictures: dict[int, int] = field(default_factory=dict)  # bytes by number

    @property
    def used(self) -> int:
        return self.size + sum(self.pictures.values())

    @property
    def next(self) -> int:
        return self.first + self.count


class Ring:
    """The results of one directory, which no other process uses. For several threads.

    Args:
        directory: made unless it exists.
        max_bytes: of results and pictures; at least 64 KiB. A file system's own overhead is not counted.

    Raises RingError for a directory that cannot be read or written.
    """

    def __init__(self, directory: Path, *, max_bytes: int) -> None:
        if max_bytes < _LEAST_BYTES:
            raise RingError(f"{max_bytes} bytes are too few; at least {_LEAST_BYTES}")
        self.dropped = 0
        self._directory = directory
        self._results, self._pictures = directory / "results", directory / "pictures"
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._cached: tuple[int, list[bytes]] = (0, [])
        try:
            for path in (self._results, self._pictures):
                path.mkdir(parents=True, exist_ok=True)
            durable.sync_directory(directory)
            self.stream = self._read_or_make_stream()
            self._forwarded = self._read_forwarded()
            self._segments = self._recover()
        except OSError as error:
            raise RingError(f"{directory}: {error}") from error

    @property
    def last(self) -> int:
        """Return the number of the newest result that was ever kept; 0 before the first."""
        return self._segments[-1].next - 1

    @property
    def forwarded(self) -> int:
        """Return the number of the last result that the collector has."""
        return self._forwarded

    @property
    def used(self) -> int:
        """Return how many bytes results and pictures take."""
        with self._lock:
            return sum(segment.used for segment in self._segments)

    @property
    def pending(self) -> int:
        """Return how many results are kept that the collector does not have."""
        with self._lock:
            return max(0, self.last - max(self._forwarded, self._segments[0].first - 1))

    def append(self, body: Mapping[str, Any], *, picture: bytes | None = None) -> Result:
        """Keep a result; its number, key and picture's name are added to it. Raises OSError, and then nothing is kept.

        A picture without room even in an empty ring is left out.
        """
        with self._lock:
            number = self.last + 1
            if picture is not None and len(picture) > self._max_bytes // 2:
                picture = None
            name = None if picture is None else f"pictures/{_name(number)}.jpg"
            result = self._result({**body, "stream": self.stream, "number": number, "picture": name})
            line = json.dumps(result.body, separators=(",", ":")).encode() + b"\n"
            self._make_room(len(line) + len(picture or b""))
            segment = self._segments[-1]
            if picture is not None:
                # First the picture: a result never names one that is not there.
                durable.write(self._picture(number), picture)
            try:
                durable.append(self._path(segment), line, size=segment.size)
            except OSError:
                if picture is not None:
                    durable.remove(self._picture(number))
                raise
            segment.count += 1
            segment.size += len(line)
            if picture is not None:
                segment.pictures[number] = len(picture)
            return result

    def next_pending(self) -> Result | None:
        """Return the oldest result that the collector does not have, or None. Raises OSError."""
        with self._lock:
            for segment in self._segments:
                number = max(self._forwarded + 1, segment.first)
                if number < segment.next:
                    return self._result(json.loads(self._lines(segment)[number - segment.first]))
            return None

    def picture(self, number: int) -> bytes | None:
        """Return the picture of a result, or None where there is none (any more). Raises OSError."""
        try:
            return self._picture(number).read_bytes()
        except FileNotFoundError:
            return None

    def mark_forwarded(self, number: int) -> None:
        """Note that the collector has all results up to a number. Raises OSError, and then it is not noted."""
        with self._lock:
            if number > self._forwarded:
                durable.write(self._directory / "forwarded", f"{number}\n".encode())
                self._forwarded = number

    def _result(self, body: Mapping[str, Any]) -> Result:
        return Result(number=body["number"], key=f"{body['stream']}-{body['number']}", body=body)

    def _lines(self, segment: _Segment) -> list[bytes]:
        """The lines of a segment; that of the last call is kept, for results are asked for one after another."""
        if self._cached[0] != segment.first or len(self._cached[1]) < segment.count:
            self._cached = (segment.first, self._path(segment).read_bytes()[: segment.size].splitlines())
        return self._cached[1]

    def _make_room(self, size: int) -> None:
        current = self._segments[-1]
        full = current.used + size > self._max_bytes // _SHARE or current.count >= _MOST_RESULTS
        if full and current.count:
            # On disk before anything is removed: by its name, a number is never given twice.
            segment = _Segment(first=current.next)
            durable.append(self._path(segment), b"", size=0)
            self._segments.append(segment)
        used = sum(segment.used for segment in self._segments)
        while used + size > self._max_bytes and len(self._segments) > 1:
            oldest = self._segments[0]
            # First the results: until they are gone, so are none of their pictures.
            durable.remove(self._path(oldest))
            self._segments.popleft()
            self._count_dropped(oldest)
            used -= oldest.used
            for number in oldest.pictures:
                durable.remove(self._picture(number))

    def _count_dropped(self, segment: _Segment) -> None:
        self.dropped += max(0, segment.next - 1 - max(self._forwarded, segment.first - 1))

    def _recover(self) -> deque[_Segment]:
        for path in [*self._results.iterdir(), *self._pictures.iterdir(), *self._directory.iterdir()]:
            if path.name.endswith(durable.SIDE):
                durable.remove(path)
        segments: deque[_Segment] = deque()
        pictures = {int(path.stem): path.stat().st_size for path in self._pictures.glob(f"{_PATTERN}.jpg")}
        for path in sorted(self._results.glob(f"{_PATTERN}.jsonl")):
            segment = self._recover_segment(path)
            if segments and segment.first != segments[-1].next:
                # A power cut brought back what had been removed: all before the gap is older than what was to be kept.
                for old in segments:
                    durable.remove(self._path(old))
                    self._count_dropped(old)
                segments.clear()
            segments.append(segment)
        if not segments:
            segments.append(_Segment(first=self._forwarded + 1))
        for segment in segments:
            segment.pictures = {
                number: pictures.pop(number) for number in range(segment.first, segment.next) if number in pictures
            }
        for number in pictures:
            durable.remove(self._picture(number))
        return segments

    def _recover_segment(self, path: Path) -> _Segment:
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        segment = _Segment(first=int(path.stem), size=0)
        for line in data[:whole].splitlines(keepends=True):
            # After a power cut some file systems have zeros where data was not synchronised.
            if not line.startswith(b"{"):
                break
            segment.size += len(line)
            segment.count += 1
        if segment.size < len(data):
            durable.truncate(path, segment.size)
        return segment

    def _read_or_make_stream(self) -> str:
        path = self._directory / "stream"
        if not path.exists():
            durable.write(path, f"{uuid.uuid4()}\n".encode())
        return path.read_text().strip()

    def _read_forwarded(self) -> int:
        try:
            return int((self._directory / "forwarded").read_text())
        except FileNotFoundError:
            return 0
        except ValueError as error:
            raise RingError(f"{self._directory / 'forwarded'}: {error}") from error

    def _path(self, segment: _Segment) -> Path:
        return self._results / f"{_name(segment.first)}.jsonl"

    def _picture(self, number: int) -> Path:
        return self._pictures / f"{_name(number)}.jpg"


def _name(number: int) -> str:
    return f"{number:0{_DIGITS}d}"
