"""From a URI to bytes in a folder: which sources there are, and what each may read.

A source writes the artifact to a path that it is given and returns the hex digest of what it wrote; whether
that is the digest that was asked for is the store's question.
"""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from littoral.agent.errors import ArtifactError, FetchError
from littoral.agent.peers import Peers
from littoral.agent.progress import Progress
from littoral.agent.sources import credentials, local, oci
from littoral.agent.sources.https import HeaderAccess, HttpsSource, as_written, http_client
from littoral.agent.sources.limits import Limits
from littoral.agent.sources.partial import side_file
from littoral.agent.sources.transfer import Transfer
from littoral.agent.sources.tree import fetch_file
from littoral.api.serving import Artifact

ANONYMOUS = "no credentials were sent: the artifact names no secretRef"

SUPPORTED = ("file", "gs", "https", "oci", "pvc", "s3")


@dataclass(frozen=True, kw_only=True)
class Fetcher:
    """Fetches artifacts within the limits that the administrator of the node set."""

    files_root: Path | None
    """What `file:` URIs may reach; None refuses them all."""
    claims_root: Path
    """Where the claims of `pvc:` URIs are mounted, one folder each."""
    credentials_root: Path | None = None
    """Where the Secrets that artifacts name are mounted, one folder each."""
    ca_file: Path | None = None
    """Certificate authorities that are trusted besides the system's (PEM)."""
    limits: Limits = field(default_factory=Limits)
    peers: Peers | None = None
    """Other agents of the site, which are asked first; None asks nobody."""

    async def fetch(self, artifact: Artifact, target: Path, progress: Progress) -> str:
        """Bring the artifact to `target`: a file stays a file, a directory a directory.

        What an earlier call that was broken off has left at `target` and beside it is gone on from; whatever else is
        there is replaced. Files beside it begin with its name, and are gone in the end.

        Returns:
            The hex SHA-256 of what was written (`littoral.agent.digest`).

        Raises:
            ArtifactError: the URI or what it leads to is not fetched by this agent, however often it tries.
            FetchError: the source does not give it now.
        """
        progress.received, progress.total = 0, None  # the store asks again once it has made room
        try:
            if self.peers is None:
                return await self._from_source(artifact, target, progress)
            with self.peers.announced(artifact, progress):
                if await self.peers.fetch(artifact, target, progress, max_bytes=self.limits.max_bytes):
                    return artifact.digest.removeprefix("sha256:")
                return await self._from_source(artifact, target, progress)
        except OSError as error:
            raise FetchError(error.strerror or str(error)) from error

    async def _from_source(self, artifact: Artifact, target: Path, progress: Progress) -> str:
        progress.received, progress.total = 0, None
        match artifact.scheme:
            case "file":
                return await self._copy(self._file(artifact), target, progress)
            case "pvc":
                return await self._copy(self._claim(artifact), target, progress)
            case "https":
                return await self._https(artifact, target, progress)
            case "oci":
                return await self._oci(artifact, target, progress)
            case "s3" | "gs":
                return await self._object(artifact, target, progress)
            case scheme:
                raise ArtifactError(f"{scheme}:// is not fetched by this agent; supported: {', '.join(SUPPORTED)}")

    async def _copy(self, source: Path, target: Path, progress: Progress) -> str:
        remove(target)
        return await local.copy(source, target, progress, max_bytes=self.limits.max_bytes)

    async def _https(self, artifact: Artifact, target: Path, progress: Progress) -> str:
        try:
            url = as_written(artifact.uri)
            origin = url.origin()
        except ValueError as error:
            raise ArtifactError(f"not a URL: {error}") from error
        access = HeaderAccess(origin=origin, whose=ANONYMOUS)
        if (secret := self._secret(artifact)) is not None:
            access = HeaderAccess(origin=origin, value=secret.login().header, whose=_whose(secret))
        async with http_client(ca_file=self.ca_file, limits=self.limits) as client:
            source = HttpsSource(client=client, url=url, access=access)
            return await fetch_file(Transfer(progress=progress, limits=self.limits), target, source)

    async def _oci(self, artifact: Artifact, target: Path, progress: Progress) -> str:
        reference = oci.parse(artifact.uri)
        login, whose = None, ANONYMOUS
        if (secret := self._secret(artifact)) is not None:
            login, whose = secret.registry(reference.host, reference.repository), _whose(secret)
            if login is None:
                whose = f"the Secret {secret.name!r} has no entry for {reference.host}"
        async with http_client(ca_file=self.ca_file, limits=self.limits) as client:
            access = oci.RegistryAccess(client, reference, login=login, whose=whose)
            transfer = Transfer(progress=progress, limits=self.limits)
            return await oci.pull(reference, target, client=client, access=access, transfer=transfer)

    async def _object(self, artifact: Artifact, target: Path, progress: Progress) -> str:
        from littoral.agent.sources import objects  # most agents never load it

        bucket = artifact.uri.partition("://")[2].partition("/")[0]
        secret = self._secret(artifact)
        whose = ANONYMOUS if secret is None else _whose(secret)
        make = objects.s3 if artifact.scheme == "s3" else objects.gs
        store = make(bucket, secret, ca_file=self.ca_file, limits=self.limits)
        transfer = Transfer(progress=progress, limits=self.limits)
        return await objects.fetch_objects(
            store, artifact.path, target, uri=artifact.uri, whose=whose, transfer=transfer
        )

    def _secret(self, artifact: Artifact) -> credentials.Secret | None:
        if artifact.secret_ref is None:
            return None
        return credentials.read(self.credentials_root, artifact.secret_ref.name)

    def _file(self, artifact: Artifact) -> Path:
        if self.files_root is None:
            raise ArtifactError("file:// is switched off on this node (agent.filesRoot is not set)")
        if not artifact.path.startswith("/"):
            raise ArtifactError("a file:// artifact is an absolute path on the node: file:///<path>")
        return local.resolve(self.files_root, Path(artifact.path))

    def _claim(self, artifact: Artifact) -> Path:
        claim = artifact.claim or ""
        root = self.claims_root / claim
        if claim.strip(".") == "" or not root.is_dir():
            raise ArtifactError(f"claim {claim!r} is not mounted in this pod")
        return local.resolve(root, root / artifact.path.lstrip("/"))


def _whose(secret: credentials.Secret) -> str:
    return f"with the credentials of the Secret {secret.name!r}"


def remove(target: Path) -> None:
    """Make room at `target`, whatever is there, and what is noted of it."""
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
    side_file(target).unlink(missing_ok=True)


def redacted(uri: str) -> str:
    """The URI as it may be logged and shown: without a password and without the query, which may be a
    signature."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
