"""The whole agent on a thin uplink: what it says, and that a kill does not cost what has come."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
from aiohttp import web
from onnx import numpy_helper

from tests.agent.harness import Agent, model_of, network
from tests.agent.servers import serving
from tests.support.relay import relay
from tests.support.tls import make_authority


def large_network(constant: float) -> bytes:
    """A network of some megabytes, most of which it has no use for."""
    model = onnx.load_from_string(network(constant))
    padding = np.random.default_rng(1).random(1 << 20, dtype=np.float32)
    model.graph.initializer.append(numpy_helper.from_array(padding, "padding"))
    return bytes(model.SerializeToString())


async def test_an_agent_that_is_killed_on_the_way_goes_on(agent: Agent, tmp_path: Path) -> None:
    content, folder = large_network(3), tmp_path / "www"
    folder.mkdir()
    (folder / "network.onnx").write_bytes(content)
    authority = make_authority(tmp_path / "tls")
    application = web.Application()
    application.add_routes([web.static("/", folder)])
    side_files = (tmp_path / "cache/incoming").rglob
    async with serving(application, authority) as port, relay(port) as way:
        way.silent_after = 3 << 20
        agent.start("--ca-file", str(authority.file), "--bandwidth", "100Mi")
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        agent.want("digits", {"uri": f"https://127.0.0.1:{way.port}/network.onnx", "digest": digest})
        revision = agent.apply()
        status = await agent.until(
            lambda it: model_of(it, "digits").get("bytes", 0) > 0 and bool([*side_files("*.partial.json")])
        )
        said = model_of(status, "digits")
        assert said["state"] == "Fetching"
        assert "MiB of 4.0 MiB" in said["message"]
        assert said["totalBytes"] == len(content)
        agent.kill()
        passed, way.silent_after = way.passed, None
        agent.start("--ca-file", str(authority.file))
        await agent.until_ready(revision)
        assert way.passed - passed < len(content) - (1 << 20)
    assert await agent.infer("digits") == 3
    assert not [*(tmp_path / "cache/incoming").iterdir()]
