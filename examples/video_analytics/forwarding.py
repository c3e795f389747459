"""Send results to a collector: each at least once, in order, whenever the link allows.

A result is noted as forwarded after the collector has said 2xx. A crash, or an answer that is lost, in between has it
sent again under the same `Idempotency-Key`, by which the collector knows it. One request is under way at a time: what
is sent again is always the newest that the collector may know.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp

from examples.vision.kserve import parse_retry_after

from .ring import Result, Ring

log = logging.getLogger(__name__)

# The collector understood, and will not have this result whenever it comes: it must not hold up all others.
_HOPELESS = frozenset({400, 413, 415, 422})


@dataclass(kw_only=True)
class Backoff:
    """Growing pauses between attempts, from `least` to `most` seconds, each between its half and its whole."""

    least: float = 1.0
    most: float = 60.0
    _failures: int = 0

    def next(self) -> float:
        """Return the seconds to wait after one more failure."""
        whole = min(self.most, self.least * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return whole * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Note a success."""
        self._failures = 0


class NotTaken(Exception):
    """The collector does not have the result now; `retry_after`: seconds it asks to wait, if it does."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(kw_only=True)
class Forwarder:
    """Sends the results of one ring to one address.

    Attributes:
        url: takes `POST` of a result as JSON.
        with_pictures: send the annotated frame, too, as base64 in the field `jpeg`.
        token: for `Authorization: Bearer`, read anew for each request; empty: none is sent.
        timeout: seconds for one request.
        wake: set where there may be something new; the forwarder clears it.
    """

    ring: Ring
    session: aiohttp.ClientSession
    url: str
    with_pictures: bool = False
    token: Callable[[], str] = str
    timeout: float = 10.0
    backoff: Backoff = field(default_factory=Backoff)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    sent: int = 0
    rejected: int = 0
    failed: int = 0
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            self.wake.clear()
            try:
                result = await asyncio.to_thread(self.ring.next_pending)
                if result is None:
                    if not self.wake.is_set():
                        self._idle.set()
                    await self.wake.wait()
                    continue
                self._idle.clear()
                await self.forward(result)
            except (NotTaken, OSError, ValueError) as error:
                self.failed += 1
                pause = self.backoff.next()
                if isinstance(error, NotTaken) and error.retry_after is not None:
                    pause = max(pause, error.retry_after)
                log.warning("forwarding: %s; again in %.1f s", error, pause)
                await asyncio.sleep(pause)

    async def drained(self) -> None:
        """Wait until there is nothing to send."""
        self._idle.clear()
        self.wake.set()
        await self._idle.wait()

    async def forward(self, result: Result) -> None:
        """Send one result and note it; raise NotTaken where the collector does not have it, OSError for the disk."""
        body = dict(result.body)
        if self.with_pictures:
            picture = await asyncio.to_thread(self.ring.picture, result.number)
            body["jpeg"] = picture and base64.b64encode(picture).decode()
        taken = await self._post(json.dumps(body).encode(), key=result.key)
        self.backoff.reset()
        if taken:
            self.sent += 1
        else:
            self.rejected += 1
            log.error("forwarding: the collector rejects %s; going on with the next", result.key)
        await asyncio.to_thread(self.ring.mark_forwarded, result.number)

    async def _post(self, data: bytes, *, key: str) -> bool:
        """Send; whether the collector took it. Raises NotTaken."""
        # A quoted string, as the header's draft standard has it.
        headers = {"Content-Type": "application/json", "Idempotency-Key": f'"{key}"'}
        try:
            if token := self.token():
                headers["Authorization"] = f"Bearer {token}"
            async with self.session.post(
                self.url,
                data=data,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=self.timeout),
                allow_redirects=False,
            ) as response:
                if 200 <= response.status < 300:
                    return True
                if response.status in _HOPELESS:
                    return False
                after = response.headers.get("Retry-After")
                raise NotTaken(
                    f"{self.url}: {response.status} {response.reason}",
                    retry_after=None if after is None else parse_retry_after(after),
                )
        except TimeoutError as error:
            raise NotTaken(f"{self.url}: no answer within {self.timeout:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise NotTaken(f"{self.url}: {error}") from error
