"""A hub and a site on two API servers: two operators with the rights that the chart gives them, and no others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from tests.cluster.api_server import ApiServer, Object, wait_until
from tests.cluster.operator_process import OperatorProcess
from tests.cluster.test_operator import alive
from tests.support.objects import model_object, pool_object
from tests.unit.chart.chart import CHART, helm

GROUP = "/apis/littoral.dev/v1alpha1"


@dataclass(frozen=True, kw_only=True)
class Release:
    """The chart in one cluster, with an operator that runs beside it under its ServiceAccount."""

    api: ApiServer
    admin: Path
    name: str
    operator: OperatorProcess

    def littoral(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """A command for people, as the cluster's administrator."""
        command = [Path(sys.executable).with_name("littoral"), *arguments, "-n", self.name]
        env = os.environ | {"KUBECONFIG": str(self.admin), "NO_COLOR": "1"}
        return subprocess.run(command, env=env, input=stdin, capture_output=True, text=True, timeout=90, check=False)

    def get(self, path: str) -> Object:
        """An object; empty where it is not there."""
        answer = self.api.get(path)
        return answer.body if answer.accepted else {}


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A hub, and a site that is its member."""

    hub: Release
    site: Release
    member: str


@pytest.fixture
def pair(api: ApiServer, kubeconfig: Path, second_kubeconfig: Path, tmp_path: Path) -> Iterator[Pair]:
    name = uuid4().hex[:6]
    member, shop = f"m-{name}", f"shop-{name}"
    other = ApiServer.connect(second_kubeconfig)
    values = {"hub": ["--set=roles={hub}"], "site": ["--set=roles={site}", f"--set=member={member}"]}
    more = {"hub": ["--role=hub"], "site": ["--role=site", f"--member={member}"]}
    hub, site = (
        _install(it, admin, f"littoral-{role}-{name}", values=values[role], more=more[role], folder=tmp_path)
        for role, it, admin in (("hub", api, kubeconfig), ("site", other, second_kubeconfig))
    )
    api.request("POST", "/api/v1/namespaces", {"metadata": {"name": shop}}).granted()
    node = {"metadata": {"name": member, "labels": {"littoral.dev/pool": member}}}
    other.request("POST", "/api/v1/nodes", node).granted()
    try:
        with alive(other, member), hub.operator, site.operator:
            api.create(pool_object(member, member=member))
            api.create(model_object(namespace=shop))
            yield Pair(hub=hub, site=site, member=member)
    finally:
        hub.littoral("revoke", member)
        for path in (f"{GROUP}/nodepools/{member}", f"{GROUP}/assignments/{member}", f"/api/v1/namespaces/{shop}"):
            api.delete(path)
        api.delete(f"{GROUP}/namespaces/{shop}/models/digits")
        api.delete(f"/apis/rbac.authorization.k8s.io/v1/clusterroles/littoral-member-{member}")
        for path in (f"{GROUP}/assignments/{member}", f"/api/v1/nodes/{member}", f"/api/v1/namespaces/{shop}"):
            other.delete(path)
        for release in (hub, site):
            helm_it("uninstall", release.name, kubeconfig=release.admin, namespace=release.name)
            release.api.delete(f"/api/v1/namespaces/{release.name}")
        other.close()


def helm_it(*arguments: str, kubeconfig: Path, namespace: str) -> None:
    where = [f"--kubeconfig={kubeconfig}", f"--namespace={namespace}"]
    subprocess.run([helm(), *arguments, *where], check=True, capture_output=True)


def _install(api: ApiServer, admin: Path, name: str, *, values: list[str], more: list[str], folder: Path) -> Release:
    settings = ["--create-namespace", "--set=crds.enabled=false", "--set=replicas=0", *values]
    helm_it("install", name, str(CHART), *settings, kubeconfig=admin, namespace=name)
    path = f"/api/v1/namespaces/{name}/serviceaccounts/{name}/token"
    token = api.request("POST", path, {"spec": {"expirationSeconds": 3600}}).granted()["status"]["token"]
    body = yaml.safe_load(admin.read_text())
    body["users"] = [{"name": "operator", "user": {"token": token}}]
    for context in body["contexts"]:
        context["context"]["user"] = "operator"
    own = folder / f"{name}.kubeconfig"
    own.write_text(yaml.safe_dump(body))
    operator = OperatorProcess(
        kubeconfig=own, namespace=name, log=folder / f"{name}.log", lease=f"{name}-operator", more=more
    )
    return Release(api=api, admin=admin, name=name, operator=operator)


def test_a_site_joins_serves_is_revoked_and_joins_again(pair: Pair) -> None:
    hub, site, member = pair.hub, pair.site, pair.member
    shop = member.replace("m-", "shop-")
    wait_until(lambda: "has not joined its hub: run littoral invite" in site.operator.log, what="it says how to join")

    # A member that is invited while the hub runs.
    invited = hub.littoral("invite", member)
    assert invited.returncode == 0, invited.stderr
    joined = site.littoral("join", "-", "--wait", "60s", stdin=invited.stdout)
    assert joined.returncode == 0, joined.stderr + site.operator.log
    server = f"/apis/apps/v1/namespaces/{shop}/deployments/triton-{member}-cpu"
    wait_until(lambda: bool(site.get(server)), what="the site runs what the hub has assigned", within=90)

    def reported() -> bool:
        found = hub.get(f"{GROUP}/assignments/{member}")
        status = found.get("status", {})
        return bool(status.get("nodes") and status.get("observedGeneration") == found["metadata"]["generation"])

    wait_until(reported, what="the hub hears what the site says", within=60)
    wait_until(lambda: hub.get(f"{GROUP}/nodepools/{member}")["status"]["nodes"] == 1, what="the hub knows the node")

    # The rights that the chart gives were enough for all of it.
    for log in (hub.operator.log, site.operator.log):
        assert "forbidden" not in log.lower()

    # The end of its access ends nothing that runs.
    assert hub.littoral("revoke", member).returncode == 0
    wait_until(lambda: "has expired or was revoked" in site.operator.log, what="it says that it was revoked", within=60)
    assert site.get(server)

    # Joined again, without a restart.
    again = site.littoral("join", "-", "--wait", "60s", stdin=hub.littoral("invite", member).stdout)
    assert again.returncode == 0, again.stderr
    wait_until(lambda: site.operator.log.count("joined the hub") == 2, what="it has joined again")
    for log in (hub.operator.log, site.operator.log):
        assert "Traceback" not in log
