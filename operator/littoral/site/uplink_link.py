"""The link from a member site to its hub: the heartbeat, what the hub has for this site, and whether it is away."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from littoral.cluster.client import UNREACHABLE, ApiError, Client, Object
from littoral.cluster.informer import Informer
from littoral.cluster.membership import ASSIGNMENTS_ANNOTATION, member_name
from littoral.cluster.micro_time import micro_time
from littoral.cluster.resources import ASSIGNMENTS, LEASES
from littoral.core.world import rfc3339
from littoral.site.mirror import MANAGER, essence

logger = logging.getLogger(__name__)


class Access(Protocol):
    """The hub, as this member may use it (`cluster.hub_access.HubAccess`)."""

    member: str
    problem: str

    @property
    def client(self) -> Client | None:
        """The hub; None until joined."""

    @property
    def namespace(self) -> str:
        """Namespace of the hub's release."""

    def look(self) -> None:
        """Look at once whether the hub still accepts us."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How often things are done, in seconds.

    Attributes:
        beat: between two heartbeats.
        answer: within which the hub must answer one.
        away: without a heartbeat that got through, after which the hub is away.
        grace: after the hub is back, during which it hears what the site has done meanwhile, before its own word counts
            again; at once where it has something newer to say.
        push: between two writes of one status.
        plan: between two looks at what is measured here.
        greet: between two looks at the Lease, while it is not renewed since the hub has yet to hear what runs here; and
            at whether there is a hub, and a reason to talk to it.
    """

    beat: float = 10.0
    answer: float = 8.0
    away: float = 60.0
    grace: float = 60.0
    push: float = 2.0
    plan: float = 5.0
    greet: float = 0.5


