"""A hub's Assignment and its copy at the site: what goes down, and what comes back."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littoral.api.assignment import Assignment
from littoral.site import mirror
from tests.support.objects import server

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
EARLIER = "2026-01-01T10:00:00Z"


def hub_assignment(
    *servers: dict[str, Any], generation: int = 7, member: str | None = "store-12", **fields: Any
) -> dict[str, Any]:
    """An Assignment as the hub's API server gives it."""
    spec = {
        "tier": "edge",
        "site": "store-12",
        "member": member,
        "nodeSelector": {"matchLabels": {"littoral.dev/pool": "edge"}},
        "servers": list(servers),
        "newer": {"field": 1},
    }
    return {
        "apiVersion": "littoral.dev/v1alpha1",
        "kind": "Assignment",
        "metadata": {
            "name": "edge",
            "uid": "hub-uid",
            "generation": generation,
            "resourceVersion": "12",
            "ownerReferences": [
                {"apiVersion": "littoral.dev/v1alpha1", "kind": "NodePool", "name": "edge", "uid": "hub-pool"}
            ],
        },
        "spec": spec,
    } | fields


def stored(copy: dict[str, Any], *, generation: int = 3, **fields: Any) -> dict[str, Any]:
    """A copy as the site's API server gives it."""
    metadata = copy["metadata"] | {"uid": "local", "generation": generation, "resourceVersion": "99"}
    return deepcopy(copy) | {"metadata": metadata} | fields


def condition(kind: str, status: str = "True", *, generation: int) -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": "Applied",
        "message": "m",
        "lastTransitionTime": EARLIER,
        "observedGeneration": generation,
    }


def told(hub: dict[str, Any], copy: dict[str, Any] | None, trouble: str = "") -> dict[str, Any]:
    return mirror.hub_status(hub, copy=copy, nodes=(), trouble=trouble, now=NOW)


def test_a_copy_says_what_the_hub_says_and_nothing_of_the_hubs_own() -> None:
    hub = hub_assignment(server("digits", replicas=2))
    copy = mirror.copy_of(hub)
    assert copy["spec"] == hub["spec"], "also what this program does not know"
    assert copy["metadata"] == {
        "name": "edge",
        "labels": {"app.kubernetes.io/managed-by": "littoral", "littoral.dev/member": "store-12"},
        "annotations": {
            mirror.HUB_UID: "hub-uid",
            mirror.HUB_GENERATION: "7",
            mirror.HUB_REPLICAS: '{"shop/triton-edge-cpu":2}',
        },
    }
    assert mirror.is_copy(copy)
    assert mirror.is_of(copy, hub)
    assert not mirror.is_of(copy, hub_assignment(generation=8))
    assert not mirror.is_copy(hub)


@given(
    replicas=st.lists(st.integers(0, 9), max_size=4),
    unknown=st.dictionaries(st.from_regex("[a-z]{3,6}", fullmatch=True), st.integers(), max_size=3),
)
def test_a_copy_is_parsed_as_the_hubs_is(replicas: list[int], unknown: dict[str, Any]) -> None:
    servers = [server("digits", name=f"triton-edge-{n}-cpu", replicas=r) | unknown for n, r in enumerate(replicas)]
    hub = hub_assignment(*servers)
    before = deepcopy(hub)
    copy = stored(mirror.copy_of(hub))
    assert hub == before
    assert Assignment.parse(copy).spec == Assignment.parse(hub).spec
    assert mirror.says_the_same(copy, hub)
    assert mirror.hub_replicas(copy) == {("shop", it["name"]): it["replicas"] for it in servers}


def test_what_is_for_a_closed_namespace_is_left_out() -> None:
    hub = hub_assignment(server("digits"), server("faces", namespace="bank"))
    hub["spec"]["routes"] = [{"namespace": "bank", "name": "faces"}, {"namespace": "shop", "name": "digits"}]
    assert mirror.namespaces(hub) == {"shop", "bank"}
    copy = mirror.copy_of(hub, closed={"bank"})
    assert mirror.namespaces(copy) == {"shop"}
    assert mirror.closed_namespaces({"bank"})
    assert not mirror.closed_namespaces(())


@pytest.mark.parametrize(
    ("name", "reserved"), [("kube-system", True), ("littoral-system", True), ("shop", False), ("default", False)]
)
def test_the_clusters_own_namespaces_are_never_the_hubs(name: str, reserved: bool) -> None:
    assert mirror.is_reserved(name, operator="littoral-system") is reserved


def test_a_namespace_that_the_site_makes_is_open_to_the_hub_and_others_are_not() -> None:
    assert mirror.may_have_models(mirror.namespace_of_models("shop"))
    assert not mirror.may_have_models({"metadata": {"name": "shop"}})
    assert not mirror.may_have_models({"metadata": {"name": "shop", "labels": {mirror.HUB_MODELS: "no"}}})


@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        pytest.param(None, -1, id="not seen yet"),
        pytest.param(-1, -1, id="not seen yet, and said so"),
        pytest.param(2, 6, id="about an earlier copy"),
        pytest.param(3, 7, id="about this copy"),
    ],
)
def test_generations_are_the_hubs(observed: int | None, expected: int) -> None:
    hub = hub_assignment(server("digits"))
    conditions = [condition("Ready", generation=observed or 0)]
    status = {"observedGeneration": observed, "conditions": conditions} if observed is not None else {}
    found = told(hub, stored(mirror.copy_of(hub), generation=3, status=status))
    assert found["observedGeneration"] == expected
    if observed is not None and observed > 0:
        assert [it["observedGeneration"] for it in found["conditions"]] == [expected]


