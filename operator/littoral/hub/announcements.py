"""What is worth an Event. Pure.

Of a Model: its readiness changed, or it got, lost or has more of a place. Of a NodePool: its member went, or is back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from littoral.api import conditions
from littoral.api.meta import ConditionStatus
from littoral.api.model import ModelStatus, Placement, Rejection
from littoral.api.nodepool import NodePoolStatus
from littoral.core.plan import Reason
from littoral.core.world import rfc3339, unheard

_TOLD_MOST: Final = 5


@dataclass(frozen=True, kw_only=True)
class Announcement:
    """One Event: `reason` for programs, `note` for people."""

    kind: Literal["Normal", "Warning"]
    reason: str
    note: str


def announcements(before: ModelStatus, after: ModelStatus) -> Iterator[Announcement]:
    """The Events between two statuses of a Model."""
    moved = list(_moves(before.placements, after))
    if moved:
        more = f"; and {len(moved) - _TOLD_MOST} places more" if len(moved) > _TOLD_MOST else ""
        reason = "Placed" if not before.placements else "Scaled" if _same_places(before, after) else "Moved"
        yield Announcement(kind="Normal", reason=reason, note="; ".join(moved[:_TOLD_MOST]) + more)
    was, now = (conditions.find_condition(status.conditions, conditions.READY) for status in (before, after))
    if now is not None and (was is None or (was.status, was.reason) != (now.status, now.reason)):
        wrong = now.status == ConditionStatus.UNKNOWN or conditions.is_true(after.conditions, conditions.STALLED)
        yield Announcement(kind="Warning" if wrong else "Normal", reason=now.reason, note=now.message)
    if after.shortfall and not before.shortfall:
        yield Announcement(kind="Warning", reason="NotEnoughCapacity", note=after.shortfall)


def pool_announcements(before: NodePoolStatus, after: NodePoolStatus, *, member: str | None) -> Iterator[Announcement]:
    """The Events between two statuses of a NodePool."""
    if member is None or (before.unreachable_since is None) == (after.unreachable_since is None):
        return
    if after.unreachable_since is not None:
        note = f"{unheard(member, after.unreachable_since)}; what runs there goes on"
        yield Announcement(kind="Warning", reason=Reason.MEMBER_UNREACHABLE.value, note=note)
    elif before.unreachable_since is not None:
        note = f"member {member} is heard of again, for the first time since {rfc3339(before.unreachable_since)}"
        yield Announcement(kind="Normal", reason="MemberReachable", note=note)


_Place = tuple[str, str, str]


def _places(placements: Sequence[Placement]) -> dict[_Place, Placement]:
    return {(it.pool, it.server, it.variant): it for it in placements}


def _same_places(before: ModelStatus, after: ModelStatus) -> bool:
    return _places(before.placements).keys() == _places(after.placements).keys()


def _moves(before: Sequence[Placement], after: ModelStatus) -> Iterator[str]:
    was, now = _places(before), _places(after.placements)
    for key, placement in now.items():
        name = f"{placement.pool}: {placement.variant}"
        if key not in was:
            yield f"{name} x {placement.replicas}: {placement.message}"
        elif was[key].replicas != placement.replicas:
            yield f"{name} x {was[key].replicas} -> {placement.replicas}: {placement.message}"
    for key, placement in was.items():
        if key not in now:
            yield f"{placement.pool}: {placement.variant} goes: {_why_not(placement, after.rejections)}"


def _why_not(placement: Placement, rejections: Sequence[Rejection]) -> str:
    said = [it for it in rejections if it.pool == placement.pool and it.variant in (None, placement.variant)]
    # What is said of the variant says more than what is said of the pool.
    said.sort(key=lambda it: it.variant is None)
    return said[0].message if said else "another server of the pool has it"
