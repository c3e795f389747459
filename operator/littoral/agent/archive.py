"""Archives: unpacked so that nothing lands outside, nothing but files and directories comes out, and it ends.

Links, devices and setuid files have no place in a network's archive. They are refused, not left out: who made such an
archive should know. Owners, modes and times do not count.
"""

import gzip
import hashlib
import os
import tarfile
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

import zstandard

from littoral.agent import digest
from littoral.agent.errors import ArtifactError
from littoral.agent.store import Unpack
from littoral.agent.store.entries import UNPACKED
from littoral.api.serving import Artifact

SUFFIXES = {".tar": "", ".tar.gz": "gzip", ".tgz": "gzip", ".tar.zst": "zstd", ".tzst": "zstd"}
"""End of the name -> compression."""

HEADER = 64 << 10
"""The most bytes that one header may have, extended names included: tarfile holds them in memory."""

WINDOW = 128 << 20
"""The most bytes that zstd may look back, and hold in memory meanwhile: what `zstd --long` writes, 2^27."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an archive may hold."""

    max_bytes: int = 64 << 30
    """Of all files and headers together."""
    max_members: int = 100_000
    max_ratio: int = 100
    """Unpacked bytes for each packed byte, once there are more than `free`: weights hardly shrink."""
    free: int = 64 << 20
    """Unpacked bytes for which the ratio does not count: small things shrink well."""


