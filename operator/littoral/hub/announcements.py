"""What is worth an Event of a Model: its readiness changed, or it got, lost or has more of a place. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from littoral.api import conditions
from littoral.api.model import ModelStatus, Placement, Rejection

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
        stalled = conditions.is_true(after.conditions, conditions.STALLED)
        yield Announcement(kind="Warning" if stalled else "Normal", reason=now.reason, note=now.message)
    if after.shortfall and not before.shortfall:
        yield Announcement(kind="Warning", reason="NotEnoughCapacity", note=after.shortfall)


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
