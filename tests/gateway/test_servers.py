"""Servers come, drain, die and are drained, and no request fails."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from tritonclient.grpc import service_pb2

from littoral.api.routing import SEQUENCE_HEADER, UpstreamState
from tests.gateway.harness import Gateway, Load, Victim, until, upstream
from tests.gateway.upstream import FakeUpstream

Servers = tuple[FakeUpstream, FakeUpstream, FakeUpstream]
Victims = tuple[Victim, Victim]

INFER = service_pb2.ModelInferRequest(model_name="digits")


async def test_requests_of_one_connection_go_to_the_least_busy(gateway: Gateway, servers: Servers) -> None:
    await gateway.apply(gateway.route(*servers))
    for server in servers:
        server.close()
    async with gateway.grpc() as client:
        asking = [asyncio.ensure_future(client.ModelInfer(INFER)) for _ in range(9)]
        await until(lambda: sum(it.waiting for it in servers) == 9)
        assert [it.waiting for it in servers] == [3, 3, 3]
        for server in servers:
            server.open()
        await asyncio.gather(*asking)


async def test_a_draining_server_finishes_what_it_has(gateway: Gateway, servers: Servers) -> None:
    a, b, _ = servers
    await gateway.apply(gateway.route(a))
    a.close()
    asking = [asyncio.create_task(gateway.infer()) for _ in range(3)]
    await until(lambda: a.waiting == 3)
    await gateway.apply(gateway.route(b))
    assert {(await gateway.infer()).server for _ in range(5)} == {"b"}
    a.open()
    assert {(await it).server for it in asking} == {"a"}


async def test_a_server_that_is_not_ready_gets_nothing_new(gateway: Gateway, servers: Servers) -> None:
    a, b, _ = servers
    resting = upstream(a, ready=False)
    for _ in range(2):  # as a new server, and as one that was ready
        await gateway.apply(gateway.route(b, servers=(resting, upstream(b))))
        assert {(await gateway.infer()).server for _ in range(5)} == {"b"}
        await gateway.apply(gateway.route(a, b))
        assert {(await gateway.infer()).server for _ in range(8)} == {"a", "b"}


async def test_what_a_killed_server_had_is_asked_again(gateway: Gateway, victims: Victims) -> None:
    """It is killed with requests in it, and more come before anybody has noticed."""
    a, b = victims
    await gateway.apply(gateway.route(a))
    await a.close()
    asking = [asyncio.create_task(gateway.infer(body=b"x" * 100_000)) for _ in range(3)]
    async with gateway.grpc() as client:
        asking_grpc = [asyncio.ensure_future(client.ModelInfer(INFER)) for _ in range(3)]
        await a.holds(6)
        await gateway.apply(gateway.route(a, b))
        a.kill()
        assert [(await it).server for it in asking] == ["b"] * 3
        assert [(await it).id for it in asking_grpc] == ["b"] * 3
        assert [(await gateway.infer()).server for _ in range(8)] == ["b"] * 8
        assert [(await client.ModelInfer(INFER)).id for _ in range(8)] == ["b"] * 8


async def test_what_the_only_own_server_had_is_asked_of_the_next_pool(
    gateway: Gateway, servers: Servers, victims: Victims
) -> None:
    """Over HTTP: of HTTP/2, HAProxy tries all again before it believes that the server is gone."""
    (only, _), (_, _, cloud) = victims, servers
    await gateway.apply(gateway.route(only, next_to=cloud))
    await only.close()
    asking = [asyncio.create_task(gateway.infer(body=b"x" * 100_000)) for _ in range(3)]
    await only.holds(3)
    only.kill()
    assert {(await it).server for it in asking} == {cloud.name}
    assert {(await gateway.infer()).server for _ in range(4)} == {cloud.name}
    demand = (await gateway.until_demand(lambda it: it.demand.arrived == 7)).demand
    assert (demand.local, demand.spilled, demand.failed) == (0, 7, 0)


async def test_a_server_that_says_503_is_left_for_another(gateway: Gateway, servers: Servers) -> None:
    a, b, _ = servers
    await gateway.apply(gateway.route(a, b))
    a.status = 503
    assert {(await gateway.infer()).server for _ in range(8)} == {"b"}


async def test_an_error_of_the_model_is_the_clients_to_see(gateway: Gateway, servers: Servers) -> None:
    a, b, _ = servers
    a.status = b.status = 500
    await gateway.apply(gateway.route(a, b))
    assert (await gateway.infer()).status == 500
    assert len(a.seen) + len(b.seen) == 1
    a.status = b.status = 200
    # Nobody was taken out for what the request may have been to blame for.
    assert {(await gateway.infer()).server for _ in range(8)} == {"a", "b"}
    demand = (await gateway.until_demand(lambda it: it.demand.arrived == 9)).demand
    assert (demand.failed, demand.latency.count) == (1, 8)


async def test_a_model_that_is_not_ready_on_a_server_is_not_asked_there(gateway: Gateway, servers: Servers) -> None:
    a, b, _ = servers
    await gateway.apply(gateway.route(a, b))
    a.ready = False
    await gateway.until_demand(lambda it: {s.name: s.state for s in it.servers}["a"] is UpstreamState.DOWN)

    async def only_b() -> bool:
        return {(await gateway.infer()).server for _ in range(5)} == {"b"}

    await until(only_b)  # One of HTTP and gRPC is down: each has a check of its own.
    async with gateway.grpc() as client:

        async def only_b_over_grpc() -> bool:
            return {(await client.ModelInfer(INFER)).id for _ in range(5)} == {"b"}

        await until(only_b_over_grpc)
    assert await only_b()
    a.ready = True
    await gateway.until_demand(lambda it: {s.name: s.state for s in it.servers}["a"] is UpstreamState.UP)


async def test_a_sequence_stays_with_its_server(gateway: Gateway, servers: Servers) -> None:
    a, b, cloud = servers
    await gateway.apply(gateway.route(a, b, next_to=cloud, limit=1))
    first = (await gateway.infer(**{SEQUENCE_HEADER: "7"})).server
    for _ in range(4):
        await gateway.infer()
        assert (await gateway.infer(**{SEQUENCE_HEADER: "7"})).server == first
    async with gateway.grpc() as client:
        metadata = ((SEQUENCE_HEADER, "7"),)
        assert {(await client.ModelInfer(INFER, metadata=metadata)).id for _ in range(4)} == {first}
    # It stays while there is no room for others, and while its server drains.
    own = {"a": a, "b": b}[first]
    for each in (a, b):
        each.close()
    asking = [asyncio.create_task(gateway.infer()) for _ in range(2)]
    await until(lambda: a.waiting + b.waiting == 2)
    asking.append(asyncio.create_task(gateway.infer(**{SEQUENCE_HEADER: "7"})))
    await until(lambda: own.waiting == 2)
    spilled = (await gateway.infer(**{SEQUENCE_HEADER: "8"})).server
    for each in (a, b):
        each.open()
    await asyncio.gather(*asking)
    assert spilled == "c"
    assert {(await gateway.infer(**{SEQUENCE_HEADER: "8"})).server for _ in range(4)} == {"c"}
    await gateway.apply(
        gateway.route(servers=tuple(upstream(it, ready=it is not own) for it in (a, b)), next=(), limit=1)
    )
    assert {(await gateway.infer(**{SEQUENCE_HEADER: "7"})).server for _ in range(4)} == {first}


async def test_a_request_of_a_sequence_is_not_sent_twice(gateway: Gateway, victims: Victims) -> None:
    a, b = victims
    await gateway.apply(gateway.route(a))
    await a.close()
    asking = asyncio.create_task(gateway.infer(**{SEQUENCE_HEADER: "9"}))
    await a.holds(1)
    await gateway.apply(gateway.route(a, b))
    a.kill()
    assert (await asking).status == 502


@pytest.mark.parametrize("size", [1, 100_000])
async def test_hundreds_of_changes_under_load_fail_no_request(gateway: Gateway, servers: Servers, size: int) -> None:
    a, b, c = servers
    await gateway.apply(gateway.route(*servers, limit=50))
    sets = [(a,), (b, c), (c,), (a, b, c), (b,), (a, c), (c, a), (b, a)]
    async with Load(gateway, body=b"x" * size) as load:
        for number in range(100):
            chosen = sets[number % len(sets)]
            resting = {"ready": number % 3 != 0}
            own = tuple(
                upstream(it, weight=1 + number % 5, **(resting if it is not chosen[0] else {})) for it in chosen
            )
            # Some only seen half-way, as when they come faster than they can be followed.
            await gateway.apply(gateway.route(servers=own, limit=10 + number))
    assert load.failures == []


async def test_servers_that_are_killed_again_and_again_fail_no_request(gateway: Gateway, victims: Victims) -> None:
    await gateway.apply(gateway.route(*victims))
    async with Load(gateway) as load:
        for number in range(6):
            victim = victims[number % 2]
            victim.kill()
            await gateway.until_demand(lambda it: any(s.state is UpstreamState.DOWN for s in it.servers))
            await load.more(20)
            victim.start()
            await gateway.until_demand(lambda it: all(s.state is UpstreamState.UP for s in it.servers))
            await load.more(20)
    assert load.failures == []


async def test_a_grpc_error_that_is_the_servers_counts_as_a_failure(gateway: Gateway, servers: Servers) -> None:
    a, _, _ = servers
    await gateway.apply(gateway.route(a))
    a.code = grpc.StatusCode.INTERNAL
    async with gateway.grpc() as client:
        with pytest.raises(grpc.aio.AioRpcError):
            await client.ModelInfer(INFER)
        a.code = grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.aio.AioRpcError):
            await client.ModelInfer(INFER)
    demand = (await gateway.until_demand(lambda it: it.demand.arrived == 2)).demand
    assert (demand.failed, demand.latency.count) == (1, 1)


async def test_without_another_server_a_client_is_told(gateway: Gateway, victims: Victims) -> None:
    a, _ = victims
    await gateway.apply(gateway.route(a))
    await a.close()
    asking = [asyncio.create_task(gateway.infer()) for _ in range(3)]
    await a.holds(3)
    a.kill()
    for each in asking:
        answer = await each
        assert (answer.status, answer.headers.get("Retry-After")) == (503, "1")
    for _ in range(10):
        assert (await gateway.infer()).status == 503
    demand = (await gateway.until_demand(lambda it: it.demand.arrived == 13)).demand
    assert demand.refused + demand.failed == 13
