"""The addresses of host names, asked again from time to time: what is not answered stays as it was.

An address is kept for a while after it was answered last. A name may be answered with some of many addresses each
time, and each change is a reload of HAProxy; what is gone, HAProxy's checks tell.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final

log = logging.getLogger(__name__)

_AGAIN: Final = 30.0  # Seconds between questions; a name server's own time to live is not told.
_RETRY: Final = 2.0  # Seconds until a name is asked again that nothing is known of.
_KEPT: Final = 600.0  # Seconds that an address is kept.
_MOST: Final = 8  # Addresses of one name.

Lookup = Callable[[str], Awaitable[Collection[str]]]


async def look_up(host: str) -> Collection[str]:
    """The addresses of a host name; IPv4 where it has both, since a site may have no way to the other.

    Raises:
        OSError: there is none, or nobody to ask.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    by_family = {family: [str(it[4][0]) for it in found if it[0] == family] for family in {it[0] for it in found}}
    return by_family.get(socket.AF_INET) or by_family.get(socket.AF_INET6, [])


class Resolver:
    """Knows the addresses of the names that it was last asked for. Questions run beside the passes."""

    def __init__(self, lookup: Lookup = look_up) -> None:
        self._lookup = lookup
        self._seen: dict[str, dict[str, float]] = {}  # Name -> address -> when it was answered last.
        self._ask_at: dict[str, float] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    def addresses(self, hosts: Collection[str]) -> Mapping[str, tuple[str, ...]]:
        """What is known of these names now; those of which it is time are asked for."""
        now = time.monotonic()
        for host in self._seen.keys() - set(hosts):
            del self._seen[host]
        for host in self._ask_at.keys() - set(hosts):
            del self._ask_at[host]
        for host in hosts:
            if host not in self._asking and now >= self._ask_at.get(host, 0.0):
                self._ask_at[host] = now + _RETRY
                self._asking[host] = asyncio.create_task(self._ask(host))
        return {host: tuple(sorted(self._seen[host])) for host in hosts if host in self._seen}

    async def _ask(self, host: str) -> None:
        try:
            await self._take(host)
        finally:
            # Whatever became of it: a name that is being asked for is not asked for again.
            del self._asking[host]

    async def _take(self, host: str) -> None:
        try:
            answer = sorted(set(await self._lookup(host)))[:_MOST]
        except (OSError, ValueError) as error:  # the latter for what is no host name at all
            log.info("%s is not resolved: %s", host, error)
            answer = []
        now = time.monotonic()
        if answer:
            seen = self._seen.get(host, {})
            kept = {it: at for it, at in seen.items() if it not in answer and now - at < _KEPT}
            newest = sorted(kept, key=lambda it: -kept[it])[: _MOST - len(answer)]
            self._seen[host] = {it: kept[it] for it in newest} | dict.fromkeys(answer, now)
        self._ask_at[host] = now + (_AGAIN if host in self._seen else _RETRY)
