"""A machine: one process with namespaces of its own (PID, mount, network, host name, IPC, cgroup), made by unshare.

Killing that process kills everything in the machine, containers included; its mounts and its network go with it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from lab import cgroups
from lab.debian import SYSTEM_PATH, find
from lab.errors import LabError
from lab.spec import MachineSpec, ProgramStatus, read_statuses
from lab.state import MachineState

_CHECKOUT = Path(__file__).resolve().parent.parent

_NAMESPACES = ("--pid", "--mount", "--net", "--uts", "--ipc", "--cgroup")
_START_TIMEOUT = 60.0  # seconds; it takes 0.2 on a machine that has nothing else to do

# Joins every cgroup given before the last "--", then becomes the rest: no process of the machine is ever outside.
_JOIN = 'while [ "$1" != -- ]; do echo 0 > "$1/cgroup.procs" || exit 1; shift; done; shift; exec "$@"'


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine, in ``directory``, of the lab whose cgroups are called ``cgroup``; it need not be running."""

    cgroup: str
    name: str
    directory: Path

    def prepare(self, *, keep: tuple[str, ...] = ()) -> None:
        """Make its directories, empty but for the paths below ``var`` in ``keep``."""
        for name in ("log", "tmp", "etc", "root"):
            shutil.rmtree(self.directory / name, ignore_errors=True)
            (self.directory / name).mkdir(parents=True)
        (self.directory / "tmp").chmod(0o1777)
        var = self.directory / "var"
        _empty(var, keep={var / path for path in keep})
        for name in ("lib/kubelet/device-plugins", "lib/littoral/files", "log", "cache", "spool", "tmp"):
            (var / name).mkdir(parents=True, exist_ok=True)
        (var / "tmp").chmod(0o1777)
        (var / "run").symlink_to("/run")

    def start(self, spec: MachineSpec) -> tuple[MachineState, subprocess.Popen[bytes]]:
        """Start its init, which waits for its network: ``go`` tells it that it is wired.

        Raises ``LabError`` with the end of its log when it does not come that far.
        """
        (self.directory / "machine.json").write_text(spec.to_json())
        (self.directory / "programs.json").unlink(missing_ok=True)
        log = self.directory / "log" / "init.log"
        groups = [str(path) for path in cgroups.create(lab=self.cgroup, machine=self.name)]
        join = ["/bin/sh", "-c", _JOIN, "join", *groups, "--"]
        separate = [find("unshare") or "unshare", "--fork", "--kill-child", "--propagation=private", *_NAMESPACES]
        init = [
            os.path.realpath(sys.executable),
            "-S",
            "-E",
            "-s",
            "-m",
            "lab.init",
            str(self.directory / "machine.json"),
        ]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*join, *separate, *init],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=_CHECKOUT,
                env={"PATH": SYSTEM_PATH, "HOME": "/root", "LANG": "C.UTF-8"},
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_TIMEOUT
        while "ready to be wired" not in (text := log.read_text()):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise LabError(f"machine {self.name} did not start:\n{text.strip()[-1500:]}")
            time.sleep(0.02)
        first = _only_child(process.pid)
        cgroups.make_room(lab=self.cgroup, machine=self.name, pids=[process.pid, first])
        state = MachineState(
            name=self.name,
            launcher=process.pid,
            launcher_started=started(process.pid),
            init=first,
            init_started=started(first),
        )
        return state, process

    def last_spec(self) -> MachineSpec:
        """What it was started with."""
        return MachineSpec.from_json((self.directory / "machine.json").read_text())

    def programs(self) -> list[ProgramStatus]:
        """What its init last said of its programs."""
        return read_statuses(self.directory)

    def host_pids(self) -> dict[int, int]:
        """PID inside the machine -> PID on the host, of its processes that are not in a namespace further down."""
        pids = {}
        for pid in cgroups.processes(lab=self.cgroup, machine=self.name):
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text()
                numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
                if len(numbers) == len(_own_namespaces()) + 1:
                    pids[int(numbers[-1])] = pid
        return pids

    def diagnosis(self, *, lines: int = 8) -> str:
        """Every program's state, and the end of the log of each that does not run or has not stayed up."""
        text = []
        for program in self.programs():
            ended = "" if program.last_exit is None else f", last exit {program.last_exit}"
            text.append(f"{program.name}: {program.state}, {program.restarts} restarts{ended}")
            log = self.directory / "log" / f"{program.name}.log"
            if (program.restarts or program.state != "Running") and log.exists():
                text += [f"    {line}" for line in log.read_text(errors="replace").splitlines()[-lines:]]
        return "\n".join(text) or f"{self.name} has not started any program"

    def resident_memory(self) -> int:
        """Bytes of memory that its processes hold resident; pages that they share count once for each."""
        total = 0
        for pid in cgroups.processes(lab=self.cgroup, machine=self.name):
            with contextlib.suppress(OSError):
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return total * os.sysconf("SC_PAGE_SIZE")


def go(process: subprocess.Popen[bytes]) -> None:
    """Tell a started machine that its network is there."""
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.close()


def running(state: MachineState) -> bool:
    """Whether the machine's PID 1 is the process that was started."""
    return started(state.init) == state.init_started


def stop(states: tuple[MachineState, ...], *, timeout: float = 8.0) -> list[str]:
    """Stop machines, all at once: politely, after ``timeout`` seconds by SIGKILL; the names of those that ran."""
    alive = [state for state in states if running(state)]
    for state in alive:
        _signal(state.init, state.init_started, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while any(map(_anything_runs, alive)) and time.monotonic() < deadline:
        time.sleep(0.02)
    for state in states:
        _signal(state.init, state.init_started, signal.SIGKILL)
        _signal(state.launcher, state.launcher_started, signal.SIGKILL)
    return [state.name for state in alive]


def _anything_runs(state: MachineState) -> bool:
    return running(state) or started(state.launcher) == state.launcher_started


def started(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 when there is no such process, or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def _signal(pid: int, since: int, number: signal.Signals) -> None:
    if since and started(pid) == since:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _own_namespaces() -> list[str]:
    """This process's numbers in each PID namespace from the one that /proc shows down to its own."""
    status = Path("/proc/self/status").read_text()
    return next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]


def _only_child(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    if len(children) != 1:
        raise LabError(f"the machine's launcher {pid} has {len(children)} children instead of one")
    return int(children[0])


def _empty(directory: Path, *, keep: set[Path]) -> None:
    if not directory.is_dir():
        return
    for path in directory.iterdir():
        if path in keep:
            continue
        if path.is_dir() and not path.is_symlink():
            if any(path in kept.parents for kept in keep):
                _empty(path, keep=keep)
            else:
                shutil.rmtree(path)
        else:
            path.unlink()


def visible_paths(*paths: Path) -> tuple[str, ...]:
    """What a machine sees of the host besides the system: ``paths``, this package, and its Python."""
    wanted = [*paths, _CHECKOUT / "lab", Path(sys.base_prefix)]
    return tuple(str(path) for path in wanted if not path.is_relative_to("/usr"))
