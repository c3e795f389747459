"""Files that come in pieces: after a break, after a kill, over several streams."""

import asyncio
import contextlib
import hashlib
import random
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from hypothesis import given
from hypothesis import strategies as st

from littoral.agent.errors import FetchError
from littoral.agent.fetch import Fetcher
from littoral.agent.progress import Progress
from littoral.agent.sources import pace as pacing
from littoral.agent.sources.limits import Limits, Timeouts
from littoral.agent.sources.pace import Pace
from littoral.agent.sources.partial import PartialFile, side_file
from littoral.api.serving import Artifact
from tests.support.relay import Relay, relay
from tests.support.tls import Authority, make_authority

CONTENT = random.Random(1).randbytes(6 << 20)
HEX = hashlib.sha256(CONTENT).hexdigest()
KIB = 1 << 10


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("tls") / "own")


@dataclass
class Server:
    """A web server with ranges and ETags, behind a relay."""

    folder: Path
    relay: Relay
    ranges: list[str] = field(default_factory=list)
    """The ranges that were asked for, in order."""
    busy: int = 0
    busiest: int = 0

    def artifact(self, name: str = "network.onnx") -> Artifact:
        return Artifact(uri=f"https://127.0.0.1:{self.relay.port}/{name}", digest=f"sha256:{HEX}")


