"""What a site reports of its Assignment."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from littoral.api.assignment import AssignmentStatus
from littoral.api.serving import ServerStatus
from littoral.site.desired import ChildKey
from littoral.site.report import report
from littoral.site.views import PodView
from tests.support.objects import DIGEST, assignment, server

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = ChildKey("Deployment", "shop", "triton-edge-cpu")


def pod(name: str = "p", *, ready: bool = True, trouble: str = "", leaving: bool = False) -> PodView:
    return PodView(
        namespace="shop",
        name=name,
        uid=name,
        server="triton-edge-cpu",
        address="198.18.0.9",
        node="edge",
        ready=ready,
        leaving=leaving,
        config_revision="",
        trouble=trouble,
    )


def said(state: str = "Ready", *, digest: str = DIGEST, message: str = "", **fields: Any) -> ServerStatus:
    model = {"name": "a", "digest": digest, "state": state, "ready": state == "Ready", "message": message, **fields}
    return ServerStatus.parse({"models": [model]})


def reported(pods: list[PodView], statuses: dict[str, ServerStatus], **fields: Any) -> AssignmentStatus:
    wanted = assignment(servers=[server("a", replicas=fields.pop("replicas", 1))])
    return report(wanted, pods=pods, statuses=statuses, troubles=fields.get("troubles", {}), now=NOW)


def summary(status: AssignmentStatus) -> tuple[str, int, str]:
    """(state, ready replicas, message) of the Model."""
    model = status.servers[0].models[0]
    return model.state, model.ready_replicas, model.message


@pytest.mark.parametrize(
    ("pods", "statuses", "expected"),
    [
        pytest.param([pod()], {"p": said()}, ("Ready", 1, ""), id="ready"),
        pytest.param([], {}, ("Pending", 0, "its server has no Pod yet"), id="no Pod"),
        pytest.param([pod(ready=False)], {}, ("Pending", 0, "Pod p is starting"), id="starting"),
        pytest.param(
            [pod(ready=False, trouble="cannot be scheduled: no room")],
            {},
            ("Pending", 0, "Pod p cannot be scheduled: no room"),
            id="not scheduled",
        ),
        pytest.param([pod()], {}, ("Unknown", 0, "the agent in Pod p cannot be reached"), id="agent out of reach"),
        pytest.param(
            [pod()],
            {"p": said(digest="sha256:" + "f" * 64)},
            ("Pending", 0, "the agent has yet to see it"),
            id="the agent still speaks of the artifact before",
        ),
        pytest.param(
            [pod("p"), pod("q")],
            {"p": said(), "q": said("Fetching", message="at 10 MB/s")},
            ("Fetching", 1, "at 10 MB/s"),
            id="of two replicas the one that is least far",
        ),
        pytest.param(
            [pod("p"), pod("q", leaving=True)], {"p": said(), "q": said()}, ("Ready", 1, ""), id="a leaving Pod is none"
        ),
        pytest.param(
            [pod()], {"p": said("Failed", message="wrong digest")}, ("Failed", 0, "wrong digest"), id="failed"
        ),
    ],
)
def test_a_model(pods: list[PodView], statuses: dict[str, ServerStatus], expected: tuple[str, int, str]) -> None:
    assert summary(reported(pods, statuses)) == expected


@pytest.mark.parametrize(
    ("statuses", "replicas", "expected"),
    [
        ({"p": said()}, 1, {"Ready": ("True", "Applied")}),
        ({"p": said()}, 2, {"Ready": ("False", "Progressing"), "Reconciling": ("True", "Progressing")}),
        ({"p": said("Loading")}, 1, {"Ready": ("False", "Progressing"), "Reconciling": ("True", "Progressing")}),
        ({"p": said("Failed")}, 1, {"Ready": ("False", "ModelFailed"), "Stalled": ("True", "ModelFailed")}),
    ],
)
def test_conditions(statuses: dict[str, ServerStatus], replicas: int, expected: dict[str, tuple[str, str]]) -> None:
    status = reported([pod()], statuses, replicas=replicas)
    assert {c.type: (c.status, c.reason) for c in status.conditions} == expected
    assert status.observed_generation == 3


TROUBLE = {"reason": "FetchFailed", "attempts": 2}


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ({"p": said()}, ("Ready", None, 0)),
        ({"p": said("Fetching", **TROUBLE)}, ("Fetching", "FetchFailed", 2)),
        ({"p": said("Fetching"), "q": said("Fetching", **TROUBLE)}, ("Fetching", "FetchFailed", 2)),
        ({"p": said("Failed", reason="LoadFailed", attempts=1), "q": said()}, ("Failed", "LoadFailed", 1)),
        ({"p": said("Failed", reason="NotKnownYet", attempts=1)}, ("Failed", "NotKnownYet", 1)),
        ({}, ("Unknown", None, 0)),
    ],
)
def test_why_and_how_often_it_failed(statuses: dict[str, ServerStatus], expected: tuple[str, str | None, int]) -> None:
    status = reported([pod(name) for name in statuses or ("p",)], statuses)
    model = status.servers[0].models[0]
    assert (model.state, model.reason, model.attempts) == expected
    assert AssignmentStatus.parse(status.dump()) == status


def test_what_the_api_server_refused_is_said() -> None:
    status = reported([], {}, troubles={KEY: "the API server refused it: exceeded quota"})
    assert status.servers[0].message == "the API server refused it: exceeded quota"
    assert summary(status)[2] == "the API server refused it: exceeded quota"


def test_a_model_whose_service_is_somebody_elses_is_not_served() -> None:
    status = reported([pod()], {"p": said()}, troubles={ChildKey("Service", "shop", "a"): "not Littoral's"})
    assert summary(status) == ("Failed", 0, "not Littoral's")
    assert status.servers[0].models[0].reason == "ServiceRefused"


def test_a_long_message_is_cut() -> None:
    status = reported([pod()], {"p": said("Failed", message="x" * 5000)})
    assert len(summary(status)[2]) == 1024
