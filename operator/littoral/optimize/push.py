"""Pushing files to an OCI registry, as the agent pulls them: a layer for each file.

The protocol is the OCI distribution specification 1.1 (push: blobs in one request each, then the manifest). What is
pushed has no time in it: the same files give the same manifest, and so the same digest.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import aiohttp
from yarl import URL

from littoral.agent import digest
from littoral.agent.errors import ArtifactError, FetchError
from littoral.agent.sources.credentials import Login, Secret
from littoral.agent.sources.https import HttpClient, trust
from littoral.agent.sources.oci import Reference, RegistryAccess, parse
from littoral.optimize.errors import OptimizeError

ARTIFACT_TYPE: Final = "application/vnd.littoral.model.v1"
_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_EMPTY: Final = "application/vnd.oci.empty.v1+json"
_FILE: Final = "application/octet-stream"
_TITLE: Final = "org.opencontainers.image.title"
_CONNECT, _READ = 15.0, 300.0  # Seconds; a registry may store a large blob before it answers.


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A file to push, and the name that it has in the artifact."""

    path: Path
    title: str
    hex: str
    size: int
    media_type: str = _FILE

    @property
    def descriptor(self) -> dict[str, Any]:
        """As a manifest names it."""
        return {
            "mediaType": self.media_type,
            "digest": f"sha256:{self.hex}",
            "size": self.size,
            "annotations": {_TITLE: self.title},
        }


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """What an agent pulls: the layers, and the digest of what they are together, by the agent's rule."""

    layers: tuple[Layer, ...]
    digest: str


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """An artifact in a registry.

    Attributes:
        manifest: digest of the manifest.
        digest: digest of the content, which `artifact.digest` of a Model wants.
        sent: bytes that the registry did not have yet.
    """

    reference: Reference
    manifest: str
    digest: str
    size: int
    sent: int

    @property
    def uri(self) -> str:
        """By tag."""
        return f"oci://{self.reference.host}/{self.reference.repository}:{self.reference.tag}"

    @property
    def pinned(self) -> str:
        """By tag and by the manifest's digest: nobody can move it."""
        return f"{self.uri}@{self.manifest}"


def destination(uri: str) -> Reference:
    """Where to push.

    Raises:
        OptimizeError: it is not `oci://<host>/<repository>[:<tag>]`.
    """
    try:
        reference = parse(uri)
    except ArtifactError as error:
        raise OptimizeError(f"{uri}: {error}") from error
    if reference.digest is not None:
        raise OptimizeError(f"{uri}: what is pushed gets its digest by that: name a tag")
    return reference


def tagged(reference: Reference, tag: str) -> Reference:
    """The same repository under another tag.

    Raises:
        OptimizeError: it is none.
    """
    return destination(f"oci://{reference.host}/{reference.repository}:{replace(reference, tag=tag).tag}")


def artifact_of(paths: Sequence[Path]) -> Artifact:
    """The files of paths as one artifact: a file alone, or a directory of all of them.

    Raises:
        OptimizeError: a path is not there, holds something else than files, or two files have one name.
    """
    files: dict[str, Path] = {}
    try:
        for path in paths:
            found = {name: path / name for name in digest.walk(path)} if path.is_dir() else {path.name: path}
            if twice := files.keys() & found.keys():
                raise OptimizeError(f"{path}: there is another {min(twice)}")
            files |= found
        hashes = {name: digest.of_file(path) for name, path in files.items()}
    except (ArtifactError, OSError) as error:
        raise OptimizeError(str(error)) from error
    if not files:
        raise OptimizeError("there is no file to push")
    layers = tuple(
        Layer(path=files[name], title=name, hex=hashes[name], size=files[name].stat().st_size) for name in sorted(files)
    )
    # A single layer is pulled as a file, whatever it was here.
    content = layers[0].hex if len(layers) == 1 else digest.of_manifest(hashes)
    return Artifact(layers=layers, digest=f"sha256:{content}")


def manifest_of(artifact: Artifact, *, annotations: Mapping[str, str] | None = None) -> bytes:
    """The manifest, to the byte."""
    empty = {"mediaType": _EMPTY, "digest": f"sha256:{hashlib.sha256(b'{}').hexdigest()}", "size": 2}
    body: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "artifactType": ARTIFACT_TYPE,
        "config": empty,
        "layers": [layer.descriptor for layer in artifact.layers],
    }
    if annotations:
        body["annotations"] = dict(annotations)
    return json.dumps(body, separators=(",", ":"), sort_keys=True).encode()


def login_from(config: Path, reference: Reference) -> Login | None:
    """What docker's configuration holds for the registry, as `docker login` writes it.

    Raises:
        OptimizeError: it is none.
    """
    try:
        secret = Secret(name=str(config), _values={".dockerconfigjson": config.read_text()})
        return secret.registry(reference.host, reference.repository)
    except FileNotFoundError:
        return None
    except (OSError, FetchError) as error:
        raise OptimizeError(f"{config}: not a docker configuration: {error}") from error


