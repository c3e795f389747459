"""HAProxy and the agent are reloaded, killed and started, and clients hear as little of it as can be."""

from __future__ import annotations

import asyncio

import aiohttp

from littoral.api.routing import GatewayStatus
from tests.gateway.harness import Gateway, Load, until
from tests.gateway.upstream import FakeUpstream

Servers = tuple[FakeUpstream, FakeUpstream, FakeUpstream]


async def test_reloads_under_load_fail_no_request_and_lose_no_count(own_gateway: Gateway, servers: Servers) -> None:
    gateway = own_gateway
    await gateway.apply(gateway.route(*servers))
    async with Load(gateway) as load:
        others = []
        for number in range(5):
            others.append(gateway.route(servers[0], name=f"letters-{number}"))
            await gateway.apply(gateway.route(*servers), *others)
            await load.more(50)
    assert load.failures == []
    demand = (await gateway.until_demand(lambda it: it.demand.arrived == load.sent)).demand
    assert (demand.local, demand.latency.count) == (load.sent, load.sent)
    status = await gateway.until_status(lambda it: it.haproxy.workers == 1)
    assert status.haproxy.reloads == 6


async def test_a_request_outlives_a_reload(own_gateway: Gateway, servers: Servers) -> None:
    gateway = own_gateway
    own = gateway.route(servers[0])
    before = await gateway.apply(own)
    servers[0].close()
    asking = asyncio.create_task(gateway.infer())
    await until(lambda: servers[0].waiting == 1)
    after = await gateway.apply(own, gateway.route(servers[0], name="letters"))
    assert after.haproxy.pid != before.haproxy.pid
    servers[0].open()
    assert (await asking).server == "a"


async def test_a_killed_haproxy_comes_back_with_all_it_had(own_gateway: Gateway, servers: Servers) -> None:
    gateway, (a, b, _) = own_gateway, servers
    await gateway.apply(gateway.route(a))
    await gateway.apply(gateway.route(b, limit=7))
    await gateway.infer()
    await gateway.until_demand(lambda it: it.demand.arrived == 1)
    gateway.processes.kill_haproxy()
    await gateway.until_status(lambda it: "HAProxy does not answer" in it.message and not it.haproxy.ready)
    gateway.processes.start_haproxy()
    await gateway.until_status(lambda it: it.haproxy.ready)
    assert (await gateway.infer()).server == "b"
    demand = await gateway.until_demand(lambda it: it.demand.arrived == 2)
    assert demand.limit == 7


async def test_haproxy_serves_without_its_agent(own_gateway: Gateway, servers: Servers) -> None:
    gateway, (a, b, _) = own_gateway, servers
    await gateway.apply(gateway.route(a))
    async with Load(gateway) as load:
        await gateway.until_demand(lambda it: it.demand.arrived > 0)
        gateway.processes.kill_agent()
        await load.more(100)
        # What is wanted changes meanwhile, and is done when the agent is back.
        gateway.processes.write(gateway.route(b, limit=9))
        await load.more(100)
        assert not b.seen
        gateway.processes.start_agent()
        await gateway.until_demand(lambda it: it.limit == 9)
        await until(lambda: b.seen)
    assert load.failures == []
    # Nothing was missed, though nobody had looked.
    await gateway.until_demand(lambda it: it.demand.arrived == load.sent)


async def test_the_last_good_desired_state_counts(own_gateway: Gateway, servers: Servers) -> None:
    gateway = own_gateway
    await gateway.apply(gateway.route(servers[0]))
    for content in ('{"revision": ', '{"revision": "x", "models": [{"name": "Digits"}]}'):
        gateway.processes.config.write_text(content)
        status = await gateway.until_status(lambda it: it.message)
        assert "gateway.json" in status.message
        assert (await gateway.infer()).server == "a"
    gateway.processes.config.unlink()
    gateway.processes.kill_agent()
    gateway.processes.kill_haproxy()
    gateway.processes.start_agent()
    gateway.processes.start_haproxy()
    await gateway.until_demand(lambda it: it.servers)
    await until(lambda: _answers(gateway))


async def _answers(gateway: Gateway) -> bool:
    try:
        return (await gateway.infer()).status == 200
    except aiohttp.ClientError:
        return False


async def test_the_agent_reports_over_http(gateway: Gateway, servers: Servers) -> None:
    await gateway.apply(gateway.route(servers[0]))
    await gateway.infer()
    await gateway.until_demand(lambda it: it.demand.arrived == 1)
    root = f"http://127.0.0.1:{gateway.processes.report_port}"
    async with gateway.session.get(f"{root}/metrics") as answer:
        text = await answer.text()
    labels = f'model="digits",namespace="{gateway.namespace}"'
    assert f'littoral_gateway_requests_total{{{labels},to="local"}} 1.0' in text
    assert f"littoral_gateway_latency_seconds_count{{{labels}}} 1.0" in text
    for path in ("/healthz", "/readyz"):
        async with gateway.session.get(root + path) as answer:
            assert answer.status == 200
    # A long poll ends with the next change, which counters are not.
    await gateway.until_demand(lambda it: [s.state for s in it.servers] == ["Up"])
    generation = (await gateway.status()).generation
    polling = asyncio.create_task(_poll(gateway, generation))
    await gateway.infer()
    await gateway.until_demand(lambda it: it.demand.arrived == 2)
    assert (await gateway.status()).generation == generation
    assert not polling.done()
    await gateway.apply(gateway.route())
    assert (await polling).generation == generation + 1


async def _poll(gateway: Gateway, generation: int) -> GatewayStatus:
    url = f"http://127.0.0.1:{gateway.processes.report_port}/v1/status?after={generation}&wait=30"
    async with gateway.session.get(url) as answer:
        return GatewayStatus.parse(await answer.json())