@pytest.fixture
async def server(tmp_path: Path, authority: Authority) -> AsyncIterator[Server]:
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / "network.onnx").write_bytes(CONTENT)
    (folder / "empty").touch()

    class Answer(web.FileResponse):
        async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
            state.ranges.append(request.headers.get("Range", ""))
            state.busy += 1
            state.busiest = max(state.busiest, state.busy)
            try:
                return await super().prepare(request)
            finally:
                state.busy -= 1

    async def file(request: web.Request) -> web.FileResponse:
        return Answer(folder / request.match_info["name"])

    async def plain(request: web.Request) -> web.Response:
        state.ranges.append("")
        return web.Response(body=CONTENT)

    app = web.Application()
    app.add_routes([web.get("/plain.onnx", plain), web.get("/{name}", file)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=authority.context).start()
    async with relay(runner.addresses[0][1]) as way:
        state = Server(folder, way)
        yield state
    await runner.cleanup()


def fetcher(authority: Authority, *, streams: int = 1, piece: int = 64 * KIB, read: float = 60.0) -> Fetcher:
    limits = Limits(streams=streams, piece=piece, parallel_from=4 * piece, timeouts=Timeouts(read=read))
    return Fetcher(files_root=None, claims_root=Path("/nowhere"), ca_file=authority.file, limits=limits)


async def test_a_broken_connection_is_gone_on_from_at_once(
    server: Server, authority: Authority, tmp_path: Path
) -> None:
    server.relay.cuts = [2 << 20, 3 << 20]
    progress = Progress()
    assert await fetcher(authority).fetch(server.artifact(), tmp_path / "target", progress) == HEX
    assert (tmp_path / "target").read_bytes() == CONTENT
    assert progress.received == progress.total == progress.fetched == len(CONTENT)
    assert [bool(it) for it in server.ranges] == [False, True, True]
    assert not side_file(tmp_path / "target").exists()


@pytest.mark.parametrize("streams", [1, 4])
async def test_a_later_fetch_goes_on_from_what_an_earlier_one_has_left(
    server: Server, authority: Authority, tmp_path: Path, streams: int
) -> None:
    target = tmp_path / "target"
    server.relay.cuts = [700 * KIB] * 8
    fetching = fetcher(authority, streams=streams, piece=1 << 20)
    with pytest.raises(FetchError, match=r"the connection broke after \d+ of 6291456 bytes"):
        await fetching.fetch(server.artifact(), target, Progress())
    left = sum(stop - start for start, stop in PartialFile(target, identity=server.artifact().uri)._done)
    assert left > 500 * KIB
    server.relay.cuts = []
    progress = Progress()
    assert await fetching.fetch(server.artifact(), target, progress) == HEX
    assert progress.fetched == len(CONTENT) - left
    assert progress.received == progress.total == len(CONTENT)


@pytest.mark.parametrize("streams", [1, 4])
async def test_what_has_changed_meanwhile_is_begun_anew(
    server: Server, authority: Authority, tmp_path: Path, streams: int
) -> None:
    (server.folder / "network.onnx").write_bytes(CONTENT[::-1])
    server.relay.cuts = [900 * KIB]
    fetching = fetcher(authority, streams=streams, piece=8 << 20)
    with pytest.raises(FetchError, match="broke"):
        await fetching.fetch(server.artifact(), tmp_path / "target", Progress())
    (server.folder / "network.onnx").write_bytes(CONTENT)
    progress = Progress()
    assert await fetching.fetch(server.artifact(), tmp_path / "target", progress) == HEX
    assert progress.received == progress.fetched == len(CONTENT)


async def test_another_artifact_does_not_go_on_from_this_one(
    server: Server, authority: Authority, tmp_path: Path
) -> None:
    (server.folder / "other.onnx").write_bytes(CONTENT[::-1])
    server.relay.cuts = [900 * KIB]
    with pytest.raises(FetchError, match="broke"):
        await fetcher(authority).fetch(server.artifact("other.onnx"), tmp_path / "target", Progress())
    assert await fetcher(authority).fetch(server.artifact(), tmp_path / "target", Progress()) == HEX


async def test_a_server_without_ranges_is_asked_for_all_again(
    server: Server, authority: Authority, tmp_path: Path
) -> None:
    server.relay.cuts = [900 * KIB]
    with pytest.raises(FetchError, match="broke"):
        await fetcher(authority, streams=4).fetch(server.artifact("plain.onnx"), tmp_path / "target", Progress())
    assert not side_file(tmp_path / "target").exists()
    progress = Progress()
    assert (
        await fetcher(authority, streams=4).fetch(server.artifact("plain.onnx"), tmp_path / "target", progress) == HEX
    )
    assert progress.received == progress.fetched == len(CONTENT)
    assert len(server.ranges) == 2


async def test_a_large_file_comes_over_several_streams(server: Server, authority: Authority, tmp_path: Path) -> None:
    assert await fetcher(authority, streams=4).fetch(server.artifact(), tmp_path / "target", Progress()) == HEX
    assert (tmp_path / "target").read_bytes() == CONTENT
    starts = sorted(int(it.removeprefix("bytes=").partition("-")[0]) for it in server.ranges)
    assert starts == list(range(0, len(CONTENT), 64 * KIB)), "each piece once"
    assert 1 < server.busiest <= 4


async def test_a_file_that_is_not_large_comes_over_one(server: Server, authority: Authority, tmp_path: Path) -> None:
    await fetcher(authority, streams=4, piece=2 << 20).fetch(server.artifact(), tmp_path / "target", Progress())
    assert len(server.ranges) == 2
    assert server.busiest == 1


@pytest.mark.parametrize("streams", [1, 4])
async def test_an_empty_file(server: Server, authority: Authority, tmp_path: Path, streams: int) -> None:
    got = await fetcher(authority, streams=streams).fetch(server.artifact("empty"), tmp_path / "target", Progress())
    assert got == hashlib.sha256().hexdigest()
    assert (tmp_path / "target").read_bytes() == b""


async def test_a_server_that_falls_silent(server: Server, authority: Authority, tmp_path: Path) -> None:
    server.relay.silent_after = 700 * KIB
    with pytest.raises(FetchError, match=r"silent for too long after \d+ of"):
        await fetcher(authority, read=1.0).fetch(server.artifact(), tmp_path / "target", Progress())
    server.relay.silent_after = None
    progress = Progress()
    assert await fetcher(authority).fetch(server.artifact(), tmp_path / "target", progress) == HEX
    assert progress.fetched < len(CONTENT)


async def test_a_fetch_that_is_cancelled_can_be_gone_on_from(
    server: Server, authority: Authority, tmp_path: Path
) -> None:
    server.relay.silent_after = 700 * KIB
    fetching = asyncio.create_task(fetcher(authority).fetch(server.artifact(), tmp_path / "target", Progress()))
    await asyncio.wait_for(server.relay.stalled.wait(), 30)
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    server.relay.silent_after = None
    progress = Progress()
    assert await fetcher(authority).fetch(server.artifact(), tmp_path / "target", progress) == HEX
    assert progress.fetched < len(CONTENT)


KILLED = """
import asyncio, sys
from pathlib import Path
from littoral.agent.fetch import Fetcher
from littoral.agent.progress import Progress
from littoral.agent.sources import transfer
from littoral.api.serving import Artifact

transfer.NOTE = 0.05
uri, digest, ca, target = sys.argv[1:]
fetcher = Fetcher(files_root=None, claims_root=Path("/nowhere"), ca_file=Path(ca))
asyncio.run(fetcher.fetch(Artifact(uri=uri, digest=digest), Path(target), Progress()))
"""


async def test_an_agent_that_was_killed_goes_on_in_its_next_life(
    server: Server, authority: Authority, tmp_path: Path
) -> None:
    server.relay.silent_after = 3 << 20
    artifact, target = server.artifact(), tmp_path / "target"
    killed = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", KILLED, artifact.uri, artifact.digest, str(authority.file), str(target))
    )
    await asyncio.wait_for(server.relay.stalled.wait(), 60)
    async with asyncio.timeout(60):
        while not side_file(target).exists():  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    await killed.wait()
    server.relay.silent_after = None
    progress = Progress()
    assert await fetcher(authority).fetch(artifact, target, progress) == HEX
    assert progress.fetched < len(CONTENT)


