"""Sources, against the real thing: files, folders and an HTTPS server with its own authority."""

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from littoral.agent import digest
from littoral.agent.errors import ArtifactError, FetchError
from littoral.agent.fetch import Fetcher, redacted
from littoral.agent.progress import Progress
from littoral.agent.sources.limits import Limits, Timeouts
from littoral.api.serving import Artifact
from tests.support.tls import Authority, make_authority

CONTENT = bytes(range(256)) * 8192  # 2 MiB: more than one chunk
HEX = hashlib.sha256(CONTENT).hexdigest()


def artifact(uri: str) -> Artifact:
    return Artifact(uri=uri, digest=f"sha256:{HEX}")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("tls") / "own")


@pytest.fixture
def fetcher(tmp_path: Path, authority: Authority) -> Fetcher:
    for folder in ("files", "claims/claim"):
        (tmp_path / folder).mkdir(parents=True)
    return Fetcher(files_root=tmp_path / "files", claims_root=tmp_path / "claims", ca_file=authority.file)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def server(authority: Authority) -> AsyncIterator[str]:
    """The root URL of a server whose paths each do something else."""

    async def whole(request: web.Request) -> web.Response:
        return web.Response(body=CONTENT)

    async def chunked(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(CONTENT)
        return response

    async def truncated(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(CONTENT))})
        await response.prepare(request)
        await response.write(CONTENT[:1000])
        assert request.transport is not None
        request.transport.abort()
        return response

    async def stalled(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(CONTENT))})
        await response.prepare(request)
        await response.write(CONTENT[:1000])
        await asyncio.Event().wait()
        return response

    async def compressed(request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "identity"
        return web.Response(body=CONTENT, headers={"Content-Encoding": "gzip"})

    def to(location: str) -> Handler:
        async def redirect(request: web.Request) -> web.Response:
            return web.Response(status=302, headers={"Location": location})

        return redirect

    app = web.Application()
    app.add_routes(
        [
            web.get("/whole.onnx", whole),
            web.get("/chunked.onnx", chunked),
            web.get("/truncated.onnx", truncated),
            web.get("/stalled.onnx", stalled),
            web.get("/compressed.onnx", compressed),
            web.get("/moved.onnx", to("/whole.onnx")),
            web.get("/loop.onnx", to("/loop.onnx")),
            web.get("/insecure.onnx", to("http://127.0.0.1/whole.onnx")),
            web.get("/local.onnx", to("file:///etc/passwd")),
        ]
    )
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=authority.context)
    await site.start()
    yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.mark.parametrize("path", ["whole.onnx", "chunked.onnx", "moved.onnx", "compressed.onnx"])
async def test_https(fetcher: Fetcher, server: str, tmp_path: Path, path: str) -> None:
    progress = Progress()
    assert await fetcher.fetch(artifact(f"{server}/{path}"), tmp_path / "target", progress) == HEX
    assert digest.of_path(tmp_path / "target") == HEX
    assert progress.received == len(CONTENT)
    assert progress.total == (None if path == "chunked.onnx" else len(CONTENT))


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("missing.onnx", FetchError, "the server answered 404 Not Found"),
        ("truncated.onnx", FetchError, r"the connection broke after \d+ of 2097152 bytes"),
        ("stalled.onnx", FetchError, "silent for too long after 1000 of 2097152 bytes"),
        ("loop.onnx", FetchError, "more than 5 redirects"),
        ("insecure.onnx", ArtifactError, "redirects to http://127.0.0.1, and only https"),
        ("local.onnx", ArtifactError, "redirects to file://"),
    ],
)
async def test_https_that_fails(
    fetcher: Fetcher, server: str, tmp_path: Path, path: str, error: type[Exception], message: str
) -> None:
    impatient = Fetcher(
        files_root=None,
        claims_root=tmp_path,
        ca_file=fetcher.ca_file,
        limits=Limits(timeouts=Timeouts(connect=10, read=1)),
    )
    with pytest.raises(error, match=message):
        await impatient.fetch(artifact(f"{server}/{path}"), tmp_path / "target", Progress())


@pytest.mark.parametrize("path", ["whole.onnx", "chunked.onnx"])
async def test_https_that_is_too_large(fetcher: Fetcher, server: str, tmp_path: Path, path: str) -> None:
    small = Fetcher(
        files_root=None, claims_root=tmp_path, ca_file=fetcher.ca_file, limits=Limits(max_bytes=len(CONTENT) - 1)
    )
    with pytest.raises(ArtifactError, match="fetches 2097151 at most"):
        await small.fetch(artifact(f"{server}/{path}"), tmp_path / "target", Progress())


