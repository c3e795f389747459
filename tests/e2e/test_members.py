"""A member site on a cluster of its own: it dials in, runs what the hub wants there, and goes on without the hub.

Two labs, joined by a link over which only the site can open connections. `LITTORAL_SITE_LAB=<name>` uses a site's lab
that is up, with the node `store@edge/store-12`, and leaves it up.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from bench.member_lab import MEMBER, NODE, NODE_OPTION, MemberLab
from bench.open_loop import Load, open_loop
from bench.paced import PacedNetwork
from examples.quickstart.cluster import DemoError
from examples.quickstart.lab import connect_lab, run_module
from littoral.sim.workload import poisson
from tests.e2e.littoral import Littoral

pytestmark = pytest.mark.timeout(900)

MODEL = "paced"
NETWORK = PacedNetwork(base=0.06, per_item=0.03)  # One replica keeps 400 ms for 99% of up to 13 requests/s.
QUIET, BUSY = 2.0, 18.0
_LAB = "test-site"
_LONG = 600.0  # Seconds of load, more than a test waits.
_PLANNING = {"planning": {"scaleDownAfter": 5, "forecastQuantile": 0.75, "standby": False}}


@dataclass(frozen=True, kw_only=True)
class Member:
    """A hub and a site that has joined it, with Littoral on both."""

    hub: Littoral
    site: Littoral
    labs: MemberLab

    def pool_ready(self) -> tuple[str, str, str]:
        """Status, reason and message of the NodePool's condition Ready, at the hub."""
        pool = self.hub.cluster.get("nodepools.littoral.dev", MEMBER)
        for condition in pool.get("status", {}).get("conditions", []):
            if condition["type"] == "Ready":
                return condition["status"], condition["reason"], condition["message"]
        return "", "", ""

    def pods(self, namespace: str) -> list[dict[str, Any]]:
        """Pods of the namespace at the site."""
        return self.site.cluster.items("pods", f"--namespace={namespace}")

    def serving(self, namespace: str) -> int:
        """Pods at the site that serve the Model."""
        return len(
            self.site.cluster.items("pods", f"--namespace={namespace}", f"--selector=serves.littoral.dev/{MODEL}")
        )

    def url(self, namespace: str) -> str:
        """Where clients at the site ask the Model."""
        return f"http://{self.site.address(MODEL, namespace=namespace)}/v2/models/{MODEL}/infer"

    def answers(self, namespace: str) -> bool:
        """Whether one request at the site is answered."""
        try:
            url = self.url(namespace)
        except DemoError:  # There is no Service yet.
            return False
        with open_loop(url, [0.0]) as load:
            load.finish()
        return not load.failed

    def ready_at_hub(self, namespace: str) -> int:
        """Replicas of the Model that are ready, as the hub knows it."""
        status = self.hub.model(MODEL, namespace=namespace).get("status", {})
        return int(status.get("readyReplicas", 0))


@pytest.fixture(scope="module")
def member(littoral: Littoral) -> Iterator[Member]:
    """The lab of all tests as the hub, and a lab of its own as the site, which has joined."""
    given = os.environ.get("LITTORAL_SITE_LAB")
    name = given or _LAB
    try:
        if not given:
            run_module("lab", "up", "--name", name, "--node", NODE_OPTION)
        labs = MemberLab(hub_lab=littoral.lab, site_lab=name, hub=littoral.cluster, site=connect_lab(name))
        site = Littoral(lab=name, cluster=labs.site, images=littoral.images)
        NETWORK.place(lab=name, node=NODE)
        labs.mend()
        littoral.plan_by(**_PLANNING["planning"])
        labs.install_site(images=littoral.images, more=_PLANNING)
        labs.join()
        member = Member(hub=littoral, site=site, labs=labs)
        yield member
        littoral.cluster.run("delete", "nodepool", MEMBER, "--ignore-not-found")
        littoral.plan_by()
        littoral.wait_ready("digits")
    finally:
        if not given:
            run_module("lab", "down", "--name", name)


@pytest.fixture(scope="module")
def namespace(member: Member) -> Iterator[str]:
    """A namespace at the hub with a Model that is asked for at the site alone."""
    name = f"members-{uuid4().hex[:6]}"
    member.hub.cluster.run("create", "namespace", name)
    member.hub.cluster.apply([member.labs.pool()])
    _apply(member, name)
    yield name
    member.hub.cluster.run("delete", "namespace", name, "--wait=false")


def test_a_site_that_dials_in_runs_what_the_hub_wants_there(member: Member, namespace: str) -> None:
    member.hub.wait(lambda: member.pool_ready()[0] == "True", what="the NodePool is Ready", within=60)
    status = member.hub.cluster.get("nodepools.littoral.dev", MEMBER)["status"]
    assert (status["nodes"], status["readyNodes"]) == (1, 1)
    # Its node is not of the hub's cluster.
    assert NODE not in [node["metadata"]["name"] for node in member.hub.cluster.items("nodes")]
    member.hub.wait_ready(MODEL, namespace=namespace)
    (placement,) = member.hub.model(MODEL, namespace=namespace)["status"]["placements"]
    assert (placement["pool"], placement["state"]) == (MEMBER, "Ready")
    assert member.hub.cluster.items("pods", f"--namespace={namespace}") == []
    member.site.wait(lambda: member.answers(namespace), what="the Model answers at the site")


