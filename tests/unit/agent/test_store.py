"""Artifacts in the cache: fetched once, hashed, repaired."""

import asyncio
import hashlib
import os
import time
from pathlib import Path

import pytest

from littoral.agent import digest
from littoral.agent.errors import FetchError
from littoral.agent.store import DigestError, Fetch, Store

CONTENT = bytes(range(256)) * 4096
HEX = hashlib.sha256(CONTENT).hexdigest()


def put(target: Path, content: bytes) -> str:
    target.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def gives(content: bytes, calls: list[str] | None = None) -> Fetch:
    async def fetch(target: Path) -> str:
        if calls is not None:
            calls.append(str(target))
        return put(target, content)

    return fetch


async def never(target: Path) -> str:
    raise AssertionError("nothing needs to be fetched")


async def test_an_artifact_is_fetched_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.get(HEX) is None
    entry = await store.ensure(HEX, gives(CONTENT))
    assert (entry.hex, entry.bytes, entry.path.read_bytes()) == (HEX, len(CONTENT), CONTENT)
    assert await store.ensure(HEX, never) == entry == store.get(HEX)
    assert await Store(tmp_path).ensure(HEX, never) == entry


async def test_what_was_found_on_disk_counts_after_it_was_hashed(tmp_path: Path) -> None:
    await Store(tmp_path).ensure(HEX, gives(CONTENT))
    store = Store(tmp_path)
    assert store.get(HEX) is None
    await store.ensure(HEX, never)
    assert store.get(HEX) is not None


async def test_a_directory_is_kept_whole(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "1").mkdir(parents=True)
    (source / "1/model.onnx").write_bytes(CONTENT)
    (source / "labels.txt").write_text("a")
    expected = digest.of_path(source)

    async def fetch(target: Path) -> str:
        source.rename(target)
        return expected

    entry = await Store(tmp_path / "cache").ensure(expected, fetch)
    assert entry.bytes == len(CONTENT) + 1
    assert await Store(tmp_path / "cache").ensure(expected, never) == entry


async def test_a_wrong_digest_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(DigestError, match=f"expected sha256:{HEX}, got sha256:{hashlib.sha256(b'other').hexdigest()}"):
        await store.ensure(HEX, gives(b"other"))
    assert store.get(HEX) is None
    assert list((tmp_path / "sha256").iterdir()) == list((tmp_path / "incoming").iterdir()) == []


async def test_a_failed_fetch_goes_on_where_it_broke_also_in_another_process(tmp_path: Path) -> None:
    async def breaks(target: Path) -> str:
        put(target, CONTENT[:100])
        raise FetchError("gone")

    async def goes_on(target: Path) -> str:
        found.append(target.stat().st_size)  # noqa: ASYNC240 - it is small
        return put(target, CONTENT)

    found: list[int] = []

    store = Store(tmp_path)
    with pytest.raises(FetchError, match="gone"):
        await store.ensure(HEX, breaks)
    assert store.get(HEX) is None
    successor = Store(tmp_path)
    successor.sweep()
    assert (await successor.ensure(HEX, goes_on)).path.read_bytes() == CONTENT
    assert found == [100]
    assert list((tmp_path / "incoming").iterdir()) == []


async def test_what_nobody_took_up_again_for_a_day_is_swept(tmp_path: Path) -> None:
    old, new = tmp_path / "incoming" / HEX, tmp_path / "incoming" / ("0" * 64)
    store = Store(tmp_path)
    for folder in (old, new):
        folder.mkdir()
        (folder / "artifact").write_bytes(b"half")
    for path in (old / "artifact", old):
        os.utime(path, (time.time() - 90_000,) * 2)
    (tmp_path / "trash" / "x").mkdir()
    store.sweep()
    assert list((tmp_path / "incoming").iterdir()) == [new]
    assert list((tmp_path / "trash").iterdir()) == []


async def test_only_the_artifact_and_its_record_become_the_entry(tmp_path: Path) -> None:
    async def notes(target: Path) -> str:
        target.with_name("artifact.partial.json").write_text("{}")
        return put(target, CONTENT)

    entry = await Store(tmp_path).ensure(HEX, notes)
    assert sorted(path.name for path in entry.path.parent.iterdir()) == ["artifact", "entry.json"]


@pytest.mark.parametrize("damage", ["truncate", "flip", "record", "artifact"])
async def test_damage_is_seen_and_repaired(tmp_path: Path, damage: str) -> None:
    entry = await Store(tmp_path).ensure(HEX, gives(CONTENT))
    entry.path.chmod(0o644)
    match damage:
        case "truncate":
            entry.path.write_bytes(CONTENT[:-1])
        case "flip":
            entry.path.write_bytes(b"\xff" + CONTENT[1:])
        case "record":
            (entry.path.parent / "entry.json").unlink()
        case "artifact":
            entry.path.unlink()
    calls: list[str] = []
    repaired = await Store(tmp_path).ensure(HEX, gives(CONTENT, calls))
    assert len(calls) == 1
    assert repaired.path.read_bytes() == CONTENT


async def test_two_agents_of_a_node_fetch_once(tmp_path: Path) -> None:
    calls: list[str] = []
    started, go = asyncio.Event(), asyncio.Event()

    async def slow(target: Path) -> str:
        started.set()
        await go.wait()
        return await gives(CONTENT, calls)(target)

    first = asyncio.create_task(Store(tmp_path).ensure(HEX, slow))
    await started.wait()
    second = asyncio.create_task(Store(tmp_path).ensure(HEX, gives(CONTENT, calls)))
    other = b"another artifact does not wait"
    await Store(tmp_path).ensure(hashlib.sha256(other).hexdigest(), gives(other))
    Store(tmp_path).sweep()  # a third agent starts: what the first is at work on stays
    go.set()
    assert await first == await second
    assert len(calls) == 1


async def test_a_cancelled_fetch_frees_the_artifact(tmp_path: Path) -> None:
    started = asyncio.Event()

    async def hangs(target: Path) -> str:
        put(target, CONTENT[:100])
        started.set()
        await asyncio.Event().wait()
        return ""

    store = Store(tmp_path)
    task = asyncio.create_task(store.ensure(HEX, hangs))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.ensure(HEX, gives(CONTENT))
