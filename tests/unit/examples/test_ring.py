"""Results on disk: in order, within their bytes, and whole whatever moment the power is cut."""

import json
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from examples.video_analytics import durable, ring
from examples.video_analytics.ring import Ring, RingError

LARGE = 2**20
SMALL = 64 * 1024


class PowerCut(BaseException):
    """Nothing after it runs: no handler of errors may catch it."""


class Machine:
    """The module `os` of a machine whose power is cut at its `at`th operation on files, or whose disk is full then.

    At a power cut, of what was written and not synchronised any part may be lost.
    """

    def __init__(self, *, at: int | None = None, full: bool = False, seed: int = 0) -> None:
        self.operations = 0
        self._at, self._full, self._random = at, full, random.Random(seed)
        self._paths: dict[int, str] = {}
        self._safe: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Any, flags: int, mode: int = 0o777) -> int:
        size = os.path.getsize(path) if os.path.exists(path) else 0
        descriptor = os.open(path, flags, mode)
        self._paths[descriptor] = str(path)
        self._safe.setdefault(str(path), 0 if flags & os.O_TRUNC else size)
        return descriptor

    def write(self, descriptor: int, data: memoryview) -> int:
        if self._strikes():
            os.write(descriptor, data[: self._random.randint(0, len(data))])
            self._fail()
        # Never as much as was asked for, at once.
        return os.write(descriptor, data[: max(1, len(data) - 1)])

    def fsync(self, descriptor: int) -> None:
        if self._strikes():
            self._fail()
        path = self._paths[descriptor]
        if os.path.isfile(path):
            self._safe[path] = os.path.getsize(path)

    def ftruncate(self, descriptor: int, size: int) -> None:
        if self._strikes():
            self._fail()
        os.ftruncate(descriptor, size)
        path = self._paths[descriptor]
        self._safe[path] = min(self._safe[path], size)

    def replace(self, source: Any, target: Any) -> None:
        if self._strikes():
            self._fail()
        os.replace(source, target)
        self._safe[str(target)] = self._safe.pop(str(source))

    def unlink(self, path: Any) -> None:
        if self._strikes():
            self._fail()
        os.unlink(path)
        self._safe.pop(str(path), None)

    def _strikes(self) -> bool:
        self.operations += 1
        return self.operations - 1 == self._at

    def _fail(self) -> None:
        if self._full:
            raise OSError(28, "No space left on device")
        for path, safe in self._safe.items():
            if os.path.isfile(path) and (size := os.path.getsize(path)) > safe:
                os.truncate(path, self._random.randint(safe, size))
        raise PowerCut


