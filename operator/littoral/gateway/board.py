"""The newest status, for those who take it as it is and for those who wait for the next."""

from __future__ import annotations

import asyncio
import time

from littoral.api.routing import GatewayStatus


class Board:
    """Shows a status. Counters alone make no news: under load they change all the time; nor do processes that end."""

    def __init__(self) -> None:
        # Milliseconds since 1970, and not 0: a reader that knew the agent before a restart must not wait for a number
        # that was already given away.
        self._status = GatewayStatus(generation=time.time_ns() // 1_000_000)
        self._news = _news(self._status)
        self._changed = asyncio.Event()
        self._published = time.monotonic()

    @property
    def status(self) -> GatewayStatus:
        """The newest status."""
        return self._status

    @property
    def silence(self) -> float:
        """Seconds since somebody published, be it news or not."""
        return time.monotonic() - self._published

    def publish(self, status: GatewayStatus) -> None:
        """Show this status from now on; its generation is set here."""
        self._published = time.monotonic()
        news = _news(status)
        generation = self._status.generation + (news != self._news)
        self._status = status.model_copy(update={"generation": generation})
        if news != self._news:
            self._news = news
            self._changed.set()
            self._changed = asyncio.Event()

    async def after(self, generation: int, *, wait: float) -> GatewayStatus:
        """The first status whose generation is not `generation`, or the one there is after `wait` seconds."""
        deadline = time.monotonic() + wait
        while self._status.generation == generation and (left := deadline - time.monotonic()) > 0:
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                break
        return self._status


def _news(status: GatewayStatus) -> object:
    return (
        status.revision,
        status.message,
        (status.haproxy.ready, status.haproxy.version, status.haproxy.pid),
        [
            (it.namespace, it.name, [(server.name, server.pool, server.state) for server in it.servers])
            for it in status.models
        ],
    )
