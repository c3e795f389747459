"""A gateway for each test, and servers that do as they are told."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from tests.gateway.harness import Gateway
from tests.gateway.upstream import FakeUpstream


@pytest.fixture(autouse=True, scope="session")
def haproxy_is_there() -> None:
    if shutil.which("haproxy") is None:
        pytest.fail("these tests need HAProxy 2.6 or later: apt-get install haproxy")


@pytest_asyncio.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    gateway = Gateway(tmp_path)
    gateway.write()
    gateway.start_agent()
    try:
        await gateway.start_haproxy()
        yield gateway
    finally:
        await gateway.close()


@pytest_asyncio.fixture
async def servers() -> AsyncIterator[tuple[FakeUpstream, FakeUpstream, FakeUpstream]]:
    async with AsyncExitStack() as stack:
        a, b, c = [await stack.enter_async_context(FakeUpstream(name)) for name in "abc"]
        yield a, b, c
        for each in (a, b, c):
            each.gate.set()
