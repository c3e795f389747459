"""`littoral invite`, `join` and `revoke` on a real API server, which is hub and site at once, in two namespaces."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import pytest
import yaml

from littoral.cluster.client import Client
from littoral.cluster.hub_access import HubAccess, Pace
from littoral.cluster.membership import Credentials
from tests.cluster.api_server import ApiServer, Object, wait_until
from tests.support.objects import pool_object

LABELS = {"app.kubernetes.io/name": "littoral", "app.kubernetes.io/component": "operator"}
RBAC = "/apis/rbac.authorization.k8s.io/v1"


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """A hub and a site, and a member of a name of its own."""

    api: ApiServer
    kubeconfig: Path
    hub: str
    site: str
    member: str

    def run(self, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """`littoral`, as the administrator of both."""
        command = [Path(sys.executable).with_name("littoral"), *arguments]
        env = os.environ | {"KUBECONFIG": str(self.kubeconfig), "NO_COLOR": "1"} | environment
        return subprocess.run(command, env=env, input=stdin, capture_output=True, text=True, timeout=60, check=False)

    def invite(self, *arguments: str) -> str:
        """A join token."""
        ran = self.run("invite", self.member, "-n", self.hub, *arguments)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    def install(self, namespace: str, *arguments: str) -> None:
        """An operator's Deployment, of which only the arguments matter here."""
        template = {
            "metadata": {"labels": LABELS},
            "spec": {"containers": [{"name": "operator", "image": "i", "args": ["operator", *arguments]}]},
        }
        spec = {"replicas": 0, "selector": {"matchLabels": LABELS}, "template": template}
        body = {"metadata": {"name": "littoral", "labels": LABELS}, "spec": spec}
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        self.api.delete(f"{path}/littoral")
        self.api.request("POST", path, body).granted()

    def exists(self, path: str) -> bool:
        """Whether there is an object at this path."""
        return self.api.get(path).accepted

    @contextmanager
    def operator(self) -> Iterator[None]:
        """What the site's operator does about its hub, beside the test."""
        loop = asyncio.new_event_loop()

        async def work() -> None:
            async with await Client.connect(kubeconfig=str(self.kubeconfig)) as client:
                await HubAccess(client, namespace=self.site, member=self.member, pace=Pace(look=0.2)).run()

        thread = Thread(target=loop.run_until_complete, args=(task := loop.create_task(_quietly(work())),))
        thread.start()
        try:
            yield
        finally:
            loop.call_soon_threadsafe(task.cancel)
            thread.join()
            loop.close()


async def _quietly(job: Any) -> None:
    try:
        await job
    except asyncio.CancelledError:
        return


@pytest.fixture
def clusters(api: ApiServer, kubeconfig: Path) -> Iterator[Clusters]:
    name = uuid4().hex[:8]
    made = Clusters(api=api, kubeconfig=kubeconfig, hub=f"hub-{name}", site=f"site-{name}", member=f"m-{name}")
    for namespace in (made.hub, made.site):
        api.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}}).granted()
    made.install(made.hub, "--role=hub", "--role=site")
    api.create(pool_object(f"p-{name}", member=made.member))
    yield made
    made.run("revoke", made.member, "-n", made.hub)
    api.delete(f"/apis/littoral.dev/v1alpha1/nodepools/p-{name}")
    api.delete(f"/api/v1/namespaces/{made.site}/secrets/littoral-hub")
    for namespace in (made.hub, made.site):
        api.delete(f"/apis/apps/v1/namespaces/{namespace}/deployments/littoral")
        api.delete(f"/api/v1/namespaces/{namespace}")


def test_a_site_joins_by_two_commands(clusters: Clusters) -> None:
    clusters.install(clusters.site, "--role=site", f"--member={clusters.member}")
    token = clusters.invite()
    with clusters.operator():
        joined = clusters.run("join", "-", "-n", clusters.site, "--wait", "30s", stdin=token)
    assert joined.returncode == 0, joined.stderr
    assert f"joined: {clusters.member} is a member of https://" in joined.stdout
    assert joined.stderr == ""


def test_an_invitation_says_what_to_do_next(clusters: Clusters) -> None:
    ran = clusters.run("invite", clusters.member, "-n", clusters.hub)
    assert ran.returncode == 0, ran.stderr
    assert len(ran.stdout.split()) == 1
    assert f"invited: {clusters.member} may join once, until 20" in ran.stderr
    assert f"--set member={clusters.member}" in ran.stderr
    assert "warning" not in ran.stderr


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_an_invitation_for_programs(clusters: Clusters, form: str) -> None:
    text = clusters.invite("-o", form, "--valid", "1h")
    body: Object = json.loads(text) if form == "json" else yaml.safe_load(text)
    credentials = Credentials.decode(body["token"])
    assert (body["member"], body["namespace"]) == (clusters.member, clusters.hub)
    assert credentials.server == body["server"]
    assert credentials.namespace == clusters.hub


def test_nothing_is_written_in_a_dry_run(clusters: Clusters) -> None:
    clusters.install(clusters.site, "--role=site", f"--member={clusters.member}")
    ran = clusters.run("join", clusters.invite(), "-n", clusters.site, "--dry-run")
    assert ran.returncode == 0, ran.stderr
    assert f"Secret {clusters.site}/littoral-hub would be written" in ran.stdout
    assert not clusters.exists(f"/api/v1/namespaces/{clusters.site}/secrets/littoral-hub")


def test_the_secret_may_be_there_before_the_operator(clusters: Clusters) -> None:
    ran = clusters.run("join", clusters.invite(), "-n", clusters.site)
    assert ran.returncode == 0, ran.stderr
    assert "It joins when it starts: helm install" in ran.stdout
    assert clusters.exists(f"/api/v1/namespaces/{clusters.site}/secrets/littoral-hub")


