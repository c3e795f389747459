"""The agents are followed by long polls: what they say is known, and for how long a poll may be held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from littoral.api.routing import GatewayStatus
from littoral.site.agents import Agents
from littoral.site.views import PodView
from tests.unit.site.test_gateways import front


@dataclass
class Stub:
    """An agent that answers what it is told, and remembers what it was asked."""

    port: int = 0
    answer: object = field(default_factory=lambda: {"generation": 1, "message": "one"})
    asked: list[dict[str, str]] = field(default_factory=list)

    async def status(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.query))
        if "after" in request.query:
            await asyncio.sleep(float(request.query["wait"]))
        return web.json_response(self.answer)


@asynccontextmanager
async def agent() -> AsyncIterator[Stub]:
    stub = Stub()
    application = web.Application()
    application.add_routes([web.get("/v1/status", stub.status)])
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    stub.port = runner.addresses[0][1]
    try:
        yield stub
    finally:
        await runner.cleanup()


async def until(holds: Callable[[], bool], changed: asyncio.Event) -> None:
    async with asyncio.timeout(20):
        while not holds():
            changed.clear()
            await changed.wait()


POD: PodView = front(address="127.0.0.1")


@pytest.mark.parametrize("broken", [{"generation": "no number"}, ["no object"]])
async def test_what_an_agent_says_is_known_until_it_says_nothing_that_can_be_read(broken: object) -> None:
    changed = asyncio.Event()
    async with agent() as stub:
        agents = Agents(GatewayStatus.parse, on_change=changed.set, wait=0.01, port=stub.port)
        try:
            agents.follow([POD])
            await until(lambda: POD.uid in agents.statuses, changed)
            assert agents.statuses[POD.uid].message == "one"
            stub.answer = {"generation": 2, "message": "two"}
            await until(lambda: agents.statuses[POD.uid].message == "two", changed)
            assert stub.asked[:2] == [{}, {"after": "1", "wait": "0.01"}]
            stub.answer = broken
            await until(lambda: POD.uid not in agents.statuses, changed)
            stub.answer = {"generation": 3, "message": "three"}
            await until(lambda: POD.uid in agents.statuses, changed)
            agents.follow([])
            assert agents.statuses == {}
        finally:
            await agents.close()
