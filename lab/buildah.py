"""buildah, with a storage of the lab's own: the machine's containers and images are neither seen nor touched."""

from __future__ import annotations

import hashlib
import io
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
        pull: bool = False,
    ) -> None:
        """Build ``image``; steps whose input is what it was before are taken from the storage.

        ``arguments`` are values for ARG; ``volumes`` (folder or file -> where RUN sees it) leave no trace in the image;
        ``pull`` allows to get an image of a FROM that is not in the storage.
        Raises ``LabError`` with the end of the output.
        """
        ignored = [f"--ignorefile={ignorefile}"] if ignorefile else []
        values = [f"--build-arg={name}={value}" for name, value in (arguments or {}).items()]
        mounts = [f"--volume={path}:{target}:ro" for path, target in (volumes or {}).items()]
        options = [f"--file={containerfile}", f"--tag={image}", *ignored, *values, *mounts]
        self._call("build", "--layers", "--force-rm", "--pull" if pull else "--pull-never", *options, str(context))

    def save(self, image: str, *, archive: Path, references: Sequence[str]) -> str:
        """Write ``image`` to an OCI archive that calls it by each of ``references``; the manifest's digest.

        Layers are not compressed: that would be most of the time of a rebuild, and no network is in between.
        """
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".new-") as scratch:
            # Only this destination takes layers as they are; its files are the blobs, each named by its digest.
            parts = Path(scratch, "parts")
            self._call("push", "--disable-compression", "--format=oci", "--quiet", image, f"dir:{parts}")
            manifest = (parts / "manifest.json").read_bytes()
            digest = hashlib.sha256(manifest).hexdigest()
            entry = {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": f"sha256:{digest}",
                "size": len(manifest),
            }
            names = [{**entry, "annotations": _named(reference)} for reference in references]
            unfinished = Path(scratch, "archive")
            with tarfile.open(unfinished, "w") as tar:
                _add(tar, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
                _add(tar, "index.json", json.dumps({"schemaVersion": 2, "manifests": names}).encode())
                _add(tar, f"blobs/sha256/{digest}", manifest)
                for path in sorted(parts.iterdir()):
                    if path.name not in {"manifest.json", "version"}:
                        tar.add(path, arcname=f"blobs/sha256/{path.name}")
            unfinished.replace(archive)
        return f"sha256:{digest}"

    def clean_up(self) -> None:
        """Remove, with their mounts, the containers of builds that were killed. No other build may be under way."""
        self._call("rm", "--all", check=False)

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


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def _named(reference: str) -> dict[str, str]:
    """The annotations by which an image in an OCI layout says its name: containerd's own, and the standard's."""
    return {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference}
