"""The cgroups of machines: ``/littoral-lab/<lab>/<machine>`` in every hierarchy of cgroup v1, or in the one of v2.

They group what a machine runs, containers included, so that it can be found, counted and killed from the host.
A ``lab`` is here the name of its cgroup (``LabFiles.cgroup``).
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

_MOUNT = Path("/sys/fs/cgroup")
_TOP = "littoral-lab"
_V2_CONTROLLERS = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids")


def unified() -> bool:
    """Whether this host has cgroup v2 alone."""
    return (_MOUNT / "cgroup.controllers").exists()


def hierarchies() -> list[Path]:
    """The mount point of every hierarchy with controllers, or a name."""
    if unified():
        return [_MOUNT]
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return [Path(where) for _, where, kind, *_ in mounts if kind == "cgroup" and Path(where).parent == _MOUNT]


def directories(*, lab: str, machine: str | None = None) -> list[Path]:
    """The lab's (or one machine's) cgroups that exist."""
    paths = [hierarchy / _TOP / lab / (machine or "") for hierarchy in hierarchies()]
    return [path for path in paths if path.is_dir()]


def create(*, lab: str, machine: str) -> list[Path]:
    """Make the machine's cgroup in every hierarchy."""
    created = []
    for hierarchy in hierarchies():
        path = hierarchy
        for part in (_TOP, lab, machine):
            if unified():
                _delegate(path)
            path = path / part
            path.mkdir(exist_ok=True)
            if (path / "cpuset.cpus").exists() and not unified():
                # A new cpuset of v1 is empty and takes no process.
                for name in ("cpuset.cpus", "cpuset.mems"):
                    if not (path / name).read_text().strip():
                        (path / name).write_text((path.parent / name).read_text())
        created.append(path)
    return created


def _delegate(path: Path) -> None:
    available = (path / "cgroup.controllers").read_text().split()
    for controller in _V2_CONTROLLERS:
        if controller in available:
            (path / "cgroup.subtree_control").write_text(f"+{controller}")


def make_room(*, lab: str, machine: str, pids: list[int]) -> None:
    """On v2, move the machine's own processes into a leaf: a cgroup with children holds no process itself."""
    if not unified():
        return
    for path in directories(lab=lab, machine=machine):
        leaf = path / "init"
        leaf.mkdir(exist_ok=True)
        for pid in pids:
            (leaf / "cgroup.procs").write_text(str(pid))
        _delegate(path)


def processes(*, lab: str, machine: str | None = None) -> set[int]:
    """The host's PID of every process in these cgroups and below."""
    found: set[int] = set()
    for top in directories(lab=lab, machine=machine):
        for path in _below(top):
            with contextlib.suppress(OSError):
                found.update(int(pid) for pid in (path / "cgroup.procs").read_text().split())
    return found


def kill(*, lab: str, machine: str | None = None, timeout: float = 10.0) -> int:
    """SIGKILL whatever is left in these cgroups until nothing is; how many processes that were.

    Raises ``TimeoutError`` when a process outlives ``timeout`` seconds of this.
    """
    killed: set[int] = set()
    deadline = time.monotonic() + timeout
    while left := processes(lab=lab, machine=machine):
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {sorted(left)} do not end")
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed |= left
        time.sleep(0.02)
    return len(killed)


def remove(*, lab: str, machine: str | None = None) -> int:
    """Remove these cgroups, and the top one when no lab is left in it; how many were removed."""
    removed = 0
    for top in directories(lab=lab, machine=machine):
        for path in sorted(_below(top), key=lambda path: len(path.parts), reverse=True):
            removed += _remove(path)
    for hierarchy in hierarchies():
        with contextlib.suppress(OSError):
            (hierarchy / _TOP).rmdir()
    return removed


def _remove(path: Path) -> int:
    # A cgroup stays busy for a moment after its last process has ended.
    deadline = time.monotonic() + 5.0
    while True:
        try:
            path.rmdir()
            return 1
        except FileNotFoundError:
            return 0
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _below(top: Path) -> Iterator[Path]:
    for directory, _, _ in os.walk(top):
        yield Path(directory)
