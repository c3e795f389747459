"""A level-triggered loop: many triggers, one pass at a time, the last trigger never lost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)

_RETRY_FIRST, _RETRY_MOST = 0.5, 30.0


class LevelLoop:
    """Runs `step` after something was noted, and again when it failed.

    A burst of triggers is gathered until none has come for `quiet` seconds, at most `patience` seconds: one change is
    acted on at once, a thousand changes in a row are acted on together.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], Awaitable[bool]],
        *,
        may_run: Callable[[], bool],
        quiet: float = 0.05,
        patience: float = 1.0,
    ) -> None:
        """`step` returns whether everything was done; `may_run` is asked before each pass (leadership)."""
        self._name = name
        self._step = step
        self._may_run = may_run
        self._quiet = quiet
        self._patience = patience
        self._triggered = asyncio.Event()
        self._last_trigger = 0.0
        self.busy_since: float | None = None
        """Monotonic time at which the pass that is under way began; None between passes."""

    def trigger(self) -> None:
        """Note that something changed."""
        self._last_trigger = time.monotonic()
        self._triggered.set()

    async def run(self) -> None:
        """Run for ever; ends only by cancellation."""
        retry = _RETRY_FIRST
        while True:
            await self._triggered.wait()
            await self._gather()
            self._triggered.clear()
            if not self._may_run():
                continue  # Whoever begins to lead triggers again.
            self.busy_since = time.monotonic()
            try:
                done = await self._step()
            except Exception:
                logger.exception("%s: the pass failed and will be tried again", self._name)
                done = False
            finally:
                self.busy_since = None
            if done:
                retry = _RETRY_FIRST
            else:
                asyncio.get_running_loop().call_later(retry, self.trigger)
                retry = min(retry * 2, _RETRY_MOST)

    async def _gather(self) -> None:
        latest = time.monotonic() + self._patience
        while (pause := min(self._last_trigger + self._quiet, latest) - time.monotonic()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(pause)