@contextmanager
def machine(**settings: Any) -> Iterator[Machine]:
    cut = Machine(**settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(durable, "os", cut)
        yield cut


class Site:
    """A ring that results go into, and a collector that has what was sent; both outlive crashes."""

    def __init__(self, directory: Path, *, max_bytes: int) -> None:
        self.directory, self.max_bytes = directory, max_bytes
        self.kept: list[int] = []
        self.received: list[tuple[str, int, dict[str, Any]]] = []

    def run(self, *, results: int, forwards: int = 2) -> Ring:
        """Open the ring, and between results forward now and then."""
        opened = Ring(self.directory, max_bytes=self.max_bytes)
        for step in range(results):
            body = {"seen": len(self.kept), "unique": random.random()}
            self.kept.append(opened.append(body, picture=bytes(3000 + 100 * step)).number)
            if step % 3 == 2:
                for _ in range(forwards):
                    self.forward(opened)
        return opened

    def forward(self, opened: Ring) -> bool:
        result = opened.next_pending()
        if result is None:
            return False
        self.received.append((result.key, result.number, dict(result.body)))
        opened.mark_forwarded(result.number)
        return True

    def check(self, opened: Ring) -> None:
        """What holds at any time."""
        numbers = [number for _, number, _ in self.received]
        assert numbers == sorted(numbers), "in order"
        by_key: dict[str, Any] = {}
        for key, _, body in self.received:
            assert by_key.setdefault(key, body) == body, "one key, one result"
        assert self.kept == sorted(set(self.kept)), "no number twice"
        files = [*(self.directory / "results").iterdir(), *(self.directory / "pictures").iterdir()]
        assert opened.used == sum(path.stat().st_size for path in files)
        assert opened.used <= self.max_bytes
        named = set()
        for path in sorted((self.directory / "results").iterdir()):
            named |= {json.loads(line)["picture"] for line in path.read_bytes().splitlines()}
        assert named == {f"pictures/{path.name}" for path in (self.directory / "pictures").iterdir()}


def drain(site: Site) -> Ring:
    opened = Ring(site.directory, max_bytes=site.max_bytes)
    while site.forward(opened):
        pass
    return opened


def test_results_come_out_as_they_went_in(tmp_path: Path) -> None:
    opened = Ring(tmp_path / "new", max_bytes=LARGE)
    assert (opened.last, opened.forwarded, opened.pending, opened.next_pending()) == (0, 0, 0, None)
    first = opened.append({"boxes": [1]}, picture=b"jpeg")
    second = opened.append({"boxes": []})
    assert (first.number, second.number, opened.last, opened.pending) == (1, 2, 2, 2)
    assert first.key == f"{opened.stream}-1"
    assert first.body == {"boxes": [1], "stream": opened.stream, "number": 1, "picture": f"pictures/{1:016d}.jpg"}
    assert second.body["picture"] is None
    assert (opened.picture(1), opened.picture(2)) == (b"jpeg", None)

    again = Ring(tmp_path / "new", max_bytes=LARGE)
    assert again.next_pending() == first
    again.mark_forwarded(1)
    assert again.next_pending() == second
    again.mark_forwarded(2)
    again.mark_forwarded(1)
    assert (again.forwarded, again.next_pending(), again.pending) == (2, None, 0)
    assert again.append({}).number == 3
    assert Ring(tmp_path / "other", max_bytes=LARGE).stream != again.stream


def test_the_oldest_go_first_and_are_counted_unless_they_were_forwarded(tmp_path: Path) -> None:
    opened = Ring(tmp_path, max_bytes=SMALL)
    for _ in range(10):
        opened.append({}, picture=bytes(4000))
    opened.mark_forwarded(3)
    assert opened.dropped == 0
    for _ in range(30):
        opened.append({}, picture=bytes(4000))
        assert opened.used <= SMALL
    oldest = opened.next_pending()
    assert oldest is not None
    assert oldest.number > 20
    assert opened.dropped == oldest.number - 1 - 3
    assert opened.pending == 40 - oldest.number + 1
    assert opened.used > SMALL * 3 // 4
    assert opened.picture(oldest.number - 1) is None


def test_many_small_results_are_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring, "_MOST_RESULTS", 8)
    opened = Ring(tmp_path, max_bytes=LARGE)
    for number in range(20):
        opened.append({"number of": number})
    assert len(list((tmp_path / "results").iterdir())) == 3
    assert [opened.next_pending().body["number of"] for n in range(20) if opened.mark_forwarded(n) is None] == list(  # type: ignore[union-attr]
        range(20)
    )


