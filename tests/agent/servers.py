"""Real servers of artifacts on loopback: the `distribution` registry with each of its kinds of login, its token server,
a bucket's web server to redirect to, and the `versitygw` S3 server."""

import asyncio
import base64
import hashlib
import json
import os
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.agent.harness import PATIENCE, free_port
from tests.support.tls import Authority

USER, PASSWORD = "shop", "correct horse"
_HTPASSWD = "$2b$04$00qQjpxxYfdG/IpIvsKcyui9xXKVLIec9SbH3oqqj6wUw4/FlM0GK"  # bcrypt of PASSWORD, at the least cost
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
TITLE = "org.opencontainers.image.title"


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def launch(folder: Path, *command: str) -> subprocess.Popen[bytes]:
    """A process that writes what it has to say into the folder."""
    with (folder / "log").open("wb") as log:
        environment = {"PATH": os.environ["PATH"], "OTEL_TRACES_EXPORTER": "none"}
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def log_of(folder: Path) -> str:
    return (folder / "log").read_text()[-2000:]


async def answers(url: str, process: subprocess.Popen[bytes], *, folder: Path, authority: Authority) -> None:
    """Wait until something answers at `url`, whatever it says."""
    context = ssl.create_default_context(cafile=authority.file)
    async with aiohttp.ClientSession() as session, asyncio.timeout(PATIENCE):
        while True:
            try:
                async with session.get(url, ssl=context):
                    return
            except aiohttp.ClientConnectionError:
                if process.poll() is not None:
                    pytest.fail(f"the server ended: {log_of(folder)}")
                await asyncio.sleep(0.05)


@dataclass(kw_only=True)
class Registry:
    """A registry process."""

    port: int
    authority: Authority

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def push(self, repository: str, layers: list[dict[str, Any]], *, tag: str = "v1", **manifest: Any) -> str:
        """Push layers (`content`, and what their descriptors say besides) and a manifest; its digest."""
        context = ssl.create_default_context(cafile=self.authority.file)
        root = f"https://{self.host}/v2/{repository}"
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
            descriptors = []
            for layer in [{"content": b"{}"}, *layers]:
                content = layer.pop("content")
                async with session.post(f"{root}/blobs/uploads/") as begun:
                    assert begun.status == 202, await begun.text()
                    place = begun.headers["Location"]
                async with session.put(place, params={"digest": sha256(content)}, data=content) as done:
                    assert done.status == 201, await done.text()
                kind = {"mediaType": "application/vnd.oci.image.layer.v1.tar"}
                descriptors.append(kind | {"digest": sha256(content), "size": len(content)} | layer)
            config, *rest = descriptors
            config["mediaType"] = "application/vnd.oci.empty.v1+json"
            # An index has `manifests` in the place of these.
            parts = {} if "manifests" in manifest else {"config": config, "layers": rest}
            body = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, **parts, **manifest}).encode()
            kind = {"Content-Type": str(manifest.get("mediaType", MANIFEST))}
            async with session.put(f"{root}/manifests/{tag}", data=body, headers=kind) as done:
                assert done.status == 201, await done.text()
        return sha256(body)


def _launch_registry(program: str, folder: Path, config: dict[str, Any]) -> subprocess.Popen[bytes]:
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return launch(folder, program, "serve", str(folder / "config.yaml"))


@asynccontextmanager
async def registry(
    program: str, folder: Path, *, storage: Path, authority: Authority, **settings: Any
) -> AsyncIterator[Registry]:
    """The registry, over what is stored in `storage`; several may share it."""
    port = free_port()
    config = {
        "version": "0.1",
        "log": {"level": "info", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(storage)},
            "redirect": {"disable": "middleware" not in settings},
        },
        "http": {
            "addr": f"127.0.0.1:{port}",
            "secret": "of no use to anybody",
            "tls": {"certificate": str(authority.certificate), "key": str(authority.key)},
        },
        **settings,
    }
    process = _launch_registry(program, folder, config)
    try:
        await answers(f"https://127.0.0.1:{port}/v2/", process, folder=folder, authority=authority)
        yield Registry(port=port, authority=authority)
    finally:
        process.kill()
        process.wait()


