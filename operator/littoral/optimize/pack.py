"""Archives of an artifact's files: the same files give the same bytes."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Final

import zstandard

from littoral.optimize.push import Artifact

# Weights hardly shrink whatever is done: above this level it only takes longer.
_LEVEL: Final = 3


def pack(artifact: Artifact, target: Path) -> None:
    """Write a `tar.zst` with the files in the order of their names, without times, owners or modes."""
    with (
        target.open("wb") as file,
        zstandard.ZstdCompressor(level=_LEVEL, threads=-1).stream_writer(file) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for layer in artifact.layers:
            entry = tarfile.TarInfo(layer.title)
            entry.size, entry.mode = layer.size, 0o644
            with layer.path.open("rb") as content:
                archive.addfile(entry, content)
