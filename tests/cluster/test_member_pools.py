"""What the hub says of a member's pool on a real API server: awaited, there, not heard of, and back.

The site is played here: it reports its node and renews its Lease.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from littoral.cluster.membership import member_labels, member_name
from tests.cluster.api_server import ApiServer, Object, wait_until
from tests.cluster.operator_process import OperatorProcess
from tests.support.objects import model_object, pool_object

GROUP = "/apis/littoral.dev/v1alpha1"
EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"
NODE = {"name": "n1", "ready": True, "schedulable": True, "cpu": "4", "memory": "8Gi"}


@dataclass(frozen=True, kw_only=True)
class Member:
    """A member cluster with one pool, whose site is played by a test."""

    api: ApiServer
    namespace: str
    name: str

    def assignment(self) -> Object:
        """The pool's Assignment; empty where there is none yet."""
        answer = self.api.get(f"{GROUP}/assignments/{self.name}")
        return answer.body if answer.accepted else {}

    def pool(self) -> Object:
        """The status of the pool."""
        status: Object = self.api.get(f"{GROUP}/nodepools/{self.name}").granted().get("status", {})
        return status

    def ready(self, path: str = "") -> tuple[str, str, str]:
        """(status, reason, message) of Ready, of the pool unless another object is named."""
        body = self.api.get(f"{GROUP}/{path or f'nodepools/{self.name}'}").granted()
        for condition in body.get("status", {}).get("conditions", []):
            if condition["type"] == "Ready":
                return condition["status"], condition["reason"], condition["message"]
        return "", "", ""

    def models(self) -> list[str]:
        """The Models that its Assignment holds."""
        servers = self.assignment().get("spec", {}).get("servers", [])
        return [model["name"] for server in servers for model in server["models"]]

    def report(self) -> None:
        """Say that all is there that is assigned, on one node."""
        assigned = self.assignment()
        servers = [
            {
                "name": server["name"],
                "namespace": server["namespace"],
                "readyReplicas": server["replicas"],
                "models": [
                    {
                        "name": model["name"],
                        "variant": model["variant"],
                        "digest": model["artifact"]["digest"],
                        "state": "Ready",
                        "readyReplicas": server["replicas"],
                    }
                    for model in server["models"]
                ],
            }
            for server in assigned["spec"].get("servers", [])
        ]
        labels = {"littoral.dev/pool": self.name}
        status = {
            "observedGeneration": assigned["metadata"]["generation"],
            "nodes": [NODE | {"labels": labels}],
            "servers": servers,
        }
        body = {"apiVersion": "littoral.dev/v1alpha1", "kind": "Assignment", "metadata": {"name": self.name}}
        path = f"{GROUP}/assignments/{self.name}/status"
        self.api.apply(body | {"status": status}, manager="littoral-uplink", path=path).granted()

    def renew(self) -> None:
        """Be heard of."""
        name = member_name(self.name)
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name, "namespace": self.namespace, "labels": member_labels(self.name)},
            "spec": {"holderIdentity": "site", "renewTime": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"},
        }
        path = f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases/{name}"
        self.api.apply(body, manager="site", path=path).granted()

    def events(self) -> list[str]:
        """The reasons of the pool's Events."""
        items = self.api.get(EVENTS).granted()["items"]
        return [it["reason"] for it in items if it["regarding"].get("name") == self.name]


@pytest.fixture
def member(api: ApiServer, namespace: str) -> Iterator[Member]:
    name = f"m-{uuid4().hex[:8]}"
    api.create(pool_object(name, member=name))
    yield Member(api=api, namespace=namespace, name=name)
    api.delete(f"{GROUP}/nodepools/{name}")
    api.delete(f"{GROUP}/assignments/{name}")


def test_a_member_s_pool_from_its_invitation_to_its_return(
    member: Member, api: ApiServer, kubeconfig: Path, namespace: str, tmp_path: Path
) -> None:
    operator = OperatorProcess(kubeconfig=kubeconfig, namespace=namespace, log=tmp_path / "operator.log")
    digits = f"namespaces/{namespace}/models/digits"
    with operator:
        # 1. Nobody has joined: an Assignment without servers waits for who will.
        wait_until(lambda: member.ready()[:2] == ("Unknown", "AwaitingReport"), what="the member is awaited")
        assert f"littoral invite {member.name}" in member.ready()[2]
        wait_until(lambda: bool(member.assignment()), what="there is an Assignment")
        assert member.assignment()["spec"]["member"] == member.name
        assert member.models() == []

        # 2. It joins, and is planned as any other pool.
        member.renew()
        member.report()
        wait_until(lambda: member.ready()[:2] == ("True", "NodesReady"), what="the pool is Ready")
        assert (member.pool()["nodes"], member.pool()["devices"]) == (1, "4 cpu")
        api.create(model_object("digits", namespace=namespace))
        wait_until(lambda: member.models() == ["digits"], what="the Model is placed there")
        member.report()
        member.renew()
        wait_until(lambda: member.ready(digits)[:2] == ("True", "Serving"), what="the Model is Ready")

        # An Assignment that somebody deletes is written anew as it was, though the new one has no report of nodes.
        deleted = member.assignment()["metadata"]["uid"]
        api.delete(f"{GROUP}/assignments/{member.name}").granted()
        wait_until(lambda: member.assignment().get("metadata", {}).get("uid", deleted) != deleted, what="it is back")
        assert member.models() == ["digits"]
        assert member.assignment()["metadata"]["generation"] == 1
        member.report()
        member.renew()
        wait_until(lambda: member.ready(digits)[:2] == ("True", "Serving"), what="the Model is Ready again")

        # 3. It is not heard of any more: all stays, whatever is asked for meanwhile.
        wait_until(
            lambda: member.ready()[:2] == ("Unknown", "MemberUnreachable"), what="the member is missed", within=90
        )
        since = member.pool()["unreachableSince"]
        said = f"member {member.name} has not been heard of since {since}; what runs there goes on"
        assert member.ready()[2] == said
        assert member.pool()["nodes"] == 1
        wait_until(lambda: member.ready(digits) == ("Unknown", "MemberUnreachable", said), what="its Model says so")
        (place,) = api.get(f"{GROUP}/{digits}").granted()["status"]["placements"]
        assert (place["pool"], place["state"], place["readyReplicas"]) == (member.name, "Ready", 1)
        before = member.assignment()
        api.create(model_object("ocr", namespace=namespace))
        wait_until(lambda: member.ready(f"namespaces/{namespace}/models/ocr")[0] == "False", what="ocr has no place")
        assert member.assignment()["metadata"]["generation"] == before["metadata"]["generation"]

    # 4. Nor does another hub that starts meanwhile think that it is there.
    operator.start()
    try:
        api.create(model_object("third", namespace=namespace))
        wait_until(lambda: member.ready(f"namespaces/{namespace}/models/third")[0] == "False", what="a pass was made")
        assert member.pool()["unreachableSince"] == since
        assert member.assignment()["metadata"]["generation"] == before["metadata"]["generation"]

        # 5. It is back, and gets what was asked for.
        member.renew()
        wait_until(lambda: member.ready()[:2] == ("True", "NodesReady"), what="the member is back")
        assert "unreachableSince" not in member.pool()
        wait_until(lambda: sorted(member.models()) == ["digits", "ocr", "third"], what="the others are placed")
        wait_until(
            lambda: (
                sorted(it for it in member.events() if it.startswith("Member"))
                == ["MemberReachable", "MemberUnreachable"]
            ),
            what="Events tell of it, once each",
        )
    finally:
        operator.kill()
