"""A real Triton server as a process on this machine: for tests, and for those who want one without a cluster.

`python -m lab.triton REPOSITORY` runs one in the foreground. It is laid out under CACHE/triton/<key>/ as in the
lab's image: by the same `images/triton-lab/install.py`, out of the same pinned wheels.
"""

import argparse
import contextlib
import hashlib
import os
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.state import cache_directory, exclusive

SOURCE = Path(__file__).resolve().parent.parent / "images/triton-lab"

# Seconds until a server without models must be ready; it takes less than one on an idle machine.
START_TIMEOUT = 60.0


@dataclass(frozen=True, kw_only=True)
class TritonInstallation:
    """Where Triton is, and how it is run: `command`, with further options, in the environment `env`."""

    prefix: Path
    command: Sequence[str]
    env: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class TritonServer:
    """A running server; ports are on 127.0.0.1."""

    http_port: int
    grpc_port: int
    metrics_port: int
    repository: Path
    log: Path
    pid: int

    @property
    def url(self) -> str:
        """The root of its HTTP API."""
        return f"http://127.0.0.1:{self.http_port}"


def ensure_triton(cache: Path) -> TritonInstallation:
    """Install Triton under `cache` unless it is there, for the Python that runs this.

    Raises `LabError` when the wheels cannot be had or this machine lacks Python's shared library.
    """
    prefix = cache / "triton" / _key()
    with exclusive(cache / "triton/.lock", purpose="the Triton server"):
        if not prefix.exists():
            _install(prefix)
    return _installation(prefix)


@contextlib.contextmanager
def serve(
    installation: TritonInstallation, *, repository: Path, log: Path, options: Sequence[str] = ()
) -> Iterator[TritonServer]:
    """Run a server on free ports of 127.0.0.1 until the block ends; models are loaded on request only.

    `repository` is its model repository, `log` the file for what it prints, `options` are tritonserver's own.
    Raises `LabError`, with the end of the log, when the server is not ready within `START_TIMEOUT`.
    """
    http_port, grpc_port, metrics_port = _free_ports(3)
    command = [
        *installation.command,
        f"--model-repository={repository}",
        "--model-control-mode=explicit",
        "--metrics-config=summary_latencies=true",
        "--http-address=127.0.0.1",
        f"--http-port={http_port}",
        "--grpc-address=127.0.0.1",
        f"--grpc-port={grpc_port}",
        "--metrics-address=127.0.0.1",
        f"--metrics-port={metrics_port}",
        *options,
    ]
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env=installation.env, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        server = TritonServer(
            http_port=http_port,
            grpc_port=grpc_port,
            metrics_port=metrics_port,
            repository=repository,
            log=log,
            pid=process.pid,
        )
        try:
            _wait_until_ready(server, process)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a server in the foreground."""
    parser = argparse.ArgumentParser(prog="python -m lab.triton", description="Run a Triton server on this machine.")
    parser.add_argument("repository", type=Path, help="the model repository; models are loaded on request")
    parser.add_argument("options", nargs="*", help="further options of tritonserver, after --")
    parsed = parser.parse_args(arguments)
    with tempfile.NamedTemporaryFile(prefix="triton-", suffix=".log") as log:
        installation = ensure_triton(cache_directory())
        with serve(
            installation, repository=parsed.repository.resolve(), log=Path(log.name), options=parsed.options
        ) as server:
            print(f"{server.url}, gRPC on {server.grpc_port}, metrics on {server.metrics_port}, log in {log.name}")
            with contextlib.suppress(KeyboardInterrupt):
                os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)


def _install(prefix: Path) -> None:
    prefix.parent.mkdir(parents=True, exist_ok=True)
    # An installation that was cut off must not pass for one: the folder gets its name when it is whole.
    with tempfile.TemporaryDirectory(dir=prefix.parent, prefix=".new-") as scratch:
        unfinished = Path(scratch, prefix.name)
        done = subprocess.run(
            [sys.executable, str(SOURCE / "install.py"), str(unfinished)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise LabError(f"Triton cannot be installed:\n{done.stderr.strip()}")
        # The stub of a Python-based backend takes the packages of the `python3` that is first on PATH, before its own.
        # Its own must win, whatever environment this runs in: it is given one without any.
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(unfinished / "python")], check=True)
        _check_libraries(_installation(unfinished))
        unfinished.rename(prefix)


def _check_libraries(installation: TritonInstallation) -> None:
    """Find out now what would otherwise be a model that does not load: a library that this machine lacks."""
    stub = installation.prefix / "backends/python/triton_python_backend_stub"
    listing = subprocess.run(
        ["ldd", str(stub)], env=installation.env, capture_output=True, text=True, check=True
    ).stdout
    missing = [line.split()[0] for line in listing.splitlines() if "not found" in line]
    if missing:
        raise LabError(f"Triton's Python backend needs {', '.join(missing)}; Debian has it in libpython3.11")


def _installation(prefix: Path) -> TritonInstallation:
    libraries = [str(prefix / "lib")]
    if sysconfig.get_config_var("Py_ENABLE_SHARED"):
        libraries.append(str(sysconfig.get_config_var("LIBDIR")))
    return TritonInstallation(
        prefix=prefix,
        command=(str(prefix / "bin/tritonserver"), f"--backend-directory={prefix / 'backends'}"),
        env={
            **os.environ,
            "LD_LIBRARY_PATH": ":".join(libraries),
            "PATH": f"{prefix / 'python/bin'}:{os.environ.get('PATH', os.defpath)}",
        },
    )


def _key() -> str:
    """Name what the installation is made of: its sources and this Python."""
    digest = hashlib.sha256(f"{sys.version} {sysconfig.get_config_var('LIBDIR')}".encode())
    sources = [path for path in SOURCE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    for path in sorted([*sources, Path(__file__)]):
        digest.update(f"\0{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _free_ports(count: int) -> list[int]:
    """Find ports that nobody listens on: all are held until the last is known, so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait_until_ready(server: TritonServer, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        try:
            # The metrics come up last.
            for url in (f"{server.url}/v2/health/ready", f"http://127.0.0.1:{server.metrics_port}/metrics"):
                with urllib.request.urlopen(url, timeout=1):
                    pass
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.02)
    tail = "\n".join(server.log.read_text(errors="replace").splitlines()[-15:])
    raise LabError(f"Triton is not ready after {START_TIMEOUT:.0f} s or has ended ({process.poll()}):\n{tail}")


if __name__ == "__main__":
    main()
