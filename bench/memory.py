"""Resident memory of what runs in a Pod of the lab, whose processes are processes of this machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any


def resident(pod: dict[str, Any], program: str) -> float:
    """Resident memory of a Pod's processes whose command line matches, in MiB.

    It is the proportional set size (`Pss` of `/proc/PID/smaps_rollup`): pages that processes share count once.
    """
    uid = pod["metadata"]["uid"]
    kibibytes = 0
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            ours = uid in (directory / "cgroup").read_text().replace("_", "-")
            line = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if ours and re.search(program, line):
                match = re.search(r"^Pss:\s+(\d+) kB", (directory / "smaps_rollup").read_text(), re.MULTILINE)
                kibibytes += int(match[1]) if match else 0
        except (FileNotFoundError, ProcessLookupError):
            continue
    return kibibytes / 1024
