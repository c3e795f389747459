"""The report: what one model's view means to people, and a board on which the whole is published."""

import asyncio
import time
from collections.abc import Sequence

from littoral.agent.progress import Shown
from littoral.agent.reconcile import Action, Failure, Fetch, Load, View
from littoral.api.serving import MOST_ATTEMPTS, ModelState, ModelStatus, ServerStatus, TritonStatus


def describe(
    view: View,
    *,
    doing: Action | None,
    progress: Shown | None,
    variant: str,
    digest: str,
    load_seconds: float | None = None,
) -> ModelStatus:
    """The status of one model.

    Args:
        view: what is wanted and what is.
        doing: the action that is under way.
        progress: of the fetch, while there is one.
        variant: variant that is wanted, or was last.
        digest: digest that is wanted, or was last.
        load_seconds: how long the last load took, if this agent has seen it; told once what is wanted is loaded.
    """
    state, message = _state(view, doing, progress)
    serving = view.serving
    failure = None if view.wanted is None or (view.fulfilled and not view.refused) else view.failure
    return ModelStatus(
        name=view.name,
        variant=variant,
        digest=digest,
        version=serving or (view.installed[-1].version if view.installed else 0),
        state=state,
        ready=serving is not None,
        message=message,
        reason=failure.reason if failure else None,
        attempts=min(failure.attempts, MOST_ATTEMPTS) if failure else 0,
        bytes=progress.received if progress else 0,
        total_bytes=(progress.total or 0) if progress else 0,
        load_seconds=load_seconds if view.fulfilled else None,
    )


def _state(view: View, doing: Action | None, progress: Shown | None) -> tuple[ModelState, str]:
    if view.wanted is None:
        return ModelState.UNLOADING, ""
    if view.fulfilled and not view.refused:
        return ModelState.READY, ""
    if view.failure is not None:
        return _failed(view, view.failure)
    match doing:
        case Fetch():
            return ModelState.FETCHING, str(progress or "")
        case Load():
            return ModelState.LOADING, ""
    if not view.live:
        return ModelState.PENDING, "Triton does not answer"
    return ModelState.PENDING, ""


def _failed(view: View, failure: Failure) -> tuple[ModelState, str]:
    if failure.final:
        return ModelState.FAILED, failure.message
    state = ModelState.LOADING if view.cached or view.current is not None else ModelState.FETCHING
    # Nothing in it that counts down: each second would be news.
    return state, f"{failure.message} (attempt {failure.attempts} failed; tried again within {failure.pause:g} s)"


class Board:
    """The newest status. Readers take it as it is, or wait for the next one."""

    def __init__(self) -> None:
        # Milliseconds since 1970, and not 0: a reader that knew the agent before a restart must not wait for a number
        # that was already given away.
        self._status = ServerStatus(generation=time.time_ns() // 1_000_000)
        self._changed = asyncio.Event()
        self._proven: set[str] = set()
        self._published = time.monotonic()

    @property
    def silence(self) -> float:
        """Seconds since somebody published, be it news or not."""
        return time.monotonic() - self._published

    @property
    def lost(self) -> list[str]:
        """Wanted models that were ready once and are not now."""
        return [it.name for it in self._status.models if it.name in self._proven and not it.ready]

    @property
    def status(self) -> ServerStatus:
        """The newest status."""
        return self._status

    def publish(self, *, revision: str, message: str, triton: TritonStatus, models: Sequence[ModelStatus]) -> None:
        """Show this status from now on; a new generation, if it says anything new."""
        status = ServerStatus(
            revision=revision, message=message, triton=triton, models=tuple(models), generation=self._status.generation
        )
        self._published = time.monotonic()
        if status == self._status:
            return
        wanted = {it.name for it in models if it.state is not ModelState.UNLOADING}
        self._proven = wanted & (self._proven | {it.name for it in models if it.ready})
        self._status = status.model_copy(update={"generation": status.generation + 1})
        self._changed.set()
        self._changed = asyncio.Event()

    async def after(self, generation: int, *, wait: float) -> ServerStatus:
        """The first status whose generation is not `generation`, or the one there is after `wait` seconds.

        A larger generation than there is belongs to an agent before this one, whose clock was ahead: it is
        answered at once.
        """
        deadline = time.monotonic() + wait
        while self._status.generation == generation and (left := deadline - time.monotonic()) > 0:
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                break
        return self._status
