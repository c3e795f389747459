"""Artifacts that are already on the node: copied into the cache, so that what was verified cannot change
afterwards."""

import asyncio
import hashlib
import os
import threading
from pathlib import Path

from littoral.agent import digest
from littoral.agent.errors import ArtifactError, FetchError, NotFound
from littoral.agent.progress import Progress
from littoral.agent.sources.limits import check_size, too_large


def resolve(root: Path, path: Path) -> Path:
    """`path` with its symbolic links followed, which must lie below `root`, whose own links are followed as
    well.

    Raises:
        ArtifactError: it leads out of `root`.
        FetchError: nothing is there.
    """
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        if not Path(os.path.normpath(path)).is_relative_to(root):
            raise ArtifactError(f"{path} lies outside {root}") from error
        kind = NotFound if isinstance(error, FileNotFoundError) else FetchError
        raise kind(f"{path}: {_reason(error)}") from error
    if not real.is_relative_to(root.resolve()):
        raise ArtifactError(f"{path} lies outside {root}")
    return real


async def copy(source: Path, target: Path, progress: Progress, *, max_bytes: int) -> str:
    """Copy a file or a directory to `target` and return the hex digest of the bytes as they were copied.

    Raises:
        ArtifactError: larger than `max_bytes`, or with something inside that no digest covers.
        FetchError: it cannot be read, or does not fit on the cache's filesystem.
    """
    stop = threading.Event()
    thread = asyncio.ensure_future(asyncio.to_thread(_copy, source, target, progress, max_bytes, stop))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([thread])  # the caller deletes target next: nobody may write there any more
        raise
    except OSError as error:
        raise FetchError(f"{source}: {_reason(error)}") from error


def _copy(source: Path, target: Path, progress: Progress, max_bytes: int, stop: threading.Event) -> str:
    paths = sorted(digest.walk(source)) if source.is_dir() else [""]
    if not paths:
        raise ArtifactError(f"{source} is an empty directory")
    progress.total = sum((source / path).stat().st_size for path in paths)
    check_size(progress.total, max_bytes=max_bytes, folder=target.parent)
    hashes = {}
    for path in paths:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        hashes[path] = _copy_file(source / path, target / path, progress, max_bytes, stop)
    return digest.of_manifest(hashes) if source.is_dir() else hashes[""]


def _copy_file(source: Path, target: Path, progress: Progress, max_bytes: int, stop: threading.Event) -> str:
    sha256 = hashlib.sha256()
    with source.open("rb") as reader, target.open("xb") as writer:
        while chunk := reader.read(digest.CHUNK):
            if stop.is_set():
                raise FetchError("stopped")
            sha256.update(chunk)
            writer.write(chunk)
            progress.add(len(chunk))
            if progress.received > max_bytes:  # it has grown while it was read
                raise too_large(progress.received, max_bytes=max_bytes)
    return sha256.hexdigest()


def _reason(error: OSError | RuntimeError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