async def test_https_by_an_authority_that_is_not_trusted(fetcher: Fetcher, server: str, tmp_path: Path) -> None:
    other = make_authority(tmp_path / "other")
    for ca_file in (None, other.file):
        trusting = Fetcher(files_root=None, claims_root=tmp_path, ca_file=ca_file)
        with pytest.raises(FetchError, match=r"the certificate of 127\.0\.0\.1 is not trusted"):
            await trusting.fetch(artifact(f"{server}/whole.onnx"), tmp_path / "target", Progress())


async def test_https_for_another_name(server: str, fetcher: Fetcher, tmp_path: Path) -> None:
    uri = server.replace("127.0.0.1", "localhost") + "/whole.onnx"
    with pytest.raises(FetchError, match=r"the certificate of localhost is not trusted: .*ostname mismatch"):
        await fetcher.fetch(artifact(uri), tmp_path / "target", Progress())


async def test_https_to_nobody(fetcher: Fetcher, tmp_path: Path, unused_tcp_port: int) -> None:
    with pytest.raises(FetchError, match="Cannot connect"):
        await fetcher.fetch(artifact(f"https://127.0.0.1:{unused_tcp_port}/x"), tmp_path / "target", Progress())


async def test_a_file_of_authorities_that_is_none(server: str, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("none")
    fetcher = Fetcher(files_root=None, claims_root=tmp_path, ca_file=tmp_path / "ca.pem")
    with pytest.raises(FetchError, match=r"ca\.pem cannot be read"):
        await fetcher.fetch(artifact(f"{server}/whole.onnx"), tmp_path / "target", Progress())


async def test_https_through_the_proxy_of_the_environment(
    fetcher: Fetcher, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    proxy = await asyncio.start_server(relay, "127.0.0.1", 0)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with proxy:
        with pytest.raises(FetchError, match="502"):
            await fetcher.fetch(artifact(f"{server}/whole.onnx"), tmp_path / "target", Progress())
    assert asked[0].startswith(f"CONNECT {server.removeprefix('https://')}".encode())


@pytest.mark.parametrize("scheme", ["file", "pvc"])
async def test_a_local_file(fetcher: Fetcher, tmp_path: Path, scheme: str) -> None:
    root = fetcher.files_root if scheme == "file" else fetcher.claims_root / "claim"
    assert root is not None
    (root / "a").mkdir()
    (root / "a/net work.onnx").write_bytes(CONTENT)
    uri = f"file://{root}/a/net work.onnx" if scheme == "file" else "pvc://claim/a/net work.onnx"
    progress = Progress()
    given = Artifact.model_construct(uri=uri, digest=f"sha256:{HEX}")
    assert await fetcher.fetch(given, tmp_path / "target", progress) == HEX
    assert digest.of_path(tmp_path / "target") == HEX
    assert (progress.received, progress.total) == (len(CONTENT), len(CONTENT))


async def test_a_local_directory(fetcher: Fetcher, tmp_path: Path) -> None:
    source = fetcher.claims_root / "claim" / "model"
    (source / "1").mkdir(parents=True)
    (source / "1/model.onnx").write_bytes(CONTENT)
    (source / "config.pbtxt").write_text("max_batch_size: 1")
    got = await fetcher.fetch(artifact("pvc://claim/model"), tmp_path / "target", Progress())
    assert got == digest.of_path(source) == digest.of_path(tmp_path / "target")


@pytest.mark.parametrize("path", ["/etc/passwd", "{root}/../outside", "{root}/link", "{root}/folder/up", "{root}-b/x"])
async def test_a_path_that_leads_out_of_the_files_root(fetcher: Fetcher, tmp_path: Path, path: str) -> None:
    root = fetcher.files_root
    assert root is not None
    (tmp_path / "outside").write_bytes(CONTENT)
    (tmp_path / "files-b").mkdir()
    (tmp_path / "files-b/x").write_bytes(CONTENT)
    (root / "link").symlink_to("../outside")
    (root / "folder").mkdir()
    (root / "folder/up").symlink_to("../../outside")
    with pytest.raises(ArtifactError, match="lies outside"):
        await fetcher.fetch(artifact("file://" + path.format(root=root)), tmp_path / "target", Progress())


async def test_links_inside_the_files_root_are_followed(fetcher: Fetcher, tmp_path: Path) -> None:
    assert fetcher.files_root is not None
    (fetcher.files_root / "v2.onnx").write_bytes(CONTENT)
    (fetcher.files_root / "latest.onnx").symlink_to("v2.onnx")
    (tmp_path / "alias").symlink_to(fetcher.files_root)
    aliased = Fetcher(files_root=tmp_path / "alias", claims_root=tmp_path)
    for fetching, root in ((fetcher, fetcher.files_root), (aliased, tmp_path / "alias")):
        target = tmp_path / f"target-{root.name}"
        assert await fetching.fetch(artifact(f"file://{root}/latest.onnx"), target, Progress()) == HEX


@pytest.mark.parametrize(
    ("uri", "error", "message"),
    [
        ("pvc://claim/missing", FetchError, "No such file"),
        ("pvc://claim/loop", FetchError, "loop|Too many levels"),
        ("pvc://claim/empty", ArtifactError, "empty directory"),
        ("pvc://claim/../../outside", ArtifactError, "lies outside"),
        ("pvc://other/x", ArtifactError, "claim 'other' is not mounted"),
        ("pvc://../x", ArtifactError, "claim '..' is not mounted"),
        ("pvc:///x", ArtifactError, "claim '' is not mounted"),
        ("file:///nowhere", FetchError, "No such file|lies outside"),
        ("file://relative/x", ArtifactError, "absolute path"),
        ("http://models.example/x", ArtifactError, "http:// is not fetched by this agent; supported: file, gs, https"),
        ("nonsense", ArtifactError, "supported"),
    ],
)
async def test_what_is_not_fetched(
    fetcher: Fetcher, tmp_path: Path, uri: str, error: type[Exception], message: str
) -> None:
    claim = fetcher.claims_root / "claim"
    (claim / "loop").symlink_to("loop")
    (claim / "empty").mkdir()
    with pytest.raises((error, ArtifactError) if "lies outside" in message else error, match=message):
        await fetcher.fetch(artifact(uri), tmp_path / "target", Progress())


async def test_files_are_refused_where_they_are_switched_off(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="switched off"):
        await Fetcher(files_root=None, claims_root=tmp_path).fetch(
            artifact("file:///etc/passwd"), tmp_path / "target", Progress()
        )


async def test_a_local_file_that_is_too_large(fetcher: Fetcher, tmp_path: Path) -> None:
    (fetcher.claims_root / "claim/x").write_bytes(CONTENT)
    small = Fetcher(files_root=None, claims_root=fetcher.claims_root, limits=Limits(max_bytes=1000))
    with pytest.raises(ArtifactError, match="fetches 1000 at most"):
        await small.fetch(artifact("pvc://claim/x"), tmp_path / "target", Progress())


async def test_what_does_not_fit_is_not_begun(fetcher: Fetcher, tmp_path: Path) -> None:
    with (fetcher.claims_root / "claim/sparse").open("wb") as file:
        file.truncate(shutil.disk_usage(tmp_path).free + (1 << 30))  # it is sparse: it takes no room
    large = Fetcher(files_root=None, claims_root=fetcher.claims_root, limits=Limits(max_bytes=1 << 60))
    with pytest.raises(FetchError, match="the cache's filesystem has"):
        await large.fetch(artifact("pvc://claim/sparse"), tmp_path / "target", Progress())
    assert not (tmp_path / "target").exists()


async def test_a_cancelled_copy_ends(fetcher: Fetcher, tmp_path: Path) -> None:
    with (fetcher.claims_root / "claim/large").open("wb") as file:
        file.truncate(8 << 30)
    progress = Progress()
    copying = asyncio.create_task(fetcher.fetch(artifact("pvc://claim/large"), tmp_path / "target", progress))
    async with asyncio.timeout(30):
        while progress.received == 0:  # noqa: ASYNC110 - the thread that copies knows no event
            await asyncio.sleep(0.001)
        copying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await copying
    assert progress.received < 8 << 30
    size = (tmp_path / "target").stat().st_size
    (tmp_path / "target").unlink()
    assert size <= progress.received


def test_what_is_shown_of_a_uri_holds_no_secret() -> None:
    assert redacted("https://user:secret@models.example:8443/x.onnx?sig=secret#secret") == (
        "https://models.example:8443/x.onnx"
    )
    assert redacted("pvc://claim/a/b") == "pvc://claim/a/b"
    assert redacted("file:///a/b") == "file:///a/b"
