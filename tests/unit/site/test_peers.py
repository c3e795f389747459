"""Which agents are told of each other."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from littoral.api.assignment import Server
from littoral.render.settings import ServerSettings
from littoral.site.desired import ChildKey, desired_children
from littoral.site.peers import MOST, peers_of
from littoral.site.views import PodView
from tests.support.objects import assignment, server


def name_of(server: str) -> str:
    return f"triton-{server}-cpu"


def parsed(*servers: dict[str, Any]) -> tuple[Server, ...]:
    return assignment(servers=servers).spec.servers


def pod(server: str, address: str, *, namespace: str = "shop", **fields: Any) -> PodView:
    usual: dict[str, Any] = {"node": "n", "ready": True, "leaving": False, "config_revision": "", "trouble": ""}
    usual |= {"namespace": namespace, "name": address, "uid": address, "server": name_of(server), "address": address}
    return PodView(**(usual | fields))


def with_artifact(name: str, digit: str, **artifact: Any) -> dict[str, Any]:
    given = server("digits", name=name_of(name))
    given["models"][0]["artifact"] |= {"digest": "sha256:" + digit * 64} | artifact
    return given


def test_those_who_want_the_same_whatever_their_namespace() -> None:
    one, same, other = (
        with_artifact("one", "a"),
        with_artifact("same", "a", uri="oci://r/d:v1"),
        with_artifact("x", "b"),
    )
    same["namespace"] = "lab"
    servers = parsed(one, same, other)
    pods = [pod("one", "10.0.0.1"), pod("same", "fd00::2", namespace="lab"), pod("x", "10.0.0.3"), pod("y", "10.0.0.4")]
    assert peers_of(servers[0], beside=servers, pods=pods).agents == ("10.0.0.1:9400", "[fd00::2]:9400")
    assert peers_of(servers[2], beside=servers, pods=pods).agents == ("10.0.0.3:9400",)


@pytest.mark.parametrize("artifact", [{"secretRef": {"name": "login"}}, {"uri": "file:///srv/digits.onnx"}])
def test_nobody_is_told_for_what_is_not_public(artifact: dict[str, Any]) -> None:
    servers = parsed(with_artifact("one", "a"), with_artifact("two", "a", **artifact))
    pods = [pod("one", "10.0.0.1"), pod("two", "10.0.0.2")]
    assert peers_of(servers[0], beside=servers, pods=pods).agents == ("10.0.0.1:9400",)
    assert peers_of(servers[1], beside=servers, pods=pods).agents == ()


@pytest.mark.parametrize("fields", [{"leaving": True}, {"address": ""}])
def test_pods_that_cannot_be_asked(fields: dict[str, Any]) -> None:
    (one,) = parsed(with_artifact("one", "a"))
    gone = replace(pod("one", "10.0.0.9"), **fields)
    assert peers_of(one, beside=[one], pods=[gone, pod("one", "10.0.0.1")]).agents == ("10.0.0.1:9400",)


def test_of_many_a_few_that_stay_the_same() -> None:
    (one,) = parsed(with_artifact("one", "a"))
    pods = [pod("one", f"10.0.0.{number}") for number in range(50)]
    chosen = peers_of(one, beside=[one], pods=pods).agents
    assert len(chosen) == MOST
    assert peers_of(one, beside=[one], pods=pods[::-1]).agents == chosen
    without = [it for it in pods if f"{it.address}:9400" != chosen[0]]
    assert len({*peers_of(one, beside=[one], pods=without).agents} & {*chosen}) == MOST - 1


def test_a_pod_that_comes_changes_the_list_and_neither_revision_nor_pods() -> None:
    settings = ServerSettings(triton_image="t", agent_image="a")
    given = assignment(servers=[with_artifact("one", "a")])
    before, after = (
        desired_children([given], settings=settings, pods=pods)
        for pods in ([pod("one", "10.0.0.1")], [pod("one", "10.0.0.1"), pod("one", "10.0.0.2")])
    )
    config = ChildKey("ConfigMap", "shop", name_of("one"))
    lists = [json.loads(children[config]["data"].pop("peers.json"))["agents"] for children in (before, after)]
    assert lists == [["10.0.0.1:9400"], ["10.0.0.1:9400", "10.0.0.2:9400"]]
    assert before == after
