"""A TCP relay on loopback that fails as a thin uplink does: it cuts connections, or falls silent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Relay:
    """Passes bytes on to a server, until it was told enough."""

    port: int = 0
    cuts: list[int] = field(default_factory=list)
    """Bytes from the server after which each next connection is cut; those after the last are left alone."""
    silent_after: int | None = None
    """Bytes from the server after which a connection stays open and nothing comes."""
    connections: int = 0
    passed: int = 0
    """Bytes from the server, over all connections."""
    stalled: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def relay(to: int) -> AsyncIterator[Relay]:
    """A relay to the port `to` of this machine."""
    state = Relay()
    tasks: set[asyncio.Task[None]] = set()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()

    async def back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, budget: int | None) -> None:
        passed = 0
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                if state.silent_after is not None and passed + len(data) > state.silent_after:
                    state.stalled.set()
                    await asyncio.Event().wait()
                if budget is not None:
                    data = data[: budget - passed]
                writer.write(data)
                await writer.drain()
                passed += len(data)
                state.passed += len(data)
                if passed == budget:
                    break

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.connections += 1
        budget = state.cuts.pop(0) if state.cuts else None
        up, down = await asyncio.open_connection("127.0.0.1", to)
        ways = [asyncio.ensure_future(it) for it in (forward(reader, down), back(up, writer, budget=budget))]
        tasks.update(ways)
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for end in (writer, down):
                end.transport.abort() if budget is not None else end.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()
        for task in tasks:
            task.cancel()
