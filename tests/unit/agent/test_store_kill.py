"""kill -9 at every call: the cache is good at each moment, and whoever comes next completes it."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

KILLER = r'''
"""Runs a scenario once for each call into C that the agent's code makes, and kills it at that call."""

import asyncio, hashlib, io, json, logging, os, shutil, signal, sys, tarfile, threading
from pathlib import Path

from littoral.agent import archive, digest
from littoral.agent.progress import Progress
from littoral.agent.sources.local import copy
from littoral.agent.store import Quota, Store, entries

root = Path(sys.argv[1])
logging.disable(logging.CRITICAL)

def content(seed, size=60_000):
    return hashlib.shake_128(str(seed).encode()).digest(size)

file = content("file")
(root / "file").write_bytes(file)
HEX_FILE = hashlib.sha256(file).hexdigest()
(root / "folder" / "1").mkdir(parents=True)
(root / "folder" / "1" / "model.xml").write_bytes(content("xml"))
(root / "folder" / "1" / "model.bin").write_bytes(content("bin"))
HEX_FOLDER = digest.of_path(root / "folder")
with tarfile.open(root / "packed.tar.gz", "w:gz") as tar:
    for name in ("1/model.onnx", "labels.txt"):
        info = tarfile.TarInfo(name)
        info.size = 60_000
        tar.addfile(info, io.BytesIO(content(name)))
HEX_PACKED = digest.of_file(root / "packed.tar.gz")
OLD = content("old")
HEX_OLD = hashlib.sha256(OLD).hexdigest()

def bring(source):
    async def fetch(target):
        entries.remove(target)
        return await copy(source, target, Progress(), max_bytes=1 << 30)
    return fetch

def unpack(packed, target, stop):
    return archive.unpack(packed, target, stop, packing="gzip")

QUOTA = Quota(bytes=330_000)  # what was there before must make room

async def scenario(cache):
    """A file, a repair, a directory, an archive; an eviction for them, a swept leftover, pins that come and go."""
    store = Store(cache, quota=QUOTA)
    store.sweep()
    store.retain({HEX_FILE})
    await store.ensure(HEX_FILE, bring(root / "file"))
    await store.ensure(HEX_FOLDER, bring(root / "folder"))
    store.retain({HEX_FILE, HEX_FOLDER})
    await store.ensure(HEX_PACKED + entries.UNPACKED, bring(root / "packed.tar.gz"), unpack=unpack)
    await store.scrub(period=0, rate=1 << 40)

def prepare(cache):
    """A cache with something old in it, a damaged entry, and a broken fetch of long ago."""
    async def old(target):
        target.write_bytes(OLD)
        return HEX_OLD
    store = Store(cache)
    asyncio.run(store.ensure(HEX_OLD, old))
    asyncio.run(store.ensure(HEX_FILE, bring(root / "file")))
    store.retain(())
    artifact = cache / "sha256" / HEX_FILE / "artifact"
    artifact.chmod(0o644)
    with artifact.open("r+b") as damaged:
        damaged.write(b"damage")
    leftover = cache / "incoming" / ("f" * 64)
    leftover.mkdir()
    (leftover / "artifact").write_bytes(b"half")
    for path in (leftover / "artifact", leftover):
        os.utime(path, (0, 0))

ours = os.sep + os.path.join("littoral", "agent") + os.sep
calls = 0

def arm(fatal):
    lock = threading.Lock()
    def profile(frame, event, argument):
        global calls
        if event == "c_call" and ours in frame.f_code.co_filename:
            with lock:
                calls += 1
                if calls == fatal:
                    os.kill(os.getpid(), signal.SIGKILL)
    threading.setprofile(profile)
    sys.setprofile(profile)

def bad(cache, *, known_damage):
    """Entries that are neither whole nor the one that was damaged on purpose."""
    return [it.name for it in (cache / "sha256").iterdir()
            if entries.inspect(it) is None and not (known_damage and it.name == HEX_FILE)]

def one(fatal):
    cache = root / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    prepare(cache)
    child = os.fork()
    if child == 0:
        arm(fatal)
        asyncio.run(scenario(cache))
        sys.setprofile(None)
        print(json.dumps({"calls": calls}), flush=True)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status)
    assert killed or os.WEXITSTATUS(status) == 0, "the scenario itself failed"
    wrong = bad(cache, known_damage=True)
    assert not wrong, f"call {fatal}: {wrong}"
    asyncio.run(scenario(cache))  # who comes next
    assert not bad(cache, known_damage=False), f"call {fatal}: not repaired"
    there = {it.name for it in (cache / "sha256").iterdir()}
    assert there == {HEX_FILE, HEX_FOLDER, HEX_PACKED + entries.UNPACKED}, f"call {fatal}: {there}"
    assert not list((cache / "incoming").iterdir()), f"call {fatal}: leftovers"
    assert not list((cache / "trash").iterdir()), f"call {fatal}: trash"
    return killed

first, step = int(sys.argv[2]), int(sys.argv[3])
killed, fatal = 0, first
while one(fatal):
    killed += 1
    fatal += step
print(json.dumps({"killed": killed, "last": fatal}))
'''


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory where there is one: what fsync is for is another matter than what a kill does."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.mark.timeout(600)
def test_kill_9_at_any_call_leaves_a_good_cache_which_the_next_agent_completes(memory: Path) -> None:
    # Every second call from the first to the last: some hundreds, of which each is another moment.
    step = os.environ.get("LITTORAL_KILL_STEP", "2")
    command = [sys.executable, "-c", KILLER, memory, "1", step]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    print(said)
    assert said["killed"] >= 200
