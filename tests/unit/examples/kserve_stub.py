"""Models for the examples' tests: KServe v2 with bytes, by aiohttp, in front of a network or a function."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import onnxruntime
from aiohttp import web

from examples.quickstart.networks import Network

Answering = Callable[[np.ndarray], Awaitable[np.ndarray | web.Response]]


@dataclass(kw_only=True)
class Stub:
    """Models by name; a test changes what they answer."""

    models: dict[str, Answering] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    url: str = ""

    async def infer(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.asked.append(name)
        self.hosts.append(request.host)
        if name not in self.models:
            return unavailable(3)
        body = await request.read()
        length = int(request.headers["Inference-Header-Content-Length"])
        header = json.loads(body[:length])
        (wanted,) = header["outputs"]
        (given,) = header["inputs"]
        assert given["parameters"]["binary_data_size"] == len(body) - length
        assert wanted["parameters"] == {"binary_data": True}
        tensor = np.frombuffer(body[length:], dtype="<f4").reshape(given["shape"])
        answer = await self.models[name](tensor)
        if isinstance(answer, web.Response):
            return answer
        data = answer.astype("<f4").tobytes()
        output = {"name": wanted["name"], "datatype": "FP32", "shape": answer.shape}
        output["parameters"] = {"binary_data_size": len(data)}
        head = json.dumps({"model_name": name, "model_version": "7", "outputs": [output]}).encode()
        return web.Response(body=head + data, headers={"Inference-Header-Content-Length": str(len(head))})


def unavailable(seconds: int) -> web.Response:
    """What the site's gateway says where nobody serves a Model."""
    return web.Response(status=503, text="no server", headers={"Retry-After": str(seconds)})


def network(network: Network) -> Answering:
    """The network itself, run in this process by one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(network.path()), options, providers=["CPUExecutionProvider"])

    async def answer(tensor: np.ndarray) -> np.ndarray:
        (output,) = session.run(None, {session.get_inputs()[0].name: tensor})
        return output

    return answer


@asynccontextmanager
async def listening(application: web.Application) -> AsyncIterator[str]:
    """Serve an application on a free port; its address."""
    runner = web.AppRunner(application, shutdown_timeout=0.2)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serving(models: dict[str, Answering]) -> AsyncIterator[Stub]:
    """Serve Models."""
    stub = Stub(models=models)
    application = web.Application(client_max_size=2**30)
    application.router.add_post("/v2/models/{name}/infer", stub.infer)
    async with listening(application) as stub.url:
        yield stub