def with_password(folder: Path) -> dict[str, Any]:
    """Settings of a registry that asks for a name and a password."""
    (folder / "htpasswd").write_text(f"{USER}:{_HTPASSWD}\n")
    return {"auth": {"htpasswd": {"realm": "shop", "path": str(folder / "htpasswd")}}}


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass(kw_only=True)
class TokenServer:
    """Gives tokens for `public/` to everybody, and for all else to those who know the password."""

    port: int = 0
    lifetime: int = 300
    """Seconds; a registry refuses a token that is over."""
    asked: list[str] = field(default_factory=list)
    """The Authorization headers that came, empty where there was none."""
    refreshed: list[dict[str, str]] = field(default_factory=list)
    _key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def settings(self, folder: Path) -> dict[str, Any]:
        """Settings of a registry that takes these tokens."""
        numbers = self._key.public_key().public_numbers()
        key = {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "only"}
        key |= {axis: _base64(getattr(numbers, axis).to_bytes(32)) for axis in ("x", "y")}
        (folder / "jwks.json").write_text(json.dumps({"keys": [key]}))
        return {
            "auth": {
                "token": {
                    "realm": f"https://127.0.0.1:{self.port}/token",
                    "service": "registry of the shop",
                    "issuer": "the shop",
                    "jwks": str(folder / "jwks.json"),
                    "signingalgorithms": ["ES256"],
                }
            }
        }

    def token(self, repository: str) -> str:
        now = int(time.time())
        access = [{"type": "repository", "name": repository, "actions": ["pull"]}]
        claims: dict[str, Any] = {
            "iss": "the shop",
            "sub": "",
            "aud": "registry of the shop",
            "access": access,
            "jti": str(now),
        }
        # The registry allows for clocks that differ by a minute.
        claims.update(nbf=now - 3600, iat=now, exp=now + self.lifetime)
        parts = [{"alg": "ES256", "typ": "JWT", "kid": "only"}, claims]
        signed = ".".join(_base64(json.dumps(part).encode()) for part in parts)
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_base64(r.to_bytes(32) + s.to_bytes(32))}"

    async def get(self, request: web.Request) -> web.Response:
        header = request.headers.get("Authorization", "")
        self.asked.append(header)
        assert request.query["service"] == "registry of the shop"
        kind, repository, actions = request.query["scope"].split(":")
        assert (kind, actions) == ("repository", "pull")
        known = header == "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if header and not known:
            return web.json_response({"details": "incorrect username or password"}, status=401)
        if not known and not repository.startswith("public/"):
            return web.json_response({"token": self.token("public/nothing")})
        return web.json_response({"token": self.token(repository)})

    async def post(self, request: web.Request) -> web.Response:
        form = {key: str(value) for key, value in (await request.post()).items()}
        self.refreshed.append(form)
        if form["refresh_token"] != PASSWORD:
            return web.json_response({"error": "invalid_grant"}, status=400)
        return web.json_response({"access_token": self.token(form["scope"].split(":")[1])})


@asynccontextmanager
async def serving(application: web.Application, authority: Authority) -> AsyncIterator[int]:
    """The port at which the application is served."""
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=authority.context).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def token_server(authority: Authority) -> AsyncIterator[TokenServer]:
    """A token server for registries."""
    server = TokenServer()
    application = web.Application()
    application.add_routes([web.get("/token", server.get), web.post("/token", server.post)])
    async with serving(application, authority) as port:
        server.port = port
        yield server


@dataclass(kw_only=True)
class Bucket:
    """An S3 server with one bucket, `models`."""

    port: int
    folder: Path
    access: str = "the-access-key"
    secret: str = "the-secret-key-hidden"

    @property
    def endpoint(self) -> str:
        return f"https://127.0.0.1:{self.port}"


@asynccontextmanager
async def s3_server(program: str, folder: Path, *, authority: Authority) -> AsyncIterator[Bucket]:
    """The S3 server over a folder."""
    for name in ("data", "iam", "sidecar"):
        (folder / name).mkdir(parents=True)
    bucket = Bucket(port=free_port(), folder=folder / "data" / "models")
    command = [
        *(program, "--port", f"127.0.0.1:{bucket.port}", "--access", bucket.access, "--secret", bucket.secret),
        *("--region", "edge-1", "--cert", str(authority.certificate), "--key", str(authority.key), "--quiet"),
        *("--iam-dir", str(folder / "iam"), "posix", "--sidecar", str(folder / "sidecar"), str(folder / "data")),
    ]
    process = launch(folder, *command)
    try:
        await answers(bucket.endpoint, process, folder=folder, authority=authority)
        yield bucket
    finally:
        process.kill()
        process.wait()
