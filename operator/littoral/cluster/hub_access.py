"""A member site's access to its hub: it joins with an invitation, then renews its own token for as long as it runs.

The Secret `littoral-hub` in the operator's namespace holds all there is to know. `littoral join` writes it; a new one
over an old one takes effect at once. The exchange of the invitation's token for one of the site's own can be cut off
anywhere and is then done again, since each step leaves the Secret with a token that works:

1. ask the hub for a token of our own;
2. write it into the Secret, whose key `joinSecret` stays;
3. delete the hub's Secret that the invitation's token is bound to, which ends that token;
4. remove `joinSecret`.

Every write carries the resourceVersion that was read: neither a renewal nor another replica can undo a new join.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from littoral.cluster.client import UNREACHABLE, ApiError, Client, Object
from littoral.cluster.hub_tokens import Grant, end_invitation, is_invited, request_token
from littoral.cluster.informer import Informer
from littoral.cluster.membership import HUB_SECRET, Credentials, InvalidCredentials, lifetime_of
from littoral.cluster.resources import SECRETS
from littoral.cluster.secrets import encoded

logger = logging.getLogger(__name__)

_MANAGER: Final = "littoral-site"
_SOON: Final = 0.1  # Seconds until what has just changed is read again.


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How often things are done, in seconds.

    Attributes:
        renew: a token is replaced this long after it was issued, or after half of its life where that is shorter.
        look: between two looks at whether the hub still accepts us.
        retry_first, retry_most: pauses after the first failure, and after many.
    """

    renew: float = 24 * 3600.0
    look: float = 60.0
    retry_first: float = 1.0
    retry_most: float = 60.0


