"""Leadership by a Lease: of several replicas only the holder writes.

The protocol is client-go's: whoever renews holds; a holder that was not seen to renew for `duration` seconds, by the
watcher's own clock, has lost it. Clocks of different nodes are never compared.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from littoral.cluster.client import UNREACHABLE, ApiError, Client, Object
from littoral.cluster.micro_time import micro_time
from littoral.cluster.resources import LEASES

logger = logging.getLogger(__name__)


class LeadershipLost(Exception):
    """The Lease could not be renewed in time: another replica may lead by now, so this process must end."""


class Leadership:
    """Takes part in the election for one Lease. `run` it as a task; ask `leading` before each write."""

    def __init__(
        self,
        client: Client,
        *,
        namespace: str,
        name: str,
        identity: str,
        on_start: Callable[[], None],
        duration: float = 15.0,
        renew_within: float = 10.0,
        retry: float = 2.0,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._on_start = on_start
        self._duration = duration
        self._renew_within = renew_within
        self._retry = retry
        self._renewed = float("-inf")
        self._leads = False
        # What was last seen of the Lease, and when, by this process's monotonic clock.
        self._seen_version = ""
        self._seen_at = time.monotonic()

    @property
    def leading(self) -> bool:
        """Whether this process may write now. Turns false by itself when renewals stop getting through."""
        return self._leads and time.monotonic() - self._renewed < self._renew_within

    async def run(self) -> None:
        """Acquire, then renew.

        Raises:
            LeadershipLost: it led, and could not renew in time.
        """
        while True:
            attempt = time.monotonic()
            try:
                # Not `wait_for`: up to Python 3.11 it may lose a cancellation, and then this process would not end.
                async with asyncio.timeout(self._renew_within / 2):
                    renewed = await self._acquire_or_renew()
                if renewed:
                    self._renewed = attempt
                    if not self._leads:
                        self._leads = True
                        logger.info("leading: %s holds the Lease %s/%s", self._identity, self._namespace, self._name)
                        self._on_start()
            except (ApiError, *UNREACHABLE) as error:
                logger.warning("the Lease %s/%s: %r", self._namespace, self._name, error)
            if self._leads and not self.leading:
                raise LeadershipLost(f"the Lease {self._namespace}/{self._name} could not be renewed in time")
            await asyncio.sleep(self._retry)

    async def release(self) -> None:
        """Give the Lease up, so that a successor need not wait for it to expire."""
        if not self._leads:
            return
        self._leads = False
        lease = await self._client.get(LEASES, namespace=self._namespace, name=self._name)
        if lease and lease["spec"].get("holderIdentity") == self._identity:
            lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
            await self._client.replace(LEASES, lease)

    async def _acquire_or_renew(self) -> bool:
        lease = await self._client.get(LEASES, namespace=self._namespace, name=self._name)
        now = micro_time(datetime.now(UTC))
        if lease is None:
            await self._client.create(LEASES, self._new_lease(now), namespace=self._namespace)
            return True
        spec = lease["spec"]
        version = lease["metadata"]["resourceVersion"]
        if version != self._seen_version:
            self._seen_version, self._seen_at = version, time.monotonic()
        holder = spec.get("holderIdentity", "")
        if holder not in ("", self._identity):
            if time.monotonic() - self._seen_at < spec.get("leaseDurationSeconds", self._duration):
                return False
            logger.info("the Lease %s/%s of %s has expired", self._namespace, self._name, holder)
        if holder != self._identity:
            spec |= {"acquireTime": now, "leaseTransitions": spec.get("leaseTransitions", 0) + 1}
        spec |= {
            "holderIdentity": self._identity,
            "renewTime": now,
            "leaseDurationSeconds": int(self._duration),
        }
        lease = await self._client.replace(LEASES, lease)
        self._seen_version, self._seen_at = lease["metadata"]["resourceVersion"], time.monotonic()
        return True

    def _new_lease(self, now: str) -> Object:
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"namespace": self._namespace, "name": self._name},
            "spec": {
                "holderIdentity": self._identity,
                "acquireTime": now,
                "renewTime": now,
                "leaseDurationSeconds": int(self._duration),
                "leaseTransitions": 0,
            },
        }
