"""A gateway as it runs in a Pod: HAProxy and the agent as processes, with a folder between them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from littoral.api.routing import GatewayConfig, GatewayStatus, ModelDemand, ModelRoute, NextPool, Upstream
from littoral.render.gateway_haproxy import HAPROXY_ENVIRONMENT
from tests.gateway.upstream import LOOPBACK, FakeUpstream, free_port

DEADLINE = 20.0

_NUMBERS = itertools.count(1)


class Victim:
    """A FakeUpstream in a process of its own, to be killed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.http_port, self.grpc_port = free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Victim:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()

    def start(self) -> None:
        """Begin to listen, soon."""
        ports = (str(self.http_port), str(self.grpc_port))
        self._process = subprocess.Popen([sys.executable, "-m", "tests.gateway.upstream", self.name, *ports])

    def kill(self) -> None:
        """Cut every connection."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    async def ready(self) -> None:
        """Wait until it listens."""
        await until(lambda: self._ask("GET", "/waiting"), what=f"server {self.name}")

    async def close(self) -> None:
        """Have requests wait."""
        await self._ask("PUT", "/gate", body=False)

    async def holds(self, count: int) -> None:
        """Wait until so many requests wait in it."""
        await until(lambda: self._ask("GET", "/waiting", expected=str(count)), what=f"{count} requests")

    async def _ask(self, method: str, path: str, *, body: object = None, expected: str = "") -> bool:
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.request(method, f"http://{LOOPBACK}:{self.http_port}{path}", json=body) as answer,
            ):
                return expected in ("", await answer.text())
        except aiohttp.ClientError:
            return False


def upstream(server: FakeUpstream | Victim, **changes: Any) -> Upstream:
    """The server as a route names it."""
    fields = {"http_port": server.http_port, "grpc_port": server.grpc_port} | changes
    return Upstream(name=server.name, address=LOOPBACK, **fields)


async def until(condition: Callable[[], Awaitable[Any] | Any], *, what: str = "") -> Any:
    """The first true value of the condition."""
    deadline = time.monotonic() + DEADLINE
    while True:
        value = condition()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, f"{what or condition} did not come true within {DEADLINE} s"
        await asyncio.sleep(0.02)


class Processes:
    """HAProxy and the agent, and the folder between them."""

    def __init__(
        self, folder: Path, *, certificates: Path | None = None, site: str = "local", options: tuple[str, ...] = ()
    ) -> None:
        self.folder = folder
        self.run = folder / "run"
        self.config = folder / "gateway.json"
        self.port = free_port()
        self.secure_port = free_port()
        self.report_port = free_port()
        self.certificates = certificates
        self.site = site
        self.options = options
        self.haproxy: subprocess.Popen[bytes] | None = None
        self.agent: subprocess.Popen[bytes] | None = None
        self.revision = 0

    def __enter__(self) -> Processes:
        self.write()
        self.start_agent()
        # HAProxy waits for its configuration, as in the Pod.
        deadline = time.monotonic() + DEADLINE
        while not (self.run / "haproxy.cfg").exists():
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.02)
        self.start_haproxy()
        return self

    def __exit__(self, *exception: object) -> None:
        for process in (self.agent, self.haproxy):
            if process is not None and process.poll() is None:
                process.terminate()
        for process in (self.agent, self.haproxy):
            if process is not None:
                process.wait(timeout=20)

    def start_agent(self) -> None:
        """Run `littoral gateway`."""
        command = [
            *(sys.executable, "-c", "from littoral.cli.gateway import gateway; gateway()"),
            *(f"--config={self.config}", f"--run={self.run}", f"--state={self.folder / 'state'}"),
            *(f"--bind={LOOPBACK}:{self.port}", f"--listen={LOOPBACK}:{self.report_port}", "--log-format=text"),
            *(f"--secure-bind={LOOPBACK}:{self.secure_port}", "--threads=2"),
            *self.options,
        ]
        if self.certificates:
            command.append(f"--certificates={self.certificates}")
        with (self.folder / "agent.log").open("ab") as log:
            self.agent = subprocess.Popen(command, stdout=log, stderr=log)

    def start_haproxy(self) -> None:
        """Run HAProxy."""
        command = [
            "haproxy",
            "-W",
            "-db",
            "-S",
            f"{self.run}/master.sock,mode,660,level,admin",
            "-f",
            f"{self.run}/haproxy.cfg",
        ]
        with (self.folder / "haproxy.log").open("ab") as log:
            # A group of its own, so that the workers can be killed with their master, as with a container.
            self.haproxy = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, env=os.environ | HAPROXY_ENVIRONMENT
            )

    def kill_haproxy(self) -> None:
        """As the kernel kills a container for its memory: every process at once."""
        assert self.haproxy is not None
        os.killpg(self.haproxy.pid, signal.SIGKILL)
        self.haproxy.wait()

    def kill_agent(self) -> None:
        """Without a warning."""
        assert self.agent is not None
        self.agent.kill()
        self.agent.wait()

    def write(self, *models: ModelRoute, **fields: Any) -> str:
        """Mount this desired state; its revision."""
        self.revision += 1
        config = GatewayConfig(revision=str(self.revision), models=models, **{"site": self.site} | fields)
        staged = self.config.with_suffix(".new")
        staged.write_text(json.dumps(config.dump()))
        staged.replace(self.config)
        return config.revision

    def logs(self) -> str:
        """The ends of what both have logged."""
        files = (self.folder / name for name in ("agent.log", "haproxy.log"))
        return "\n".join(file.read_text()[-4000:] for file in files if file.exists())


class Gateway:
    """What a test does with the processes."""

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        # Counters only grow: each test has a namespace of its own.
        self.namespace = f"shop-{next(_NUMBERS)}"
        self.host = f"digits.{self.namespace}"
        self.url = f"http://{LOOPBACK}:{processes.port}"

    async def __aenter__(self) -> Gateway:
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.session.close()

    def route(self, *servers: FakeUpstream | Victim, next_to: FakeUpstream | None = None, **fields: Any) -> ModelRoute:
        """The Model `digits` on these servers, and what does not fit on that one."""
        pools = (NextPool(name="cloud", servers=(upstream(next_to),)),) if next_to else ()
        own = tuple(map(upstream, servers))
        return ModelRoute(**{"namespace": self.namespace, "name": "digits", "servers": own, "next": pools} | fields)

    async def apply(self, *models: ModelRoute, **fields: Any) -> GatewayStatus:
        """Mount this desired state and wait until it is in force."""
        revision = self.processes.write(*models, **fields)
        return await self.until_status(lambda it: it.revision == revision and it.haproxy.ready)

    async def status(self) -> GatewayStatus:
        """What the agent says."""
        async with self.session.get(f"http://{LOOPBACK}:{self.processes.report_port}/v1/status") as answer:
            return GatewayStatus.parse(await answer.json())

    async def until_status(self, condition: Callable[[GatewayStatus], Any]) -> GatewayStatus:
        """The first status that is as wanted."""

        async def look() -> GatewayStatus | None:
            with contextlib.suppress(aiohttp.ClientError):
                status = await self.status()
                return status if condition(status) else None
            return None

        try:
            return await until(look)  # type: ignore[no-any-return]
        except AssertionError:
            raise AssertionError(f"{self.processes.logs()}\nthe status never was as wanted") from None

    async def until_demand(self, condition: Callable[[ModelDemand], Any]) -> ModelDemand:
        """The first state of `digits` that is as wanted."""
        status = await self.until_status(
            lambda status: any(it.name == "digits" and condition(it) for it in status.models)
        )
        return next(it for it in status.models if it.name == "digits")

    async def infer(
        self, *, host: str = "", path: str = "/v2/models/digits/infer", body: bytes = b"x", **headers: str
    ) -> Answer:
        """One request over HTTP."""
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        async with self.session.post(self.url + path, headers={"Host": host or self.host} | named, data=body) as answer:
            return Answer(answer.status, await answer.json(content_type=None), dict(answer.headers))

    @contextlib.asynccontextmanager
    async def grpc(self, *, host: str = "", port: int = 0) -> AsyncIterator[service_pb2_grpc.GRPCInferenceServiceStub]:
        """A client over gRPC, on a connection of its own."""
        options = [("grpc.default_authority", host or self.host), ("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"{LOOPBACK}:{port or self.processes.port}", options=options) as channel:
            yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


class Answer:
    """Of a request over HTTP."""

    def __init__(self, status: int, body: Any, headers: dict[str, str]) -> None:
        self.status, self.body, self.headers = status, body, headers

    @property
    def server(self) -> str:
        """Name of the server that answered."""
        assert self.status == 200, (self.status, self.body)
        return str(self.body["server"])


class Load:
    """Clients that ask without a pause, over HTTP and gRPC, until the block ends; what failed is kept."""

    def __init__(self, gateway: Gateway, *, http: int = 4, grpc: int = 2, body: bytes = b"x" * 2000) -> None:
        self._gateway, self._http, self._grpc, self._body = gateway, http, grpc, body
        self.sent = 0
        self.failures: list[str] = []
        self._ending = False

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._ask_http()) for _ in range(self._http)]
        self._tasks += [asyncio.create_task(self._ask_grpc()) for _ in range(self._grpc)]
        await self.more(50)
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._ending = True
        await asyncio.gather(*self._tasks)

    async def more(self, count: int) -> None:
        """Wait until so many more requests were answered."""
        goal = self.sent + count
        await until(lambda: self.sent >= goal, what=f"{count} more answers")

    async def _ask_http(self) -> None:
        # Each has its own connection, kept alive: what a reload might cut.
        async with aiohttp.ClientSession() as session:
            while not self._ending:
                try:
                    url = f"{self._gateway.url}/v2/models/digits/infer"
                    async with session.post(url, headers={"Host": self._gateway.host}, data=self._body) as answer:
                        if answer.status != 200:
                            self.failures.append(f"{answer.status} {await answer.text()}")
                        else:
                            await answer.read()
                except aiohttp.ClientError as error:
                    self.failures.append(repr(error))
                self.sent += 1

    async def _ask_grpc(self) -> None:
        async with self._gateway.grpc() as client:
            while not self._ending:
                try:
                    await client.ModelInfer(service_pb2.ModelInferRequest(model_name="digits"))
                except grpc.aio.AioRpcError as error:
                    self.failures.append(f"{error.code()} {error.details()}")
                self.sent += 1