async def push(
    artifact: Artifact,
    reference: Reference,
    *,
    login: Login | None = None,
    ca_file: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Pushed:
    """Bring the artifact into the registry; blobs that it has already are not sent.

    Raises:
        OptimizeError: the registry cannot be reached, or refuses.
    """
    whose = "no credentials were sent: log in with docker login, or give --registry-config"
    try:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_READ)
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trust(ca_file)), timeout=timeout, trust_env=True
        ) as session:
            access = RegistryAccess(
                HttpClient(session, read=_READ),
                reference,
                login=login,
                whose=whose if login is None else "with the credentials of the docker configuration",
            )
            return await _Registry(session, reference, access, say).push(artifact)
    except FetchError as error:
        raise OptimizeError(f"{reference.host}: {error}") from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise OptimizeError(f"{reference.host}: {str(error) or 'it was silent for too long'}") from error


class _Registry:
    def __init__(
        self, session: aiohttp.ClientSession, reference: Reference, access: RegistryAccess, say: Callable[[str], None]
    ) -> None:
        self._session, self._reference, self._access, self._say = session, reference, access, say

    async def push(self, artifact: Artifact) -> Pushed:
        sent = 0
        for layer in artifact.layers:
            if await self._put_blob(layer.hex, layer.size, lambda path=layer.path: _content(path)):  # type: ignore[misc]
                sent += layer.size
                self._say(f"{layer.title}: {layer.size} bytes sent")
            else:
                self._say(f"{layer.title}: already there")
        await self._put_blob(hashlib.sha256(b"{}").hexdigest(), 2, lambda: b"{}")
        manifest = manifest_of(artifact)
        await self._request(
            "PUT",
            self._reference.url("manifests", self._reference.tag),
            expected=(201,),
            headers={"Content-Type": _MANIFEST},
            data=lambda: manifest,
        )
        return Pushed(
            reference=self._reference,
            manifest=f"sha256:{hashlib.sha256(manifest).hexdigest()}",
            digest=artifact.digest,
            size=sum(layer.size for layer in artifact.layers),
            sent=sent,
        )

    async def _put_blob(self, hex_digest: str, size: int, data: Callable[[], Any]) -> bool:
        """Whether it had to be sent."""
        name = f"sha256:{hex_digest}"
        status, _ = await self._request("HEAD", self._reference.url("blobs", name), expected=(200, 404))
        if status == 200:
            return False
        _, headers = await self._request("POST", self._reference.url("blobs", "uploads/"), expected=(202,))
        if "Location" not in headers:
            raise FetchError("the registry does not say where to upload to")
        place = self._reference.registry.join(URL(headers["Location"], encoded=True))
        if place.scheme != "https":
            raise FetchError("the registry wants an upload without https://")
        await self._request(
            "PUT",
            place.update_query(digest=name),
            expected=(201,),
            headers={"Content-Type": "application/octet-stream", "Content-Length": str(size)},
            data=data,
        )
        return True

    async def _request(
        self,
        method: str,
        url: URL,
        *,
        expected: tuple[int, ...],
        headers: Mapping[str, str] | None = None,
        data: Callable[[], Any] | None = None,
    ) -> tuple[int, Mapping[str, str]]:
        """The status and headers of the answer; asks again where the registry wants to know who asks."""
        for asked_again in (False, True):
            async with self._session.request(
                method,
                url,
                headers={**(headers or {}), **self._access.headers(url)},
                data=None if data is None else data(),
                allow_redirects=False,
            ) as response:
                if response.status in expected:
                    return response.status, response.headers
                if response.status == 401 and not asked_again and await self._access.refused(response):
                    continue
                said = await response.content.read(2000)
                hint = f" ({self._access.whose})" if response.status in (401, 403) else ""
                raise FetchError(f"the registry answered {response.status} {response.reason}{_reason(said)}{hint}")
        raise AssertionError("the loop returns or raises")


async def _content(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(digest.CHUNK):
            yield chunk


def _reason(body: bytes) -> str:
    """What the registry says of its refusal: the specification gives errors a form."""
    try:
        (first, *_) = json.loads(body)["errors"]
        return f": {first['code']}: {first['message']}"[:300]
    except (ValueError, KeyError, TypeError):
        return ""


@contextmanager
def prepared(paths: Sequence[Path], *, archive: str | None, key: Path | None, name: str) -> Iterator[Sequence[Path]]:
    """The paths to push instead: with a signature of their files, and for `tar.zst` as one archive of all.

    Args:
        key: private key (PEM) to sign with.
        name: what the artifact is called.

    Raises:
        OptimizeError: the key is none, or something in the paths has no place in an artifact.
    """
    from littoral.optimize.pack import pack

    with tempfile.TemporaryDirectory(prefix="littoral-publish-") as scratch:
        if key is not None:
            from littoral.optimize.sign import FILE, load_key, sign

            files = {layer.title: layer.hex for layer in artifact_of(paths).layers}
            signature = Path(scratch, FILE)
            signature.write_bytes(sign(files, load_key(key), name=name))
            paths = [*paths, signature]
        if archive is not None:
            target = Path(scratch, f"{name}.{archive}")
            pack(artifact_of(paths), target)
            paths = [target]
        yield paths
