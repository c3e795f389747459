"""Artifacts from an OCI registry: a manifest, and the layers that it names.

The protocol is the OCI distribution specification 1.1 (pull: manifests, blobs) with the token authentication of
https://distribution.github.io/distribution/spec/auth/token/. A layer is a file; several layers are the files of a
directory, under the names in their annotations, as `oras push` writes them.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from littoral.agent.errors import ArtifactError, FetchError
from littoral.agent.sources.credentials import Login
from littoral.agent.sources.https import HeaderAccess, HttpClient, HttpsSource, body_of
from littoral.agent.sources.transfer import Transfer
from littoral.agent.sources.tree import RemoteFile, fetch_file, fetch_tree

LARGEST_MANIFEST = 4 << 20
"""Bytes; the specification asks registries to take at least as much."""

_INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
_EMPTY = "application/vnd.oci.empty.v1+json"
_NAMES = ("org.opencontainers.image.title", "org.cncf.model.filepath")
"""Annotations that say which file a layer is: ORAS's, and that of the CNCF's model specification."""

_NAME = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"oci://(?P<host>[^/@]+)/(?P<repository>{_NAME}(?:/{_NAME})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[a-f0-9]{64}))?"
)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What an `oci://` URI names."""

    host: str
    repository: str
    tag: str
    digest: str | None
    """Digest of the manifest; it counts before the tag."""

    @property
    def registry(self) -> URL:
        """Where the registry answers. Docker Hub's is not at the host that it is known by."""
        host = "registry-1.docker.io" if self.host in ("docker.io", "index.docker.io") else self.host
        return URL(f"https://{host}")

    def url(self, kind: str, name: str) -> URL:
        """Of a manifest or of a blob."""
        return self.registry / "v2" / self.repository / kind / name


def parse(uri: str) -> Reference:
    """What the URI names.

    Raises:
        ArtifactError: it is not `oci://<host>/<repository>[:<tag>][@sha256:<digest>]`.
    """
    match = _REFERENCE.fullmatch(uri)
    if match is None:
        raise ArtifactError("an OCI artifact is oci://<host>/<repository>, with :<tag> or @sha256:<digest>")
    reference = Reference(
        host=match["host"], repository=match["repository"], tag=match["tag"] or "latest", digest=match["digest"]
    )
    try:
        reference.registry.origin()
    except ValueError as error:
        raise ArtifactError(f"{match['host']!r} is not a host") from error
    return reference


class RegistryAccess:
    """Shows a registry what it asks for: a token of its token server, or the login itself."""

    def __init__(self, client: HttpClient, reference: Reference, *, login: Login | None, whose: str) -> None:
        self._client = client
        self._reference = reference
        self._origin = reference.registry.origin()
        self._login = login
        self._whose = whose
        self._lock = asyncio.Lock()
        self._header = f"Bearer {login.token}" if login is not None and login.token else ""

    @property
    def whose(self) -> str:
        """Whose credentials they are, for people."""
        return self._whose

    def headers(self, url: URL) -> Mapping[str, str]:
        """The header, for the registry alone: where it redirects to (a bucket, a CDN) has no use for it."""
        return {"Authorization": self._header} if self._header and url.origin() == self._origin else {}

    async def refused(self, response: aiohttp.ClientResponse) -> bool:
        """Answer the registry's challenge, unless somebody else just has."""
        if response.url.origin() != self._origin:
            return False
        async with self._lock:
            shown = response.request_info.headers.get("Authorization", "")
            if shown != self._header:
                return True
            for challenge in response.headers.getall("WWW-Authenticate", []):
                scheme, _, rest = challenge.partition(" ")
                parameters = dict(re.findall(r'(\w+)="([^"]*)"', rest))
                if scheme.lower() == "bearer":
                    self._header = f"Bearer {await self._token(parameters)}"
                    return True
                if scheme.lower() == "basic" and self._login is not None and shown != self._login.basic:
                    self._header = self._login.basic
                    return True
        return False

    async def _token(self, parameters: Mapping[str, str]) -> str:
        """A new one; the last may have expired while layers came."""
        try:
            realm = URL(parameters.get("realm", ""))
            if realm.scheme != "https":
                raise ValueError
            origin = realm.origin()
        except ValueError:
            raise FetchError("the registry names no https:// token server") from None
        query = {"scope": parameters.get("scope") or f"repository:{self._reference.repository}:pull"}
        if "service" in parameters:
            query["service"] = parameters["service"]
        if self._login is not None and self._login.identity_token:
            form = {"grant_type": "refresh_token", "client_id": "littoral", **query}
            form["refresh_token"] = self._login.identity_token
            async with self._client.post(realm, data=form, whose=self._whose) as response:
                return _token_in(await body_of(response, limit=LARGEST_MANIFEST))
        access = HeaderAccess(
            origin=origin,
            value=self._login.basic if self._login is not None and self._login.username else None,
            whose=self._whose,
        )
        async with self._client.get(realm.update_query(query), access=access) as response:
            return _token_in(await body_of(response, limit=LARGEST_MANIFEST))


