"""What has happened to servers: when they last changed, and where Models have failed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from littoral.api.assignment import AssignedModelStatus, Assignment
from littoral.api.model import Variant
from littoral.api.serving import FailureReason, ModelState, ServedModel
from littoral.core.learning.reports import Report
from littoral.core.world import ModelKey, World, key_of

ServerKey = tuple[str, str, str]
"""(pool, namespace, name)."""

BROKEN_AFTER: Final = 30.0
"""Seconds for which a Model must have failed in a place before another variant is tried."""

FIRST_RETRY: Final = 600.0
"""Seconds until a variant that failed is tried again; doubled each time."""

LAST_RETRY: Final = 6 * 3600.0
"""The longest such pause."""

# What goes wrong on the way, or with the Model as a whole, does so with every variant. A reason that a newer agent
# has made up counts against the variant: where that is wrong, it is tried again all the same.
_NO_FAULT_OF_THE_VARIANT: Final = frozenset(
    {*(reason for reason in FailureReason if reason.transient), FailureReason.SERVICE_REFUSED}
)


class Ages:
    """When each server last got another number of replicas."""

    def __init__(self) -> None:
        self._sizes: dict[ServerKey, int] = {}
        self._changed_at: dict[ServerKey, float] = {}

    def observe(self, assignments: Iterable[Assignment], *, now: float) -> None:
        """Take note of what is assigned now. What is seen for the first time has changed a moment ago: a process that
        has just started knows no better."""
        sizes = {
            (assignment.name, server.namespace, server.name): server.replicas
            for assignment in assignments
            for server in assignment.spec.servers
        }
        for key, replicas in sizes.items():
            if self._sizes.get(key) != replicas:
                self._changed_at[key] = now
        for gone in self._sizes.keys() - sizes.keys():
            del self._changed_at[gone]
        self._sizes = sizes

    def ask(self, *, now: float) -> dict[ServerKey, float]:
        """Seconds since each server last changed. A clock that was set back makes nothing younger than new."""
        return {key: max(0.0, now - changed) for key, changed in self._changed_at.items()}


class _Attempt(NamedTuple):
    model: ModelKey
    variant: str
    what: tuple[object, ...]
    pool: str


@dataclass(frozen=True, kw_only=True)
class _Trouble:
    since: float
    broken_at: float | None = None
    failures: int = 0


class Failures:
    """Where a variant has failed to load, so that the next one is tried."""

    def __init__(self) -> None:
        self._troubles: dict[_Attempt, _Trouble] = {}

    def observe(self, found: Iterable[Report], *, now: float) -> None:
        """Take note of what sites say. What still answers, if only with an earlier artifact, has not failed."""
        for report in found:
            if report.said is None:
                continue
            attempt = _Attempt(report.place.model, report.variant, _what(report.served), report.place.pool)
            before = self._troubles.get(attempt)
            if report.said.state == ModelState.READY:
                self._troubles.pop(attempt, None)
            elif _failed(report.said):
                if before is None:
                    self._troubles[attempt] = _Trouble(since=now)
                elif before.broken_at is None and now - before.since >= BROKEN_AFTER:
                    self._troubles[attempt] = _Trouble(since=now, broken_at=now, failures=before.failures + 1)

    def ask(self, world: World, *, now: float) -> frozenset[tuple[ModelKey, str, str]]:
        """(Model, variant, pool) that are not to be tried now.

        Where every variant of a Model has failed, none is barred: to go on trying is better than to give up.
        """
        models = {key_of(model): model for model in world.models}
        barred: dict[tuple[ModelKey, str], set[str]] = defaultdict(set)
        for attempt, trouble in list(self._troubles.items()):
            model = models.get(attempt.model)
            variant = model.variant(attempt.variant) if model is not None else None
            if variant is None or _what(variant) != attempt.what:
                del self._troubles[attempt]  # Another artifact, or another way to load it, is another chance.
            elif trouble.broken_at is not None:
                pause = min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(trouble.failures - 1, 30))
                if 0 <= now - trouble.broken_at < pause:
                    barred[attempt.model, attempt.pool].add(attempt.variant)
                else:
                    self._troubles[attempt] = _Trouble(since=now, failures=trouble.failures)
        return frozenset(
            (key, variant, pool)
            for (key, pool), variants in barred.items()
            if len(variants) < len(models[key].spec.variants)
            for variant in variants
        )


def _what(it: ServedModel | Variant) -> tuple[object, ...]:
    return (it.artifact.digest, it.backend, tuple(sorted(it.parameters.items())))


def _failed(said: AssignedModelStatus) -> bool:
    return said.state == ModelState.FAILED and not said.ready_replicas and said.reason not in _NO_FAULT_OF_THE_VARIANT
