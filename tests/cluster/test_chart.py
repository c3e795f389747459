"""The chart on a real API server: what Pod Security, RBAC and the admission policy make of the operator."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from littoral.cluster.invitation import invitation, member_role
from tests.cluster.api_server import ApiServer, Object, wait_until
from tests.unit.chart.chart import CHART, helm, render

OURS = {"app.kubernetes.io/managed-by": "littoral"}
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@dataclass(frozen=True)
class Kubectl:
    """kubectl as somebody."""

    program: str
    kubeconfig: Path
    user: str = ""

    def run(self, *arguments: str, body: Object | None = None) -> subprocess.CompletedProcess[str]:
        """Run it, whatever comes of it; `body` is what `--filename=-` reads."""
        command = [self.program, f"--kubeconfig={self.kubeconfig}", *([f"--as={self.user}"] if self.user else [])]
        stdin = None if body is None else json.dumps(body)
        return subprocess.run([*command, *arguments], input=stdin, capture_output=True, text=True, check=False)

    def apply(self, body: Object, *arguments: str) -> str:
        """Server-side apply; an empty string, or why it was refused."""
        done = self.run("apply", "--server-side", "--force-conflicts", "--filename=-", *arguments, body=body)
        return done.stderr if done.returncode else ""

    def may(self, verb: str, resource: str, *, namespace: str) -> bool:
        """Whether RBAC lets the user."""
        done = self.run("auth", "can-i", verb, resource, f"--namespace={namespace}")
        assert done.stdout.strip() in ("yes", "no"), done.stderr
        return done.stdout.strip() == "yes"


@dataclass(frozen=True)
class Installed:
    """One release of the chart, without a running Pod."""

    namespace: str
    admin: Kubectl
    operator: Kubectl


@pytest.fixture(scope="module")
def installed(api: ApiServer, kubeconfig: Path) -> Iterator[Installed]:
    """The chart, installed in a namespace that enforces Pod Security `restricted`."""
    name = f"littoral-{uuid4().hex[:6]}"
    admin = Kubectl(_kubectl(), kubeconfig)
    assert not admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}})
    where = [f"--kubeconfig={kubeconfig}", f"--namespace={name}"]
    settings = ["--set=crds.enabled=false", "--set=replicas=0"]
    subprocess.run([helm(), "install", name, CHART, *where, *settings], check=True, capture_output=True)
    release = Installed(name, admin, Kubectl(admin.program, kubeconfig, user=f"system:serviceaccount:{name}:{name}"))
    # A policy is in force some moments after it was made.
    unlabelled = _service("unlabelled", namespace=name, labels={})
    wait_until(
        lambda: "Littoral writes only" in release.operator.apply(unlabelled, "--dry-run=server"),
        what="the admission policy is in force",
    )
    yield release
    subprocess.run([helm(), "uninstall", name, *where], check=True, capture_output=True)
    admin.run("delete", "namespace", name, "--wait=false")


@pytest.fixture
def shop(namespace: str, installed: Installed) -> str:
    """A tenant's namespace, with the tenant's own Service and ConfigMap."""
    assert not installed.admin.apply(_service("mine", namespace=namespace, labels={}))
    assert not installed.admin.apply(_config_map("mine", namespace=namespace, labels={"a": "b"}))
    return namespace


def _operator_pod(namespace: str) -> Object:
    template = render().pod
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "operator", "namespace": namespace},
        "spec": template["spec"] | {"serviceAccountName": namespace},
    }


def test_pod_security_restricted_admits_the_operator(installed: Installed) -> None:
    assert not installed.admin.apply(_operator_pod(installed.namespace), "--dry-run=server")


def test_pod_security_is_enforced_there(installed: Installed) -> None:
    pod = _operator_pod(installed.namespace)
    pod["spec"]["securityContext"] = {"runAsUser": 0}
    assert 'violates PodSecurity "restricted' in installed.admin.apply(pod, "--dry-run=server")


def test_the_operator_writes_its_own_objects(installed: Installed, shop: str) -> None:
    for body in (_service("digits", namespace=shop, labels=OURS), _config_map("triton", namespace=shop, labels=OURS)):
        assert not installed.operator.apply(body)
        kind, name = body["kind"], body["metadata"]["name"]
        assert installed.operator.run("delete", kind, name, f"--namespace={shop}").returncode == 0


@pytest.mark.parametrize("kind", ["Service", "ConfigMap"])
def test_the_operator_cannot_take_what_somebody_else_made(installed: Installed, shop: str, kind: str) -> None:
    make = _service if kind == "Service" else _config_map
    refusal = f"{kind} {shop}/mine exists and is not Littoral's"
    assert refusal in installed.operator.apply(make("mine", namespace=shop, labels=OURS))
    assert refusal in installed.operator.run("delete", kind, "mine", f"--namespace={shop}").stderr


def test_the_operator_labels_its_own_pods_alone(installed: Installed, shop: str) -> None:
    for name, labels in (("triton", OURS), ("other", {"app": "other"})):
        pod = _operator_pod(shop) | {"metadata": {"name": name, "namespace": shop, "labels": labels}}
        pod["spec"] = {"containers": pod["spec"]["containers"]}
        assert not installed.admin.apply(pod)
    label = ["serves.littoral.dev/digits=true", f"--namespace={shop}"]
    assert installed.operator.run("label", "pod", "triton", *label).returncode == 0
    assert f"Pod {shop}/other exists and is not" in installed.operator.run("label", "pod", "other", *label).stderr


@pytest.fixture
def member(installed: Installed) -> Iterator[str]:
    """A member of the hub's that no other test has."""
    name = f"m-{uuid4().hex[:8]}"
    yield name
    installed.admin.run("delete", "clusterrole", f"littoral-member-{name}", "--ignore-not-found")


