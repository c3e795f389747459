"""The quickstart's networks: where each file is, and its digest.

The digit networks are committed. The text networks, PP-OCRv4 by the PaddlePaddle authors (Apache-2.0), come
out of the pinned wheel `rapidocr-onnxruntime`; they are found by the wheel's list of files, because importing
the package would load OpenCV. `python -m examples.quickstart.networks DIRECTORY` copies them all.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath

WEIGHTS = Path(__file__).with_name("weights")


class NetworkError(Exception):
    """A network's file is missing or is not the one that the manifests name."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network: its name, the SHA-256 of its file in hex, and which file of which wheel it is (or none)."""

    name: str
    sha256: str
    wheel: str | None = None
    wheel_file: str | None = None

    @property
    def file_name(self) -> str:
        """Return the name under which the artifact server offers the network."""
        return f"{self.name}.onnx"

    @property
    def digest(self) -> str:
        """Return the digest as `artifact.digest` of a Model spells it."""
        return f"sha256:{self.sha256}"

    def path(self) -> Path:
        """Return where the file is; raise NetworkError if it is absent or not the one of the digest."""
        path = self._locate()
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise NetworkError(f"network {self.name}: {error}") from error
        if found != self.sha256:
            raise NetworkError(f"network {self.name}: {path} is sha256:{found}, expected {self.digest}")
        return path

    def _locate(self) -> Path:
        if self.wheel is None:
            return WEIGHTS / self.file_name
        try:
            files = metadata.files(self.wheel) or []
        except metadata.PackageNotFoundError as error:
            raise NetworkError(f"{self.wheel} is not installed: run `make setup`") from error
        for file in files:
            if PurePosixPath(file).name == self.wheel_file:
                return Path(str(file.locate()))
        raise NetworkError(f"network {self.name}: {self.wheel} does not hold {self.wheel_file}")


DIGITS = Network(
    name="digits",
    sha256="8fd13f2de34015ddf1f9bb43fb5666166bdffcb9fd9a2c562f5f1445066b10c9",
)
DIGITS_V2 = Network(
    name="digits-v2",
    sha256="0c524eb01c8eb132853aaed3a3bc4e75de6486ef2729ccaa8a706f03b3d95839",
)
TEXT_DETECT = Network(
    name="text-detect",
    sha256="d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
    wheel="rapidocr-onnxruntime",
    wheel_file="ch_PP-OCRv4_det_infer.onnx",
)
TEXT_RECOGNIZE = Network(
    name="text-recognize",
    sha256="48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
    wheel="rapidocr-onnxruntime",
    wheel_file="ch_PP-OCRv4_rec_infer.onnx",
)
NETWORKS = (DIGITS, DIGITS_V2, TEXT_DETECT, TEXT_RECOGNIZE)


def copy_all(directory: Path) -> list[Path]:
    """Copy every network into the directory under its own name and return the paths; raise NetworkError."""
    directory.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copyfile(network.path(), directory / network.file_name)) for network in NETWORKS]


if __name__ == "__main__":
    try:
        for copied in copy_all(Path(sys.argv[1])):
            print(f"{copied}  {copied.stat().st_size} bytes")
    except NetworkError as problem:
        sys.exit(f"quickstart networks: {problem}")
