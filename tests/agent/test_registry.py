"""Artifacts from a real OCI registry."""

import base64
import hashlib
import json
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from lab import programs
from lab.state import cache_directory
from littoral.agent import digest
from littoral.agent.errors import AgentError, ArtifactError, FetchError
from littoral.agent.fetch import Fetcher
from littoral.agent.progress import Progress
from littoral.agent.sources.limits import Limits
from littoral.api.serving import Artifact, SecretReference
from tests.agent.servers import (
    PASSWORD,
    TITLE,
    USER,
    Registry,
    registry,
    serving,
    token_server,
    with_password,
)
from tests.support.relay import relay
from tests.support.tls import Authority, make_authority

CONTENT = random.Random(2).randbytes(3 << 20)
HEX = hashlib.sha256(CONTENT).hexdigest()
FILES = {
    "config.pbtxt": b'backend: "onnxruntime"',
    "1/model.onnx": CONTENT,
    "1/weights/a.bin": CONTENT[:1000],
    "1/weights/same.bin": CONTENT[:1000],
    "labels.txt": b"",
}


@pytest.fixture(scope="session")
def program() -> str:
    return programs.ensure(("distribution",), cache=cache_directory()).path("distribution", "registry")


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("tls") / "own")


@pytest.fixture
async def open_registry(program: str, tmp_path: Path, authority: Authority) -> AsyncIterator[Registry]:
    """One that asks nobody who they are."""
    async with registry(program, tmp_path / "open", storage=tmp_path / "storage", authority=authority) as instance:
        yield instance


def fetcher(authority: Authority, tmp_path: Path, **limits: Any) -> Fetcher:
    return Fetcher(
        files_root=None,
        claims_root=tmp_path,
        credentials_root=tmp_path / "secrets",
        ca_file=authority.file,
        limits=Limits(**limits),
    )


def artifact(server: Registry, name: str, *, secret: str | None = None) -> Artifact:
    reference = SecretReference(name=secret) if secret else None
    return Artifact(uri=f"oci://{server.host}/{name}", digest=f"sha256:{HEX}", secret_ref=reference)


def docker_secret(tmp_path: Path, name: str, host: str, **entry: str) -> None:
    folder = tmp_path / "secrets" / name
    folder.mkdir(parents=True)
    (folder / ".dockerconfigjson").write_text(json.dumps({"auths": {host: entry}}))


def login(password: str = PASSWORD) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{USER}:{password}".encode()).decode()}


def layers(files: dict[str, bytes]) -> list[dict[str, Any]]:
    return [{"content": content, "annotations": {TITLE: path}} for path, content in files.items()]


async def test_one_layer_is_a_file(open_registry: Registry, authority: Authority, tmp_path: Path) -> None:
    manifest = await open_registry.push("shop/digits", layers({"digits.onnx": CONTENT}))
    for name in ("shop/digits:v1", f"shop/digits@{manifest}", f"shop/digits:other@{manifest}"):
        progress, target = Progress(), tmp_path / hashlib.sha256(name.encode()).hexdigest()
        got = await fetcher(authority, tmp_path).fetch(artifact(open_registry, name), target, progress)
        assert got == digest.of_file(target) == HEX
        assert progress.received == progress.total == len(CONTENT)


async def test_layers_with_names_are_a_directory(open_registry: Registry, authority: Authority, tmp_path: Path) -> None:
    await open_registry.push("shop/digits", layers(FILES))
    target, progress = tmp_path / "target", Progress()
    target.write_bytes(b"of another artifact")
    got = await fetcher(authority, tmp_path).fetch(artifact(open_registry, "shop/digits:v1"), target, progress)
    assert {path: (target / path).read_bytes() for path in digest.walk(target)} == FILES
    assert got == digest.of_path(target)
    assert progress.received == progress.total == sum(map(len, FILES.values()))
    assert sorted(name for name in os.listdir(tmp_path) if name.startswith("target")) == ["target"]


async def test_a_directory_is_gone_on_from(open_registry: Registry, authority: Authority, tmp_path: Path) -> None:
    await open_registry.push("shop/digits", layers(FILES))
    target = tmp_path / "target"
    async with relay(open_registry.port) as way:
        through = Registry(port=way.port, authority=authority)
        # The manifest and a small layer or two come; then each connection breaks soon.
        way.cuts = [1 << 20] + [900 << 10] * 20
        with pytest.raises(FetchError, match=r"the connection broke after \d+ of \d+ bytes"):
            await fetcher(authority, tmp_path, streams=1).fetch(artifact(through, "shop/digits:v1"), target, Progress())
        assert not target.exists()
        way.cuts = []
        progress = Progress()
        got = await fetcher(authority, tmp_path).fetch(artifact(through, "shop/digits:v1"), target, progress)
    assert got == digest.of_path(target)
    assert {path: (target / path).read_bytes() for path in digest.walk(target)} == FILES
    total = sum(map(len, FILES.values()))
    assert progress.received == total
    assert progress.fetched < total - (500 << 10)