def test_the_hub_lets_a_member_have_its_own_assignments(installed: Installed, member: str) -> None:
    wait_until(
        lambda: "is not the hub's" in installed.operator.apply(_role("other"), "--dry-run=server"),
        what="the policy for the members' roles is in force",
    )
    for assignments in (("edge",), ("edge", "cafe"), ()):
        assert not installed.operator.apply(member_role(member, assignments=assignments))


def _role(name: str, **fields: Any) -> Object:
    role = member_role("m", assignments=("edge",)) | fields
    return role | {"metadata": role["metadata"] | {"name": name}}


READ_ONE = {"apiGroups": ["littoral.dev"], "resources": ["assignments"], "verbs": ["get"], "resourceNames": ["edge"]}


@pytest.mark.parametrize(
    "rule",
    [
        READ_ONE | {"resources": ["models"]},
        READ_ONE | {"resources": ["assignments", "models"]},
        READ_ONE | {"resources": ["assignments/status"]},
        READ_ONE | {"apiGroups": [""], "resources": ["nodes"]},
        READ_ONE | {"verbs": ["get", "patch"]},
        {key: value for key, value in READ_ONE.items() if key != "resourceNames"},
    ],
    ids=["models", "models, too", "status", "nodes", "writes", "all of them"],
)
def test_the_hub_gives_a_member_nothing_else(installed: Installed, member: str, rule: Object) -> None:
    def refusal() -> str:
        return installed.operator.apply(_role(f"littoral-member-{member}", rules=[rule]), "--dry-run=server")

    # What the hub may not do itself, RBAC refuses before the policy does.
    assert "is about named Assignments" in refusal() or "attempting to grant RBAC permissions" in refusal()


def test_the_hub_changes_no_other_role(installed: Installed, member: str) -> None:
    other = f"littoral-member-{member}"
    assert not installed.admin.apply(_role(other, metadata={"labels": {}}))
    assert "is not the hub's" in installed.operator.apply(member_role(member, assignments=("edge",)))
    assert "is not the hub's" in installed.operator.apply(_role(f"{installed.namespace}-hub"), "--dry-run=server")
    bind = ["create", "clusterrolebinding", other, f"--clusterrole={other}", "--user=somebody"]
    assert "forbidden" in installed.operator.run(*bind, "--dry-run=server").stderr


