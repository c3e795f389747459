"""The cache keeps to its quota, gives up what nobody uses and nothing else, and survives a full disk."""

import asyncio
import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littoral.agent.errors import FetchError
from littoral.agent.progress import Progress
from littoral.agent.sources import local
from littoral.agent.store import Fetch, NoSpace, Quota, Store, entries
from littoral.agent.store.quota import Disk

SIZE = 100_000
LIMIT = Quota(bytes=3 * SIZE + 5_000)


def content(number: int, size: int = SIZE) -> bytes:
    return hashlib.shake_128(str(number).encode()).digest(size)


def name(number: int, size: int = SIZE) -> str:
    return hashlib.sha256(content(number, size)).hexdigest()


def gives(number: int, size: int = SIZE) -> Fetch:
    async def fetch(target: Path) -> str:
        write(target, content(number, size))
        return name(number, size)

    return fetch


def write(target: Path, some: bytes) -> None:
    target.write_bytes(some)


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))


def there(root: Path) -> set[str]:
    return {path.name for path in (root / "sha256").iterdir()}


async def bring(store: Store, root: Path, *numbers: int) -> None:
    """Each in turn, used when its number says."""
    for number in numbers:
        await store.ensure(name(number), gives(number))
        store.retain(())
        os.utime(root / "sha256" / name(number), (number, number))


@pytest.mark.parametrize(
    ("text", "quota"),
    [
        ("", Quota()),
        ("40Gi", Quota(bytes=40 << 30)),
        ("1000", Quota(bytes=1000)),
        ("50%", Quota(share=0.5)),
        ("12.5%", Quota(share=0.125)),
        ("100%", Quota(share=1.0)),
    ],
)
def test_what_a_quota_may_be(text: str, quota: Quota) -> None:
    assert Quota.parse(text) == quota


