"""Programs that come from the system: found on PATH, else installed by apt-get."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping

from lab.errors import LabError
from lab.progress import say, step

NODE_PROGRAMS = {
    "ip": "iproute2",
    "mount": "mount",
    "nft": "nftables",
    "nsenter": "util-linux",
    "runc": "runc",
    "unshare": "util-linux",
}
"""Program -> Debian package: what the machines themselves need."""

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def require(programs: Mapping[str, str]) -> None:
    """Make sure that every program (program -> Debian package, as in ``NODE_PROGRAMS``) is installed.

    Raises ``LabError`` when one is missing and cannot be installed.
    """
    missing = [name for name in programs if find(name) is None]
    if not missing:
        return
    packages = sorted({programs[name] for name in missing})
    if find("apt-get") is None:
        raise LabError(
            f"{', '.join(missing)}: not found, and there is no apt-get here. Install what provides them "
            f"(on Debian: {' '.join(packages)})."
        )
    say(f"Installing Debian packages that the lab needs: {' '.join(packages)}")
    with step("apt-get install"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *packages]
        result = subprocess.run(install, check=False, capture_output=True, text=True, env=environment)
        if result.returncode != 0:  # The package lists may be missing or old.
            subprocess.run(["apt-get", "update", "--quiet"], check=False, capture_output=True, env=environment)
            result = subprocess.run(install, check=False, capture_output=True, text=True, env=environment)
        if result.returncode != 0:
            raise LabError(f"apt-get install {' '.join(packages)} failed:\n{result.stderr.strip()[-1500:]}")


def find(program: str) -> str | None:
    """The program's path, with the directories that only root's PATH has."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}")
