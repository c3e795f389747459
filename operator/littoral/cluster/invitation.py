"""What a member may do on the hub, as RBAC objects: its own Assignments, its own Lease, its own token. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from littoral.api.base import GROUP
from littoral.cluster.membership import join_secret_name, member_labels, member_name
from littoral.cluster.resources import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES

Object = dict[str, Any]

_RBAC: Final = ROLES.group


def invitation(member: str, *, namespace: str) -> list[Object]:
    """All that whoever invites a member makes for it, to apply in this order, but for the Secret of the join token.

    The Lease comes last: once it is there, the hub tells in it which Assignments are the member's.
    """
    name, labels = member_name(member), member_labels(member)
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    subjects = [{"kind": "ServiceAccount", "name": name, "namespace": namespace}]
    return [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": metadata,
            "automountServiceAccountToken": False,
        },
        {
            "apiVersion": ROLES.api_version,
            "kind": ROLES.kind,
            "metadata": metadata,
            "rules": [
                _rule("coordination.k8s.io", "leases", ["get", "patch"], [name]),
                _rule("", "serviceaccounts/token", ["create"], [name]),
                _rule("", "secrets", ["delete"], [join_secret_name(member)]),
            ],
        },
        {
            "apiVersion": ROLE_BINDINGS.api_version,
            "kind": ROLE_BINDINGS.kind,
            "metadata": metadata,
            "roleRef": {"apiGroup": _RBAC, "kind": ROLES.kind, "name": name},
            "subjects": subjects,
        },
        {
            "apiVersion": CLUSTER_ROLE_BINDINGS.api_version,
            "kind": CLUSTER_ROLE_BINDINGS.kind,
            "metadata": {"name": name, "labels": labels},
            "roleRef": {"apiGroup": _RBAC, "kind": CLUSTER_ROLES.kind, "name": name},
            "subjects": subjects,
        },
        {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata},
    ]


def join_secret(member: str, *, namespace: str) -> Object:
    """The Secret that a join token is bound to. It holds nothing: the token is valid while it exists."""
    metadata = {"name": join_secret_name(member), "namespace": namespace, "labels": member_labels(member)}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque"}


def member_role(member: str, *, assignments: Sequence[str]) -> Object:
    """The ClusterRole that lets a member have these Assignments, and report on them.

    A list or a watch is let through by resourceNames only where a field selector names one object.
    """
    names = sorted(assignments)
    return {
        "apiVersion": CLUSTER_ROLES.api_version,
        "kind": CLUSTER_ROLES.kind,
        "metadata": {"name": member_name(member), "labels": member_labels(member)},
        # Without names, a rule would be about all Assignments.
        "rules": [
            _rule(GROUP, "assignments", ["get", "list", "watch"], names),
            _rule(GROUP, "assignments/status", ["patch"], names),
        ]
        if names
        else [],
    }


def _rule(group: str, resource: str, verbs: list[str], names: list[str]) -> Object:
    return {"apiGroups": [group], "resources": [resource], "verbs": verbs, "resourceNames": names}