async def pull(
    reference: Reference, target: Path, *, client: HttpClient, access: RegistryAccess, transfer: Transfer
) -> str:
    """Bring the artifact to `target`: one layer as a file, several as a directory.

    Returns:
        The hex digest of what was written.

    Raises:
        ArtifactError: the manifest is of something else than files.
        FetchError: the registry does not give it now.
    """
    manifest = await _manifest(reference, reference.digest or reference.tag, client=client, access=access)
    if _media_type(manifest) in _INDEXES:
        entries = manifest.get("manifests")
        if not isinstance(entries, list) or len(entries) != 1:
            raise ArtifactError("the registry has several manifests under this name: name one by its digest")
        manifest = await _manifest(reference, _digest(entries[0]), client=client, access=access)
    if _media_type(manifest) not in _MANIFESTS or not isinstance(manifest.get("layers"), list):
        raise ArtifactError(f"the manifest is of a kind that is not fetched: {_media_type(manifest) or 'unknown'}")
    layers = [layer for layer in manifest["layers"] if _media_type(layer) != _EMPTY]
    files = [_file(reference, layer, client=client, access=access, alone=len(layers) == 1) for layer in layers]
    if len(files) == 1:
        return await fetch_file(transfer, target, files[0].source, hex_digest=files[0].hex)
    return await fetch_tree(transfer, target, files)


def _file(reference: Reference, layer: Any, *, client: HttpClient, access: RegistryAccess, alone: bool) -> RemoteFile:
    digest, size = _digest(layer), layer.get("size")
    if not isinstance(size, int) or size < 0:
        raise ArtifactError("the manifest has a layer without a size")
    annotations = layer.get("annotations") or {}
    path = next((annotations[name] for name in _NAMES if isinstance(annotations.get(name), str)), None)
    if not alone and path is None:
        raise ArtifactError(f"the layer {digest} has no annotation {_NAMES[0]} that says which file it is")
    if not alone and annotations.get("io.deis.oras.content.unpack") == "true":
        raise ArtifactError(f"{path!r} is a packed directory beside other layers: push its files, or it alone")
    source = HttpsSource(client=client, url=reference.url("blobs", digest), access=access, content=digest)
    return RemoteFile(path=path or "layer", size=size, source=source, hex=digest.removeprefix("sha256:"))


async def _manifest(reference: Reference, name: str, *, client: HttpClient, access: RegistryAccess) -> dict[str, Any]:
    accepted = {"Accept": ", ".join((*_MANIFESTS, *_INDEXES))}
    async with client.get(reference.url("manifests", name), access=access, headers=accepted) as response:
        body = await body_of(response, limit=LARGEST_MANIFEST)
    if name.startswith("sha256:") and hashlib.sha256(body).hexdigest() != name.removeprefix("sha256:"):
        raise FetchError(f"the registry gave another manifest than {name}")
    try:
        manifest = json.loads(body)
        if not isinstance(manifest, dict):
            raise ValueError
    except ValueError:
        raise FetchError("the registry gave something that is not a manifest") from None
    manifest.setdefault("mediaType", response.content_type)  # optional in OCI's
    return manifest


def _media_type(thing: Any) -> str:
    return str(thing.get("mediaType", "")) if isinstance(thing, dict) else ""


def _digest(descriptor: Any) -> str:
    digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
    if not isinstance(digest, str) or re.fullmatch(r"sha256:[a-f0-9]{64}", digest) is None:
        raise ArtifactError("the manifest names something by no SHA-256 digest")
    return digest


def _token_in(body: bytes) -> str:
    try:
        answer = json.loads(body)
        token = answer.get("token") or answer["access_token"]
        if not isinstance(token, str) or not token.isprintable():
            raise ValueError
    except (ValueError, KeyError, AttributeError):
        raise FetchError("the registry's token server gave no token") from None
    return token