@given(
    st.binary(min_size=1, max_size=200),
    st.randoms(use_true_random=False),
    st.lists(st.sampled_from(["write", "hash", "restart", "power"]), max_size=40),
)
def test_pieces_in_any_order_over_any_number_of_lives(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, choice: random.Random, steps: list[str]
) -> None:
    """What comes out is the file, whoever stopped it when."""
    target = tmp_path_factory.mktemp("partial") / "x"
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(PartialFile(target, identity="x"))
        file.begin(version="1", size=len(content))
        for step in steps:
            gaps = list(file.gaps())
            if step == "write" and gaps:
                start, stop = choice.choice(gaps)
                assert stop is not None
                start = choice.randint(start, stop - 1)
                file.write(start, content[start : choice.randint(start + 1, stop)])
            elif step == "hash":
                file.catch_up()
            elif step == "restart":
                file.save()
            if step in ("restart", "power"):
                file = stack.enter_context(PartialFile(target, identity="x"))
                if file.version is None:
                    file.begin(version="1", size=len(content))
        for start, stop in list(file.gaps()):
            file.write(start, content[start:stop])
        assert file.complete
        assert file.finish() == hashlib.sha256(content).hexdigest()
    assert target.read_bytes() == content


@pytest.mark.parametrize(
    "noted", ["", "{}", "[]", '{"source": 1}', '{"source": "%s", "version": "1", "size": 9, "done": [[0, 9]]}']
)
def test_a_note_that_cannot_be_true_is_not_believed(tmp_path: Path, noted: str) -> None:
    identity = hashlib.sha256(b"x").hexdigest()
    side_file(tmp_path / "x").write_text(noted.replace("%s", identity))
    (tmp_path / "x").write_bytes(b"short")
    with PartialFile(tmp_path / "x", identity="x") as file:
        assert (file.version, file.received) == (None, 0)


async def test_the_cap_holds_over_all_who_take(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(pacing.time, "monotonic", lambda: now)
    monkeypatch.setattr(pacing.asyncio, "sleep", sleep)
    pace = Pace(1000.0)
    for _ in range(50):
        await pace.take(400)
    assert now - 100.0 == pytest.approx(50 * 400 / 1000 - Pace.BURST)
    await Pace(None).take(1 << 40)
    assert (Pace(None).chunk(1 << 20), Pace(1 << 30).chunk(1 << 20), Pace(80_000).chunk(1 << 20)) == (
        1 << 20,
        1 << 20,
        20_000,
    )
