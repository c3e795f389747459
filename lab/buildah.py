"""buildah, with a storage of the lab's own: the machine's containers and images are neither seen nor touched."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

PROGRAMS = {"buildah": "buildah", "mmdebstrap": "mmdebstrap"}
"""Program -> Debian package: what building an image needs."""


@dataclass(frozen=True, kw_only=True)
class Buildah:
    """buildah with its images below ``directory``."""

    directory: Path
    driver: str

    @classmethod
    def below(cls, directory: Path) -> Buildah:
        """The storage in ``directory``: overlays where the file system has them, else plain copies, which are slow."""
        overlay = cls(directory=directory / "overlay", driver="overlay")
        if overlay._call("images", check=False).returncode == 0:
            return overlay
        return cls(directory=directory / "vfs", driver="vfs")

    def has(self, image: str) -> bool:
        """Whether the image is in the storage."""
        return self._call("inspect", "--type=image", image, check=False).returncode == 0

    def build(
        self,
        image: str,
        *,
        context: Path,
        containerfile: Path,
        ignorefile: Path | None = None,
        arguments: Mapping[str, str] | None = None,
        volumes: Mapping[Path, str] | None = None,
    ) -> None:
        """Build ``image``; steps whose input is what it was before are taken from the storage.

        ``arguments`` are values for ARG; ``volumes`` (folder or file -> where RUN sees it) leave no trace in the image.
        Raises ``LabError`` with the end of the output.
        """
        ignored = [f"--ignorefile={ignorefile}"] if ignorefile else []
        values = [f"--build-arg={name}={value}" for name, value in (arguments or {}).items()]
        mounts = [f"--volume={path}:{target}:ro" for path, target in (volumes or {}).items()]
        options = [f"--file={containerfile}", f"--tag={image}", *ignored, *values, *mounts]
        self._call("build", "--layers", "--pull-never", *options, str(context))

    def save(self, image: str, *, archive: Path, references: Sequence[str]) -> str:
        """Write ``image`` to an OCI archive that calls it by each of ``references``; the manifest's digest."""
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".new-") as scratch:
            layout = Path(scratch, "layout")
            self._call("push", "--quiet", image, f"oci:{layout}:{references[0]}")
            index = json.loads((layout / "index.json").read_text())
            (manifest,) = index["manifests"]
            index["manifests"] = [{**manifest, "annotations": _named(reference)} for reference in references]
            (layout / "index.json").write_text(json.dumps(index))
            unfinished = Path(scratch, "archive")
            with tarfile.open(unfinished, "w") as tar:
                for path in sorted(layout.rglob("*")):
                    if path.is_file():
                        tar.add(path, arcname=str(path.relative_to(layout)))
            unfinished.replace(archive)
        return str(manifest["digest"])

    def remove(self, image: str) -> None:
        """Forget an image, if it is there."""
        self._call("rmi", image, check=False)

    def _call(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        storage = [f"--root={self.directory}", f"--runroot={self.directory}-run", f"--storage-driver={self.driver}"]
        environment = {**os.environ, "BUILDAH_ISOLATION": "chroot"}
        command = ["buildah", *storage, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if check and done.returncode != 0:
            output = f"{done.stdout}\n{done.stderr}".strip()
            raise LabError(f"buildah {arguments[0]} failed:\n{output[-3000:]}")
        return done


def _named(reference: str) -> dict[str, str]:
    """The annotations by which an image in an OCI layout says its name: containerd's own, and the standard's."""
    return {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference}
