"""Host names among servers, and what is known of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

import pytest

from littoral.api.routing import GatewayConfig, ModelRoute, NextPool, Upstream
from littoral.gateway import resolver
from littoral.gateway.resolver import Resolver
from littoral.render.gateway_hosts import host_names, resolved

POD = Upstream(name="a", address="198.18.0.1")
FAR = Upstream(name="gateway-cloud", address="gateway.example", http_port=8443, grpc_port=8443, tls_name="x.example")


def config(*servers: Upstream) -> GatewayConfig:
    model = ModelRoute(namespace="shop", name="digits", servers=(POD,), next=(NextPool(name="cloud", servers=servers),))
    return GatewayConfig(revision="1", models=(model,))


def reached(it: GatewayConfig) -> list[tuple[str, str]]:
    return [(server.name, server.address) for server in it.models[0].next[0].servers]


def test_a_host_name_is_a_server_for_each_of_its_addresses() -> None:
    it = config(POD, FAR)
    assert host_names(it) == {"gateway.example"}
    assert reached(resolved(it, {})) == [("a", "198.18.0.1")]
    found = resolved(it, {"gateway.example": ("192.0.2.1", "192.0.2.2")})
    assert reached(found) == [
        ("a", "198.18.0.1"),
        ("gateway-cloud", "192.0.2.1"),
        ("gateway-cloud", "192.0.2.2"),
    ]
    assert {server.tls_name for server in found.models[0].next[0].servers[1:]} == {"x.example"}
    plain = config(POD, Upstream(name="v6", address="2001:db8::1"))
    assert resolved(plain, {}) is plain


class Names:
    """A name server."""

    def __init__(self) -> None:
        self.answer: list[str] = []
        self.broken: Exception | None = None
        self.asked = 0

    async def look_up(self, host: str) -> Collection[str]:
        """The answer of now."""
        self.asked += 1
        if self.broken is not None:
            raise self.broken
        return self.answer


async def until(condition: Callable[[], object]) -> None:
    for _ in range(1000):  # turns of the loop
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not come true")


@pytest.mark.parametrize("error", [OSError("nobody answers"), UnicodeError("label too long")])
async def test_what_is_not_answered_stays_as_it_was(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(resolver, "_AGAIN", 0.0)
    monkeypatch.setattr(resolver, "_RETRY", 0.0)
    server = Names()
    names = Resolver(server.look_up)
    hosts = {"gateway.example"}
    server.broken = error
    assert names.addresses(hosts) == {}
    await until(lambda: names.addresses(hosts) == {} and server.asked > 2)
    server.broken, server.answer = None, ["192.0.2.2", "192.0.2.1", "192.0.2.1"]
    await until(lambda: names.addresses(hosts) == {"gateway.example": ("192.0.2.1", "192.0.2.2")})
    server.broken, asked = error, server.asked
    await until(lambda: names.addresses(hosts) and server.asked > asked + 2)
    assert names.addresses(hosts) == {"gateway.example": ("192.0.2.1", "192.0.2.2")}
    # Of many addresses each answer has some; what was not answered for long is forgotten.
    server.broken, server.answer = None, ["192.0.2.3"]
    await until(lambda: names.addresses(hosts) == {"gateway.example": ("192.0.2.1", "192.0.2.2", "192.0.2.3")})
    server.answer = [f"192.0.2.{number}" for number in range(1, 20)]
    await until(lambda: len(names.addresses(hosts)["gateway.example"]) == 8)
    monkeypatch.setattr(resolver, "_KEPT", 0.0)
    server.answer = ["192.0.2.4"]
    await until(lambda: names.addresses(hosts) == {"gateway.example": ("192.0.2.4",)})
    # A name that nobody names any more is forgotten.
    names.addresses(())
    assert names.addresses(hosts) == {}


async def test_a_name_of_this_machine() -> None:
    assert "127.0.0.1" in await resolver.look_up("localhost")


async def test_a_name_is_asked_again_after_whatever_went_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "_RETRY", 0.0)
    names = Names()
    names.broken = RuntimeError("nobody thought of this")
    it = Resolver(names.look_up)
    it.addresses({"gateway.example"})
    await until(lambda: names.asked)
    names.broken, names.answer = None, ["192.0.2.1"]
    await until(lambda: it.addresses({"gateway.example"}))
    assert it.addresses({"gateway.example"}) == {"gateway.example": ("192.0.2.1",)}
