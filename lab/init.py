"""A machine's first process: ``python -m lab.init MACHINE_JSON``, run by the lab in fresh namespaces.

It builds the machine's file system, waits until the lab has wired the network (one byte on standard input), then
keeps the machine's programs running until SIGTERM. When it dies, however it dies, the kernel ends every process of its
PID namespace, so nothing of the machine survives it. Standard library only: a machine needs no virtual environment.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from lab import rootfs
from lab.spec import MachineSpec, Probe, Program, ProgramStatus, write_statuses

_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)
_FIRST_BACKOFF = 0.25  # seconds; doubles with each restart
_LONGEST_BACKOFF = 10.0
_STEADY_AFTER = 30.0  # seconds of running after which the back-off begins anew


def answers(probe: Probe) -> bool:
    """Whether the probe's address answers now (within two seconds)."""
    url = urlsplit(probe.address)
    try:
        if url.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(2)
                connection.connect(url.path)
            return True
        client: http.client.HTTPConnection
        if url.scheme == "https":
            context = ssl.create_default_context(cafile=probe.authority)
            context.load_cert_chain(probe.certificate, probe.key)
            client = http.client.HTTPSConnection(url.netloc, timeout=2, context=context)
        else:
            client = http.client.HTTPConnection(url.netloc, timeout=2)
        try:
            client.request("GET", url.path)
            return 200 <= client.getresponse().status < 300
        finally:
            client.close()
    except (OSError, http.client.HTTPException):
        return False


@dataclass(kw_only=True)
class _Slot:
    """A program and how it goes."""

    program: Program
    pid: int = 0
    restarts: int = 0
    last_exit: int | None = None
    started: float = 0.0
    backoff: float = _FIRST_BACKOFF
    due: float = field(default_factory=time.monotonic)

    def status(self) -> ProgramStatus:
        stopped = "Waiting" if self.last_exit is None else "Restarting"
        return ProgramStatus(
            name=self.program.name,
            state="Running" if self.pid else stopped,
            pid=self.pid,
            restarts=self.restarts,
            last_exit=self.last_exit,
        )


class Supervisor:
    """Keeps programs running: each starts once its probe answers, and again, with back-off, when it ends."""

    def __init__(self, *, programs: tuple[Program, ...], directory: Path) -> None:
        self._slots = [_Slot(program=program) for program in programs]
        self._directory = directory
        self._logs = directory / "log"
        self._written: list[ProgramStatus] = []

    def run(self) -> None:
        """Work until SIGTERM or SIGINT, then stop the programs in reverse order."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        while True:
            idle = self._start_what_is_due()
            self._report()
            received = signal.sigtimedwait(_SIGNALS, idle)
            if received is not None and received.si_signo != signal.SIGCHLD:
                break
            self._reap()
        for slot in reversed(self._slots):
            self._stop(slot)

    def _start_what_is_due(self) -> float:
        """Start programs; how long (seconds) until one may be due again."""
        idle = 3600.0
        for slot in self._slots:
            if slot.pid:
                continue
            wait = slot.due - time.monotonic()
            if wait > 0:
                idle = min(idle, wait)
            elif slot.restarts or all(map(answers, slot.program.after)):
                self._start(slot)
            else:
                idle = min(idle, 0.1)
        return idle

    def _start(self, slot: _Slot) -> None:
        program = slot.program
        log = os.open(self._logs / f"{program.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            slot.pid = os.posix_spawn(
                program.argv[0],
                program.argv,
                {**os.environ, **program.environment},
                file_actions=[(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)],
                setsid=True,
                setsigmask=(),
            )
        except OSError as error:
            os.write(log, f"init: cannot start {program.argv[0]}: {error}\n".encode())
            self._ended(slot, 127)
        finally:
            os.close(log)
        slot.started = time.monotonic()

    def _ended(self, slot: _Slot, code: int) -> None:
        now = time.monotonic()
        if slot.pid and now - slot.started > _STEADY_AFTER:
            slot.backoff = _FIRST_BACKOFF
        slot.pid, slot.last_exit, slot.due = 0, code, now + slot.backoff
        slot.restarts += 1
        slot.backoff = min(2 * slot.backoff, _LONGEST_BACKOFF)

    def _reap(self) -> None:
        """Collect every child that ended: programs, and orphans such as the shims of containers."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for slot in self._slots:
                if slot.pid == pid:
                    self._ended(slot, os.waitstatus_to_exitcode(status))

    def _stop(self, slot: _Slot) -> None:
        deadline = time.monotonic() + slot.program.grace
        if slot.pid:
            os.kill(slot.pid, signal.SIGTERM if slot.program.grace else signal.SIGKILL)
        while slot.pid:
            signal.sigtimedwait((signal.SIGCHLD,), max(0.0, deadline - time.monotonic()) or 1.0)
            self._reap()
            if slot.pid and time.monotonic() >= deadline:
                os.kill(slot.pid, signal.SIGKILL)

    def _report(self) -> None:
        statuses = [slot.status() for slot in self._slots]
        if statuses != self._written:
            write_statuses(self._directory, statuses)
            self._written = statuses


def _apply(spec: MachineSpec) -> None:
    for name, value in spec.sysctls.items():
        Path("/proc/sys", *name.split(".")).write_text(value)


def main() -> None:
    """Be the machine's PID 1."""
    os.environ["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    spec = MachineSpec.from_json(Path(sys.argv[1]).read_text())
    socket.sethostname(spec.name)
    rootfs.enter(spec)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    print("ready to be wired", flush=True)
    if not os.read(0, 1):
        sys.exit("the lab went away before the network was there")
    _apply(spec)
    Supervisor(programs=spec.programs, directory=Path(spec.directory)).run()


if __name__ == "__main__":
    main()
