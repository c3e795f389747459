"""The cache is good at every moment, whoever is killed."""

import asyncio
import hashlib
import random
import shutil
import subprocess
import sys
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


async def test_a_failed_fetch_leaves_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    async def breaks(target: Path) -> str:
        put(target, CONTENT[:100])
        raise FetchError("gone")

    store = Store(tmp_path)
    with pytest.raises(FetchError, match="gone"):
        await store.ensure(HEX, breaks)
    assert list((tmp_path / "incoming").iterdir()) == []
    await store.ensure(HEX, gives(CONTENT))


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


KILLED = """
import asyncio, sys
from pathlib import Path
from littoral.agent.sources.local import copy
from littoral.agent.progress import Progress
from littoral.agent.store import Store

cache, source, hexes = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]

async def main():
    store = Store(cache)
    print("begun", flush=True)
    for hex in hexes:
        await store.ensure(hex, lambda target: copy(source / hex, target, Progress(), max_bytes=1 << 30))

asyncio.run(main())
"""


def test_kill_9_at_any_moment_leaves_a_good_cache(tmp_path: Path) -> None:
    source, cache = tmp_path / "source", tmp_path / "cache"
    source.mkdir()
    hexes = []
    for number in range(8):
        folder = source / "new"
        folder.mkdir()
        for name in ("model.xml", "model.bin"):
            (folder / name).write_bytes(bytes([number]) * 2_000_000)
        hexes.append(digest.of_path(folder))
        folder.rename(source / hexes[-1])

    moment = random.Random(1)
    cut = 0
    for _ in range(12):
        process = subprocess.Popen([sys.executable, "-c", KILLED, cache, source, *hexes], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        try:
            process.wait(timeout=moment.uniform(0, 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
        process.wait()
        process.stdout.close()
        entries = {path.name for path in (cache / "sha256").iterdir()}
        assert all(digest.of_path(cache / "sha256" / name / "artifact") == name for name in entries)
        cut += 0 < len(entries) < len(hexes)
        if len(entries) == len(hexes):
            shutil.rmtree(cache)  # done: from the beginning
            Store(cache)
    assert cut > 0, "no process was killed at its work: the test has tested nothing"
    Store(cache).sweep()
    assert list((cache / "incoming").iterdir()) == []
