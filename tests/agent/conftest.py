"""Fixtures: an agent beside a real Triton."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from lab.triton import TritonInstallation, ensure_triton
from tests.agent.harness import Agent, Triton


@pytest.fixture(scope="session")
def installation() -> TritonInstallation:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "littoral"
    return ensure_triton(cache)


@pytest.fixture
def triton(tmp_path: Path, installation: TritonInstallation) -> Iterator[Triton]:
    repository = tmp_path / "models"
    repository.mkdir()
    server = Triton(installation=installation, repository=repository, log=tmp_path / "triton.log")
    try:
        server.start()
        yield server
    finally:
        server.clean_up()


@pytest.fixture
async def agent(tmp_path: Path, triton: Triton) -> AsyncIterator[Agent]:
    async with aiohttp.ClientSession() as session:
        instance = Agent(root=tmp_path, triton=triton, session=session)
        instance.apply()
        try:
            yield instance
        finally:
            if instance.process is not None:
                instance.kill()
