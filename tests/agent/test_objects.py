"""Artifacts from a real S3 server."""

import hashlib
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import obstore
import pytest
from aiohttp import web
from obstore.store import S3Store

from lab import programs
from lab.state import cache_directory
from littoral.agent import digest
from littoral.agent.errors import AgentError, ArtifactError, FetchError
from littoral.agent.fetch import Fetcher
from littoral.agent.progress import Progress
from littoral.agent.sources.limits import Limits, Timeouts
from littoral.api.serving import Artifact, SecretReference
from tests.agent.servers import Bucket, s3_server, serving
from tests.support.relay import relay
from tests.support.tls import Authority, make_authority

CONTENT = random.Random(3).randbytes(5 << 20)
HEX = hashlib.sha256(CONTENT).hexdigest()
FILES = {"config.pbtxt": b'backend: "onnxruntime"', "1/model.onnx": CONTENT[: 2 << 20], "1/labels é.txt": b""}


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("tls") / "own")


@pytest.fixture
async def bucket(tmp_path: Path, authority: Authority) -> AsyncIterator[Bucket]:
    """A bucket with a file and a folder, put there by a client."""
    program = programs.ensure(("versitygw",), cache=cache_directory()).path("versitygw")
    (tmp_path / "s3").mkdir()
    async with s3_server(program, tmp_path / "s3", authority=authority) as server:
        server.folder.mkdir()
        await put(server, authority, {"network.onnx": CONTENT})
        await put(server, authority, {f"digits/{path}": content for path, content in FILES.items()})
        yield server


async def put(server: Bucket, authority: Authority, objects: dict[str, bytes]) -> None:
    store = S3Store(
        "models",
        endpoint=server.endpoint,
        access_key_id=server.access,
        secret_access_key=server.secret,
        region="edge-1",
        client_options={"root_certificate": authority.file.read_bytes()},
    )
    for key, content in objects.items():
        await obstore.put_async(store, key, content, use_multipart=False)


def secret(tmp_path: Path, name: str, **values: str) -> None:
    folder = tmp_path / "secrets" / name
    folder.mkdir(parents=True)
    for key, value in values.items():
        (folder / key).write_text(value)


def login(server: Bucket, *, port: int | None = None) -> dict[str, str]:
    return {
        "accessKeyId": server.access,
        "secretAccessKey": server.secret,
        "region": "edge-1",
        "endpoint": f"https://127.0.0.1:{port or server.port}",
    }


def fetcher(authority: Authority | None, tmp_path: Path, **limits: Any) -> Fetcher:
    return Fetcher(
        files_root=None,
        claims_root=tmp_path,
        credentials_root=tmp_path / "secrets",
        ca_file=authority.file if authority else None,
        limits=Limits(**limits),
    )


def artifact(uri: str, *, name: str | None = "login") -> Artifact:
    return Artifact(uri=uri, digest=f"sha256:{HEX}", secret_ref=SecretReference(name=name) if name else None)


@pytest.mark.parametrize("streams", [1, 4])
async def test_a_file(bucket: Bucket, authority: Authority, tmp_path: Path, streams: int) -> None:
    secret(tmp_path, "login", **login(bucket))
    progress = Progress()
    fetching = fetcher(authority, tmp_path, streams=streams, piece=256 << 10, parallel_from=1 << 20)
    assert await fetching.fetch(artifact("s3://models/network.onnx"), tmp_path / "target", progress) == HEX
    assert digest.of_file(tmp_path / "target") == HEX
    assert progress.received == progress.total == progress.fetched == len(CONTENT)


async def test_a_prefix_is_a_directory(bucket: Bucket, authority: Authority, tmp_path: Path) -> None:
    secret(tmp_path, "login", **login(bucket))
    target = tmp_path / "target"
    got = await fetcher(authority, tmp_path).fetch(artifact("s3://models/digits/"), target, Progress())
    assert {path: (target / path).read_bytes() for path in digest.walk(target)} == FILES
    assert got == digest.of_path(target)


async def test_a_broken_connection(bucket: Bucket, authority: Authority, tmp_path: Path) -> None:
    target = tmp_path / "target"
    async with relay(bucket.port) as way:
        secret(tmp_path, "login", **login(bucket, port=way.port))
        way.silent_after = 300 << 10  # the client tries thrice by itself
        impatient = fetcher(authority, tmp_path, streams=1, timeouts=Timeouts(read=1.0))
        broken = Progress()
        with pytest.raises(FetchError, match=r"broke after \d+ of 5242880 bytes|does not give it"):
            await impatient.fetch(artifact("s3://models/network.onnx"), target, broken)
        assert broken.fetched > 200 << 10
        way.silent_after = None
        progress = Progress()
        fetching = fetcher(authority, tmp_path)
        assert await fetching.fetch(artifact("s3://models/network.onnx"), target, progress) == HEX
    assert progress.received == len(CONTENT)
    assert progress.fetched == len(CONTENT) - broken.received, "nothing came twice"


