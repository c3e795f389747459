"""A gateway as it runs in a Pod: HAProxy and the agent as processes, with a folder between them."""

from __future__ import annotations

import asyncio
import contextlib
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
from tests.gateway.upstream import LOOPBACK, FakeUpstream, free_port

HOST = "digits.shop"
DEADLINE = 20.0


def upstream(server: FakeUpstream, **changes: Any) -> Upstream:
    """The server as a route names it."""
    fields = {"http_port": server.http_port, "grpc_port": server.grpc_port} | changes
    return Upstream(name=server.name, address=LOOPBACK, **fields)


def route(*servers: FakeUpstream, next_to: FakeUpstream | None = None, **fields: Any) -> ModelRoute:
    """The Model `digits` of the namespace `shop` on these servers."""
    pools = (NextPool(name="cloud", servers=(upstream(next_to),)),) if next_to else ()
    return ModelRoute(
        **{"namespace": "shop", "name": "digits", "servers": tuple(map(upstream, servers)), "next": pools} | fields
    )


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


class Gateway:
    """Both processes."""

    def __init__(self, folder: Path, *, certificates: Path | None = None) -> None:
        self.folder = folder
        self.run = folder / "run"
        self.config = folder / "gateway.json"
        self.port = free_port()
        self.secure_port = free_port()
        self.report_port = free_port()
        self.certificates = certificates
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.haproxy: subprocess.Popen[bytes] | None = None
        self.agent: subprocess.Popen[bytes] | None = None
        self.revision = 0
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    def start_agent(self) -> None:
        """Run `littoral gateway`."""
        command = [
            *(sys.executable, "-m", "littoral.cli.main", "gateway"),
            *(f"--config={self.config}", f"--run={self.run}", f"--state={self.folder / 'state'}"),
            *(f"--bind={LOOPBACK}:{self.port}", f"--listen={LOOPBACK}:{self.report_port}", "--log-format=text"),
            *(f"--secure-bind={LOOPBACK}:{self.secure_port}", "--threads=2"),
        ]
        if self.certificates:
            command.append(f"--certificates={self.certificates}")
        with (self.folder / "agent.log").open("ab") as log:
            self.agent = subprocess.Popen(command, stdout=log, stderr=log)

    async def start_haproxy(self) -> None:
        """Run HAProxy once there is a configuration."""
        await until((self.run / "haproxy.cfg").exists, what="a configuration")
        command = ["haproxy", "-W", "-db", "-S", f"{self.run}/master.sock,level,admin", "-f", f"{self.run}/haproxy.cfg"]
        with (self.folder / "haproxy.log").open("ab") as log:
            # A group of its own, so that the workers can be killed with their master, as with a container.
            self.haproxy = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

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
        config = GatewayConfig(revision=str(self.revision), models=models, **fields)
        staged = self.config.with_suffix(".new")
        staged.write_text(json.dumps(config.dump()))
        staged.replace(self.config)
        return config.revision

    async def apply(self, *models: ModelRoute, **fields: Any) -> GatewayStatus:
        """Mount this desired state and wait until it is in force."""
        revision = self.write(*models, **fields)
        return await self.until_status(lambda it: it.revision == revision and it.haproxy.ready)

    async def status(self) -> GatewayStatus:
        """What the agent says."""
        async with self.session.get(f"http://{LOOPBACK}:{self.report_port}/v1/status") as answer:
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
            logs = "".join((self.folder / name).read_text()[-4000:] for name in ("agent.log", "haproxy.log"))
            raise AssertionError(f"{logs}\nthe status never was as wanted") from None

    async def until_demand(self, condition: Callable[[ModelDemand], Any]) -> ModelDemand:
        """The first state of `digits` that is as wanted."""
        status = await self.until_status(
            lambda status: any(it.name == "digits" and condition(it) for it in status.models)
        )
        return next(it for it in status.models if it.name == "digits")

    async def infer(
        self, *, host: str = HOST, path: str = "/v2/models/digits/infer", body: bytes = b"x", **headers: str
    ) -> Answer:
        """One request over HTTP."""
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        async with self.session.post(self.url + path, headers={"Host": host} | named, data=body) as answer:
            return Answer(answer.status, await answer.json(content_type=None), dict(answer.headers))

    @contextlib.asynccontextmanager
    async def grpc(
        self, *, host: str = HOST, port: int = 0
    ) -> AsyncIterator[service_pb2_grpc.GRPCInferenceServiceStub]:
        """A client over gRPC, on a connection of its own."""
        options = [("grpc.default_authority", host), ("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"{LOOPBACK}:{port or self.port}", options=options) as channel:
            yield service_pb2_grpc.GRPCInferenceServiceStub(channel)

    async def close(self) -> None:
        """Stop both."""
        await self.session.close()
        for process in (self.agent, self.haproxy):
            if process is not None and process.poll() is None:
                process.terminate()
                process.wait(timeout=20)


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
                    async with session.post(url, headers={"Host": HOST}, data=self._body) as answer:
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
