"""Two agents of a site, as processes, each beside a Triton: what one has the other need not fetch over the uplink."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from lab.triton import TritonInstallation
from tests.agent.harness import Agent, Triton, free_port
from tests.agent.servers import serving
from tests.agent.test_resuming import large_network
from tests.support.relay import Relay, relay
from tests.support.tls import Authority, make_authority

CONTENT = large_network(3)


@pytest.fixture
async def second(tmp_path: Path, installation: TritonInstallation, agent: Agent) -> AsyncIterator[Agent]:
    """An agent on another node."""
    root = tmp_path / "second"
    (root / "models").mkdir(parents=True)
    triton = Triton(installation=installation, repository=root / "models", log=root / "triton.log")
    other = Agent(root=root, triton=triton, session=agent.session)
    try:
        triton.start()
        other.apply()
        yield other
    finally:
        if other.process is not None:
            other.kill()
        triton.clean_up()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("tls") / "own")


@asynccontextmanager
async def uplink(authority: Authority) -> AsyncIterator[Relay]:
    """The way to the server where the network is published."""

    async def get(request: web.Request) -> web.Response:
        return web.Response(body=CONTENT)

    application = web.Application()
    application.add_routes([web.get("/network.onnx", get)])
    async with serving(application, authority) as port, relay(port) as way:
        yield way


def start(agent: Agent, authority: Authority, *, peers: list[str]) -> None:
    (agent.root / "peers.json").write_text(json.dumps({"agents": peers}))
    agent.start("--ca-file", str(authority.file), "--peers", str(agent.root / "peers.json"))


def want(agent: Agent, port: int) -> str:
    digest = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    agent.want("digits", {"uri": f"https://127.0.0.1:{port}/network.onnx", "digest": digest})
    return agent.apply()


def address(agent: Agent) -> str:
    return f"127.0.0.1:{agent.port}"


async def from_peers(agent: Agent) -> float:
    """Bytes, as the agent counts them."""
    _, text = await agent.get("/metrics")
    (line,) = (it for it in text.splitlines() if it.startswith("littoral_agent_peer_fetched_bytes_total"))
    return float(line.split()[1])


async def test_the_second_node_gets_it_while_the_source_is_down(
    agent: Agent, second: Agent, authority: Authority
) -> None:
    async with uplink(authority) as way:
        start(agent, authority, peers=[])
        await agent.until_ready(want(agent, way.port))
        assert way.passed > len(CONTENT)
    start(second, authority, peers=[f"127.0.0.1:{free_port()}", address(agent), address(second)])
    await second.until_ready(want(second, way.port))
    assert await second.infer("digits") == 3
    assert await from_peers(second) == len(CONTENT)


async def test_two_that_begin_together_take_the_uplink_once(agent: Agent, second: Agent, authority: Authority) -> None:
    async with uplink(authority) as way:
        both = [address(agent), address(second)]
        for each in (agent, second):
            start(each, authority, peers=both)
        empty = [await each.until(lambda it: it["revision"] == "r1") for each in (agent, second)]
        assert not any(status["models"] for status in empty)
        revisions = [want(each, way.port) for each in (agent, second)]
        await asyncio.gather(*(each.until_ready(it) for each, it in zip((agent, second), revisions, strict=True)))
        assert len(CONTENT) < way.passed < 1.5 * len(CONTENT)
    assert [await each.infer("digits") for each in (agent, second)] == [3, 3]
    assert sorted([await from_peers(agent), await from_peers(second)]) == [0, len(CONTENT)]
