"""Digests of artifacts: `sha256:<64 hex>` of a file, or of a directory's manifest.

A directory's digest is the SHA-256 of its manifest: for each regular file one line `<hex>  ./<path>`, ordered
by the bytes of the path. Owners, modes, times and empty directories do not count. Inside the directory a
shell prints the same digest:

    find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from littoral.agent.errors import ArtifactError

CHUNK = 1 << 20
"""Bytes read at a time: large enough that hashing runs outside the interpreter's lock, small enough to stay
in cache."""


def of_file(path: Path) -> str:
    """The hex SHA-256 of one file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_directory(root: Path, *, of_file: Callable[[Path], str] = of_file) -> str:
    """The hex SHA-256 of a directory's manifest; each file is hashed by `of_file`."""
    return of_manifest({path: of_file(root / path) for path in walk(root)})


def of_manifest(files: Mapping[str, str]) -> str:
    """The hex SHA-256 of the manifest of `files`: relative path -> hex SHA-256 of that file."""
    manifest = hashlib.sha256()
    for path in sorted(files, key=os.fsencode):
        manifest.update(f"{files[path]}  ./".encode() + os.fsencode(path) + b"\n")
    return manifest.hexdigest()


def of_path(path: Path, *, of_file: Callable[[Path], str] = of_file) -> str:
    """The hex digest of a file or of a directory; each file is hashed by `of_file`."""
    return of_directory(path, of_file=of_file) if path.is_dir() else of_file(path)


def walk(root: Path) -> Iterator[str]:
    """The relative paths of the regular files below `root`.

    Raises:
        ArtifactError: for what a digest cannot vouch for. A symbolic link may lead anywhere and a device
            has no end; a newline or backslash in a name makes `sha256sum` print the name differently.
    """
    for folder, folders, files in os.walk(root, onerror=_raise):
        for name in folders + files:
            path = Path(folder, name)
            relative = str(path.relative_to(root))
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise ArtifactError(f"{relative!r} in the artifact is neither a regular file nor a directory")
            if "\n" in name or "\\" in name:
                raise ArtifactError(f"{relative!r} in the artifact has a newline or a backslash in its name")
            if name in files:
                yield relative


def _raise(error: OSError) -> None:
    raise error
