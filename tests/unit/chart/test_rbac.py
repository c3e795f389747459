"""Least privilege: exactly these rights and no other, for each role."""

from __future__ import annotations

import itertools

import pytest

from tests.unit.chart.chart import NAMESPACE, Object, render

READ = {"get", "list", "watch"}

HUB = {
    "littoral.dev/models": READ,
    "littoral.dev/latencyslos": READ,
    "littoral.dev/nodepools": READ,
    "littoral.dev/assignments": READ | {"create", "patch", "delete"},
    "littoral.dev/models/status": {"patch"},
    "littoral.dev/latencyslos/status": {"patch"},
    "littoral.dev/nodepools/status": {"patch"},
    "littoral.dev/assignments/status": {"patch"},
    "nodes": READ,
    "events.k8s.io/events": {"create"},
    "rbac.authorization.k8s.io/clusterroles": {"create", "patch"},
}
SITE = {
    "littoral.dev/assignments": READ,
    "littoral.dev/assignments/status": {"patch"},
    "apps/deployments": READ | {"create", "patch", "delete"},
    "services": READ | {"create", "patch", "delete"},
    "configmaps": READ | {"create", "patch", "delete"},
    "pods": READ | {"patch"},
    "pods/resize": {"patch"},
    "discovery.k8s.io/endpointslices": {"delete"},
}
GATEWAYS = {
    "discovery.k8s.io/endpointslices": READ | {"create", "patch", "delete"},
    "policy/poddisruptionbudgets": READ | {"create", "patch", "delete"},
    "nodes": READ,
}
MEMBER = {
    "littoral.dev/assignments": READ | {"create", "patch", "delete"},
    "namespaces": {"get", "create"},
    "nodes": READ,
}
GATEWAY_API = {
    f"gateway.networking.k8s.io/{name}": READ | {"create", "patch", "delete"} for name in ("httproutes", "grpcroutes")
}
EDIT = {
    "littoral.dev/models": {"create", "delete", "deletecollection", "patch", "update"},
    "littoral.dev/latencyslos": {"create", "delete", "deletecollection", "patch", "update"},
    "littoral.dev/models/scale": {"patch", "update"},
}
VIEW = {
    f"littoral.dev/{name}": READ
    for name in ("models", "models/status", "models/scale", "latencyslos", "latencyslos/status")
}


def rights(role: Object) -> dict[str, set[str]]:
    granted: dict[str, set[str]] = {}
    for rule in role["rules"]:
        for group, resource in itertools.product(rule["apiGroups"], rule["resources"]):
            name = f"{group}/{resource}" if group else resource
            granted.setdefault(name, set()).update(rule["verbs"])
    return granted


@pytest.mark.parametrize(
    ("suffix", "expected"), [("-hub", HUB), ("-site", SITE), ("-edit", EDIT), ("-view", VIEW)], ids=lambda x: str(x)[:5]
)
def test_a_cluster_role_grants_exactly_what_its_table_says(suffix: str, expected: dict[str, set[str]]) -> None:
    assert rights(render().one("ClusterRole", suffix=suffix)) == expected


def test_gateways_ask_for_more() -> None:
    rendered = render({"gateway": {"enabled": True}})
    assert rights(rendered.one("ClusterRole", suffix="-site")) == SITE | GATEWAYS
    assert rights(rendered.one("ClusterRole", suffix="-hub")) == HUB


def test_a_member_site_asks_for_more() -> None:
    rendered = render({"roles": ["site"], "member": "store-12"})
    assert rights(rendered.one("ClusterRole", suffix="-site")) == SITE | MEMBER
    role = rendered.one("Role")
    assert rights(role) == {
        "coordination.k8s.io/leases": {"get", "update", "create"},
        "secrets": READ | {"patch"},
    }
    (secrets,) = [rule for rule in role["rules"] if rule["resources"] == ["secrets"]]
    assert secrets["resourceNames"] == ["littoral-hub"]


def test_without_the_policy_that_limits_them_the_hub_writes_no_roles() -> None:
    rendered = render({"admissionPolicy": {"enabled": False}})
    assert "rbac.authorization.k8s.io/clusterroles" not in rights(rendered.one("ClusterRole", suffix="-hub"))
    assert not rendered.of("ValidatingAdmissionPolicy")


@pytest.mark.parametrize(
    ("roles", "policies"),
    [
        (["hub"], {"littoral-member-roles", "littoral-member-leases"}),
        (["site"], {"littoral-own-objects"}),
        (["hub", "site"], {"littoral-member-roles", "littoral-member-leases", "littoral-own-objects"}),
    ],
)
def test_each_role_is_held_to_its_own_objects(roles: list[str], policies: set[str]) -> None:
    rendered = render({"roles": roles})
    assert {body["metadata"]["name"] for body in rendered.of("ValidatingAdmissionPolicy")} == policies
    assert {body["spec"]["policyName"] for body in rendered.of("ValidatingAdmissionPolicyBinding")} == policies


