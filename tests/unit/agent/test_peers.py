"""Agents that give each other artifacts, over real connections: who is asked, who is believed, who waits for whom."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from littoral.agent import digest
from littoral.agent.errors import FetchError
from littoral.agent.fetch import Fetcher
from littoral.agent.peers import CHOOSING, Peers, shareable
from littoral.agent.progress import Progress
from littoral.agent.sharing import AT_ONCE, Sharing
from littoral.agent.sources import peers as protocol
from littoral.agent.store import Store
from littoral.api.serving import Artifact, ServedModel
from tests.support.tls import Authority, make_authority

CONTENT = bytes(range(256)) * 8192
HEX = hashlib.sha256(CONTENT).hexdigest()
FILES = {"config.pbtxt": b'backend: "onnxruntime"', "1/model.onnx": CONTENT, "1/copy.onnx": CONTENT, "1/empty": b""}
DIRECTORY = digest.of_manifest({path: hashlib.sha256(content).hexdigest() for path, content in FILES.items()})

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def artifact(uri: str = "https://models.invalid/network.onnx", *, name: str = HEX, **fields: Any) -> Artifact:
    return Artifact.parse({"uri": uri, "digest": f"sha256:{name}"} | fields)


@asynccontextmanager
async def served(application: web.Application, authority: Authority | None = None) -> AsyncIterator[int]:
    """The port."""
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=authority.context if authority else None).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@dataclass(kw_only=True)
class Node:
    """What an agent is to its peers: a cache, and the port where it is asked."""

    folder: Path
    wanted: list[Artifact] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    counted: list[int] = field(default_factory=list)
    progress: Progress = field(default_factory=Progress)
    address: str = ""
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.store = Store(self.folder / "cache")
        self.peers = Peers(file=self.folder / "peers.json", count=self.counted.append, ask_every=0.01)

    def models(self) -> list[ServedModel]:
        return [
            ServedModel(name=f"m{number}", variant="v", backend="onnxruntime", artifact=it)
            for number, it in enumerate(self.wanted)
        ]

    def application(self) -> web.Application:
        app = web.Application()
        sharing = Sharing(entry=self.store.get, wanted=self.models, coming=lambda: self.peers.coming)
        app.add_routes(sharing.routes())
        return app

    async def ensure(self, wanted: Artifact) -> bytes:
        """Have it in the cache, as the controller does."""
        self.wanted.append(wanted)
        (self.folder / "peers.json").write_text(json.dumps({"agents": self.others}))
        fetcher = Fetcher(files_root=None, claims_root=self.folder, ca_file=self.ca_file, peers=self.peers)
        self.progress = Progress()
        name = wanted.digest.removeprefix("sha256:")
        entry = await self.store.ensure(
            name, lambda target: fetcher.fetch(wanted, target, self.progress), progress=self.progress
        )
        assert digest.of_path(entry.path) == name
        assert not [*(self.folder / "cache/incoming").iterdir()]
        return b"" if entry.path.is_dir() else entry.path.read_bytes()

    async def holds(self, wanted: Artifact, content: bytes | Mapping[str, bytes] = CONTENT) -> None:
        """It has fetched that earlier."""

        async def put(target: Path) -> str:
            files = {"": content} if isinstance(content, bytes) else content
            for path, it in files.items():
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                (target / path).write_bytes(it)
            return digest.of_path(target)

        self.wanted.append(wanted)
        await self.store.ensure(wanted.digest.removeprefix("sha256:"), put)


Start = Callable[..., Awaitable[Node]]


@pytest.fixture
async def start(tmp_path: Path, source: "Source") -> AsyncIterator[Start]:
    """Starts nodes."""
    async with AsyncExitStack() as stack:

        async def begin(name: str = "asker") -> Node:
            node = Node(folder=tmp_path / name, ca_file=source.ca_file)
            port = await stack.enter_async_context(served(node.application()))
            node.address = f"127.0.0.1:{port}"
            return node

        yield begin


@dataclass(kw_only=True)
class Source:
    """Where the artifact is published, over the uplink."""

    ca_file: Path
    url: str = ""
    requests: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def get(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        self.asked.set()
        await self.open.wait()
        return web.Response(body=CONTENT)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("tls") / "own")


@pytest.fixture
async def source(authority: Authority) -> AsyncIterator[Source]:
    state = Source(ca_file=authority.file)
    state.open.set()
    app = web.Application()
    app.add_routes([web.get("/network.onnx", state.get)])
    async with served(app, authority) as port:
        state.url = f"https://127.0.0.1:{port}/network.onnx"
        yield state


@asynccontextmanager
async def peer(get: Handler) -> AsyncIterator[str]:
    """The address of a peer that says that it has everything, and does `get` when it is asked for it."""

    async def head(request: web.Request) -> web.Response:
        return web.Response(headers={"Content-Length": str(len(CONTENT))})

    app = web.Application()
    app.add_routes([web.head("/{path:.*}", head), web.get("/{path:.*}", get, allow_head=False)])
    async with served(app) as port:
        yield f"127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("given", "yes"),
    [
        (artifact(), True),
        (artifact("oci://registry.example/shop/digits@sha256:" + HEX), True),
        (artifact("s3://bucket/digits/"), True),
        (artifact("gs://bucket/digits.onnx"), True),
        (artifact(secretRef={"name": "login"}), False),
        (artifact("https://user:password@models.example/digits.onnx"), False),
        (artifact("https://models.example/digits.onnx?X-Amz-Signature=0"), False),
        (artifact("https://[::/digits.onnx"), False),
        (artifact("file:///srv/digits.onnx"), False),
        (artifact("pvc://claim/digits.onnx"), False),
        (artifact("https://models.example/digits.tar.gz"), False),
    ],
    ids=lambda it: it.uri if isinstance(it, Artifact) else None,
)
def test_what_agents_give_each_other(given: Artifact, yes: bool) -> None:
    assert shareable(given) is yes


async def test_a_file_comes_from_a_peer_and_not_over_the_uplink(start: Start, source: Source) -> None:
    asker, holder = await start(), await start("holder")
    await holder.holds(artifact(source.url))
    asker.others = [holder.address, asker.address]
    assert await asker.ensure(artifact(source.url)) == CONTENT
    assert source.requests == 0
    assert asker.counted == [len(CONTENT)]
    assert (asker.progress.received, asker.progress.total) == (len(CONTENT), len(CONTENT))


async def test_a_directory_comes_from_a_peer(start: Start) -> None:
    asker, holder = await start(), await start("holder")
    wanted = artifact("oci://registry.invalid/shop/digits:v1", name=DIRECTORY)
    await holder.holds(wanted, FILES)
    asker.others = [holder.address]
    await asker.ensure(wanted)


async def test_an_empty_file_comes_from_a_peer(start: Start) -> None:
    asker, holder = await start(), await start("holder")
    wanted = artifact(name=hashlib.sha256().hexdigest())
    await holder.holds(wanted, b"")
    asker.others = [holder.address]
    assert await asker.ensure(wanted) == b""


async def test_a_node_that_has_fetched_gives_it_to_the_next(start: Start, source: Source) -> None:
    first, second, third = [await start(name) for name in ("first", "second", "third")]
    second.others, third.others = [first.address], [second.address]
    for node in (first, second, third):
        await node.ensure(artifact(source.url))
    assert source.requests == 1


@pytest.mark.parametrize("wanted_there", [[], [{"secretRef": {"name": "login"}}], [{}, {"secretRef": {"name": "x"}}]])
async def test_what_is_not_given(start: Start, source: Source, wanted_there: list[dict[str, Any]]) -> None:
    """What no Model there wants any more, and what a Model there needs credentials for."""
    asker, holder = await start(), await start("holder")
    await holder.holds(artifact(source.url))
    holder.wanted = [artifact(source.url, **fields) for fields in wanted_there]
    asker.others = [holder.address]
    assert await asker.ensure(artifact(source.url)) == CONTENT
    assert (source.requests, asker.counted) == (1, [])
    async with ClientSession() as session, session.get(protocol.url_of(holder.address, HEX)) as answer:
        assert answer.status == 404


async def test_peers_are_not_asked_for_what_needs_credentials(start: Start) -> None:
    asked = []

    async def anything(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(body=CONTENT)

    asker, app = await start(), web.Application()
    app.router.add_route("*", "/{path:.*}", anything)
    async with served(app) as port:
        asker.others = [f"127.0.0.1:{port}"]
        with pytest.raises(FetchError, match="secretRef"):
            await asker.ensure(artifact(secretRef={"name": "login"}))
        assert not asked
        assert await asker.ensure(artifact()) == CONTENT
    assert asked


@pytest.mark.parametrize("content", ["", "[]", "{", '{"agents": 1}', '{"agents": ["", "not an address", "[::"]}'])
async def test_a_list_of_peers_that_is_none(start: Start, source: Source, content: str) -> None:
    asker = await start()
    file = asker.folder / "list.json"
    file.write_text(content)
    asker.peers.file = file
    assert await asker.ensure(artifact(source.url)) == CONTENT


async def _lies(request: web.Request) -> web.StreamResponse:
    return web.Response(body=CONTENT[::-1])


async def _refuses(request: web.Request) -> web.StreamResponse:
    raise web.HTTPInternalServerError


async def _redirects(request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("https://models.invalid/")


async def _breaks(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(len(CONTENT)), "Accept-Ranges": "bytes"})
    await response.prepare(request)
    await response.write(CONTENT[: len(CONTENT) // 4])
    assert request.transport is not None
    request.transport.abort()
    return response


async def _falls_silent(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(len(CONTENT)), "Accept-Ranges": "bytes"})
    await response.prepare(request)
    await response.write(CONTENT[:1000])
    await asyncio.Event().wait()
    return response


async def _says_nothing(request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def _drips(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(len(CONTENT)), "Accept-Ranges": "bytes"})
    await response.prepare(request)
    for byte in CONTENT:
        await response.write(bytes([byte]))
        await asyncio.sleep(0.02)
    return response


@pytest.mark.parametrize("get", [_lies, _refuses, _redirects, _breaks, _falls_silent, _says_nothing, _drips])
async def test_a_bad_peer_costs_no_more_than_a_moment(
    start: Start, source: Source, get: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "PATIENCE", 0.2)
    asker = await start()
    async with peer(get) as address:
        asker.others = [address]
        assert await asker.ensure(artifact(source.url)) == CONTENT
    assert source.requests == 1
    assert asker.peers.trusted(address, HEX) is (get is not _lies)


async def test_a_liar_is_not_asked_again(start: Start) -> None:
    asked = 0

    async def lies(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        return await _lies(request)

    asker = await start()
    async with peer(lies) as address:
        asker.others = [address]
        for _ in range(2):
            with pytest.raises(FetchError):  # and the source is not there
                await asker.ensure(artifact())
    assert asked == 1


async def test_dead_peers_do_not_matter(start: Start, source: Source) -> None:
    asker, holder = await start(), await start("holder")
    await holder.holds(artifact(source.url))
    async with peer(_lies) as gone:
        pass
    asker.others = [gone, holder.address]
    assert await asker.ensure(artifact(source.url)) == CONTENT
    assert source.requests == 0


async def test_a_peer_goes_on_where_another_broke(
    start: Start, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    asker, holder = await start(), await start("holder")
    await holder.holds(artifact(source.url))
    async with peer(_breaks) as broken:
        monkeypatch.setattr("random.shuffle", lambda holders: holders.sort(key=lambda it: it.address != broken))
        asker.others = [broken, holder.address]
        assert await asker.ensure(artifact(source.url)) == CONTENT
    assert source.requests == 0
    assert sum(asker.counted) == len(CONTENT)
    assert len(asker.counted) == 2


@pytest.mark.parametrize("path", ["1/model.onnx", "../model.onnx"])
async def test_a_list_of_files_that_is_another_directorys(start: Start, path: str) -> None:
    """Nothing of it is fetched."""
    got = []

    async def get(request: web.Request) -> web.StreamResponse:
        got.append(request.path)
        return web.json_response({"files": [{"path": path, "bytes": 1, "sha256": HEX}]})

    async def head(request: web.Request) -> web.Response:
        return web.Response(headers={protocol.KIND: "directory"})

    asker, app = await start(), web.Application()
    app.add_routes([web.head("/{path:.*}", head), web.get("/{path:.*}", get, allow_head=False)])
    async with served(app) as port:
        asker.others = [f"127.0.0.1:{port}"]
        with pytest.raises(FetchError):
            await asker.ensure(artifact(name=DIRECTORY))
        assert not asker.peers.trusted(asker.others[0], DIRECTORY)
    assert got == [f"/v1/artifacts/{DIRECTORY}"]


async def test_nodes_that_begin_together_use_the_uplink_once(start: Start, source: Source) -> None:
    nodes = [await start(f"node{number}") for number in range(5)]
    for node in nodes:
        node.others = [it.address for it in nodes]
    source.open.clear()
    tasks = [asyncio.create_task(node.ensure(artifact(source.url))) for node in nodes]
    async with asyncio.timeout(60):
        await source.asked.wait()
        source.open.set()
        assert await asyncio.gather(*tasks) == [CONTENT] * len(nodes)
    assert source.requests == 1


async def test_who_comes_later_never_overtakes_one_that_fetches(start: Start, source: Source) -> None:
    first, *later = nodes = [await start(f"node{number}") for number in range(8)]
    for node in nodes:
        node.others = [it.address for it in nodes]
    source.open.clear()
    async with asyncio.timeout(60):
        tasks = [asyncio.create_task(first.ensure(artifact(source.url)))]
        await source.asked.wait()
        tasks += [asyncio.create_task(node.ensure(artifact(source.url))) for node in later]
        while not all(any(it.ticket != CHOOSING for it in node.peers.coming.values()) for node in nodes):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        source.open.set()
        assert await asyncio.gather(*tasks) == [CONTENT] * len(nodes)
    assert source.requests == 1


async def test_nobody_waits_for_ever_for_one_that_gets_nothing(start: Start, source: Source) -> None:
    asker, stuck = await start(), await start("stuck")
    asker.peers.stalled_for = 0.05
    stuck.wanted.append(artifact(source.url))
    asker.others = [stuck.address]
    with stuck.peers.announced(artifact(source.url), Progress()):
        assert await asker.ensure(artifact(source.url)) == CONTENT
    assert source.requests == 1


async def test_as_many_as_it_can_are_served_at_a_time(start: Start, source: Source) -> None:
    large = bytes(64 << 20)  # more than the buffers of a connection hold
    wanted = artifact(source.url, name=hashlib.sha256(large).hexdigest())
    holder, asker = await start("holder"), await start()
    await holder.holds(wanted, large)
    url = protocol.url_of(holder.address, wanted.digest.removeprefix("sha256:"))
    async with asyncio.timeout(60), ClientSession() as session, AsyncExitStack() as stack:
        for _ in range(AT_ONCE):
            answer: AbstractAsyncContextManager[Any] = session.get(url)
            assert (await stack.enter_async_context(answer)).status == 200
        async with session.get(url) as refused:
            assert refused.status == 503
        asker.others = [holder.address]
        waiting = asyncio.create_task(asker.ensure(wanted))
        await stack.aclose()  # they give up
        assert await waiting == large
    assert source.requests == 0


async def test_a_peer_that_has_become_busy_is_asked_again(start: Start, source: Source) -> None:
    asked = 0

    async def busy_once(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise web.HTTPServiceUnavailable
        return web.Response(body=CONTENT)

    asker = await start()
    async with peer(busy_once) as address:
        asker.others = [address]
        assert await asker.ensure(artifact(source.url)) == CONTENT
    assert (asked, source.requests) == (2, 0)


async def test_ranges_and_names(start: Start) -> None:
    holder = await start("holder")
    await holder.holds(artifact())
    url = protocol.url_of(holder.address, HEX)
    async with ClientSession() as session:
        async with session.get(url, headers={"Range": "bytes=1-2"}) as part:
            assert (part.status, await part.read()) == (206, CONTENT[1:3])
        async with session.head(url) as head:
            assert (head.status, head.headers["Content-Length"]) == (200, str(len(CONTENT)))
        for path in (HEX.upper(), HEX[1:], f"{HEX}.unpacked", "..", f"{HEX}/files/{HEX}", "0" * 64):
            async with session.get(f"http://{holder.address}/v1/artifacts/{path}") as answer:
                assert answer.status == 404
