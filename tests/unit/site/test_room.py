"""What a site says of Pods for which no node has room."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from littoral.site.report import report
from littoral.site.views import PodView
from tests.support.objects import assignment, server


def pod(name: str, *, server: str = "triton-edge-cpu", **fields: Any) -> PodView:
    usual: dict[str, Any] = {"address": "", "node": "", "ready": False, "leaving": False, "config_revision": ""}
    return PodView(namespace="shop", name=name, uid=name, server=server, trouble="", **usual | fields)


PENDING = PodView.from_object(
    {
        "metadata": {
            "namespace": "shop",
            "name": "p",
            "uid": "p",
            "labels": {"littoral.dev/server": "triton-edge-cpu"},
        },
        "spec": {},
        "status": {
            "phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes: 1 Insufficient cpu."}],
        },
    }
)


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        pytest.param([], 1, id="it waits for room"),
        pytest.param([pod("new")], 1, id="one that the scheduler has not looked at yet"),
        pytest.param([pod("old", server="triton-edge-2-cpu", leaving=True, ending=True)], 0, id="room comes free"),
        pytest.param([pod("old", server="triton-far-cpu", leaving=True, ending=True)], 1, id="room of another pool"),
        pytest.param([pod("dead", leaving=True)], 1, id="one that has ended holds no room"),
    ],
)
def test_pods_without_room(others: list[PodView], expected: int) -> None:
    status = report(
        assignment("edge", servers=[server("digits")]),
        pods=[PENDING, *others],
        statuses={},
        troubles={},
        now=datetime(2026, 1, 1, tzinfo=UTC),
    )
    assert [each.unschedulable for each in status.servers] == [expected]


@pytest.mark.parametrize(
    ("phase", "deleted", "expected"),
    [("Running", True, True), ("Running", False, False), ("Failed", True, False), ("Failed", False, False)],
)
def test_what_is_deleted_holds_its_room_until_it_has_ended(phase: str, deleted: bool, expected: bool) -> None:
    metadata = {"namespace": "shop", "name": "p", "uid": "p"} | ({"deletionTimestamp": "now"} if deleted else {})
    assert PodView.from_object({"metadata": metadata, "status": {"phase": phase}}).ending is expected
