"""A gateway that the tests share, one that a test may kill, and servers that do as they are told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from lab import debian
from tests.gateway.harness import Gateway, Processes, Victim
from tests.gateway.upstream import FakeUpstream


@pytest.fixture(autouse=True, scope="session")
def haproxy_is_there() -> None:
    """HAProxy 2.6 or later, as Debian has it."""
    debian.require({"haproxy": "haproxy"})


@pytest.fixture(scope="session")
def shared_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with Processes(tmp_path_factory.mktemp("gateway")) as processes:
        yield processes


@pytest_asyncio.fixture
async def gateway(shared_processes: Processes) -> AsyncIterator[Gateway]:
    """Without any Model, and for tests that leave its processes alone."""
    async with Gateway(shared_processes) as gateway:
        await gateway.apply()
        yield gateway


@pytest_asyncio.fixture
async def own_gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    """Whose processes the test may kill."""
    with Processes(tmp_path) as processes:
        async with Gateway(processes) as gateway:
            await gateway.apply()
            yield gateway


@pytest_asyncio.fixture
async def servers() -> AsyncIterator[tuple[FakeUpstream, FakeUpstream, FakeUpstream]]:
    async with AsyncExitStack() as stack:
        a, b, c = [await stack.enter_async_context(FakeUpstream(name)) for name in "abc"]
        yield a, b, c
        for each in (a, b, c):
            each.open()


@pytest_asyncio.fixture
async def victims() -> AsyncIterator[tuple[Victim, Victim]]:
    with Victim("a") as a, Victim("b") as b:
        for each in (a, b):
            await each.ready()
        yield a, b
