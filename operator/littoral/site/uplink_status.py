"""What a member site tells its hub: the status of each of its Assignments, when it has changed, and not too often."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass

from littoral.api.base import API_VERSION
from littoral.cluster.client import UNREACHABLE, ApiError, Client, Object
from littoral.cluster.resources import ASSIGNMENTS
from littoral.site.mirror import MANAGER

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Said:
    uid: str
    session: int
    at: float
    status: Object


class StatusPusher:
    """Writes statuses on the hub: one for each Assignment within `every` seconds, and all of them in a new session."""

    def __init__(
        self, *, every: float, within: float, on_change: Callable[[], None], clock: Callable[[], float]
    ) -> None:
        """`on_change` is called when a status that came too soon may be written; `within` so many seconds the hub must
        have answered."""
        self._every = every
        self._within = within
        self._on_change = on_change
        self._clock = clock
        self._said: dict[str, _Said] = {}
        self._later: dict[str, asyncio.TimerHandle] = {}

    def told(self, hub: Object, *, session: int) -> bool:
        """Whether the hub has heard of its Assignment in this session."""
        said = self._said.get(hub["metadata"]["name"])
        return said is not None and (said.uid, said.session) == (hub["metadata"]["uid"], session)

    def retain(self, names: Collection[str]) -> None:
        """Forget all Assignments but these."""
        for name in self._said.keys() - set(names):
            del self._said[name]

    async def push(self, client: Client, hub: Object, status: Object, *, session: int) -> bool:
        """Write the status of a hub's Assignment, unless the hub has it.

        Returns:
            Whether it got through, or will be written a little later: False when it has to be tried again.
        """
        name, now = hub["metadata"]["name"], self._clock()
        said = self._said.get(name)
        if said is not None and self.told(hub, session=session) and said.status == status:
            return True
        if said is not None and (wait := said.at + self._every - now) > 0:
            self._wake(name, wait)
            return True
        try:
            async with asyncio.timeout(self._within):
                await _write(client, name, status)
        except ApiError as error:
            if error.status == 404:
                return True
            logger.warning("the hub refuses the status of Assignment %s: %s", name, error)
            return False
        except UNREACHABLE as error:
            logger.debug("the status of Assignment %s did not reach the hub: %r", name, error)
            return False
        self._said[name] = _Said(uid=hub["metadata"]["uid"], session=session, at=now, status=status)
        return True

    def _wake(self, name: str, wait: float) -> None:
        if name not in self._later:

            def wake() -> None:
                del self._later[name]
                self._on_change()

            self._later[name] = asyncio.get_running_loop().call_later(wait, wake)


async def _write(client: Client, name: str, status: Object) -> None:
    body = {
        "apiVersion": API_VERSION,
        "kind": ASSIGNMENTS.kind,
        "metadata": {"name": name},
        "status": status,
    }
    try:
        await client.apply(body, manager=MANAGER, subresource="status")
    except ApiError as error:
        if "not declared in schema" not in str(error):
            raise
        # The hub is older than this site: what it knows of the status it takes by a patch.
        await client.patch(ASSIGNMENTS, {"status": status}, name=name, subresource="status", manager=MANAGER)
