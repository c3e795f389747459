"""From a URI to bytes in a folder: which sources there are, and what each may read.

A source writes the artifact to a path that it is given and returns the hex digest of what it wrote; whether
that is the digest that was asked for is the store's question.
"""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from littoral.agent import download, local
from littoral.agent.errors import ArtifactError
from littoral.agent.progress import Progress
from littoral.api.serving import Artifact

SUPPORTED = ("file", "https", "pvc")


@dataclass(frozen=True, kw_only=True)
class Fetcher:
    """Fetches artifacts within the limits that the administrator of the node set."""

    files_root: Path | None
    """What `file:` URIs may reach; None refuses them all."""
    claims_root: Path
    """Where the claims of `pvc:` URIs are mounted, one folder each."""
    ca_file: Path | None = None
    """Certificate authorities that are trusted besides the system's (PEM)."""
    max_bytes: int = 64 << 30
    """The largest artifact that is fetched."""
    timeouts: download.Timeouts = field(default_factory=download.Timeouts)

    async def fetch(self, artifact: Artifact, target: Path, progress: Progress) -> str:
        """Bring the artifact to `target`, which does not exist yet: a file stays a file, a directory a
        directory.

        Returns:
            The hex SHA-256 of what was written (`littoral.agent.digest`).

        Raises:
            ArtifactError: the URI or what it leads to is not fetched by this agent, however often it tries.
            FetchError: the source does not give it now.
        """
        match artifact.scheme:
            case "file":
                return await self._copy(self._file(artifact), target, progress)
            case "pvc":
                return await self._copy(self._claim(artifact), target, progress)
            case "https":
                return await download.download(
                    artifact.uri,
                    target,
                    progress,
                    ca_file=self.ca_file,
                    max_bytes=self.max_bytes,
                    timeouts=self.timeouts,
                )
            case scheme:
                raise ArtifactError(f"{scheme}:// is not fetched by this agent; supported: {', '.join(SUPPORTED)}")

    async def _copy(self, source: Path, target: Path, progress: Progress) -> str:
        return await local.copy(source, target, progress, max_bytes=self.max_bytes)

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


def redacted(uri: str) -> str:
    """The URI as it may be logged and shown: without a password and without the query, which may be a
    signature."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
