"""What a member site does not serve is answered by the cloud: its gateway reaches the cloud's over mutual TLS."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from bench.member_lab import MEMBER
from tests.e2e.test_members import MODEL, NETWORK, Member, member

__all__ = ["member"]  # the fixture

pytestmark = pytest.mark.timeout(1200)

_NAMESPACE = "--namespace=littoral-system"
_PORT = 30443


@pytest.fixture(scope="module")
def way(member: Member) -> Iterator[str]:
    """A namespace with a Model that runs in the cloud alone and may be asked for at the site, with gateways at both."""
    hub = member.hub
    name = f"spill-{uuid4().hex[:6]}"
    NETWORK.place(lab=hub.lab, node="cloud")
    gateway = {"enabled": True, "members": {"serviceType": "NodePort", "nodePort": _PORT}}
    hub.install_with({"gateway": gateway})
    member.labs.install_site(images=hub.images, more={"gateway": {"enabled": True}})
    addresses = hub.cluster.get("node", "cloud")["status"]["addresses"]
    (host,) = [it["address"] for it in addresses if it["type"] == "InternalIP"]
    _patch(member, {"address": f"{host}:{_PORT}"})
    hub.cluster.run("create", "namespace", name)
    hub.cluster.apply([member.labs.pool()])
    metadata, api = {"name": MODEL, "namespace": name}, "littoral.dev/v1alpha1"
    variant = NETWORK.variant(nodeSelector={"matchLabels": {"kubernetes.io/hostname": "cloud"}})
    slo = {"modelRef": {"name": MODEL}, "latency": "2s", "sites": {"matchNames": [MEMBER]}}
    hub.cluster.apply(
        [
            {"apiVersion": api, "kind": "LatencySLO", "metadata": metadata, "spec": slo},
            {"apiVersion": api, "kind": "Model", "metadata": metadata, "spec": {"variants": [variant]}},
        ]
    )
    yield name
    hub.cluster.run("delete", "namespace", name, "--wait=false")
    _patch(member, None)
    hub.install_with({})


def _patch(member: Member, gateway: object) -> None:
    spec = json.dumps({"spec": {"gateway": gateway}})
    member.hub.cluster.run("patch", "nodepools.littoral.dev", "cloud", "--type=merge", f"--patch={spec}")


def _report(member: Member, pool: str, namespace: str) -> dict[str, Any]:
    """What the hub knows of the Model at a pool's gateway, with how far other pools are."""
    gateway = member.hub.cluster.get("assignments.littoral.dev", pool).get("status", {}).get("gateway", {})
    routes = [it for it in gateway.get("routes", []) if it["namespace"] == namespace]
    return (routes[0] if routes else {}) | {"trips": {it["pool"]: it["time"] for it in gateway.get("roundTrips", [])}}


def test_the_cloud_answers_what_a_site_does_not_serve(member: Member, way: str) -> None:
    member.site.wait(lambda: member.answers(way), what="a request at the site is answered by the cloud", within=300)
    assert not [pod for pod in member.pods(way) if "triton" in pod["metadata"]["name"]]
    # Counted where it arrived, once.
    member.hub.wait(
        lambda: member.answers(way) and float(_report(member, MEMBER, way).get("spilled", "0")) > 0,
        what="the hub knows what the site sent on",
    )
    assert float(_report(member, "cloud", way).get("arrived", "0")) == 0
    member.hub.wait(lambda: "cloud" in _report(member, MEMBER, way)["trips"], what="the way is measured")
    # The key is nowhere but at the site.
    assert "PRIVATE" not in json.dumps(member.hub.cluster.get("assignments.littoral.dev", MEMBER))
    (service,) = member.site.cluster.items("services", _NAMESPACE, "--selector=app.kubernetes.io/name=gateway")
    assert service["metadata"]["name"] == f"gateway-{MEMBER}"


def test_a_cut_costs_no_restart_and_the_way_comes_back_by_itself(member: Member, way: str) -> None:
    member.site.wait(lambda: member.answers(way), what="a request at the site is answered by the cloud", within=300)
    before = _gateways(member)
    member.labs.cut()
    try:
        member.site.wait(lambda: not member.answers(way), what="nothing is answered any more")
        began = time.monotonic()
        assert not member.answers(way)
        assert time.monotonic() - began < 15  # nobody waits for minutes
    finally:
        member.labs.mend()
    member.site.wait(lambda: member.answers(way), what="requests are answered again", within=60)
    assert _gateways(member) == before


def _gateways(member: Member) -> dict[str, int]:
    """Restarts of the containers of each Pod of the site's gateway."""
    pods = member.site.cluster.items("pods", _NAMESPACE, "--selector=app.kubernetes.io/name=gateway")
    return {
        pod["metadata"]["uid"]: sum(
            it["restartCount"]
            for it in (*pod["status"].get("initContainerStatuses", []), *pod["status"].get("containerStatuses", []))
        )
        for pod in pods
    }