def test_an_operator_that_does_not_answer_is_said_where_to_look(clusters: Clusters) -> None:
    clusters.install(clusters.site, "--role=site", f"--member={clusters.member}")
    ran = clusters.run("join", clusters.invite(), "-n", clusters.site, "--wait", "1s")
    assert ran.returncode == 1
    assert f"kubectl logs -n {clusters.site} deployment/littoral" in ran.stderr


def test_a_void_token_is_refused_before_anything_is_written(clusters: Clusters) -> None:
    old, _ = clusters.invite(), clusters.invite()
    try_it = ("join", old, "-n", clusters.site, "--dry-run")
    # The API server remembers for 10 s that a token was good.
    wait_until(lambda: clusters.run(*try_it).returncode == 1, what="the older token is void")
    ran = clusters.run("join", old, "-n", clusters.site)
    assert ran.returncode == 1
    assert "it has been used, or there is a later invitation" in ran.stderr
    assert f"littoral invite {clusters.member}" in ran.stderr
    assert not clusters.exists(f"/api/v1/namespaces/{clusters.site}/secrets/littoral-hub")


def test_a_hub_out_of_reach_is_a_warning(clusters: Clusters) -> None:
    invited = clusters.run("invite", clusters.member, "-n", clusters.hub, "--server", "https://127.0.0.1:9")
    assert invited.returncode == 0, invited.stderr
    assert "warning: https://127.0.0.1:9 cannot be reached from here" in invited.stderr
    joined = clusters.run("join", "-", "-n", clusters.site, stdin=invited.stdout)
    assert joined.returncode == 0, joined.stderr
    assert "warning: the hub https://127.0.0.1:9 cannot be reached from here" in joined.stderr


def test_joining_elsewhere_says_what_it_replaces(clusters: Clusters) -> None:
    first = clusters.run("join", clusters.invite(), "-n", clusters.site)
    again = clusters.run("join", clusters.invite(), "-n", clusters.site)
    assert (first.stderr, again.stderr) == ("", "")
    elsewhere = clusters.run("invite", clusters.member, "-n", clusters.hub, "--server", "https://127.0.0.1:9").stdout
    joined = clusters.run("join", "-", "-n", clusters.site, stdin=elsewhere)
    assert joined.returncode == 0, joined.stderr
    assert f"until now this site was member {clusters.member} of https://" in joined.stderr


def test_an_authority_that_is_none_is_refused(clusters: Clusters, tmp_path: Path) -> None:
    other = tmp_path / "ca.crt"
    other.write_text("-----BEGIN CERTIFICATE-----\nTGl0dG9yYWw=\n-----END CERTIFICATE-----\n")
    ran = clusters.run("invite", clusters.member, "-n", clusters.hub, "--certificate-authority", str(other))
    assert ran.returncode == 1
    assert "the certificate authority cannot be used" in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--role=site", "--member=another"), "runs as member another, and this token is for"),
        (("--role=hub", "--role=site"), "is no member of anything, but a hub itself"),
        (("--role=site",), "is no member of anything: if this is the site's cluster"),
    ],
)
def test_an_operator_that_is_no_such_member_is_not_given_the_secret(
    clusters: Clusters, arguments: tuple[str, ...], message: str
) -> None:
    clusters.install(clusters.site, *arguments)
    ran = clusters.run("join", clusters.invite(), "-n", clusters.site)
    assert ran.returncode == 1
    assert message in ran.stderr
    assert "helm upgrade littoral" in ran.stderr


def test_a_member_without_a_pool_is_a_warning(clusters: Clusters) -> None:
    other = f"{clusters.member}-x"
    ran = clusters.run("invite", other, "-n", clusters.hub)
    assert ran.returncode == 0
    assert f"warning: no NodePool has spec.member: {other}" in ran.stderr
    assert clusters.run("revoke", other, "-n", clusters.hub).returncode == 0


def test_a_cluster_that_is_no_hub_invites_nobody(clusters: Clusters) -> None:
    clusters.install(clusters.site, "--role=site", f"--member={clusters.member}")
    ran = clusters.run("invite", clusters.member, "-n", clusters.site)
    assert ran.returncode == 1
    assert f"the operator in namespace {clusters.site} is no hub" in ran.stderr


def test_a_namespace_that_is_not_there_is_said(clusters: Clusters) -> None:
    ran = clusters.run("join", clusters.invite(), "-n", "nowhere")
    assert ran.returncode == 1
    assert "there is no namespace nowhere" in ran.stderr


def test_revoking_takes_all_of_it_away(clusters: Clusters) -> None:
    clusters.invite()
    ran = clusters.run("revoke", clusters.member, "-n", clusters.hub)
    assert ran.returncode == 0, ran.stderr
    name = f"littoral-member-{clusters.member}"
    assert set(ran.stdout.split("\n")) >= {f"{kind}/{name} deleted" for kind in ("serviceaccount", "role", "lease")}
    for path in (
        f"/api/v1/namespaces/{clusters.hub}/serviceaccounts/{name}",
        f"/api/v1/namespaces/{clusters.hub}/secrets/littoral-join-{clusters.member}",
        f"{RBAC}/namespaces/{clusters.hub}/roles/{name}",
        f"{RBAC}/namespaces/{clusters.hub}/rolebindings/{name}",
        f"{RBAC}/clusterrolebindings/{name}",
        f"/apis/coordination.k8s.io/v1/namespaces/{clusters.hub}/leases/{name}",
    ):
        assert not clusters.exists(path), path
    again = clusters.run("revoke", clusters.member, "-n", clusters.hub)
    assert again.returncode == 1
    assert "has no access" in again.stderr
