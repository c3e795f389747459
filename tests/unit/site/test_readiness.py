"""Which Pods clients are led to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from littoral.api.serving import ServerConfig, ServerStatus
from littoral.site.readiness import pod_patch, ready_models, resize_patch
from littoral.site.views import PodView
from tests.support.objects import DIGEST, assignment, server

CONFIG = ServerConfig(revision="r2", models=assignment(servers=[server("a", "b")]).spec.servers[0].models)
ON = "serves.littoral.dev/"


def pod(*, revision: str = "r2", ready: bool = True, **labels: str) -> PodView:
    return PodView(
        namespace="shop",
        name="p",
        uid="u",
        server="triton-edge-cpu",
        address="198.18.0.9",
        node="edge",
        ready=ready,
        leaving=False,
        config_revision=revision,
        trouble="",
        labels={ON + name: value for name, value in labels.items()},
    )


def status(*models: dict[str, Any]) -> ServerStatus:
    return ServerStatus.parse({"revision": "r2", "models": [{"digest": DIGEST} | model for model in models]})


READY_A = {"name": "a", "state": "Ready", "ready": True}
READY_B = {"name": "b", "state": "Ready", "ready": True}


@pytest.mark.parametrize(
    ("labels", "said", "expected"),
    [
        pytest.param({}, status(READY_A), {ON + "a": "true"}, id="ready: clients come"),
        pytest.param({"a": "true"}, status(READY_A), None, id="nothing changed: nothing written"),
        pytest.param({"a": "true"}, status(READY_A | {"ready": False}), {ON + "a": None}, id="no longer ready"),
        pytest.param(
            {"a": "true"},
            status(READY_A | {"state": "Loading"}),
            None,
            id="the old artifact serves while the new one loads",
        ),
        pytest.param(
            {"a": "true"},
            status(READY_A | {"state": "Failed"}),
            None,
            id="the old artifact serves after the new one failed",
        ),
        pytest.param(
            {"a": "true", "b": "true"},
            status(READY_A, READY_B | {"state": "Unloading"}),
            {ON + "b": None},
            id="being drained",
        ),
        pytest.param({"c": "true"}, status(READY_A), {ON + "a": "true", ON + "c": None}, id="no longer wanted"),
        pytest.param(
            {"c": "true"}, status({"name": "c", "ready": True}), {ON + "c": None}, id="not wanted, though ready"
        ),
        pytest.param({"a": "true"}, None, None, id="an agent that does not answer changes nothing"),
        pytest.param({"c": "true"}, None, {ON + "c": None}, id="but what is not wanted goes all the same"),
    ],
)
def test_labels(labels: dict[str, str], said: ServerStatus | None, expected: dict[str, str | None] | None) -> None:
    patch = pod_patch(pod(**labels), config=CONFIG, status=said)
    assert patch == (None if expected is None else {"metadata": {"labels": expected}})


def test_a_new_revision_is_announced_to_the_kubelet() -> None:
    patch = pod_patch(pod(revision="r1"), config=CONFIG, status=None)
    assert patch == {"metadata": {"annotations": {"littoral.dev/config": "r2"}}}


@pytest.mark.parametrize(
    ("requests", "expected"),
    [
        ({"cpu": "2", "memory": "3Gi"}, None),
        ({"cpu": "2000m", "memory": "3072Mi", "nvidia.com/gpu": "1"}, None),
        ({"cpu": "100m", "memory": "3Gi"}, {"cpu": "2", "memory": "3Gi"}),
        ({}, {"cpu": "2", "memory": "3Gi"}),
    ],
)
def test_a_server_is_given_what_its_models_need(requests: dict[str, str], expected: dict[str, str] | None) -> None:
    wanted = assignment(servers=[server("a", cpu="2", memory="3Gi")]).spec.servers[0]
    patch = resize_patch(replace(pod(), requests=requests), server=wanted)
    containers = [{"name": "triton", "resources": {"requests": expected}}]
    assert patch == (None if expected is None else {"spec": {"containers": containers}})


@pytest.mark.parametrize(
    ("said", "ready", "expected"),
    [
        (status(READY_A, READY_B), True, {"a", "b"}),
        (status(READY_A, READY_B), False, set()),
        (status(READY_A | {"digest": "sha256:" + "f" * 64}), True, set()),
        (status(READY_A | {"state": "Loading"}), True, set()),
        (None, True, set()),
    ],
)
def test_what_counts_as_ready(said: ServerStatus | None, ready: bool, expected: set[str]) -> None:
    found = ready_models(pod(ready=ready), config=CONFIG, statuses={} if said is None else {"u": said})
    assert found == expected
