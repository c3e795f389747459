"""File operations whose effect survives a crash of the process or of the machine once they have returned."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

SIDE = ".new"
"""Suffix of a file that is being written."""


def write(path: Path, data: bytes) -> None:
    """Write a file as a whole: after a crash there is the old one or the new one, never a part. Raises OSError."""
    side = path.with_name(path.name + SIDE)
    descriptor = os.open(side, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        _write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(side, path)
    sync_directory(path.parent)


def append(path: Path, data: bytes, *, size: int) -> None:
    """Append to a file of `size` bytes, new if that is 0. Raises OSError, with the file as it was if that can be had.

    A crash may leave a part of the data at the end of the file.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        # What an append left that failed, and could not be taken back, is overwritten.
        os.ftruncate(descriptor, size)
        os.lseek(descriptor, size, os.SEEK_SET)
        try:
            _write_all(descriptor, data)
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)
    if size == 0:
        sync_directory(path.parent)


def truncate(path: Path, size: int) -> None:
    """Cut a file off. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.ftruncate(descriptor, size)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file, if there is one. Raises OSError.

    Not synchronised: a file that is back after a power cut is found superfluous and removed again.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def sync_directory(path: Path) -> None:
    """Make the names in a directory survive. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
