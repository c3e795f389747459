"""A request goes to the next pool at the instant at which there is no room here, and back as soon as there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from tritonclient.grpc import service_pb2

from littoral.api.routing import HOP_HEADER, NextPool, ServerSet
from tests.gateway.harness import Answer, Gateway, until, upstream
from tests.gateway.upstream import FakeUpstream

Servers = tuple[FakeUpstream, FakeUpstream, FakeUpstream]

INFER = service_pb2.ModelInferRequest(model_name="digits")


@asynccontextmanager
async def held(gateway: Gateway, count: int, *servers: FakeUpstream, **request: str) -> AsyncIterator[None]:
    """So many requests are in these servers, which keep them until the block ends."""
    for server in servers:
        server.close()
    before = sum(server.waiting for server in servers)
    asking = []
    for number in range(1, count + 1):
        asking.append(asyncio.create_task(gateway.infer(**request)))
        await until(lambda there=before + number: sum(server.waiting for server in servers) == there)
    try:
        yield
    finally:
        for server in servers:
            server.open()
        assert all(answer.status == 200 for answer in await asyncio.gather(*asking))


async def test_what_does_not_fit_leaves_at_once_and_comes_back(gateway: Gateway, servers: Servers) -> None:
    here, there, cloud = servers
    await gateway.apply(gateway.route(here, there, next_to=cloud, limit=2))
    async with held(gateway, 4, here, there):
        assert (here.waiting, there.waiting) == (2, 2)
        assert (await gateway.infer()).server == "c"
        assert cloud.headers[HOP_HEADER] == "local"
        async with gateway.grpc() as client:
            # Both protocols count as one.
            assert (await client.ModelInfer(INFER)).id == "c"
    assert (await gateway.infer()).server in "ab"
    demand = (await gateway.until_demand(lambda it: it.demand.arrived == 7)).demand
    assert (demand.local, demand.spilled, demand.refused) == (5, 2, 0)


async def test_never_is_refused_at_the_limit(gateway: Gateway, servers: Servers) -> None:
    here, _, cloud = servers
    await gateway.apply(gateway.route(here, next_to=cloud, limit=2, overflow="Never"))
    async with held(gateway, 2, here):
        answer = await gateway.infer()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert "as many requests as it can answer in time" in answer.body["error"]
        async with gateway.grpc() as client:
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await client.ModelInfer(INFER)
            assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
    assert (await gateway.infer()).server == "a"
    assert not cloud.seen
    demand = (await gateway.until_demand(lambda it: it.demand.arrived == 5)).demand
    assert (demand.local, demand.spilled, demand.refused, demand.failed) == (3, 0, 2, 0)


async def test_a_limit_changes_without_a_reload(gateway: Gateway, servers: Servers) -> None:
    here, _, cloud = servers
    before = await gateway.apply(gateway.route(here, next_to=cloud, limit=1))
    async with held(gateway, 1, here):
        assert (await gateway.infer()).server == "c"
        await gateway.apply(gateway.route(here, next_to=cloud, limit=2))
        async with held(gateway, 1, here):
            here.close()
            assert (await gateway.infer()).server == "c"
            after = await gateway.apply(gateway.route(here, next_to=cloud, rate="20", budget="50ms"))
            assert (await gateway.infer()).server == "c"  # 20/s * 50 ms = 1
    assert after.haproxy.pid == before.haproxy.pid
    await gateway.until_demand(lambda it: it.limit == 1)


async def test_with_the_uplink_down_requests_wait_here(gateway: Gateway, servers: Servers) -> None:
    here, _, cloud = servers
    cloud.ready = False
    await gateway.apply(gateway.route(here, next_to=cloud, limit=1, queue=3))
    await gateway.until_demand(lambda it: [s.state for s in it.servers if s.pool] == ["Down"])
    async with held(gateway, 3, here):
        assert (await gateway.infer()).status == 503
        cloud.ready = True
        await gateway.until_demand(lambda it: [s.state for s in it.servers if s.pool] == ["Up"])
        assert (await gateway.infer()).server == "c"


async def test_without_servers_here_requests_go_to_the_next_pool(gateway: Gateway, servers: Servers) -> None:
    await gateway.apply(gateway.route(next_to=servers[2]))
    assert (await gateway.infer()).server == "c"


async def test_a_client_that_calls_itself_a_gateway_is_a_client(gateway: Gateway, servers: Servers) -> None:
    here, _, cloud = servers
    await gateway.apply(gateway.route(here, next_to=cloud, limit=1))
    assert (await gateway.infer(**{HOP_HEADER: "store-12"})).server == "a"
    assert HOP_HEADER not in here.headers
    async with held(gateway, 1, here):
        assert (await gateway.infer(**{HOP_HEADER: "store-12"})).server == "c"
        assert cloud.headers[HOP_HEADER] == "local"
    demand = (await gateway.until_demand(lambda it: it.demand.arrived == 3)).demand
    assert (demand.local, demand.spilled, demand.received) == (2, 1, 0)


async def test_the_lower_priority_leaves_first(gateway: Gateway, servers: Servers) -> None:
    here, _, _ = servers
    name = f"{gateway.namespace}.triton"
    high = gateway.route(here, overflow="Never", priority=10, server_set=name)
    low = gateway.route(here, name="letters", overflow="Never", priority=1, server_set=name)
    await gateway.apply(high, low, server_sets=(ServerSet(name=name, limit=4),))
    letters = {"host": f"letters.{gateway.namespace}", "path": "/v2/models/letters/infer"}
    async with held(gateway, 2, here):
        # Half of what the servers take is left to the higher priority.
        assert (await gateway.infer(**letters)).status == 503
        async with held(gateway, 2, here):
            here.close()
            assert (await gateway.infer()).status == 503
    assert (await gateway.infer(**letters)).server == "a"


async def test_pools_get_what_the_plan_gives_them(gateway: Gateway, servers: Servers) -> None:
    _, near, far = servers
    pools = (
        NextPool(name="near", weight="3", servers=(upstream(near),)),
        NextPool(name="far", weight="1", servers=(upstream(far),)),
    )
    await gateway.apply(gateway.route(next=pools))
    near.close()
    far.close()
    asking = [asyncio.create_task(gateway.infer()) for _ in range(40)]
    await until(lambda: near.waiting + far.waiting == 40)
    shares = (near.waiting, far.waiting)
    near.open()
    far.open()
    answers: list[Answer] = await asyncio.gather(*asking)
    assert {it.status for it in answers} == {200}
    assert 28 <= shares[0] <= 32, shares
