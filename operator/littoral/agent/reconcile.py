"""What to do next for one model: a pure function of what is wanted and what is.

There is no memory of steps taken: after a restart of the agent, of Triton or of both, the same view leads to
the same action.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from littoral.agent.layout import fingerprint
from littoral.agent.repository import Installed
from littoral.agent.triton import VersionState
from littoral.api.serving import FINAL_ATTEMPTS, FailureReason, ServedModel

FIRST_RETRY = 1.0
"""Seconds until the first retry of what has failed; doubled each time."""

LAST_RETRY = 300.0
"""The longest pause between two retries, in seconds."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """The wanted version could not be had, so far."""

    message: str
    reason: FailureReason
    attempts: int
    retry_at: float
    """When to try again, on the agent's clock."""

    @property
    def final(self) -> bool:
        """Whether somebody should look at it: trying again does not help, or has not helped so far."""
        return not self.reason.transient or self.attempts >= FINAL_ATTEMPTS

    @property
    def pause(self) -> float:
        """The most seconds until the next attempt."""
        return min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(self.attempts - 1, 30))


@dataclass(frozen=True, kw_only=True)
class View:
    """Everything that decides what is done for one model."""

    name: str
    now: float
    wanted: ServedModel | None
    """None: the model is to go."""
    cached: bool = False
    """Whether the wanted artifact is in the cache, its digest checked."""
    installed: tuple[Installed, ...] = ()
    """What the repository holds, oldest first."""
    live: bool = False
    """Whether Triton answers."""
    versions: Mapping[int, VersionState] = field(default_factory=dict)
    """What Triton says of each version it knows."""
    remembered: Installed | None = None
    """What served last on this node, if the repository has been emptied since."""
    failure: Failure | None = None
    barred: frozenset[str] = frozenset()
    """Fingerprints of versions that Triton has died of, not to be loaded for now."""
    drain_until: float | None = None
    """When a model that is to go may be unloaded; None until its drain has begun."""

    @property
    def serving(self) -> int | None:
        """The version that answers requests."""
        ready = [number for number, state in self.versions.items() if state is VersionState.READY]
        return max(ready) if self.live and ready else None

    @property
    def loaded(self) -> bool:
        """Whether Triton has the model or is getting it."""
        return self.live and not {VersionState.READY, VersionState.LOADING}.isdisjoint(self.versions.values())

    @property
    def present(self) -> bool:
        """Whether there is something of the model, in Triton or in its repository."""
        return self.loaded or bool(self.installed)

    @property
    def current(self) -> Installed | None:
        """The version in the repository that is what is wanted."""
        if self.wanted is None:
            return None
        wanted = fingerprint(self.wanted)
        return next((it for it in reversed(self.installed) if it.fingerprint == wanted), None)

    @property
    def fulfilled(self) -> bool:
        """Whether what is wanted serves."""
        return self.current is not None and self.versions.get(self.current.version) is VersionState.READY and self.live

    @property
    def refused(self) -> bool:
        """Whether what is wanted was found not to be signed as it must be, though it may serve from before."""
        return self.failure is not None and self.failure.reason is FailureReason.SIGNATURE_INVALID

    @property
    def pausing(self) -> bool:
        """Whether the last attempt failed, and it is too early for another."""
        if self.wanted is not None and self.barred and fingerprint(self.wanted) in self.barred:
            return True
        return self.failure is not None and self.now < self.failure.retry_at

    @property
    def next_version(self) -> int:
        """A version number that neither the repository nor Triton knows."""
        return 1 + max([0, *self.versions, *(it.version for it in self.installed)])


@dataclass(frozen=True)
class Fetch:
    """Bring the wanted artifact into the cache."""


@dataclass(frozen=True)
class Recall:
    """Put what served last into the repository again, out of the cache."""

    version: Installed


@dataclass(frozen=True)
class Install:
    """Put the wanted artifact into the repository as a new version, beside what serves."""


@dataclass(frozen=True)
class Load:
    """Have Triton load this version."""

    version: Installed


@dataclass(frozen=True)
class Prune:
    """Take the other versions out of the repository."""

    keep: Installed


@dataclass(frozen=True)
class Drain:
    """Say that the model is going, so that no new requests come."""


@dataclass(frozen=True)
class Remove:
    """Unload the model and take it out of the repository."""


@dataclass(frozen=True)
class Wait:
    """Nothing to do until something changes or some time has passed."""


Action = Fetch | Recall | Install | Load | Prune | Drain | Remove | Wait


def decide(view: View) -> Action:
    """The next action for a model."""
    if VersionState.LOADING in view.versions.values():
        return Wait()  # an agent before this one asked for it
    if view.wanted is None:
        return _retire(view)
    if view.fulfilled:
        assert view.current is not None
        if view.pausing:
            return Wait()
        if len(view.installed) > 1:
            return Prune(view.current)
        # What serves out of memory must be in the cache, and whole, for the day on which it is loaded again.
        return Wait() if view.cached else Fetch()
    action = Wait() if view.pausing else _advance(view)
    if isinstance(action, Fetch | Wait) and view.live and view.serving is None:
        # What served before is better than nothing, while the wanted one is not to be had.
        if view.installed:
            return Load(view.installed[-1])
        if view.remembered is not None and view.remembered.fingerprint not in {*view.barred, fingerprint(view.wanted)}:
            return Recall(view.remembered)
    return action


def _advance(view: View) -> Action:
    """Towards the wanted version."""
    if view.current is not None:
        return Load(view.current) if view.live else Wait()
    if not view.cached:
        return Fetch()
    return Install() if view.live else Wait()


def _retire(view: View) -> Action:
    """Towards no version at all."""
    if view.pausing:
        return Wait()
    if view.serving is None:
        return Remove() if view.present else Wait()
    if view.drain_until is None:
        return Drain()
    return Wait() if view.now < view.drain_until else Remove()


def failed(before: Failure | None, message: str, *, reason: FailureReason, now: float) -> Failure:
    """The failure after one more attempt. Half of the pause is random, so that the agents of a site do not
    retry at once."""
    attempts = 1 if before is None else before.attempts + 1
    failure = Failure(message=message, reason=reason, attempts=attempts, retry_at=now)
    return replace(failure, retry_at=now + failure.pause * random.uniform(0.5, 1.0))  # noqa: S311
