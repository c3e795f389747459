"""On its own: with half-written state, with a clock that is years off, and with a source whose certificate is over."""

import asyncio
import datetime
import hashlib
import os
import shutil
import time
from pathlib import Path

import pytest
from aiohttp import web

from tests.agent.harness import PATIENCE, Agent, load_on, model_of, network
from tests.agent.servers import serving
from tests.support.tls import make_authority

YEAR = 365 * 86400

# The interpreter imports this before the agent. Littoral's own code sees a clock that is off, and no library does: gRPC
# takes a deadline by Python's clock and looks at it by the kernel's, which are one where the machine's clock is off.
_CLOCK = """
import sys, time
seconds = time.time

def shifted():
    caller = sys._getframe(1).f_globals.get("__name__", "")
    return seconds() + ({offset} if caller.startswith("littoral.") else 0)

time.time = shifted
"""


@pytest.mark.parametrize("damaged", ["server.json", "served.json"])
@pytest.mark.parametrize("content", [b'{"revision": "r1", "mod', bytes(64)], ids=["half", "zeros"])
async def test_what_is_wanted_serves_whatever_stands_in_a_state_file(
    agent: Agent, damaged: str, content: bytes
) -> None:
    """The power went while it was written; the source is gone, and the pod's repository with it."""
    agent.start()
    agent.want("digits", agent.artifact(network(1)))
    revision = agent.apply()
    await agent.until_ready(revision)
    state = agent.root / "cache/state" / damaged
    await asyncio.to_thread(_await_file, state)
    _cut_the_power(agent)
    _lose_the_source(agent)
    state.write_bytes(content)
    agent.start()
    status = await agent.until_ready(revision)
    assert status["message"] == ""
    assert await agent.infer("digits") == 1
    # It is whole again, for the next time: then the mounted file may be gone as well.
    _cut_the_power(agent)
    agent.config.unlink()
    agent.start()
    await agent.until_ready(revision)
    assert await agent.infer("digits") == 1


async def test_without_any_desired_state_nothing_is_unloaded(agent: Agent) -> None:
    """Neither the mounted file nor the saved one can be read: that is no wish for nothing."""
    agent.start()
    agent.want("digits", agent.artifact(network(1)))
    await agent.until_ready(agent.apply())
    agent.kill()
    agent.config.unlink()
    (agent.root / "cache/state/server.json").write_bytes(b'{"revi')
    agent.start()
    await agent.until(lambda it: "No such file" in it["message"])
    assert await agent.infer("digits") == 1
    await agent.until_ready(agent.apply())
    assert await agent.infer("digits") == 1


@pytest.mark.parametrize("offset", [-50 * YEAR, 50 * YEAR], ids=["back in the seventies", "far ahead"])
async def test_a_clock_that_is_years_off(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offset: int
) -> None:
    """A board without a battery: it starts in 1970, or anywhere, and is right only once the uplink is back."""
    agent.start()
    one, two = agent.artifact(network(1)), agent.artifact(network(2))
    agent.want("digits", one)
    revision = agent.apply()
    await agent.until_ready(revision)
    _cut_the_power(agent)
    _lose_the_source(agent)

    (tmp_path / "clock").mkdir()
    (tmp_path / "clock/sitecustomize.py").write_text(_CLOCK.format(offset=offset))
    with monkeypatch.context() as elsewhen:
        elsewhen.setenv("PYTHONPATH", str(tmp_path / "clock"), prepend=os.pathsep)
        agent.start()
    await agent.until_ready(revision)
    assert await agent.infer("digits") == 1
    # Nothing that is in use or new is taken for old, and reports go on.
    agent.artifact(network(2))
    agent.want("digits", two)
    agent.want("first", one)
    revision = agent.apply()
    await agent.until_ready(revision)
    assert (await agent.infer("digits"), await agent.infer("first")) == (2, 1)

    # The clock is right again.
    _cut_the_power(agent)
    _lose_the_source(agent)
    agent.start()
    await agent.until_ready(revision)
    assert (await agent.infer("digits"), await agent.infer("first")) == (2, 1)


async def test_a_source_whose_certificate_is_over(agent: Agent, tmp_path: Path) -> None:
    """It is told, nothing is fetched past it, what served serves on; with a new certificate it is fetched."""
    content = network(2)
    (tmp_path / "www").mkdir()
    (tmp_path / "www/network.onnx").write_bytes(content)
    over = make_authority(tmp_path / "over", lifetime=-datetime.timedelta(minutes=1))
    valid = make_authority(tmp_path / "valid")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(over.file.read_bytes() + valid.file.read_bytes())
    agent.start("--ca-file", str(trusted))
    agent.want("digits", agent.artifact(network(1)))
    await agent.until_ready(agent.apply())

    async with load_on(agent, "digits") as load:
        for authority in (over, valid):
            application = web.Application()
            application.add_routes([web.static("/", tmp_path / "www")])
            async with serving(application, authority) as port:
                digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
                agent.want("digits", {"uri": f"https://127.0.0.1:{port}/network.onnx", "digest": digest})
                revision = agent.apply()
                if authority is valid:
                    await agent.until_ready(revision)
                    break
                status = await agent.until(lambda it: model_of(it, "digits").get("state") == "Failed")
                assert "certificate has expired" in model_of(status, "digits")["message"]
                assert model_of(status, "digits")["ready"]
                await load.answered_by(1)
        await load.answered_by(2)
    assert load.errors == []
    assert set(load.answers) == {1.0, 2.0}


def _await_file(path: Path) -> None:
    """What serves is written down a moment after it is reported."""
    end = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < end, f"{path} is not written"
        time.sleep(0.05)


def _cut_the_power(agent: Agent) -> None:
    """All processes of the node are gone, and a new pod has an empty repository."""
    agent.kill()
    agent.triton.kill()
    shutil.rmtree(agent.triton.repository)
    agent.triton.repository.mkdir()
    agent.triton.start()


def _lose_the_source(agent: Agent) -> None:
    shutil.rmtree(agent.root / "files")
    (agent.root / "files").mkdir()