class HubLink:
    """Keeps in touch with the hub. `run` it as a task.

    Who comes back says first what runs here, and only then that it is back: else the hub would plan by what it knew
    before. So the Lease is read, and renewed once the statuses are told.

    Attributes:
        session: counts the times that contact was made, or made again after a heartbeat had failed.
    """

    def __init__(
        self,
        access: Access,
        *,
        identity: str,
        may_run: Callable[[], bool],
        told: Callable[[], bool],
        on_change: Callable[[], None],
        pace: Pace,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """A link without contact.

        Args:
            may_run: asked before each heartbeat: only one replica is in touch with the hub.
            told: whether the hub knows in this session what runs here.
        """
        self.session = 0
        self._access = access
        self._identity = identity
        self._may_run = may_run
        self._told = told
        self._on_change = on_change
        self._pace = pace
        self._clock = clock
        self._names: frozenset[str] | None = None
        self._informers: dict[str, tuple[Informer[Object], asyncio.Task[None]]] = {}
        self._connected = False
        self._is_greeted = False
        self._client: Client | None = None
        self._since = clock()  # Of the last contact; before the first one, of the start.
        self._session_since = 0.0
        self._heard_at = datetime.now(UTC)
        self._was_away = False

    @property
    def client(self) -> Client | None:
        """The hub, while the last heartbeat got through."""
        return self._client if self._connected else None

    @property
    def names(self) -> frozenset[str] | None:
        """The Assignments that this member has on the hub; None while the hub has not said so."""
        return self._names

    @property
    def met(self) -> bool:
        """Whether there was any contact since the start."""
        return self.session > 0

    @property
    def away(self) -> bool:
        """Whether the hub has not been heard of for so long that the site goes on by itself."""
        return self._clock() - self._since >= self._pace.away

    @property
    def heard_at(self) -> datetime:
        """When the hub was last heard of; before the first time, when this process began."""
        return self._heard_at

    @property
    def settled(self) -> bool:
        """Whether contact has lasted so long that the hub knows what the site has done without it."""
        return self._connected and self._clock() - self._session_since >= self._pace.grace

    def hub(self, name: str) -> Object | None:
        """The hub's Assignment; None while it is not known, or is gone."""
        found = self._informers.get(name)
        return found[0].get(("", name)) if found is not None and found[0].synced else None

    async def run(self) -> None:
        """Send heartbeats, and follow what the hub has for this site; ends only by cancellation."""
        self._since = self._clock()
        try:
            while True:
                if self._may_run():
                    await self._beat()
                else:
                    self._since = self._clock()
                # Jitter: after an outage a hundred sites must not go on in step.
                await asyncio.sleep(self._pause * random.uniform(0.9, 1.1))  # noqa: S311
        finally:
            await self._unfollow(list(self._informers))

    @property
    def _pause(self) -> float:
        waits = not self._may_run() or self._access.client is None or (self._connected and not self._is_greeted)
        return self._pace.greet if waits else self._pace.beat

    async def _beat(self) -> None:
        client = self._access.client
        if client is None:
            await self._failed(self._access.problem)
            return
        try:
            async with asyncio.timeout(self._pace.answer):
                lease = await (self._renew(client) if self._may_renew(client) else self._read(client))
        except ApiError as error:
            if error.status in (401, 403):
                self._access.look()
            await self._failed(str(error))
        except UNREACHABLE as error:
            await self._failed(str(error) or type(error).__name__)
        except Exception as error:
            # Whatever comes from there, what runs here goes on.
            logger.exception("what the hub answers makes no sense")
            await self._failed(repr(error))
        else:
            await self._heard(client, lease)

    def _may_renew(self, client: Client) -> bool:
        if not self._connected or client is not self._client:
            self._is_greeted = False
        elif not self._is_greeted:
            # Not for ever: that the site is alive matters more.
            self._is_greeted = self._told() or self._clock() - self._session_since >= self._pace.beat
        return self._is_greeted

    async def _read(self, client: Client) -> Object:
        lease = await client.get(LEASES, namespace=self._access.namespace, name=member_name(self._access.member))
        if lease is None:
            raise ApiError(status=404, reason="NotFound", message="it keeps no Lease of this site")
        return lease

    async def _renew(self, client: Client) -> Object:
        spec = {"holderIdentity": self._identity, "renewTime": micro_time(datetime.now(UTC))}
        return await client.patch(
            LEASES,
            {"spec": spec},
            namespace=self._access.namespace,
            name=member_name(self._access.member),
            manager=MANAGER,
        )

    async def _heard(self, client: Client, lease: Object) -> None:
        now = self._clock()
        if not self._connected or client is not self._client:
            # A watch may be left of a link that died in silence.
            await self._unfollow(list(self._informers))
            self._connected, self._client = True, client
            self.session += 1
            self._session_since = now
            logger.info(
                "the hub is there%s", f" again; away since {self._heard_at:%H:%M:%SZ}" if self._was_away else ""
            )
        self._since, self._heard_at, self._was_away = now, datetime.now(UTC), False
        before = self._names
        annotation = (lease["metadata"].get("annotations") or {}).get(ASSIGNMENTS_ANNOTATION)
        self._names = None if annotation is None else frozenset(filter(None, annotation.split(",")))
        await self._follow(client, self._names or frozenset())
        if self._names != before:
            self._on_change()

    async def _failed(self, why: str) -> None:
        if self._connected:
            logger.warning("the hub does not answer: %s", why)
            self._connected = False
            self._names = None
            # Nobody need try over and over: the next heartbeat finds out.
            await self._unfollow(list(self._informers))
            self._on_change()
        if self.away and not self._was_away:
            self._was_away = True
            logger.warning("the hub is away since %s: this site goes on by itself", rfc3339(self._heard_at))
            self._on_change()

    async def _follow(self, client: Client, names: frozenset[str]) -> None:
        await self._unfollow([name for name, (_, task) in self._informers.items() if name not in names or task.done()])
        for name in sorted(names - self._informers.keys()):
            informer = Informer(
                client, ASSIGNMENTS, keep=essence, on_change=self._on_change, field_selector=f"metadata.name={name}"
            )
            self._informers[name] = informer, asyncio.create_task(informer.run(), name=f"hub's Assignment {name}")

    async def _unfollow(self, names: list[str]) -> None:
        tasks = [self._informers.pop(name)[1] for name in names]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
