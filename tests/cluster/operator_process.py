"""The operator as a process of its own, against a real API server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self
from uuid import uuid4

from tests.cluster.api_server import wait_until


class OperatorProcess:
    """`littoral operator`, started and ended as a kubelet would, or killed."""

    def __init__(
        self, *, kubeconfig: Path, namespace: str, log: Path, lease: str | None = None, more: Sequence[str] = ()
    ) -> None:
        """`more` are further arguments; they may be others at the next start."""
        self._kubeconfig = kubeconfig
        self._namespace = namespace
        self._log = log
        self.more = more
        self.lease = lease or f"test-{uuid4().hex[:8]}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def log(self) -> str:
        """All that it has logged so far."""
        return self._log.read_text() if self._log.exists() else ""

    def start(self) -> None:
        """Start it; it works as soon as it holds the Lease."""
        command = [sys.executable, "-m", "littoral.cli.main", "operator", "--namespace", self._namespace]
        options = {
            "--triton-image": "localhost/triton:lab",
            "--agent-image": "localhost/littoral:lab",
            "--lease": self.lease,
            "--identity": self._log.stem,
            "--log-format": "text",
            "--health-port": "0",
            "--metrics-port": "0",
        }
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *(word for option in options.items() for word in option), *self.more],
                env=os.environ | {"KUBECONFIG": str(self._kubeconfig)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_leading(self) -> None:
        """Wait until it holds the Lease."""
        wait_until(lambda: "leading:" in self.log, what="the operator leads")

    def kill(self) -> None:
        """SIGKILL, as the kernel does when memory runs out."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def terminate(self) -> int:
        """SIGTERM, as the kubelet does; returns the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=30)
