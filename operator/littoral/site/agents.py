"""What the agents say: one long poll for each Pod, so that a change is known at once and an idle one costs nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, Protocol, TypeVar

import aiohttp

from littoral.render.names import AGENT_PORT
from littoral.site.views import PodView

logger = logging.getLogger(__name__)

_WAIT = 25.0  # Seconds that an agent may hold a poll.
_BACKOFF_FIRST, _BACKOFF_MOST = 0.25, 5.0


class Status(Protocol):
    """What every agent's answer has."""

    @property
    def generation(self) -> int:
        """Counts the changes that end a long poll."""


S = TypeVar("S", bound=Status)


class Agents(Generic[S]):
    """Follows the agent of every Pod it is told of; `S` is what they answer."""

    def __init__(
        self,
        parse: Callable[[Mapping[str, Any]], S],
        *,
        on_change: Callable[[], None],
        wait: float = _WAIT,
        port: int = AGENT_PORT,
    ) -> None:
        """`wait`: seconds that an agent may hold a poll; what does not end a poll is at most so old."""
        self._parse = parse
        self._on_change = on_change
        self._wait = wait
        self._port = port
        self._session: aiohttp.ClientSession | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._statuses: dict[str, S] = {}

    @property
    def statuses(self) -> dict[str, S]:
        """The last answer of each agent that answers, by the Pod's uid."""
        return dict(self._statuses)

    def follow(self, pods: Iterable[PodView]) -> None:
        """Follow exactly these Pods: begin with new ones, forget those that are gone."""
        wanted = {pod.uid: pod for pod in pods if pod.address and not pod.leaving}
        for uid in self._tasks.keys() - wanted.keys():
            self._tasks.pop(uid).cancel()
            self._statuses.pop(uid, None)
        for uid in wanted.keys() - self._tasks.keys():
            self._tasks[uid] = asyncio.create_task(self._follow(wanted[uid]), name=f"agent of {wanted[uid].name}")

    async def close(self) -> None:
        """Stop following."""
        self.follow([])
        if self._session is not None:
            await self._session.close()

    async def _follow(self, pod: PodView) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        host = f"[{pod.address}]" if ":" in pod.address else pod.address
        url = f"http://{host}:{self._port}/v1/status"
        backoff = _BACKOFF_FIRST
        seen: int | None = None
        while True:
            # The first question is answered at once, also by an agent that was followed before.
            query = {} if seen is None else {"after": str(seen), "wait": f"{self._wait:g}"}
            try:
                async with self._session.get(
                    url, params=query, timeout=aiohttp.ClientTimeout(total=self._wait + 10, sock_connect=3)
                ) as answer:
                    answer.raise_for_status()
                    status = self._parse(await answer.json())
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                logger.debug("agent of %s/%s: %r", pod.namespace, pod.name, error)
                if self._statuses.pop(pod.uid, None) is not None:
                    self._on_change()
                seen = None
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, _BACKOFF_MOST)
                continue
            backoff = _BACKOFF_FIRST
            seen = status.generation
            if self._statuses.get(pod.uid) != status:
                self._statuses[pod.uid] = status
                self._on_change()
