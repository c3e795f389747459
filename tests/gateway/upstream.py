"""A server with the two faces of Triton, as small as one can be: it answers, counts and waits as it is told.

Run as a program, it can be killed: `python -m tests.gateway.upstream NAME HTTP_PORT GRPC_PORT`.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections import Counter
from types import TracebackType

import grpc
from aiohttp import web
from tritonclient.grpc import service_pb2, service_pb2_grpc

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as each:
        each.bind((LOOPBACK, 0))
        return int(each.getsockname()[1])


class FakeUpstream:
    """Serves one model, over HTTP and gRPC.

    Attributes:
        ready: what its readiness check says.
        answered: requests by kind (`http`, `grpc`, `check`).
        seen: inference requests' sequence ids, in order.
        headers: those of the last inference request.
        last: the body of that, decompressed.
        gate: requests wait until it is set.
        waiting: requests that are in here now.
        status: of HTTP answers.
        code: what gRPC requests fail with; None to answer them.
    """

    def __init__(self, name: str, *, http_port: int | None = None, grpc_port: int | None = None) -> None:
        self.name = name
        self.http_port = http_port or free_port()
        self.grpc_port = grpc_port or free_port()
        self.ready = True
        self.answered: Counter[str] = Counter()
        self.seen: list[str] = []
        self.headers: dict[str, str] = {}
        self.last = b""
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = 0
        self.status = 200
        self.code: grpc.StatusCode | None = None

    async def __aenter__(self) -> FakeUpstream:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen on both ports."""
        app = web.Application(client_max_size=1 << 30)
        app.router.add_get("/v2/models/{model}/ready", self._ready)
        app.router.add_get("/v2/models/{model}", self._metadata)
        app.router.add_post("/v2/models/{model}/infer", self._infer)
        app.router.add_get("/waiting", self._waiting)
        app.router.add_put("/gate", self._move_gate)
        self._runner = web.AppRunner(app, shutdown_timeout=10)
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, self.http_port, reuse_address=True).start()
        self._grpc = grpc.aio.server()
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_Service(self), self._grpc)
        self._grpc.add_insecure_port(f"{LOOPBACK}:{self.grpc_port}")
        await self._grpc.start()

    async def stop(self) -> None:
        """Finish what is under way and close."""
        await self._grpc.stop(10)
        await self._runner.cleanup()

    def open(self) -> None:
        """Let everybody through who waits."""
        self.gate.set()

    def close(self) -> None:
        """Have requests wait."""
        self.gate.clear()

    async def enter(self, kind: str, sequence: str) -> None:
        """One inference request."""
        self.seen.append(sequence)
        self.waiting += 1
        try:
            await self.gate.wait()
        finally:
            self.waiting -= 1
        self.answered[kind] += 1

    async def _ready(self, request: web.Request) -> web.Response:
        self.answered["check"] += 1
        return web.Response(status=200 if self.ready else 503)

    async def _waiting(self, request: web.Request) -> web.Response:
        return web.json_response(self.waiting)

    async def _move_gate(self, request: web.Request) -> web.Response:
        if await request.json():
            self.open()
        else:
            self.close()
        return web.Response()

    async def _metadata(self, request: web.Request) -> web.Response:
        return web.json_response({"name": request.match_info["model"], "server": self.name})

    async def _infer(self, request: web.Request) -> web.Response:
        body = self.last = await request.read()
        self.headers = {key.lower(): value for key, value in request.headers.items()}
        await self.enter("http", self.headers.get("littoral-sequence-id", ""))
        return web.json_response({"server": self.name, "bytes": len(body)}, status=self.status)


class _Service(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    def __init__(self, upstream: FakeUpstream) -> None:
        self._upstream = upstream

    async def ModelReady(self, request: object, context: grpc.aio.ServicerContext) -> object:
        return service_pb2.ModelReadyResponse(ready=self._upstream.ready)

    async def ModelInfer(self, request: object, context: grpc.aio.ServicerContext) -> object:
        metadata = dict(context.invocation_metadata())
        await self._upstream.enter("grpc", metadata.get("littoral-sequence-id", ""))
        if self._upstream.code is not None:
            await context.abort(self._upstream.code, "as told")
        return service_pb2.ModelInferResponse(model_name=request.model_name, id=self._upstream.name)

    async def ModelStreamInfer(self, requests: object, context: grpc.aio.ServicerContext) -> object:
        async for request in requests:
            await self._upstream.enter("grpc", request.id)
            yield service_pb2.ModelStreamInferResponse(
                infer_response=service_pb2.ModelInferResponse(model_name=request.model_name, id=self._upstream.name)
            )


async def _serve(name: str, http_port: str, grpc_port: str) -> None:
    async with FakeUpstream(name, http_port=int(http_port), grpc_port=int(grpc_port)):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