@given(
    hub_generation=st.integers(1, 50),
    copied=st.integers(1, 50),
    local=st.integers(1, 50),
    observed=st.integers(-1, 50),
)
def test_no_status_is_said_to_be_about_what_was_not_copied(
    hub_generation: int, copied: int, local: int, observed: int
) -> None:
    """kstatus takes an object for done when it was observed: never before the site has the hub's last word."""
    copied, observed = min(copied, hub_generation), min(observed, local)
    copy = mirror.copy_of(hub_assignment(generation=copied))
    status = {"observedGeneration": observed, "conditions": [condition("Ready", generation=max(observed, 0))]}
    hub = hub_assignment(generation=hub_generation)
    found = told(hub, stored(copy, generation=local, status=status))
    said = found["observedGeneration"]
    assert -1 <= said <= hub_generation
    assert (said == hub_generation) == (copied == hub_generation and observed == local)
    assert all(0 <= it["observedGeneration"] <= hub_generation for it in found["conditions"])


def test_a_copy_of_another_object_of_that_name_says_nothing_of_this_one() -> None:
    copy = mirror.copy_of(hub_assignment())
    copy["metadata"]["annotations"][mirror.HUB_UID] = "an earlier one"
    status = {"observedGeneration": 3, "conditions": [condition("Ready", generation=3)]}
    found = told(hub_assignment(generation=1), stored(copy, generation=3, status=status))
    assert found["observedGeneration"] == 0


def test_the_report_is_passed_on_as_it_is() -> None:
    hub = hub_assignment()
    said = {"observedGeneration": 3, "servers": [{"name": "x"}], "gateway": {"newer": 1}, "serving": "1/1"}
    found = told(hub, stored(mirror.copy_of(hub), status=said))
    assert found == said | {"observedGeneration": 7, "conditions": [], "nodes": []}


def test_what_the_site_cannot_take_over_is_stalled_on_the_hub() -> None:
    """As kstatus reads it, the newest generation has failed; what still runs is told all the same."""
    old, hub = hub_assignment(), hub_assignment(generation=9)
    status = {"observedGeneration": 3, "conditions": [condition("Ready", generation=3)], "serving": "1/1"}
    found = told(hub, stored(mirror.copy_of(old), status=status), "the site's API server refuses it")
    assert found["observedGeneration"] == 9
    assert found["serving"] == "1/1"
    assert [(it["type"], it["status"], it["observedGeneration"], it["reason"]) for it in found["conditions"]] == [
        ("Ready", "False", 9, "Refused"),
        ("Stalled", "True", 9, "Refused"),
    ]
    again = told(hub | {"status": found}, None, "the site's API server refuses it")
    assert again["conditions"] == found["conditions"], "the times stay"


def test_an_object_of_a_newer_hub_is_not_followed_blindly() -> None:
    assert mirror.why_unreadable(hub_assignment(server("digits"))) == ""
    assert "updated first" in mirror.why_unreadable(hub_assignment(server("digits", replicas="many")))


def test_scaling_keeps_what_is_not_known_here() -> None:
    hub = hub_assignment(server("digits") | {"newer": 1, "nodeSelector": {"matchLabels": {"a": "b"}}})
    hub["spec"]["servers"][0]["models"][0]["newest"] = 2
    copy = stored(mirror.copy_of(hub))
    given = Assignment.parse(copy).spec.servers[0]
    more = given.model_copy(update={"name": "triton-edge-2-cpu"})
    body = mirror.scaled(copy, [given.model_copy(update={"replicas": 3}), more], since=NOW)
    first, second = body["spec"]["servers"]
    assert first == given.dump() | {"replicas": 3, "newer": 1, "models": hub["spec"]["servers"][0]["models"]}
    assert second == more.dump()
    assert body["spec"] | {"servers": []} == hub["spec"] | {"servers": []}
    assert body["metadata"]["annotations"] == copy["metadata"]["annotations"] | {
        mirror.AWAY_SINCE: "2026-01-01T12:00:00Z"
    }


def test_the_mark_of_absence_stays_until_the_hub_is_followed_again() -> None:
    hub = hub_assignment(server("digits"))
    copy = stored(mirror.copy_of(hub))
    assert mirror.away_since(copy) is None
    body = stored(mirror.scaled(copy, Assignment.parse(copy).spec.servers, since=NOW))
    later = mirror.scaled(body, (), since=datetime(2026, 1, 2, tzinfo=UTC))
    assert mirror.away_since(later) == "2026-01-01T12:00:00Z"
    assert mirror.hub_replicas(later) == {("shop", "triton-edge-cpu"): 1}, "as the hub gave them"
    assert mirror.away_since(mirror.copy_of(hub)) is None


@pytest.mark.parametrize("text", [None, "", "[]", '{"a": "many"}', "null"])
def test_without_a_note_of_the_hubs_replicas_nothing_shrinks(text: str | None) -> None:
    copy = stored(mirror.copy_of(hub_assignment(server("digits", replicas=4))))
    annotations = copy["metadata"]["annotations"]
    del annotations[mirror.HUB_REPLICAS]
    if text is not None:
        annotations[mirror.HUB_REPLICAS] = text
    assert mirror.hub_replicas(copy) == {("shop", "triton-edge-cpu"): 4}


def test_annotations_stay_small() -> None:
    """All annotations of an object have 256 KiB together."""
    servers = [server(name=f"triton-{'p' * 35}-{n}-cpu", namespace="n" * 63) for n in range(1024)]
    copy = mirror.copy_of(hub_assignment(*servers))
    assert len(json.dumps(copy["metadata"]["annotations"])) < 200 * 1024
