"""Credentials for an HTTPS server: sent to it, and to nobody that it redirects to."""

import base64
import hashlib
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from littoral.agent.errors import FetchError
from littoral.agent.fetch import Fetcher
from littoral.agent.progress import Progress
from littoral.api.serving import Artifact, SecretReference
from tests.support.tls import Authority, make_authority

CONTENT = b"a network"
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
TOKEN, PASSWORD = "token-hidden", "password-hidden"
BASIC = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()


@dataclass
class Server:
    """Gives `/network.onnx` to those who may have it, and redirects from everywhere else."""

    port: int = 0
    accepts: tuple[str, ...] = ()
    to: str = ""
    seen: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        header = request.headers.get("Authorization", "")
        self.seen.append(header)
        self.paths.append(request.raw_path)
        if request.path != "/network.onnx":
            return web.Response(status=307, headers={"Location": self.to})
        if self.accepts and header not in self.accepts:
            return web.Response(status=401 if not header else 403)
        return web.Response(body=CONTENT)


@asynccontextmanager
async def started(server: Server, authority: Authority) -> AsyncIterator[Server]:
    application = web.Application()
    application.add_routes([web.get("/{path}", server.handle)])
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=authority.context).start()
    server.port = runner.addresses[0][1]
    yield server
    await runner.cleanup()


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[tuple[Server, Server, Fetcher]]:
    """One that asks for credentials, another one, and who fetches from them."""
    authority = make_authority(tmp_path / "tls")
    for name, values in {
        "token": {"token": TOKEN},
        "login": {"username": "me", "password": PASSWORD},
        "wrong": {"token": "wrong-hidden"},
        "other": {"accessKeyId": "x"},
    }.items():
        folder = tmp_path / "secrets" / name
        folder.mkdir(parents=True)
        for key, value in values.items():
            (folder / key).write_text(value)
    fetcher = Fetcher(
        files_root=None, claims_root=tmp_path, credentials_root=tmp_path / "secrets", ca_file=authority.file
    )
    async with AsyncExitStack() as stack:
        asking = await stack.enter_async_context(started(Server(accepts=(f"Bearer {TOKEN}", BASIC)), authority))
        other = await stack.enter_async_context(started(Server(), authority))
        asking.to = f"https://127.0.0.1:{other.port}/network.onnx"
        yield asking, other, fetcher


def artifact(server: Server, path: str, name: str | None) -> Artifact:
    return Artifact(
        uri=f"https://127.0.0.1:{server.port}/{path}?signature=signed-hidden",
        digest=DIGEST,
        secret_ref=SecretReference(name=name) if name else None,
    )


@pytest.mark.parametrize(("name", "header"), [("token", f"Bearer {TOKEN}"), ("login", BASIC)])
async def test_they_are_sent(servers: tuple[Server, Server, Fetcher], tmp_path: Path, name: str, header: str) -> None:
    asking, _, fetcher = servers
    got = await fetcher.fetch(artifact(asking, "network.onnx", name), tmp_path / "target", Progress())
    assert f"sha256:{got}" == DIGEST
    assert set(asking.seen) == {header}


async def test_another_host_never_sees_them(servers: tuple[Server, Server, Fetcher], tmp_path: Path) -> None:
    asking, other, fetcher = servers
    await fetcher.fetch(artifact(asking, "elsewhere", "token"), tmp_path / "target", Progress())
    assert asking.seen == [f"Bearer {TOKEN}"]
    assert other.seen == [""]
    # Nor does it on a way that leads back to the host that they are for.
    other.to = f"https://127.0.0.1:{asking.port}/network.onnx"
    asking.to = f"https://127.0.0.1:{other.port}/back"
    await fetcher.fetch(artifact(asking, "elsewhere", "login"), tmp_path / "back", Progress())
    assert set(other.seen) == {""}


async def test_a_signed_url_stays_as_it_was_signed(servers: tuple[Server, Server, Fetcher], tmp_path: Path) -> None:
    asking, other, fetcher = servers
    signed = "/network.onnx?a=%2F%7e+b&X-Sig=q%3D%3d"
    asking.to = f"https://127.0.0.1:{other.port}{signed}"
    first = Artifact(uri=f"https://127.0.0.1:{asking.port}/x{signed[13:]}", digest=DIGEST)
    await fetcher.fetch(first, tmp_path / "target", Progress())
    assert (asking.paths, other.paths) == ([f"/x{signed[13:]}"], [signed])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (None, r"401 Unauthorized \(no credentials were sent: the artifact names no secretRef\)"),
        ("wrong", r"403 Forbidden \(with the credentials of the Secret 'wrong'\)"),
        ("other", "the Secret 'other' holds neither `token` nor `username` and `password`"),
        ("missing", "the Secret 'missing' is not there"),
    ],
)
async def test_what_is_refused_shows_no_secret(
    servers: tuple[Server, Server, Fetcher],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str | None,
    message: str,
) -> None:
    asking, _, fetcher = servers
    caplog.set_level(logging.DEBUG)
    with pytest.raises(FetchError, match=message) as caught:
        await fetcher.fetch(artifact(asking, "network.onnx", name), tmp_path / "target", Progress())
    error: BaseException | None = caught.value
    while error is not None:
        assert "hidden" not in str(error)
        error = error.__cause__
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("littoral")]
    assert not any("hidden" in line for line in ours)