def test_a_picture_that_is_too_large_is_left_out(tmp_path: Path) -> None:
    opened = Ring(tmp_path, max_bytes=SMALL)
    assert opened.append({}, picture=bytes(SMALL)).body["picture"] is None
    for _ in range(4):
        assert opened.append({}, picture=bytes(SMALL // 2)).body["picture"] is not None
        assert opened.used <= SMALL


@pytest.mark.parametrize("max_bytes", [LARGE, SMALL], ids=["with room", "full"])
def test_a_power_cut_at_any_moment_loses_nothing_and_keeps_the_order(tmp_path: Path, max_bytes: int) -> None:
    with machine() as counting:
        Site(tmp_path / "counting", max_bytes=max_bytes).run(results=9 if max_bytes == LARGE else 30)
    assert counting.operations > 70
    for at in range(0, counting.operations, 1 if max_bytes == LARGE else 7):
        site = Site(tmp_path / str(at), max_bytes=max_bytes)
        with machine(at=at, seed=at), pytest.raises(PowerCut):
            site.run(results=9 if max_bytes == LARGE else 30)
        kept = list(site.kept)
        # The power goes again while what the first cut left is put in order.
        for second in (0, 1, 2):
            with machine(at=second, seed=at):
                try:
                    site.check(Ring(site.directory, max_bytes=max_bytes))
                except PowerCut:
                    continue
        opened = Ring(site.directory, max_bytes=max_bytes)
        site.check(opened)
        last = kept[-1] if kept else 0
        assert opened.last in (last, last + 1), f"cut at {at}"
        received = {number for _, number, _ in site.received}
        opened = site.run(results=6)
        site.check(opened)
        opened = drain(site)
        site.check(opened)
        if max_bytes == LARGE:
            received = {number for _, number, _ in site.received}
            assert set(site.kept) <= received, f"lost at {at}"
        repeated = len(site.received) - len({key for key, _, _ in site.received})
        assert repeated <= 1, "only the one that was under way is sent again"


def test_a_full_disk_costs_the_result_and_nothing_else(tmp_path: Path) -> None:
    with machine() as counting:
        opened = Ring(tmp_path / "counting", max_bytes=LARGE)
        opened.append({}, picture=b"jpeg")
        before = counting.operations
        opened.append({}, picture=b"jpeg")
        each = counting.operations - before
    for at in range(each):
        site = Site(tmp_path / str(at), max_bytes=LARGE)
        opened = Ring(site.directory, max_bytes=LARGE)
        site.kept.append(opened.append({}, picture=b"jpeg").number)
        with machine(at=at, full=True), pytest.raises(OSError, match="No space left"):
            opened.append({"lost": True}, picture=b"jpeg")
        site.kept.append(opened.append({}, picture=b"jpeg").number)
        assert site.kept[0] == 1
        opened = drain(site)
        site.check(opened)
        assert [number for _, number, _ in site.received] == site.kept
        assert not any("lost" in body for _, _, body in site.received)


def test_what_a_power_cut_brought_back_is_removed_again(tmp_path: Path) -> None:
    """Removals are not synchronised: a segment may be back, and another that was removed after it may not."""
    opened = Ring(tmp_path, max_bytes=SMALL)
    for _ in range(8):
        opened.append({}, picture=bytes(4000))
    old = sorted((tmp_path / "results").iterdir())[1]
    content = old.read_bytes()
    for _ in range(20):
        opened.append({}, picture=bytes(4000))
    old.write_bytes(content)
    again = Ring(tmp_path, max_bytes=SMALL)
    assert not old.exists()
    assert (again.last, again.pending) == (opened.last, opened.pending)


def test_zeros_at_the_end_are_no_result(tmp_path: Path) -> None:
    opened = Ring(tmp_path, max_bytes=LARGE)
    opened.append({})
    (segment,) = (tmp_path / "results").iterdir()
    with segment.open("ab") as file:
        file.write(bytes(100) + b"\n")
    again = Ring(tmp_path, max_bytes=LARGE)
    assert (again.last, again.append({}).number) == (1, 2)


def test_a_directory_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RingError, match="too few"):
        Ring(tmp_path, max_bytes=1000)
    (tmp_path / "file").touch()
    with pytest.raises(RingError, match="file: "):
        Ring(tmp_path / "file", max_bytes=LARGE)
    (tmp_path / "forwarded").write_text("x")
    with pytest.raises(RingError, match="forwarded: "):
        Ring(tmp_path, max_bytes=LARGE)
