"""The supervisor of a machine's init, as a process of its own, since it takes signals and reaps every child."""

import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.init import answers
from lab.spec import MachineSpec, Probe, Program, ProgramStatus, read_statuses

RUN = """
import sys
from pathlib import Path
from lab.init import Supervisor
from lab.spec import MachineSpec
spec = MachineSpec.from_json(Path(sys.argv[1]).read_text())
Supervisor(programs=spec.programs, directory=Path(spec.directory)).run()
"""

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[subprocess.Popen[bytes]] = []

    def start_supervisor(*programs: Program) -> subprocess.Popen[bytes]:
        (tmp_path / "log").mkdir()
        spec = MachineSpec(name="m", directory=str(tmp_path), visible=(), programs=programs)
        (tmp_path / "machine.json").write_text(spec.to_json())
        process = subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path / "machine.json")])
        running.append(process)
        return process

    yield start_supervisor
    for process in running:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def _shell(name: str, script: str, **options: object) -> Program:
    return Program(name=name, argv=("/bin/sh", "-c", script), **options)  # type: ignore[arg-type]


def _await(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _status(directory: Path, name: str) -> ProgramStatus | None:
    return next((status for status in read_statuses(directory) if status.name == name), None)


def test_a_program_that_ends_starts_again(start: Start, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    start(_shell("dies", f"echo run >> {runs}; exit 3"), _shell("stays", "exec sleep 100"))
    _await(lambda: runs.exists() and runs.read_text().count("run") >= 3)
    dies, stays = _status(tmp_path, "dies"), _status(tmp_path, "stays")
    assert dies is not None
    assert (dies.last_exit, dies.restarts >= 2) == (3, True)
    assert stays is not None
    assert (stays.state, stays.restarts) == ("Running", 0)


def test_a_killed_program_starts_again_with_another_pid(start: Start, tmp_path: Path) -> None:
    start(_shell("program", "exec sleep 100"))
    _await(lambda: bool((found := _status(tmp_path, "program")) and found.pid))
    before = _status(tmp_path, "program")
    assert before is not None
    os.kill(before.pid, signal.SIGKILL)
    _await(lambda: bool((found := _status(tmp_path, "program")) and found.pid not in (0, before.pid)))
    after = _status(tmp_path, "program")
    assert after is not None
    assert (after.restarts, after.last_exit) == (1, -signal.SIGKILL)


def test_a_program_that_cannot_start_is_reported_and_harms_no_other(start: Start, tmp_path: Path) -> None:
    start(Program(name="missing", argv=("/no/such/program",)), _shell("stays", "exec sleep 100"))
    _await(lambda: bool((found := _status(tmp_path, "missing")) and found.last_exit == 127))
    stays = _status(tmp_path, "stays")
    assert stays is not None
    assert stays.state == "Running"
    assert "cannot start /no/such/program" in (tmp_path / "log" / "missing.log").read_text()


def test_the_first_start_waits_for_the_probe_and_a_restart_does_not(start: Start, tmp_path: Path) -> None:
    address = tmp_path / "probe.sock"
    start(_shell("late", "exec sleep 100", after=(Probe(address=f"unix://{address}"),)))
    _await(lambda: bool((found := _status(tmp_path, "late")) and found.state == "Waiting"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen()
        _await(lambda: bool((found := _status(tmp_path, "late")) and found.state == "Running"))
    running = _status(tmp_path, "late")
    assert running is not None
    os.kill(running.pid, signal.SIGKILL)
    _await(lambda: bool((found := _status(tmp_path, "late")) and found.restarts == 1 and found.pid))


def test_stopping_goes_in_reverse_and_kills_what_stays(start: Start, tmp_path: Path) -> None:
    order, ready = tmp_path / "order", tmp_path / "ready"
    polite = "trap 'echo {0} >> {1}; exit 0' TERM; echo {0} >> {2}; while :; do sleep 0.05; done"
    stubborn = f"trap '' TERM; echo stubborn >> {ready}; while :; do sleep 0.05; done"
    process = start(
        _shell("first", polite.format("first", order, ready), grace=10.0),
        _shell("second", polite.format("second", order, ready), grace=10.0),
        _shell("stubborn", stubborn, grace=0.3),
    )
    _await(lambda: ready.exists() and len(ready.read_text().split()) == 3)
    process.terminate()
    assert process.wait(10) == 0
    assert order.read_text().split() == ["second", "first"]
    assert all(status.pid == 0 or not Path(f"/proc/{status.pid}").exists() for status in read_statuses(tmp_path))


def test_http_counts_when_it_succeeds() -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/good" else 503)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        base = f"http://127.0.0.1:{server.server_port}"
        assert answers(Probe(address=f"{base}/good"))
        assert not answers(Probe(address=f"{base}/bad"))
    finally:
        server.shutdown()
        server.server_close()
    assert not answers(Probe(address=f"{base}/good"))
    assert not answers(Probe(address="unix:///no/such/socket"))
