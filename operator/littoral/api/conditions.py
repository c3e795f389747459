"""Conditions as kstatus reads them: Ready always, Reconciling and Stalled only while true. Pure functions.

`kubectl wait`, Flux and Argo CD take an object for done when Ready is True, for in progress while Reconciling
is present, and for failed while Stalled is.
"""

from __future__ import annotations

from datetime import datetime

from littoral.api.base import shorten
from littoral.api.meta import Condition, ConditionStatus

READY = "Ready"
RECONCILING = "Reconciling"
STALLED = "Stalled"
ATTAINABLE = "Attainable"

Conditions = tuple[Condition, ...]


def find_condition(conditions: Conditions, kind: str) -> Condition | None:
    """The condition of that type."""
    return next((condition for condition in conditions if condition.type == kind), None)


def is_true(conditions: Conditions, kind: str) -> bool:
    """Whether the condition of that type is present and True."""
    condition = find_condition(conditions, kind)
    return condition is not None and condition.status is ConditionStatus.TRUE


def set_condition(
    conditions: Conditions,
    kind: str,
    *,
    status: ConditionStatus,
    reason: str,
    message: str,
    generation: int,
    now: datetime,
) -> Conditions:
    """The conditions with one of them set, in the place it had, or else last.

    `lastTransitionTime` moves to `now` (UTC) only when the status changes, so that setting the same again
    changes nothing.
    """
    before = find_condition(conditions, kind)
    kept = before is not None and before.status is status
    after = Condition(
        type=kind,
        status=status,
        reason=reason,
        message=shorten(message),
        observed_generation=generation,
        last_transition_time=before.last_transition_time if before and kept else now,
    )
    if before is None:
        return (*conditions, after)
    return tuple(after if condition.type == kind else condition for condition in conditions)


def remove_conditions(conditions: Conditions, *kinds: str) -> Conditions:
    """The conditions without those of these types."""
    return tuple(condition for condition in conditions if condition.type not in kinds)


def ready(conditions: Conditions, *, reason: str, message: str, generation: int, now: datetime) -> Conditions:
    """Ready is True; neither Reconciling nor Stalled."""
    return _settled(conditions, ConditionStatus.TRUE, reason=reason, message=message, generation=generation, now=now)


def reconciling(
    conditions: Conditions,
    *,
    reason: str,
    message: str,
    generation: int,
    now: datetime,
    serving: ConditionStatus = ConditionStatus.FALSE,
) -> Conditions:
    """Reconciling is True, not Stalled; Ready is `serving`: True when what the object stands for works meanwhile."""
    rest = remove_conditions(conditions, STALLED)
    for kind, status in ((READY, serving), (RECONCILING, ConditionStatus.TRUE)):
        rest = set_condition(rest, kind, status=status, reason=reason, message=message, generation=generation, now=now)
    return rest


def unknown(conditions: Conditions, *, reason: str, message: str, generation: int, now: datetime) -> Conditions:
    """Ready is Unknown, since nobody can be asked; neither Reconciling nor Stalled. kstatus takes that for in
    progress."""
    return _settled(conditions, ConditionStatus.UNKNOWN, reason=reason, message=message, generation=generation, now=now)


def _settled(
    conditions: Conditions, status: ConditionStatus, *, reason: str, message: str, generation: int, now: datetime
) -> Conditions:
    """Ready alone, with that status."""
    rest = remove_conditions(conditions, RECONCILING, STALLED)
    return set_condition(rest, READY, status=status, reason=reason, message=message, generation=generation, now=now)


def stalled(conditions: Conditions, *, reason: str, message: str, generation: int, now: datetime) -> Conditions:
    """Stalled is True and Ready False, not Reconciling: nothing happens until somebody changes something."""
    rest = remove_conditions(conditions, RECONCILING)
    for kind, status in ((READY, ConditionStatus.FALSE), (STALLED, ConditionStatus.TRUE)):
        rest = set_condition(rest, kind, status=status, reason=reason, message=message, generation=generation, now=now)
    return rest