def test_a_site_without_its_hub_serves_scales_and_takes_up_again(member: Member, namespace: str) -> None:
    member.hub.wait_ready(MODEL, namespace=namespace)
    member.site.wait(lambda: member.answers(namespace), what="the Model answers at the site")
    url = member.url(namespace)
    first = {pod["metadata"]["uid"] for pod in member.pods(namespace)}
    with _load(url, QUIET, seed=1) as quiet, _cut_off(member):
        # 1. The site's operator starts anew without the hub: what runs is known at the site.
        before = member.labs.operator()["metadata"]["uid"]
        member.site.cluster.run(
            "delete", "pod", member.labs.operator()["metadata"]["name"], "--namespace=littoral-system"
        )
        member.site.wait(lambda: _operator_ready(member, after=before), what="the site's operator is back")

        # 2. The hub knows that it does not know.
        member.hub.wait(lambda: member.pool_ready()[0] == "Unknown", what="the hub misses the site", within=120)
        assert member.pool_ready()[1] == "MemberUnreachable"
        assert "heard of since" in member.pool_ready()[2]
        assert [it["pool"] for it in member.hub.model(MODEL, namespace=namespace)["status"]["placements"]] == [MEMBER]
        assert {pod["metadata"]["uid"] for pod in member.pods(namespace)} >= first

        # 3. More load is answered by more replicas, in the site's own pool.
        with _load(url, BUSY, seed=2) as busy:
            member.site.wait(lambda: member.serving(namespace) >= 2, what="the site scales up by itself", within=180)
            assert member.pool_ready()[0] == "Unknown"

            # 4. The link is back: the hub hears what was done, and agrees.
            pods = _restarts([*member.pods(namespace), member.labs.operator()])
            member.labs.mend()
            member.hub.wait(lambda: member.pool_ready()[0] == "True", what="the hub hears of the site", within=90)
            member.hub.wait(
                lambda: member.ready_at_hub(namespace) == member.serving(namespace) >= 2,
                what="the hub knows of the replicas",
            )
            member.hub.wait(
                lambda: _agree(member, namespace), what="the site has the hub's Assignment again", within=120
            )
            after = _restarts([*member.pods(namespace), member.labs.operator()])
            assert {uid: after.get(uid) for uid in pods} == pods
            busy.stop()
        quiet.stop()
    print(
        f"without the hub: {len(quiet.outcomes)} requests at 2/s and {len(busy.outcomes)} at 18/s, "
        f"{len(quiet.failed)} and {len(busy.failed)} failed"
    )
    assert len(quiet.outcomes) > 100
    assert len(busy.outcomes) > 100
    assert (quiet.failed, busy.failed) == ([], [])


def test_a_pool_that_goes_at_the_hub_goes_at_the_site(member: Member, namespace: str) -> None:
    member.site.wait(lambda: bool(member.pods(namespace)), what="the Model runs at the site")
    member.hub.cluster.run("delete", "nodepool", MEMBER)
    try:
        member.site.wait(lambda: not member.pods(namespace), what="its servers are gone at the site")
        member.site.wait(lambda: not _assignments(member.site), what="its Assignment is gone at the site")
    finally:
        member.hub.cluster.apply([member.labs.pool()])


def _apply(member: Member, namespace: str) -> None:
    metadata = {"name": MODEL, "namespace": namespace}
    api = "littoral.dev/v1alpha1"
    slo = {"modelRef": {"name": MODEL}, "latency": "400ms", "overflow": "Never"}
    # Other nodes could serve it as well.
    selector = {"matchLabels": {"littoral.dev/site": MEMBER}}
    model = {"variants": [NETWORK.variant(nodeSelector=selector)], "scaling": {"minReplicas": 1, "maxReplicas": 4}}
    member.hub.cluster.apply(
        [
            {"apiVersion": api, "kind": "LatencySLO", "metadata": metadata, "spec": slo},
            {"apiVersion": api, "kind": "Model", "metadata": metadata, "spec": model},
        ]
    )


@contextmanager
def _cut_off(member: Member) -> Iterator[None]:
    """The site without its hub; mended at the end at the latest."""
    member.labs.cut()
    try:
        yield
    finally:
        member.labs.mend()


@contextmanager
def _load(url: str, rate: float, *, seed: int) -> Iterator[Load]:
    with open_loop(url, poisson(lambda _: rate, peak=rate, seconds=_LONG, seed=seed)) as load:
        yield load


def _operator_ready(member: Member, *, after: str) -> bool:
    try:
        pod = member.labs.operator()
    except ValueError:  # None, or two.
        return False
    conditions = pod["status"].get("conditions", [])
    ready = any(it["type"] == "Ready" and it["status"] == "True" for it in conditions)
    return ready and pod["metadata"]["uid"] != after


def _restarts(pods: list[dict[str, Any]]) -> dict[str, int]:
    """Restarts of each Pod's containers, by its uid."""
    found = {}
    for pod in pods:
        status = pod["status"]
        containers = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
        found[pod["metadata"]["uid"]] = sum(it["restartCount"] for it in containers)
    return found


def _assignments(littoral: Littoral) -> dict[str, dict[str, Any]]:
    return {it["metadata"]["name"]: it for it in littoral.cluster.items("assignments.littoral.dev")}


def _agree(member: Member, namespace: str) -> bool:
    """Whether the site goes by the hub's Assignment again, and says so."""
    hub, site = _assignments(member.hub)[MEMBER], _assignments(member.site)[MEMBER]
    here, there = ([it for it in body["spec"]["servers"] if it["namespace"] == namespace] for body in (site, hub))
    copied = site["metadata"]["annotations"].get("littoral.dev/hub-generation") == str(hub["metadata"]["generation"])
    said = hub["status"].get("observedGeneration") == hub["metadata"]["generation"]
    on_its_own = "littoral.dev/hub-away-since" in site["metadata"]["annotations"]
    return here == there and copied and said and not on_its_own