async def test_a_large_layer_comes_over_several_streams(
    open_registry: Registry, authority: Authority, tmp_path: Path
) -> None:
    await open_registry.push("shop/digits", layers({"digits.onnx": CONTENT}))
    async with relay(open_registry.port) as way:
        through = Registry(port=way.port, authority=authority)
        fetching = fetcher(authority, tmp_path, piece=256 << 10, parallel_from=1 << 20)
        assert await fetching.fetch(artifact(through, "shop/digits:v1"), tmp_path / "target", Progress()) == HEX
        assert 2 <= way.connections <= 5
    assert digest.of_file(tmp_path / "target") == HEX


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("shop/digits:v2", FetchError, "the server answered 404 Not Found"),
        ("shop/other:v1", FetchError, "404"),
        (f"shop/digits@sha256:{'f' * 64}", FetchError, "404"),
        ("shop/digits:v1@sha256:short", ArtifactError, "an OCI artifact is oci://"),
        ("Shop/digits:v1", ArtifactError, "an OCI artifact is oci://"),
        ("../v2/shop/digits:v1", ArtifactError, "an OCI artifact is oci://"),
        ("unnamed:v1", ArtifactError, "has no annotation org.opencontainers.image.title"),
        ("outside:v1", ArtifactError, "'../model.onnx' in the artifact is no path"),
        ("absolute:v1", ArtifactError, "'/etc/passwd' in the artifact is no path"),
        ("twice:v1", ArtifactError, "'a' is in the artifact twice"),
        ("within:v1", ArtifactError, "'a' is in the artifact twice"),
        ("packed:v1", ArtifactError, "'b' is a packed directory beside other layers"),
        ("none:v1", ArtifactError, "the artifact has no files"),
    ],
)
async def test_what_is_not_fetched(
    open_registry: Registry, authority: Authority, tmp_path: Path, name: str, error: type[AgentError], message: str
) -> None:
    other = {"a": b"a", "b": b"b"}
    await open_registry.push("shop/digits", layers({"digits.onnx": CONTENT}))
    await open_registry.push("unnamed", [{"content": b"a"}, {"content": b"b"}])
    await open_registry.push("outside", layers({"../model.onnx": b"a", "b": b"b"}))
    await open_registry.push("absolute", layers({"/etc/passwd": b"a", "b": b"b"}))
    await open_registry.push("twice", layers({"a": b"a"}) + layers({"a": b"b"}))
    await open_registry.push("within", layers({"a": b"a", "a/b": b"b"}))
    packed = layers(other)
    packed[1]["annotations"]["io.deis.oras.content.unpack"] = "true"
    await open_registry.push("packed", packed)
    await open_registry.push("none", [])
    with pytest.raises(error, match=message):
        await fetcher(authority, tmp_path).fetch(artifact(open_registry, name), tmp_path / "target", Progress())
    assert not (tmp_path / "target").exists()


async def test_a_layer_that_is_not_what_the_manifest_says(
    open_registry: Registry, authority: Authority, tmp_path: Path
) -> None:
    await open_registry.push("shop/digits", layers({"digits.onnx": CONTENT}))
    blob = tmp_path / "storage/docker/registry/v2/blobs/sha256" / HEX[:2] / HEX / "data"
    blob.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(FetchError, match=f"other bytes than its own digest sha256:{HEX}"):
        await fetcher(authority, tmp_path).fetch(artifact(open_registry, "shop/digits:v1"), tmp_path / "t", Progress())
    assert not (tmp_path / "t").exists()
    blob.write_bytes(CONTENT)
    await fetcher(authority, tmp_path).fetch(artifact(open_registry, "shop/digits:v1"), tmp_path / "t", Progress())


async def test_a_name_and_a_password(
    open_registry: Registry, program: str, authority: Authority, tmp_path: Path
) -> None:
    await open_registry.push("shop/digits", layers({"digits.onnx": CONTENT}))
    settings = with_password(tmp_path)
    async with registry(
        program, tmp_path / "r", storage=tmp_path / "storage", authority=authority, **settings
    ) as server:
        docker_secret(tmp_path, "right", server.host, **login())
        docker_secret(tmp_path, "wrong", server.host, **login("incorrect donkey"))
        docker_secret(tmp_path, "other", "registry.example", **login())
        plain = tmp_path / "secrets/plain"
        plain.mkdir()
        (plain / "username").write_text(USER)
        (plain / "password").write_text(PASSWORD)
        for secret in ("right", "plain"):
            got = await fetcher(authority, tmp_path).fetch(
                artifact(server, "shop/digits:v1", secret=secret), tmp_path / secret, Progress()
            )
            assert got == HEX
        for name, message in (
            (None, r"401 Unauthorized \(no credentials were sent: the artifact names no secretRef\)"),
            ("wrong", r"401 Unauthorized \(with the credentials of the Secret 'wrong'\)"),
            ("other", f"the Secret 'other' has no entry for {server.host}"),
            ("missing", "the Secret 'missing' is not there"),
        ):
            with pytest.raises(FetchError, match=message) as caught:
                await fetcher(authority, tmp_path).fetch(
                    artifact(server, "shop/digits:v1", secret=name), tmp_path / "target", Progress()
                )
            assert "donkey" not in str(caught.value)
            assert "donkey" not in repr(caught.value.__cause__)