async def test_what_has_changed_meanwhile(bucket: Bucket, authority: Authority, tmp_path: Path) -> None:
    await put(bucket, authority, {"network.onnx": CONTENT[::-1]})
    async with relay(bucket.port) as way:
        secret(tmp_path, "login", **login(bucket, port=way.port))
        way.silent_after = 300 << 10
        fetching = fetcher(authority, tmp_path, streams=1, timeouts=Timeouts(read=1.0))
        with pytest.raises(FetchError):
            await fetching.fetch(artifact("s3://models/network.onnx"), tmp_path / "target", Progress())
        way.silent_after = None
        await put(bucket, authority, {"network.onnx": CONTENT})
        got = await fetcher(authority, tmp_path).fetch(
            artifact("s3://models/network.onnx"), tmp_path / "target", Progress()
        )
    assert got == HEX


@pytest.mark.parametrize(
    ("uri", "name", "error", "message"),
    [
        ("s3://models/missing.onnx", "login", FetchError, "the store has no such object, or no such bucket"),
        ("s3://missing/network.onnx", "login", FetchError, "the store has no such object, or no such bucket"),
        ("s3://models/missing/", "login", FetchError, "there is nothing below this prefix"),
        (
            "s3://models/network.onnx",
            "wrong",
            FetchError,
            r"refuses to give it \(with the credentials of the Secret 'wrong'",
        ),
        ("s3://models/network.onnx", "unknown", FetchError, "refuses to give it"),
        ("s3://models/network.onnx", "anonymous", FetchError, "refuses to give it"),
        (
            "s3://models/network.onnx",
            "empty",
            FetchError,
            "the Secret 'empty' holds neither `accessKeyId` nor `endpoint`",
        ),
        ("s3://models/network.onnx", "missing", FetchError, "the Secret 'missing' is not there"),
        ("s3://models/network.onnx", "nobody", FetchError, "the store does not give it"),
        ("gs://models/network.onnx", "login", FetchError, "holds no `key.json`"),
        ("gs://models/network.onnx", "service", FetchError, "the Secret 'service' holds something that"),
    ],
)
async def test_what_is_not_fetched(
    bucket: Bucket,
    authority: Authority,
    tmp_path: Path,
    unused_tcp_port: int,
    uri: str,
    name: str,
    error: type[AgentError],
    message: str,
) -> None:
    secret(tmp_path, "login", **login(bucket))
    secret(tmp_path, "wrong", **login(bucket) | {"secretAccessKey": "another-hidden-key"})
    secret(tmp_path, "unknown", **login(bucket) | {"accessKeyId": "nobody"})
    secret(tmp_path, "anonymous", endpoint=bucket.endpoint)
    secret(tmp_path, "empty", region="edge-1")
    secret(tmp_path, "nobody", **login(bucket, port=unused_tcp_port))
    secret(tmp_path, "service", **{"key.json": '{"private_key": "hidden-key"'})
    with pytest.raises(error, match=message) as caught:
        await fetcher(authority, tmp_path).fetch(artifact(uri, name=name), tmp_path / "target", Progress())
    said = str(caught.value)
    assert "hidden" not in said
    assert bucket.secret not in said
    assert "\n" not in said


async def test_a_server_by_an_authority_that_is_not_trusted(
    bucket: Bucket, authority: Authority, tmp_path: Path
) -> None:
    secret(tmp_path, "login", **login(bucket))
    with pytest.raises(FetchError, match="certificate"):
        await fetcher(None, tmp_path).fetch(artifact("s3://models/network.onnx"), tmp_path / "target", Progress())


async def test_an_object_that_is_too_large(bucket: Bucket, authority: Authority, tmp_path: Path) -> None:
    secret(tmp_path, "login", **login(bucket))
    for uri in ("s3://models/network.onnx", "s3://models/digits/"):
        with pytest.raises(ArtifactError, match="fetches 1000 at most"):
            await fetcher(authority, tmp_path, max_bytes=1000).fetch(artifact(uri), tmp_path / "target", Progress())


async def test_google_cloud_storage(authority: Authority, tmp_path: Path) -> None:
    """Its answer to a GET is that of any web server that knows ranges: who else could stand in for it?"""
    (tmp_path / "www/models").mkdir(parents=True)
    (tmp_path / "www/models/network.onnx").write_bytes(CONTENT)
    seen: list[str] = []

    async def give(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("Range", ""))
        return web.FileResponse(tmp_path / "www" / request.match_info["path"])

    application = web.Application()
    application.add_routes([web.get("/{path:.*}", give)])
    async with serving(application, authority) as port:
        key = {"gcs_base_url": f"https://127.0.0.1:{port}", "disable_oauth": True}
        key |= {"client_email": "", "private_key": "", "private_key_id": ""}
        secret(tmp_path, "service", **{"key.json": json.dumps(key)})
        fetching = fetcher(authority, tmp_path, piece=1 << 20, parallel_from=2 << 20)
        uri = artifact("gs://models/network.onnx", name="service")
        assert await fetching.fetch(uri, tmp_path / "target", Progress()) == HEX
        with pytest.raises(FetchError, match="no such object"):
            await fetching.fetch(artifact("gs://models/missing", name="service"), tmp_path / "m", Progress())
    assert len([it for it in seen if it]) >= 5
