"""Triton's model repository: one directory for each model, made of symbolic links into the cache.

    <repository>/<model>/config.pbtxt
    <repository>/<model>/<version>/model.onnx -> <cache>/sha256/<hex>/artifact     an artifact that is a file
    <repository>/<model>/<version>            -> <cache>/sha256/<hex>/artifact/1   one that is a directory
    <repository>/<model>/.littoral.json       what the two above are made from

The record is written first and says everything, so a directory that a killed agent left half-made is
completed from it. A directory without a record is somebody else's and stays as it is.
"""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from littoral.agent.errors import ArtifactError
from littoral.agent.files import write_atomically

RECORD = ".littoral.json"


@dataclass(frozen=True, kw_only=True)
class Installed:
    """One version of a model, as it stands in the repository."""

    version: int
    fingerprint: str
    """What it was made from (`littoral.agent.layout.fingerprint`)."""
    digest: str
    """Digest of the artifact, `sha256:<hex>`."""
    config: str
    """The text of config.pbtxt with which this version loads."""
    links: dict[str, str]
    """Path inside the model's directory -> what the link there points to."""


class Repository:
    """The directory that Triton was given as `--model-repository`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)

    def read(self) -> dict[str, tuple[Installed, ...]]:
        """Every model that the agent has put here, with its versions, oldest first."""
        return {
            folder.name: versions
            for folder in sorted(self._root.iterdir())
            if (versions := _read_record(folder)) is not None
        }

    def write(self, model: str, versions: Sequence[Installed]) -> None:
        """Make the model's directory hold these versions and no others; the last one's configuration counts.

        Raises:
            ArtifactError: a directory of that name is not the agent's.
        """
        folder = self._root / model
        if folder.exists() and _read_record(folder) is None and any(folder.iterdir()):
            raise ArtifactError(f"{folder} was not made by the agent: move it out of Triton's repository")
        if not versions:
            shutil.rmtree(folder, ignore_errors=True)
            return
        folder.mkdir(exist_ok=True)
        record = {"versions": [asdict(version) for version in versions]}
        write_atomically(folder / RECORD, json.dumps(record, indent=1))
        links = {path: target for version in versions for path, target in version.links.items()}
        _clear(folder, keep={RECORD, "config.pbtxt", *(path.partition("/")[0] for path in links)})
        for path, target in links.items():
            _link(folder / path, target)
        if not _holds(folder / "config.pbtxt", versions[-1].config):
            write_atomically(folder / "config.pbtxt", versions[-1].config)


def _read_record(folder: Path) -> tuple[Installed, ...] | None:
    try:
        record = json.loads((folder / RECORD).read_bytes())
        return tuple(Installed(**version) for version in record["versions"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _clear(folder: Path, *, keep: set[str]) -> None:
    for path in folder.iterdir():
        if path.name in keep:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _link(path: Path, target: str) -> None:
    if path.is_symlink() and os.readlink(path) == target:
        return
    path.parent.mkdir(exist_ok=True)
    staged = path.with_name(f".{path.name}.new")
    staged.unlink(missing_ok=True)
    staged.symlink_to(target)
    staged.replace(path)


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_text() == text
    except OSError:
        return False
