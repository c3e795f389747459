"""The link between a site and its hub, as a TCP proxy on loopback that can be cut and mended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Cable:
    """Passes bytes on, while it is whole.

    Attributes:
        port: on loopback.
    """

    port: int

    def __init__(self, host: str, port: int) -> None:
        self._to = host, port
        self._whole = True
        self._flows = asyncio.Event()
        self._flows.set()
        self._ends: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Break what is connected, and let nothing else through."""
        self._whole = False
        for end in list(self._ends):
            end.transport.abort()

    def silence(self) -> None:
        """Let nothing through, and tell nobody: connections stay, and can be made."""
        self._flows.clear()

    def mend(self) -> None:
        """Let everything through."""
        self._whole = True
        self._flows.set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        if not self._whole:
            writer.transport.abort()
            return
        up, down = await asyncio.open_connection(*self._to)
        ends = {writer, down}
        self._ends |= ends
        try:
            ways = [asyncio.ensure_future(it) for it in (self._forward(reader, down), self._forward(up, writer))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
        finally:
            for end in ends:
                end.transport.abort()
            self._ends -= ends

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()


@asynccontextmanager
async def cable(host: str, port: int) -> AsyncIterator[Cable]:
    """A cable to a server."""
    made = Cable(host, port)
    server = await asyncio.start_server(made.connected, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        made.cut()