async def test_tokens(open_registry: Registry, program: str, authority: Authority, tmp_path: Path) -> None:
    for repository in ("public/digits", "shop/digits"):
        await open_registry.push(repository, layers({"digits.onnx": CONTENT}))
    async with (
        token_server(authority) as tokens,
        registry(
            program,
            tmp_path / "r",
            storage=tmp_path / "storage",
            authority=authority,
            **tokens.settings(tmp_path),
        ) as server,
    ):
        docker_secret(tmp_path, "right", server.host, **login())
        docker_secret(tmp_path, "wrong", server.host, **login("incorrect donkey"))
        docker_secret(tmp_path, "refresh", server.host, identitytoken=PASSWORD)
        docker_secret(tmp_path, "ready", server.host, registrytoken=tokens.token("shop/digits"))

        async def fetch(name: str, secret: str | None) -> None:
            got = await fetcher(authority, tmp_path, piece=64 << 10, parallel_from=256 << 10).fetch(
                artifact(server, name, secret=secret), tmp_path / "target", Progress()
            )
            assert got == HEX

        await fetch("public/digits:v1", None)
        assert tokens.asked == [""], "one token for the manifest and each piece"
        await fetch("shop/digits:v1", "right")
        assert len(tokens.asked) == 2
        await fetch("shop/digits:v1", "refresh")
        await fetch("shop/digits:v1", "ready")
        assert len(tokens.asked) == 2
        assert [it["grant_type"] for it in tokens.refreshed] == ["refresh_token"]
        tokens.lifetime = -50  # just not too old: the registry allows for a minute
        await fetch("public/digits:v1", None)
        tokens.lifetime = -3000
        with pytest.raises(FetchError, match="401 Unauthorized"):
            await fetch("public/digits:v1", None)
        tokens.lifetime = 300
        with pytest.raises(FetchError, match=r"401 Unauthorized \(no credentials were sent"):
            await fetch("shop/digits:v1", None)
        with pytest.raises(FetchError, match=r"401 Unauthorized \(with the credentials of the Secret 'wrong'\)"):
            await fetch("shop/digits:v1", "wrong")


async def test_where_a_registry_redirects_to_learns_no_credentials(
    open_registry: Registry, program: str, authority: Authority, tmp_path: Path
) -> None:
    await open_registry.push("shop/digits", layers({"digits.onnx": CONTENT}))
    seen: list[dict[str, str]] = []

    async def give(request: web.Request) -> web.StreamResponse:
        seen.append(dict(request.headers))
        return web.FileResponse(tmp_path / "storage" / request.match_info["path"])

    application = web.Application()
    application.add_routes([web.get("/{path:.*}", give)])
    async with serving(application, authority) as port:
        settings = with_password(tmp_path)
        redirect = [{"name": "redirect", "options": {"baseurl": f"https://127.0.0.1:{port}/"}}]
        settings |= {"middleware": {"storage": redirect}}
        async with registry(
            program, tmp_path / "r", storage=tmp_path / "storage", authority=authority, **settings
        ) as server:
            docker_secret(tmp_path, "right", server.host, **login())
            got = await fetcher(authority, tmp_path, piece=256 << 10, parallel_from=1 << 20).fetch(
                artifact(server, "shop/digits:v1", secret="right"), tmp_path / "target", Progress()
            )
    assert got == HEX
    assert len(seen) == 12
    assert all("Range" in headers and "Authorization" not in headers for headers in seen)
    assert not any(base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode() in str(headers) for headers in seen)


async def test_an_index(open_registry: Registry, authority: Authority, tmp_path: Path) -> None:
    manifest = await open_registry.push("shop/digits", layers({"digits.onnx": CONTENT}))
    entry = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": manifest, "size": 1}
    index = "application/vnd.oci.image.index.v1+json"
    size = len(
        (tmp_path / "storage/docker/registry/v2/blobs/sha256" / manifest[7:9] / manifest[7:] / "data").read_bytes()
    )
    entry["size"] = size
    await open_registry.push("shop/digits", [], tag="one", mediaType=index, manifests=[entry])
    await open_registry.push("shop/digits", [], tag="two", mediaType=index, manifests=[entry, entry])
    fetching = fetcher(authority, tmp_path)
    assert await fetching.fetch(artifact(open_registry, "shop/digits:one"), tmp_path / "t", Progress()) == HEX
    with pytest.raises(ArtifactError, match="several manifests under this name"):
        await fetching.fetch(artifact(open_registry, "shop/digits:two"), tmp_path / "u", Progress())
