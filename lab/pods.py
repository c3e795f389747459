"""Processes of the lab's Pods, which are processes of this machine."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path


def kill(*, uid: str, program: str) -> int:
    """SIGKILL the processes of the Pod with this uid whose command line matches; how many there were.

    They are told apart by their cgroups, which bear the Pod's uid.
    """
    killed = 0
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        try:
            ours = uid in (directory / "cgroup").read_text().replace("_", "-")
            line = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if ours and re.search(program, line):
                os.kill(int(directory.name), signal.SIGKILL)
                killed += 1
        except (FileNotFoundError, ProcessLookupError):
            continue
    return killed