@pytest.mark.parametrize(
    "change",
    [
        {"labels": {"littoral.dev/member": "another"}},
        {"labels": {"more": "x"}},
        {"annotations": {"littoral.dev/assignments": "another"}},
        {"finalizers": ["example.com/stay"]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_member_writes_its_heartbeat_and_nothing_else_into_its_lease(
    installed: Installed, member: str, change: Object
) -> None:
    bodies = invitation(member, namespace=installed.namespace)
    for body in bodies:
        assert not installed.admin.apply(body)
    name = f"littoral-member-{member}"
    as_member = Kubectl(
        installed.admin.program,
        installed.admin.kubeconfig,
        user=f"system:serviceaccount:{installed.namespace}:{name}",
    )

    def patch(body: Object) -> str:
        where = (f"--namespace={installed.namespace}", "--type=merge", f"--patch={json.dumps(body)}")
        done = as_member.run("patch", "lease", name, *where)
        return done.stderr if done.returncode else ""

    wait_until(lambda: not patch({"spec": {"holderIdentity": "site"}}), what="the member may say that it lives")
    wait_until(
        lambda: "writes the spec of its Lease, and nothing else" in patch({"metadata": change}),
        what="the policy for the members' Leases is in force",
    )
    assert not patch({"spec": {"renewTime": "2026-11-28T12:00:00.000000Z"}})
    for body in bodies:
        installed.admin.run("delete", body["kind"], body["metadata"]["name"], f"--namespace={installed.namespace}")


def test_the_policy_is_for_the_operator_alone(installed: Installed, shop: str) -> None:
    assert not installed.admin.apply(_service("mine", namespace=shop, labels={"changed": "yes"}))


@pytest.mark.parametrize(
    ("verb", "resource", "allowed"),
    [
        ("get", "secrets", False),
        ("create", "pods", False),
        ("create", "pods/exec", False),
        ("delete", "pods", False),
        ("patch", "nodes", False),
        ("patch", "models.littoral.dev", False),
        ("patch", "nodepools.littoral.dev", False),
        ("create", "clusterrolebindings", False),
        ("create", "leases.coordination.k8s.io", False),
        ("patch", "leases.coordination.k8s.io", False),
        ("delete", "clusterroles", False),
        ("patch", "models.littoral.dev/status", True),
        ("patch", "deployments.apps", True),
        ("create", "events.events.k8s.io", True),
    ],
)
def test_rbac_in_a_tenants_namespace(installed: Installed, verb: str, resource: str, allowed: bool) -> None:
    kind, _, subresource = resource.partition("/")
    arguments = (kind, f"--subresource={subresource}") if subresource else (kind,)
    done = installed.operator.run("auth", "can-i", verb, *arguments, "--namespace=default")
    assert done.stdout.strip() == ("yes" if allowed else "no"), done.stderr


def test_the_lease_is_the_operators_in_its_own_namespace(installed: Installed) -> None:
    own = f"leases.coordination.k8s.io/{installed.namespace}-operator"
    assert installed.operator.may("update", own, namespace=installed.namespace)
    assert not installed.operator.may("update", "leases.coordination.k8s.io/other", namespace=installed.namespace)


def test_the_hub_keeps_one_secret(installed: Installed) -> None:
    """The authority of gateways; there may be others in the namespace."""
    here = installed.namespace
    for verb, name, allowed in (
        ("get", "secrets/littoral-gateway-ca", True),
        ("patch", "secrets/littoral-gateway-ca", True),
        ("create", "secrets", True),
        ("get", "secrets/other", False),
        ("list", "secrets", False),
        ("delete", "secrets/littoral-gateway-ca", False),
    ):
        assert installed.operator.may(verb, name, namespace=here) is allowed, (verb, name)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "littoral-gateway-ca", "namespace": here}}
    assert "Littoral writes only objects that carry its label" in installed.operator.apply(secret)
    secret["metadata"] |= {"labels": OURS}  # type: ignore[operator]
    assert not installed.operator.apply(secret)


def test_namespace_editors_and_viewers_can_use_models(installed: Installed, shop: str) -> None:
    for role in ("edit", "view"):
        bind = ["create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}or", f"--namespace={shop}"]
        assert installed.admin.run(*bind).returncode == 0
    editor, viewer = (
        Kubectl(installed.admin.program, installed.admin.kubeconfig, user=f"{u}or") for u in ("edit", "view")
    )
    # The controller manager aggregates roles when it gets to it.
    wait_until(lambda: editor.may("create", "models.littoral.dev", namespace=shop), what="`edit` has the Models")
    assert viewer.may("list", "latencyslos.littoral.dev", namespace=shop)
    assert not viewer.may("create", "models.littoral.dev", namespace=shop)
    assert not editor.may("create", "nodepools.littoral.dev", namespace=shop)


def _service(name: str, *, namespace: str, labels: dict[str, str]) -> Object:
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 80}]}}


def _config_map(name: str, *, namespace: str, labels: dict[str, str]) -> Object:
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"by": str(sorted(labels))}}


def _kubectl() -> str:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "littoral/bin"
    built = max(cache.glob("kubernetes-*/kubectl"), key=lambda path: path.stat().st_mtime, default=None)
    found = built or shutil.which("kubectl")
    assert found, "kubectl: not found. Install it, or let the lab build it: make lab-up"
    return str(found)