def test_routes_for_other_gateways_ask_for_more() -> None:
    names = {
        "parentRefs": [{"namespace": "infra", "name": "web"}],
        "hostnames": {"http": "{model}.{namespace}.example"},
    }
    rendered = render({"gatewayApi": names})
    assert rights(rendered.one("ClusterRole", suffix="-site")) == SITE | GATEWAY_API
    assert rights(rendered.one("ClusterRole", suffix="-hub")) == HUB
    policy = rendered.one("ValidatingAdmissionPolicy", suffix="-own-objects")
    held = {name for rule in policy["spec"]["matchConstraints"]["resourceRules"] for name in rule["resources"]}
    assert {"httproutes", "grpcroutes"} <= held


@pytest.mark.parametrize(
    ("roles", "enabled", "expected"),
    [
        (["site"], False, set()),
        (["site"], True, {"get", "create", "patch"}),
        (["hub"], True, {"get", "create", "patch"}),
    ],
)
def test_secrets_are_for_the_hub_and_for_gateways(roles: list[str], enabled: bool, expected: set[str]) -> None:
    rendered = render({"roles": roles, "gateway": {"enabled": enabled}})
    assert rights(rendered.one("Role", suffix="-lease")).get("secrets", set()) == expected
    # Of the hub, by name, but for what does not exist yet.
    everywhere = {
        name
        for role in rendered.of("ClusterRole")
        for name, verbs in rights(role).items()
        if name == "secrets" and verbs
    }
    assert not everywhere


def test_there_is_no_other_cluster_role() -> None:
    names = {role["metadata"]["name"] for role in render().of("ClusterRole")}
    assert names == {"littoral-hub", "littoral-site", "littoral-edit", "littoral-view"}


def test_the_lease_is_a_matter_of_the_own_namespace_and_of_one_name() -> None:
    role = render({"roles": ["hub"]}).one("Role")
    assert role["metadata"]["namespace"] == NAMESPACE
    assert f"--lease={role['rules'][0]['resourceNames'][0]}" in render().container["args"]
    assert rights(role) == {
        "coordination.k8s.io/leases": {"get", "update", "create", "list", "watch", "patch"},
        "configmaps": {"get", "create", "patch"},
        "secrets": {"get", "create", "patch"},
    }
    named = [rule for rule in role["rules"] if "resourceNames" in rule]
    assert [rule["resourceNames"] for rule in named] == [["littoral-operator"], ["littoral-gateway-ca"]]


def test_every_binding_is_for_the_operators_service_account_alone() -> None:
    rendered = render()
    account = rendered.one("ServiceAccount")["metadata"]["name"]
    bindings = rendered.of("ClusterRoleBinding") + rendered.of("RoleBinding")
    assert {binding["roleRef"]["name"] for binding in bindings} == {"littoral-hub", "littoral-site", "littoral-lease"}
    for binding in bindings:
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}]
    assert rendered.pod["spec"]["serviceAccountName"] == account


@pytest.mark.parametrize(("role", "other"), [("hub", "site"), ("site", "hub")])
def test_a_role_that_is_not_played_has_no_rights(role: str, other: str) -> None:
    names = {body["metadata"]["name"] for body in render({"roles": [role]}).of("ClusterRoleBinding")}
    assert f"littoral-{role}" in names
    assert f"littoral-{other}" not in names


def test_namespace_roles_aggregate() -> None:
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    into = {
        role["metadata"]["name"]: {label for label in role["metadata"]["labels"] if label.startswith(prefix)}
        for role in render().of("ClusterRole")
    }
    assert into["littoral-edit"] == {prefix + "admin", prefix + "edit"}
    assert into["littoral-view"] == {prefix + "admin", prefix + "edit", prefix + "view"}
    assert not into["littoral-hub"] | into["littoral-site"]


def test_rbac_can_be_left_to_others() -> None:
    rendered = render({"rbac": {"create": False, "aggregate": False}})
    kinds = {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}
    assert not kinds & {body["kind"] for body in rendered.objects}


def test_two_releases_share_no_cluster_wide_name() -> None:
    def names(release: str) -> set[tuple[str, str]]:
        objects = render({"crds": {"enabled": False}}, release=release).objects
        return {(o["kind"], o["metadata"]["name"]) for o in objects if "namespace" not in o["metadata"]}

    assert names("one")
    assert not names("one") & names("two")
