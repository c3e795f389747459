"""A directory whose files are fetched one by one.

<target>.partial/         its files on their way, under names made of what they are
<target>                  the directory, once all are there
"""

import asyncio
import hashlib
import os
import shutil
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from littoral.agent import digest
from littoral.agent.errors import ArtifactError, FetchError
from littoral.agent.sources.limits import check_size
from littoral.agent.sources.partial import side_file
from littoral.agent.sources.transfer import Source, Transfer, together

MOST_FILES = 10_000
"""Files of a directory: a model has a few."""


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """One file of the directory."""

    path: str
    """Where it belongs, relative to the directory."""
    size: int
    source: Source
    hex: str | None = None
    """Its SHA-256, where the source says so."""


async def fetch_tree(transfer: Transfer, target: Path, files: Sequence[RemoteFile]) -> str:
    """Bring the files into the directory `target`, which is replaced when all have come.

    Returns:
        The hex digest of the directory (`digest.of_manifest`).

    Raises:
        ArtifactError: there are none, too many or too large ones, or one that would lie outside.
        FetchError: see `Transfer.to`.
    """
    check_paths([file.path for file in files])
    folder = target.with_name(f"{target.name}.partial")
    folder.mkdir(exist_ok=True)
    transfer.progress.total = total = sum(file.size for file in files)
    check_size(total, max_bytes=transfer.limits.max_bytes, folder=folder, have=_held(folder))
    hashes: dict[str, str] = {}
    waiting = deque(files)

    async def work() -> None:
        while waiting:
            file = waiting.popleft()
            hashes[file.path] = await _fetch(transfer, folder, file)

    await together(*(work() for _ in range(transfer.limits.streams)))
    await asyncio.to_thread(_assemble, folder, target, files)
    return digest.of_manifest(hashes)


async def fetch_file(transfer: Transfer, target: Path, source: Source, *, hex_digest: str | None = None) -> str:
    """Bring one file to `target`, and see that it is the one that the source speaks of.

    Raises:
        FetchError: it is another one, which is not kept; and see `Transfer.to`.
    """
    _remove_directory(target)
    actual = await transfer.to(target, source)
    if hex_digest is not None and actual != hex_digest:
        os.unlink(target)
        raise FetchError(f"the source gave other bytes than its own digest sha256:{hex_digest} says")
    return actual


def check_paths(paths: Sequence[str]) -> None:
    """Refuse names that would lead out of the directory, or that no two filesystems treat alike.

    Raises:
        ArtifactError: says which.
    """
    if not paths:
        raise ArtifactError("the artifact has no files")
    if len(paths) > MOST_FILES:
        raise ArtifactError(f"the artifact has {len(paths)} files, and the agent fetches {MOST_FILES} at most")
    folders = {parent for path in paths for parent in _parents(path)}
    seen: set[str] = set()
    for path in paths:
        parts = path.split("/")
        bad = any(part in ("", ".", "..") or len(part.encode()) > 255 for part in parts)
        if bad or any(character in path for character in "\\\n\r\0"):
            raise ArtifactError(f"{path!r} in the artifact is no path that a file may have")
        if path in seen or path in folders:
            raise ArtifactError(f"{path!r} is in the artifact twice")
        seen.add(path)


async def _fetch(transfer: Transfer, folder: Path, file: RemoteFile) -> str:
    partial, done = _places(folder, file)
    if done.exists():
        actual = await asyncio.to_thread(digest.of_file, done)
        if done.stat().st_size == file.size and actual == (file.hex or actual):
            transfer.progress.received += file.size
            return actual
        done.unlink()
    if file.size == 0:
        partial.write_bytes(b"")
        actual = hashlib.sha256().hexdigest()
    else:
        actual = await fetch_file(transfer, partial, file.source, hex_digest=file.hex)
    partial.rename(done)
    return actual


def _places(folder: Path, file: RemoteFile) -> tuple[Path, Path]:
    """Where it comes, and where it waits for the others."""
    name = hashlib.sha256(f"{file.path}\n{file.source.identity}".encode()).hexdigest()
    return folder / name, folder / f"{name}.done"


def _assemble(folder: Path, target: Path, files: Sequence[RemoteFile]) -> None:
    _remove_directory(target)
    target.unlink(missing_ok=True)
    side_file(target).unlink(missing_ok=True)
    for file in files:
        final = target / file.path
        final.parent.mkdir(parents=True, exist_ok=True)
        _places(folder, file)[1].rename(final)
    shutil.rmtree(folder)


def _remove_directory(target: Path) -> None:
    """What an earlier artifact of another shape has left."""
    if target.is_dir():
        shutil.rmtree(target)


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _held(folder: Path) -> int:
    """Bytes of disk that an earlier try has taken."""
    return sum(path.stat().st_blocks * 512 for path in folder.iterdir())
