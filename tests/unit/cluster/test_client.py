"""The client of an API server that is given by its address: tokens, other addresses, answers that are none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from littoral.cluster.client import UNREACHABLE, ApiError, Client
from littoral.cluster.resources import NODES


@dataclass
class Stub:
    """An API server that answers what it is told, and remembers who asked."""

    url: str = ""
    answer: str = '{"metadata": {"name": "n"}}'
    status: int = 200
    seen: list[str] = field(default_factory=list)

    async def any(self, request: web.Request) -> web.Response:
        self.seen.append(request.headers.get("Authorization", ""))
        return web.Response(text=self.answer, status=self.status, content_type="application/json")


@asynccontextmanager
async def api_server() -> AsyncIterator[Stub]:
    stub = Stub()
    application = web.Application()
    application.add_routes([web.get("/{path:.*}", stub.any)])
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    stub.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield stub
    finally:
        await runner.cleanup()


async def test_a_token_is_replaced_from_the_next_request_on() -> None:
    async with api_server() as stub, Client.at(stub.url, ca="", token="one") as client:
        await client.get(NODES, name="n")
        client.use_token("two")
        await client.get(NODES, name="n")
        assert stub.seen == ["Bearer one", "Bearer two"]


async def test_a_client_goes_to_another_address() -> None:
    async with api_server() as one, api_server() as two, Client.at(one.url, ca="", token="one") as client:
        assert client.server == one.url
        await client.get(NODES, name="n")
        await client.redirect(f"{two.url}/", ca="", token="two")
        await client.get(NODES, name="n")
        assert client.server == two.url
        assert (one.seen, two.seen) == (["Bearer one"], ["Bearer two"])


async def test_what_is_no_certificate_is_refused_and_changes_nothing() -> None:
    broken = "-----BEGIN CERTIFICATE-----\nTGl0dG9yYWw=\n-----END CERTIFICATE-----\n"
    async with api_server() as stub, Client.at(stub.url, ca="", token="one") as client:
        with pytest.raises(ValueError, match="no certificates in PEM"):
            await client.redirect("https://elsewhere.example", ca=broken, token="two")
        assert await client.get(NODES, name="n")


async def test_a_closed_client_is_unreachable() -> None:
    async with api_server() as stub:
        client = Client.at(stub.url, ca="", token="one")
        await client.get(NODES, name="n")
        await client.close()
        with pytest.raises(UNREACHABLE):
            await client.get(NODES, name="n")


@pytest.mark.parametrize("status", [200, 502])
async def test_a_portal_that_answers_in_place_of_the_api_server_is_an_error_like_any(status: int) -> None:
    async with api_server() as stub, Client.at(stub.url, ca="", token="one") as client:
        stub.answer, stub.status = "<html>Log in to the WLAN</html>", status
        with pytest.raises(ApiError, match="Log in"):
            await client.get(NODES, name="n")
        with pytest.raises(ApiError, match="Log in"):
            await anext(client.watch(NODES, resource_version="1"))