class HubAccess:
    """The hub, as this member may use it. `run` it as a task; ask `client` before each use.

    Attributes:
        member: name of this member cluster.
        problem: why there is no access, for people; empty when all is well.
    """

    def __init__(
        self,
        client: Client,
        *,
        namespace: str,
        member: str,
        on_change: Callable[[], None] = lambda: None,
        pace: Pace | None = None,
    ) -> None:
        """`client` and `namespace` are of this cluster; `on_change` is called when `client` or `problem` changes."""
        self.member = member
        self.problem = ""
        self._local = client
        self._local_namespace = namespace
        self._on_change = on_change
        self._pace = pace or Pace()
        self._wake = asyncio.Event()
        self._secrets: Informer[str] = Informer(
            client,
            SECRETS,
            keep=lambda body: str(body["metadata"]["resourceVersion"]),
            on_change=self._wake.set,
            namespace=namespace,
            field_selector=f"metadata.name={HUB_SECRET}",
        )
        self._hub: Client | None = None
        self._used: Credentials | None = None
        self._renew_at = 0.0  # By the monotonic clock.
        self._failures = 0

    @property
    def client(self) -> Client | None:
        """The hub; None until joined, and after the Secret was removed.

        It stays the same object through renewals, a new join and another address of the hub. While the hub refuses it
        (`problem` says so), its requests raise `ApiError` 401; while it is away, one of `UNREACHABLE`.
        """
        return self._hub

    @property
    def namespace(self) -> str:
        """Namespace of the hub's release, where this member's Lease is; empty until joined."""
        return self._used.namespace if self._used else ""

    def look(self) -> None:
        """Look at once: for whoever gets a 401 from `client` and does not want to wait for the next look."""
        self._wake.set()

    async def run(self) -> None:
        """Join, then keep the token alive; ends only by cancellation."""
        watch = asyncio.create_task(self._secrets.run(), name="informer of the hub's Secret")
        try:
            while True:
                self._wake.clear()
                pause = await self._step()
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
            await self._leave()

    async def _step(self) -> float:
        """Do what is to be done now. Returns the seconds until the next look."""
        server = self._used.server if self._used else "its hub"
        try:
            body = await self._read()
            if body is None:
                await self._leave()
                return self._tell(_how_to_join(self.member, self._local_namespace))
            wanted = Credentials.from_secret(body)
            server = wanted.server
            if wanted.member != self.member:
                return self._tell(
                    f"Secret {HUB_SECRET} is for member {wanted.member}, and this operator runs as {self.member}: join "
                    f"with an invitation of {self.member}, or install with member: {wanted.member}"
                )
            if wanted.secret:
                await self._exchange(wanted, body)
            else:
                hub = await self._use(wanted)
                if time.monotonic() >= self._renew_at:
                    await self._renew(hub, wanted, body)
                elif not await is_invited(hub, wanted):
                    return self._tell(_refused(server, self.member, why="keeps no Lease of it"))
        except InvalidCredentials as error:
            return self._tell(f"Secret {HUB_SECRET} cannot be used: {error}; run littoral join again")
        except _Changed:
            return _SOON
        except _Local as error:
            return self._failed(f"Secret {HUB_SECRET} could not be read or written: {error}")
        except ApiError as error:
            return self._failed(self._meaning(error, server=server))
        except UNREACHABLE as error:
            return self._failed(f"{server} cannot be reached: {str(error) or type(error).__name__}")
        self._failures = 0
        self._tell("")
        return min(self._pace.look, max(self._renew_at - time.monotonic(), _SOON))

    async def _exchange(self, wanted: Credentials, body: Object) -> None:
        """Make an invitation a membership. What serves the site by now goes on until the new token is written down."""
        async with _connected(wanted) as invited:
            try:
                grant = await request_token(invited, wanted.member, namespace=wanted.namespace)
            except ApiError as error:
                if error.status == 401:
                    await self._raise_if_changed(body)
                raise
            own = wanted.with_token(grant.token)
            body = await self._write(body, {"token": grant.token})
            invited.use_token(own.token)
            await end_invitation(invited, own)
        joined = Credentials.from_secret(await self._write(body, {"joinSecret": None}))
        await self._use(joined, fresh=grant)
        logger.info("joined the hub %s as member %s", joined.server, joined.member)

    async def _renew(self, hub: Client, used: Credentials, body: Object) -> None:
        grant = await request_token(hub, used.member, namespace=used.namespace)
        await self._write(body, {"token": grant.token})
        await self._use(used.with_token(grant.token), fresh=grant)
        logger.info("renewed the token for the hub %s", used.server)

    async def _use(self, wanted: Credentials, *, fresh: Grant | None = None) -> Client:
        """Let `client` go by these credentials, and fix when to renew them."""
        hub, before = self._hub, self._used
        if hub is not None and wanted == before:
            return hub
        try:
            if hub is None:
                hub = Client.at(wanted.server, ca=wanted.ca, token=wanted.token)
            elif before is not None and (before.server, before.ca) == (wanted.server, wanted.ca):
                hub.use_token(wanted.token)
            else:
                await hub.redirect(wanted.server, ca=wanted.ca, token=wanted.token)
        except ValueError as error:
            raise InvalidCredentials(str(error)) from error
        self._hub, self._used = hub, wanted
        if before is None:
            logger.info("the hub is %s, and this is its member %s", wanted.server, wanted.member)
        self._renew_at = time.monotonic() + self._life_left(wanted, fresh=fresh, first=before is None)
        self._on_change()
        return hub

    def _life_left(self, wanted: Credentials, *, fresh: Grant | None, first: bool) -> float:
        """Seconds until the renewal.

        A box at the edge may have a wrong clock, so that only spans by the hub's clock count: those of a token that was
        issued just now, by us or another replica. Of one that a restart has found the age is believed where it is
        plausible; otherwise it is renewed at once.
        """
        lifetime = fresh.lifetime if fresh else lifetime_of(wanted.token)
        if lifetime is None:
            return self._pace.renew
        due = lifetime.renew_at(most=self._pace.renew)
        if not first or fresh:
            # Replicas must not renew in step, and neither must a hundred sites that came up together.
            return (due - lifetime.issued) * random.uniform(0.8, 1.0)  # noqa: S311
        now = time.time()
        return due - now if lifetime.issued - 60 <= now < due else 0.0

    async def _read(self) -> Object | None:
        try:
            return await self._local.get(SECRETS, namespace=self._local_namespace, name=HUB_SECRET)
        except (ApiError, *UNREACHABLE) as error:
            raise _Local(str(error) or type(error).__name__) from error

    async def _write(self, body: Object, data: dict[str, str | None]) -> Object:
        """Change the Secret as it was read."""
        try:
            return await self._local.patch(
                SECRETS,
                {"metadata": {"resourceVersion": body["metadata"]["resourceVersion"]}, "data": encoded(data)},
                namespace=self._local_namespace,
                name=HUB_SECRET,
                manager=_MANAGER,
            )
        except ApiError as error:
            if error.status in (404, 409):
                raise _Changed from error
            raise _Local(str(error)) from error
        except UNREACHABLE as error:
            raise _Local(str(error) or type(error).__name__) from error

    async def _raise_if_changed(self, body: Object) -> None:
        """Another replica may have ended the invitation that we were about to use."""
        now = await self._read()
        if now is None or now["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
            raise _Changed

    async def _leave(self) -> None:
        hub, self._hub, self._used = self._hub, None, None
        if hub is not None:
            await hub.close()
            self._on_change()

    def _meaning(self, error: ApiError, *, server: str) -> str:
        if error.status == 401:
            return _refused(server, self.member, why="does not accept its token, which has expired or was revoked")
        if error.status == 403:
            return _refused(server, self.member, why=f"does not let it in: {error}")
        return f"{server} answers {error.status}: {error}"

    def _failed(self, problem: str) -> float:
        self._tell(problem)
        pause = min(self._pace.retry_first * 2.0**self._failures, self._pace.retry_most)
        self._failures = min(self._failures + 1, 16)
        return pause * random.uniform(0.5, 1.0)  # noqa: S311

    def _tell(self, problem: str) -> float:
        """Keep what is wrong, and log it once. Returns how long to wait for somebody to mend it."""
        if problem != self.problem:
            self.problem = problem
            if problem:
                logger.warning("no access to the hub: %s", problem)
            else:
                logger.info("the hub %s answers", self._used.server if self._used else "")
            self._on_change()
        return self._pace.look


class _Changed(Exception):
    """The Secret is not what it was when it was read: begin afresh."""


class _Local(Exception):
    """This cluster's own API server did not do what was asked."""


def _connected(credentials: Credentials) -> Client:
    try:
        return Client.at(credentials.server, ca=credentials.ca, token=credentials.token)
    except ValueError as error:
        raise InvalidCredentials(str(error)) from error


def _how_to_join(member: str, namespace: str) -> str:
    return (
        f"this site has not joined its hub: run littoral invite {member} with access to the hub, and here "
        f"littoral join TOKEN -n {namespace}"
    )


def _refused(server: str, member: str, *, why: str) -> str:
    return (
        f"the hub {server} {why}: run littoral invite {member} there again, and littoral join here with what it prints"
    )
