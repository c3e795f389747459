"""What goes into the lab's images from outside: Debian's packages for the base, Python's for the rest.

Both are fetched on this machine, with its own settings of apt and pip, so that no mirror's name, certificate or proxy
has to reach a Containerfile.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lab.errors import LabError

SUITE = "bookworm"
"""The Debian release of the base image; its Python is the one that wheels are chosen for."""

PYTHON = "3.11"

_APT = Path("/etc/apt")


def debian_tree(target: Path, *, packages: Sequence[str]) -> None:
    """Write a tar archive of a Debian system with ``packages`` and their dependencies to ``target``.

    Raises ``LabError`` when apt has no source of ``SUITE`` here, or mmdebstrap fails.
    """
    known = [*_APT.glob("sources.list"), *_APT.glob("sources.list.d/*.list"), *_APT.glob("sources.list.d/*.sources")]
    sources = [path for path in known if _serves(path)]
    if not sources:
        raise LabError(
            f"No apt source of Debian {SUITE} on this machine, which the lab's images are based on: name an image"
            f" with Python {PYTHON} instead (python -m lab.images --base IMAGE)."
        )
    unwanted = [f"/usr/share/{name}/*" for name in ("doc", "info", "locale", "man")]
    filters = [f"--dpkgopt=path-exclude={pattern}" for pattern in unwanted]
    filters.append("--dpkgopt=path-include=/usr/share/doc/*/copyright")
    included = f"--include={','.join(packages)}"
    _run("mmdebstrap", "--variant=minbase", included, *filters, SUITE, str(target), *map(str, sources))


def wheels(*, cache: Path, requirements: Sequence[Path]) -> Path:
    """Fetch what the ``requirements`` files pin; the folder of wheels, kept until the pins change."""
    pins = "\n".join(path.read_text() for path in requirements)
    folder = cache / "wheels" / hashlib.sha256(f"{PYTHON}\n{pins}".encode()).hexdigest()[:12]
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as scratch:
        unfinished = Path(scratch, folder.name)
        options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
        target = ["--only-binary=:all:", f"--python-version={PYTHON}", f"--dest={unfinished}"]
        for path in requirements:
            _run(sys.executable, "-m", "pip", "download", *options, *target, f"--requirement={path}")
        unfinished.rename(folder)
    return folder


def _serves(path: Path) -> bool:
    """Whether an apt source file has the main packages of ``SUITE``, in the one form or the other."""
    if path.suffix == ".sources":
        stanzas = re.split(r"\n\s*\n", path.read_text())
        return any(
            re.search(rf"^Suites:.*\b{SUITE}(\s|$)", stanza, re.MULTILINE)
            and re.search(r"^Components:.*\bmain\b", stanza, re.MULTILINE)
            for stanza in stanzas
        )
    return bool(re.search(rf"^deb\s.*\s{SUITE}\s.*\bmain\b", path.read_text(), re.MULTILINE))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"{' '.join(command[:4])} ... failed:\n{done.stderr.strip()[-3000:]}")