@pytest.mark.parametrize("text", ["0", "0%", "101%", "-1Gi", "much", "%", "5 %", "1e400", "NaN"])
def test_what_is_no_quota(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Quota.parse(text)


DISK = Disk(total=1000, free=300)


@pytest.mark.parametrize(
    ("quota", "used", "room"),
    [
        (Quota(), 0, 200),  # a tenth of the disk stays free, whoever fills the rest
        (Quota(), 700, 200),
        (Quota(bytes=500), 400, 100),
        (Quota(bytes=500), 600, -100),
        (Quota(bytes=5000), 0, 300),  # no more than the disk has
        (Quota(share=0.5), 450, 50),
    ],
)
def test_the_room_that_is_left(quota: Quota, used: int, room: int) -> None:
    assert quota.room(used=used, disk=DISK) == room


async def test_the_longest_unused_makes_room(tmp_path: Path) -> None:
    store = Store(tmp_path, quota=LIMIT)
    await bring(store, tmp_path, 1, 3, 2)
    await store.ensure(name(4), gives(4))
    assert there(tmp_path) == {name(2), name(3), name(4)}


async def test_what_is_in_use_stays_and_the_rest_is_told(tmp_path: Path) -> None:
    store = Store(tmp_path, quota=LIMIT)
    for number in (1, 2, 3):
        await store.ensure(name(number), gives(number))
    with pytest.raises(NoSpace, match=rf"limit is a quota of {LIMIT.bytes} bytes\); all that is left in it is in use"):
        await store.ensure(name(4), gives(4))
    assert there(tmp_path) == {name(1), name(2), name(3)}
    assert list((tmp_path / "incoming").iterdir()) == []
    store.retain({name(1), name(3)})
    await store.ensure(name(4), gives(4))
    assert there(tmp_path) == {name(1), name(3), name(4)}


async def test_room_is_made_before_the_bytes_come(tmp_path: Path) -> None:
    """Where the size is known, what does not fit is not fetched to its end."""
    store = Store(tmp_path, quota=LIMIT)
    await store.ensure(name(1), gives(1))
    progress = Progress()
    cut_short = False

    async def endless(target: Path) -> str:
        nonlocal cut_short
        write(target, b"x")
        progress.total = 10 * SIZE
        try:
            await asyncio.Event().wait()
        finally:
            cut_short = True
        return ""

    with pytest.raises(NoSpace, match=f"{10 * SIZE} more bytes are needed"):
        await store.ensure(name(2), endless, progress=progress)
    assert cut_short


async def test_another_agent_s_pins_count_until_it_dies(tmp_path: Path) -> None:
    other = subprocess.Popen(  # noqa: ASYNC220 - it waits for its input
        [sys.executable, "-c", PINNER, tmp_path, name(1), name(2)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    assert other.stdin is not None
    try:
        store = Store(tmp_path, quota=LIMIT)
        other.stdout.readline()
        await bring(store, tmp_path, 1, 2, 3)
        await store.ensure(name(4), gives(4))
        store.retain(())
        assert there(tmp_path) == {name(1), name(2), name(4)}
        other.send_signal(signal.SIGKILL)
        other.wait()
        os.utime(tmp_path / "sha256" / name(4), (1, 1))
        await store.ensure(name(5), gives(5))
        # The kernel has freed its lock. What it used counts as used until now, so the other one goes.
        assert there(tmp_path) == {name(1), name(2), name(5)}
        store.retain(())
        os.utime(tmp_path / "sha256" / name(1), (1, 1))
        await store.ensure(name(6), gives(6))
        assert there(tmp_path) == {name(2), name(5), name(6)}
        assert len(list((tmp_path / "pins").iterdir())) == 1
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
        other.stdin.close()


PINNER = """
import sys
from pathlib import Path
from littoral.agent.store import Store
store = Store(Path(sys.argv[1]))
store.retain(set(sys.argv[2:]))
print("pinned", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(("age", "kept"), [(86_400, True), (31 * 86_400, False)])
async def test_what_a_server_served_last_is_kept_for_a_month(tmp_path: Path, age: float, kept: bool) -> None:
    served = tmp_path / "state" / "shop_triton" / "served.json"
    served.parent.mkdir(parents=True)
    served.write_text(json.dumps({"digits": {"digest": f"sha256:{name(1)}"}}))
    os.utime(served, (time.time() - age,) * 2)
    store = Store(tmp_path, quota=LIMIT)
    await bring(store, tmp_path, 1, 2, 3)
    await store.ensure(name(4), gives(4))
    assert (name(1) in there(tmp_path)) == kept


async def test_broken_fetches_that_nobody_wants_go_first_and_wanted_ones_last(tmp_path: Path) -> None:
    store = Store(tmp_path, quota=LIMIT)

    async def breaks(target: Path) -> str:
        write(target, bytes(SIZE))
        os.sync()
        raise FetchError("gone")

    for number in (8, 9):
        with pytest.raises(FetchError):
            await store.ensure(name(number), breaks)
    store.retain({name(9)})
    await store.ensure(name(1), gives(1))
    store.retain({name(9)})
    assert {path.name for path in (tmp_path / "incoming").iterdir()} == {name(8), name(9)}
    await store.ensure(name(2), gives(2))
    assert {path.name for path in (tmp_path / "incoming").iterdir()} == {name(9)}
    store.retain({name(9), name(2)})
    await store.ensure(name(3), gives(3))
    assert there(tmp_path) == {name(2), name(3)}
    assert {path.name for path in (tmp_path / "incoming").iterdir()} == {name(9)}
    store.retain({name(9), name(2), name(3)})
    await store.ensure(name(4), gives(4))
    assert there(tmp_path) == {name(2), name(3), name(4)}
    assert list((tmp_path / "incoming").iterdir()) == []


async def test_an_unwanted_entry_must_be_hashed_again_before_it_counts(tmp_path: Path) -> None:
    """Between the pins another agent may have removed it."""
    store = Store(tmp_path)
    await store.ensure(name(1), gives(1))
    assert store.get(name(1)) is not None
    store.retain(())
    assert store.get(name(1)) is None


async def test_a_disk_that_is_full_all_the_same_is_told(tmp_path: Path) -> None:
    """The quota allows it, and the kernel does not: every time."""
    tries = 0

    async def full(target: Path) -> str:
        nonlocal tries
        tries += 1
        raise FetchError("No space left on device") from OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(FetchError, match="the cache's disk is full: No space left on device"):
        await Store(tmp_path, quota=Quota(share=1.0)).ensure(name(1), full)
    assert tries == 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "littoral-test", disk], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("nothing can be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


async def test_on_a_full_disk_what_serves_stays_and_what_is_unused_goes(small_disk: Path) -> None:
    """A real ENOSPC: a quota that is larger than the disk sees nothing coming."""
    quota = Quota(bytes=1 << 40)
    size = 300_000
    store = Store(small_disk, quota=quota)
    for number in (1, 2, 3):
        await store.ensure(name(number, size), gives(number, size))
        os.utime(small_disk / "sha256" / name(number, size), (number, number))
    with pytest.raises(FetchError, match="no space in the cache"):
        await store.ensure(name(4, size), gives(4, size))
    serving = store.get(name(1, size))
    assert serving is not None
    assert serving.path.read_bytes() == content(1, size)
    store.retain({name(1, size), name(3, size)})
    entry = await store.ensure(name(4, size), gives(4, size))
    assert entry.path.read_bytes() == content(4, size)
    assert there(small_disk) == {name(1, size), name(3, size), name(4, size)}


async def test_a_file_that_is_larger_than_what_is_free_makes_room_before_it_is_copied(
    small_disk: Path, tmp_path: Path
) -> None:
    store, size = Store(small_disk, quota=Quota(bytes=1 << 40)), 400_000
    for number in (1, 2):
        await store.ensure(name(number, size), gives(number, size))
    store.retain({name(2, size)})
    source, progress = tmp_path / "network", Progress()
    source.write_bytes(content(3, size))

    async def fetch(target: Path) -> str:
        return await local.copy(source, target, progress, max_bytes=1 << 30)

    assert (await store.ensure(name(3, size), fetch, progress=progress)).bytes == size
    assert there(small_disk) == {name(2, size), name(3, size)}


async def test_an_agent_starts_on_a_full_disk_and_loads_what_is_there(small_disk: Path) -> None:
    await Store(small_disk).ensure(name(1), gives(1))
    with pytest.raises(OSError, match="No space left"):
        fill(small_disk / "ballast")
    store = Store(small_disk)
    store.sweep()
    store.retain({name(1)})
    assert await store.recall(name(1)) is not None
    with pytest.raises(FetchError, match="no space in the cache"):
        await store.ensure(name(2), gives(2))
    (small_disk / "ballast").unlink()
    assert await store.ensure(name(2), gives(2))


async def test_a_fetch_beyond_the_limit_of_the_process_fails_alone(tmp_path: Path) -> None:
    """EFBIG is no full disk: nothing is removed for it."""
    store = Store(tmp_path, quota=LIMIT)
    await bring(store, tmp_path, 1, 2)

    async def too_long(target: Path) -> str:
        raise OSError(errno.EFBIG, "File too large")

    with pytest.raises(OSError, match="File too large"):
        await store.ensure(name(3), too_long)
    assert there(tmp_path) == {name(1), name(2)}


@pytest.mark.parametrize("damage", ["flip", "truncate", "record"])
async def test_the_scrub_takes_away_what_is_damaged_and_nothing_else(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path)
    for number in (1, 2):
        await store.ensure(name(number), gives(number))
    folder = tmp_path / "sha256" / name(1)
    artifact = folder / "artifact"
    artifact.chmod(0o644)
    match damage:
        case "flip":
            artifact.write_bytes(b"\xff" + content(1)[1:])
        case "truncate":
            artifact.write_bytes(content(1)[:-1])
        case "record":
            (folder / "entry.json").write_text("{")
    await store.scrub(period=0, rate=1 << 40)
    assert store.get(name(1)) is None
    assert there(tmp_path) == {name(2)}
    await store.ensure(name(1), gives(1))
    assert store.get(name(1)) is not None


async def test_the_scrub_leaves_alone_what_was_hashed_lately(tmp_path: Path) -> None:
    store = Store(tmp_path)
    await store.ensure(name(1), gives(1))
    artifact = tmp_path / "sha256" / name(1) / "artifact"
    artifact.chmod(0o644)
    artifact.write_bytes(bytes(SIZE))
    await store.scrub()
    assert there(tmp_path) == {name(1)}


steps = st.lists(
    st.one_of(
        st.tuples(st.just("fetch"), st.integers(0, 7)),
        st.tuples(st.just("keep"), st.sets(st.integers(0, 7), max_size=3)),
    ),
    max_size=12,
)


@given(steps)
async def test_never_over_the_quota_and_never_without_what_is_in_use(
    tmp_path_factory: pytest.TempPathFactory, taken: list[tuple[str, int | set[int]]]
) -> None:
    root = tmp_path_factory.mktemp("cache")
    store = Store(root, quota=LIMIT)
    kept: set[str] = set()
    for what, which in taken:
        if isinstance(which, int):
            wanted = name(which)
            try:
                await store.ensure(wanted, gives(which))
            except NoSpace:
                assert len((there(root) & kept) | {wanted}) > 3, f"{what}: there was room"
            else:
                kept.add(wanted)
        else:
            kept = {name(number) for number in which} & there(root)
            store.retain(kept)
        assert kept <= there(root)
        assert store.used() <= (LIMIT.bytes or 0)
        assert all(entries.inspect(folder) for folder in (root / "sha256").iterdir())
