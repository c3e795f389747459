"""The whole agent as a process beside a real Triton, and the means to disturb both."""

import asyncio
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from lab.triton import TritonInstallation

PATIENCE = 120.0
"""Seconds after which something that was awaited counts as not coming."""


def network(constant: float) -> bytes:
    """A network that adds `constant` to its input, so that an answer tells which one gave it."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "c"], ["y"])],
        "adder",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(np.array([constant], dtype=np.float32), "c")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(kw_only=True)
class Triton:
    """A real tritonserver that can be killed and started again in the same place."""

    installation: TritonInstallation
    repository: Path
    log: Path
    port: int = field(default_factory=free_port)
    grpc_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def shared_memory(self) -> str:
        return f"littoral-agent-test-{self.port}-"

    def start(self) -> None:
        command = [
            *self.installation.command,
            f"--model-repository={self.repository}",
            "--model-control-mode=explicit",
            "--http-address=127.0.0.1",
            f"--http-port={self.port}",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={self.grpc_port}",
            "--allow-metrics=false",
            f"--backend-config=python,shm-region-prefix-name={self.shared_memory}",
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=dict(self.installation.env), stdout=log, stderr=log, start_new_session=True
            )

    def kill(self) -> None:
        """kill -9, as the kernel does when memory is short."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait(timeout=30)

    def replace(self) -> None:
        """A new pod: another process, an empty repository."""
        self.stop()
        shutil.rmtree(self.repository)
        self.repository.mkdir()
        self.start()

    def clean_up(self) -> None:
        """Leave no process (its backends run in some of their own) and no shared memory."""
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for leftover in Path("/dev/shm").glob(f"{self.shared_memory}*"):
            leftover.unlink(missing_ok=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@dataclass(kw_only=True)
class Agent:
    """`littoral agent` as a process, with its desired state."""

    root: Path
    triton: Triton
    session: aiohttp.ClientSession
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    revision: int = 0
    accelerator: str | None = None

    @property
    def config(self) -> Path:
        return self.root / "etc" / "server.json"

    def start(self, *options: str) -> None:
        command = [
            *(sys.executable, "-m", "littoral.cli.main", "agent"),
            *("--config", str(self.config), "--cache", str(self.root / "cache")),
            *("--repository", str(self.triton.repository), "--triton", f"127.0.0.1:{self.triton.port}"),
            *("--triton-grpc", f"127.0.0.1:{self.triton.grpc_port}"),
            *("--listen", f"127.0.0.1:{self.port}", "--files-root", str(self.root / "files")),
            *("--drain", "500ms", "--log-format", "text", *options),
        ]
        with (self.root / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def artifact(self, content: bytes, name: str = "network.onnx") -> dict[str, str]:
        """Put a file below the files root; its artifact, as desired state names it."""
        digest = hashlib.sha256(content).hexdigest()
        path = self.root / "files" / digest[:12] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return {"uri": f"file://{path}", "digest": f"sha256:{digest}"}

    def want(self, name: str, artifact: dict[str, str], *, backend: str = "onnxruntime") -> None:
        self.models[name] = {
            "name": name,
            "variant": "cpu",
            "backend": backend,
            "artifact": artifact,
            "parameters": {},
        }

    def apply(self) -> str:
        """Swap the file as the kubelet does, and return the revision."""
        self.revision += 1
        revision = f"r{self.revision}"
        device = {} if self.accelerator is None else {"accelerator": self.accelerator}
        self.write(json.dumps({"revision": revision, **device, "models": list(self.models.values())}))
        return revision

    def write(self, text: str) -> None:
        self.config.parent.mkdir(exist_ok=True)
        staged = self.config.with_suffix(".new")
        staged.write_text(text)
        staged.replace(self.config)

    async def status(self, after: int | None = None) -> dict[str, Any]:
        query = {} if after is None else {"after": str(after), "wait": "25"}
        async with self.session.get(f"http://127.0.0.1:{self.port}/v1/status", params=query) as response:
            assert response.status == 200
            return dict(await response.json())

    async def get(self, path: str) -> tuple[int, str]:
        """Status code and body."""
        async with self.session.get(f"http://127.0.0.1:{self.port}{path}") as response:
            return response.status, await response.text()

    async def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first status for which `holds`, by long polls."""
        status: dict[str, Any] = {}
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    try:
                        status = await self.status(status.get("generation"))
                    except aiohttp.ClientConnectionError:  # it starts
                        await asyncio.sleep(0.05)
                        continue
                    if holds(status):
                        return status
        except TimeoutError:
            pytest.fail(f"not reached; last status {status}\n{(self.root / 'agent.log').read_text()[-3000:]}")

    async def until_ready(self, revision: str) -> dict[str, Any]:
        return await self.until(
            lambda it: (
                it["revision"] == revision
                and bool(it["models"])
                and all(model["state"] == "Ready" for model in it["models"])
            )
        )

    async def infer(self, model: str, value: float = 0.0) -> float:
        """What the network adds to 0, as Triton answers."""
        body = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [value]}]}
        async with self.session.post(f"{self.triton.url}/v2/models/{model}/infer", json=body) as response:
            answer = await response.text()
            assert response.status == 200, answer
            return float(json.loads(answer)["outputs"][0]["data"][0])


def model_of(status: dict[str, Any], name: str) -> dict[str, Any]:
    """The entry of one model; empty if it is not there."""
    return next((model for model in status["models"] if model["name"] == name), {})


@dataclass(kw_only=True)
class Load:
    """Requests without a pause, and what came back."""

    answers: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    _answered: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def send(self, agent: Agent, model: str) -> None:
        while True:
            try:
                answer = await agent.infer(model)
            except (AssertionError, aiohttp.ClientError) as error:
                self.errors.append(str(error))
            else:
                async with self._answered:
                    self.answers.append(answer)
                    self._answered.notify_all()

    async def answered_by(self, constant: float) -> None:
        """Wait until that network has answered a request."""
        async with asyncio.timeout(PATIENCE), self._answered:
            await self._answered.wait_for(lambda: constant in self.answers)


@asynccontextmanager
async def load_on(agent: Agent, model: str, *, clients: int = 4) -> AsyncIterator[Load]:
    """Send requests as fast as `clients` can while the block runs."""
    load = Load()
    senders = [asyncio.create_task(load.send(agent, model)) for _ in range(clients)]
    try:
        yield load
    finally:
        for sender in senders:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)
