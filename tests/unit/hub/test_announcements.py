"""What becomes an Event, and what is no news."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from littoral.api.conditions import ready, reconciling, stalled, unknown
from littoral.api.model import ModelStatus, Placement, Rejection
from littoral.api.nodepool import NodePoolStatus
from littoral.hub.announcements import announcements, pool_announcements

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def place(pool: str = "edge", *, variant: str = "onnx-cpu", replicas: int = 1, **fields: Any) -> Placement:
    """A place of the Model."""
    return Placement(
        pool=pool,
        tier="edge",
        accelerator="cpu",
        variant=variant,
        server=f"triton-{pool}-cpu",
        replicas=replicas,
        message="why here",
        **fields,
    )


def status(*placements: Placement, make: Any = ready, reason: str = "Serving", **fields: Any) -> ModelStatus:
    """A status with the condition Ready."""
    conditions = make((), reason=reason, message="how it is", generation=1, now=NOW)
    return ModelStatus(conditions=conditions, placements=placements, **fields)


def said(before: ModelStatus, after: ModelStatus) -> list[tuple[str, str, str]]:
    return [(it.kind, it.reason, it.note) for it in announcements(before, after)]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param(
            ModelStatus(),
            status(place(), make=reconciling, reason="Progressing"),
            [("Normal", "Placed", "edge: onnx-cpu x 1: why here"), ("Normal", "Progressing", "how it is")],
            id="placed",
        ),
        pytest.param(status(place()), status(place()), [], id="nothing new"),
        pytest.param(status(place()), status(place(ready_replicas=1)), [], id="a replica that answers"),
        pytest.param(
            status(place()),
            status(place(replicas=3)),
            [("Normal", "Scaled", "edge: onnx-cpu x 1 -> 3: why here")],
            id="more replicas",
        ),
        pytest.param(
            status(place()),
            status(
                place("cloud"), rejections=(Rejection(pool="edge", reason="NoDevice", message="its device is gone"),)
            ),
            [("Normal", "Moved", "cloud: onnx-cpu x 1: why here; edge: onnx-cpu goes: its device is gone")],
            id="moved",
        ),
        pytest.param(
            status(place()),
            status(make=stalled, reason="NoPlacement"),
            [
                ("Normal", "Moved", "edge: onnx-cpu goes: another server of the pool has it"),
                ("Warning", "NoPlacement", "how it is"),
            ],
            id="no place",
        ),
        pytest.param(
            status(place()),
            status(place(), shortfall="5 of 20 requests/s"),
            [("Warning", "NotEnoughCapacity", "5 of 20 requests/s")],
            id="too little",
        ),
        pytest.param(
            status(place(), shortfall="5 of 20 requests/s"),
            status(place(), shortfall="6 of 20 requests/s"),
            [],
            id="still too little",
        ),
    ],
)
def test_events(before: ModelStatus, after: ModelStatus, expected: list[tuple[str, str, str]]) -> None:
    assert said(before, after) == expected


def test_many_places_make_one_event() -> None:
    ((kind, reason, note),) = said(status(), status(*(place(f"p{n}") for n in range(9))))
    assert (kind, reason) == ("Normal", "Placed")
    assert note.endswith("p4: onnx-cpu x 1: why here; and 4 places more")


def test_that_nobody_hears_of_a_model_is_a_warning() -> None:
    gone = status(place(), make=unknown, reason="MemberUnreachable")
    assert said(status(place()), gone) == [("Warning", "MemberUnreachable", "how it is")]
    assert said(gone, status(place())) == [("Normal", "Serving", "how it is")]


def test_a_member_goes_and_comes_back() -> None:
    def told(before: NodePoolStatus, after: NodePoolStatus, member: str | None = "store-12") -> list[Any]:
        return [(it.kind, it.reason, it.note) for it in pool_announcements(before, after, member=member)]

    here = NodePoolStatus()
    gone = NodePoolStatus(unreachable_since=datetime(2026, 11, 28, 18, tzinfo=UTC))
    later = NodePoolStatus(unreachable_since=datetime(2026, 11, 28, 19, tzinfo=UTC))
    assert told(here, here) == told(gone, gone) == told(gone, later) == told(here, gone, None) == []
    assert told(here, gone) == [
        (
            "Warning",
            "MemberUnreachable",
            "member store-12 has not been heard of since 2026-11-28T18:00:00Z; what runs there goes on",
        )
    ]
    assert told(gone, here) == [
        (
            "Normal",
            "MemberReachable",
            "member store-12 is heard of again, for the first time since 2026-11-28T18:00:00Z",
        )
    ]
