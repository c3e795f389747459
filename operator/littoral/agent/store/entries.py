"""Entries on disk: how one is sealed, looked at and dated."""

import json
import os
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from littoral.agent import digest
from littoral.agent.errors import ArtifactError

UNPACKED = ".unpacked"
"""Ends the name of an entry that holds what was in the archive of that digest."""

RECORD = "entry.json"
ARTIFACT = "artifact"

Hash = Callable[[Path], str]
"""The hex SHA-256 of a file."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An artifact in the cache."""

    name: str
    path: Path
    """The file, or the directory."""
    bytes: int

    @property
    def hex(self) -> str:
        """The digest of the artifact as it was fetched."""
        return self.name.removesuffix(UNPACKED)


def seal(incoming: Path, *, files: Mapping[str, str] | None) -> int:
    """Make an entry of what has come, and put all of it on disk. Returns its size in bytes.

    Args:
        incoming: the folder; what is in it besides the artifact is removed.
        files: relative path -> hex SHA-256, where the entry's digest is not that of its files (an archive).
    """
    artifact = incoming / ARTIFACT
    for path in incoming.iterdir():
        if path != artifact:
            remove(path)
    size = size_of(artifact)
    record = {"bytes": size} | ({"files": dict(files)} if files is not None else {})
    (incoming / RECORD).write_text(json.dumps(record))
    for folder, _, names in os.walk(incoming, topdown=False):
        for name in names:
            path = Path(folder, name)
            path.chmod(0o444)  # Triton reads it as another user; nobody writes it again
            sync(path)
        Path(folder).chmod(0o755)
        sync(Path(folder))
    return size


def inspect(folder: Path, *, of_file: Hash = digest.of_file) -> Entry | None:
    """The entry in `folder` if it is whole. Its size is looked at first: a truncated file need not be hashed."""
    artifact = folder / ARTIFACT
    try:
        record = json.loads((folder / RECORD).read_bytes())
        size = record["bytes"]
        if size != size_of(artifact):
            return None
        if folder.name.endswith(UNPACKED):
            whole = {path: of_file(artifact / path) for path in digest.walk(artifact)} == record["files"]
        else:
            whole = digest.of_path(artifact, of_file=of_file) == folder.name
    except (OSError, ValueError, KeyError, TypeError, ArtifactError):
        return None
    return Entry(name=folder.name, path=artifact, bytes=size) if whole else None


def size_of(artifact: Path) -> int:
    """Bytes of a file, or of all files of a directory."""
    if artifact.is_dir():
        return sum((artifact / path).stat().st_size for path in digest.walk(artifact))
    return artifact.stat().st_size


def recorded_size(folder: Path) -> int:
    """Bytes of an entry as it was written down; 0 for one that is damaged."""
    try:
        return int(json.loads((folder / RECORD).read_bytes())["bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def tree_size(folder: Path) -> int:
    """Bytes on disk of everything below `folder`, holes left out, whatever it is and though it changes meanwhile."""
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                state = os.lstat(os.path.join(parent, name))
            except OSError:
                continue
            size += min(state.st_size, state.st_blocks * 512) if stat.S_ISREG(state.st_mode) else 0
    return size


# Two dates per entry, as the times of two files: they cost no space, and can be set on a full disk.


def touch_used(folder: Path) -> None:
    """The entry is in use now: the last to make room."""
    _touch(folder)


def used_at(folder: Path) -> float:
    """When the entry was last known to be in use, in seconds since 1970; 0 if it is gone."""
    return _time_of(folder)


def touch_checked(folder: Path) -> None:
    """The entry's bytes were hashed now and are right."""
    _touch(folder / RECORD)


def checked_at(folder: Path) -> float:
    """When the entry was last hashed, in seconds since 1970; 0 if it is gone."""
    return _time_of(folder / RECORD)


def _touch(path: Path) -> None:
    now = time.time()
    try:
        os.utime(path, (now, now))
    except OSError:
        return


def _time_of(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def sync(path: Path) -> None:
    """Put a file's bytes, or a directory's names, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def discard(path: Path, *, trash: Path) -> None:
    """Take `path` away by one rename, then delete it: at no moment is half of it there."""
    grave = trash / uuid.uuid4().hex
    try:
        path.rename(grave)
    except OSError:  # it is gone already
        return
    remove(grave)


def remove(path: Path) -> None:
    """Delete a file or a directory, as far as that goes."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