class Reader(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...


def compression(path: str) -> str | None:
    """How the archive of that name is packed: "", "gzip" or "zstd"; None if the name is not that of an archive."""
    name = path.partition("?")[0].lower()
    return next((packing for suffix, packing in SUFFIXES.items() if name.endswith(suffix)), None)


def entry_name(artifact: Artifact) -> str:
    """What the artifact is called in the cache."""
    return artifact.digest.removeprefix("sha256:") + ("" if _packing(artifact) is None else UNPACKED)


def unpacker(artifact: Artifact, *, limits: Limits | None = None) -> Unpack | None:
    """What makes of the artifact, as it was fetched, what is loaded; None if it is no archive."""
    packing = _packing(artifact)
    if packing is None:
        return None
    return lambda archive, target, stop: unpack(archive, target, stop, packing=packing, limits=limits)


def _packing(artifact: Artifact) -> str | None:
    """What is encrypted is kept as it is."""
    return None if artifact.encryption is not None else compression(artifact.path)


def unpack(
    archive: Path, target: Path, stop: threading.Event, *, packing: str, limits: Limits | None = None
) -> Mapping[str, str]:
    """Unpack into the directory `target`, which is not there yet.

    A directory that holds all the rest, as `tar czf model.tgz model/` makes it, is left out: what is in it counts.

    Args:
        packing: what `compression` says.
        stop: set to have it end early, with an ArtifactError.

    Returns:
        Relative path -> hex SHA-256 of each file.

    Raises:
        ArtifactError: it is no such archive, or holds something that has no place in one.
        OSError: the target cannot be written.
    """
    if not archive.is_file():
        raise ArtifactError("its name is that of an archive, but it is a directory")
    limits = limits or Limits()
    with _blame(), archive.open("rb") as file, _decompressed(file, packing) as reader:
        stream = _Stream(reader, limits=limits, packed=archive.stat().st_size)
        files = _extract(stream, target, stop, limits)
    if not files:
        raise ArtifactError("there is no file in the archive")
    return _without_wrapper(target, files)


def _extract(stream: "_Stream", target: Path, stop: threading.Event, limits: Limits) -> dict[str, str]:
    files: dict[str, str] = {}
    target.mkdir()
    with tarfile.open(fileobj=stream, mode="r:") as tar:  # type: ignore[call-overload]  # the four methods it uses
        for count, member in enumerate(tar, start=1):
            if stop.is_set():
                raise ArtifactError("stopped")
            if count > limits.max_members:
                raise ArtifactError(f"there are more than {limits.max_members} files and directories in the archive")
            tar.members.clear()  # or all are kept in memory
            path = _checked(member)
            try:
                if member.isdir():
                    (target / path).mkdir(parents=True, exist_ok=True)
                    continue
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                with (target / path).open("xb") as writer:
                    files[path] = _copy(stream, writer, member.size, stop)
            except (FileExistsError, NotADirectoryError) as error:
                raise ArtifactError(f"{member.name!r} is twice in the archive") from error
    return files


def _checked(member: tarfile.TarInfo) -> str:
    """The path of a member that may be unpacked."""
    name = member.name
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts:
        raise ArtifactError(f"{name!r} in the archive leads out of it")
    if not (member.isreg() or member.isdir()) or member.issparse():
        raise ArtifactError(f"{name!r} in the archive is neither a regular file nor a directory")
    if any(ord(character) < 32 or character in "\x7f\\" for character in name):
        raise ArtifactError(f"{name!r} in the archive has a newline, a backslash or another such character in its name")
    if member.isreg() and member.mode & 0o6000:
        raise ArtifactError(f"{name!r} in the archive is setuid or setgid")
    if member.isreg() and not parts:
        raise ArtifactError("a file in the archive has no name")
    if len(os.fsencode(name)) > 1024 or any(len(os.fsencode(part)) > 255 for part in parts):
        raise ArtifactError(f"{name[:64]!r}... in the archive is too long a name")
    if member.size < 0:
        raise ArtifactError(f"{name!r} in the archive has a size below 0")
    return str(PurePosixPath(*parts))


def _copy(stream: "_Stream", writer: IO[bytes], size: int, stop: threading.Event) -> str:
    sha256 = hashlib.sha256()
    while size > 0:
        chunk = stream.data(min(size, digest.CHUNK))
        if not chunk or stop.is_set():
            raise ArtifactError("the archive ends in the middle of a file" if not chunk else "stopped")
        sha256.update(chunk)
        writer.write(chunk)
        size -= len(chunk)
    return sha256.hexdigest()


def _without_wrapper(target: Path, files: Mapping[str, str]) -> Mapping[str, str]:
    children = list(target.iterdir())
    if len(children) != 1 or not children[0].is_dir() or children[0].name.isdigit():  # a version, as Triton counts
        return files
    inner = target.with_name(f"{target.name}.inner")
    children[0].rename(inner)
    target.rmdir()
    inner.rename(target)
    return {path.partition("/")[2]: hex_digest for path, hex_digest in files.items()}


class _Stream:
    """What tarfile reads from: only forward, only so much at once, and only so much in all.

    tarfile takes the sizes in headers at their word. A header that claims gigabytes would be held in memory, and one
    with a size below 0 leads back to where it was (CVE-2025-8194).
    """

    def __init__(self, reader: Reader, *, limits: Limits, packed: int) -> None:
        self._reader = reader
        self._limits = limits
        self._packed = packed
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        """A header, or a part of one."""
        if not 0 <= size <= HEADER:
            raise ArtifactError(f"a header in the archive is larger than {HEADER} bytes")
        return self.data(size)

    def data(self, size: int) -> bytes:
        """As many of the next `size` bytes as there are."""
        chunks = []
        while size > 0 and (chunk := self._reader.read(size)):
            chunks.append(chunk)
            size -= len(chunk)
            self._position += len(chunk)
            self._check()
        return b"".join(chunks)

    def tell(self) -> int:
        """Bytes read so far."""
        return self._position

    def seek(self, position: int, whence: int = 0) -> int:
        """Skip what lies before `position`."""
        if whence != 0 or position < self._position:
            raise ArtifactError("the archive is damaged: it leads back")
        while self._position < position and self.data(min(position - self._position, digest.CHUNK)):
            pass
        return self._position

    def close(self) -> None:
        """It is closed by whoever opened it."""

    def _check(self) -> None:
        if self._position > self._limits.max_bytes:
            raise ArtifactError(f"there is more in the archive than {self._limits.max_bytes} bytes")
        if self._position > max(self._limits.free, self._packed * self._limits.max_ratio):
            raise ArtifactError(
                f"the archive grows to more than {self._limits.max_ratio} times its {self._packed} bytes: "
                "that is no network"
            )


@contextmanager
def _decompressed(file: IO[bytes], packing: str) -> Iterator[Reader]:
    match packing:
        case "gzip":
            with gzip.GzipFile(fileobj=file, mode="rb") as reader:
                yield reader
        case "zstd":
            decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW)
            with decompressor.stream_reader(file, read_across_frames=True, closefd=False) as reader:
                yield reader
        case _:
            yield file


@contextmanager
def _blame() -> Iterator[None]:
    """Whatever the readers of bad bytes raise is said of the archive."""
    try:
        yield
    except (gzip.BadGzipFile, zlib.error, zstandard.ZstdError, EOFError, tarfile.TarError, ValueError) as error:
        raise ArtifactError(f"the archive cannot be read: {error}") from error
