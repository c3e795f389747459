"""The site role with gateways, on a real API server: from the routes of an Assignment to Services that lead to them.

No kubelet runs here: the tests make the Pods, and say what a kubelet and a gateway's agent would.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import uuid4

import pytest

from tests.cluster.api_server import ApiServer, Object, wait_until
from tests.cluster.operator_process import OperatorProcess
from tests.cluster.test_operator import alive
from tests.support.objects import server

ASSIGNMENTS = "/apis/littoral.dev/v1alpha1/assignments"
ON = ("--gateway", "--gateway-image", "localhost/gateway:lab")


@dataclass(frozen=True, kw_only=True)
class Pool:
    """A pool of a member cluster that no other test is, in a namespace of its own, and the operator of its site."""

    api: ApiServer
    operator: OperatorProcess
    namespace: str
    name: str

    @property
    def gateway(self) -> str:
        """Name of its gateway."""
        return f"gateway-{self.name}"

    @property
    def front_labels(self) -> dict[str, str]:
        """Labels of the gateway's Pods."""
        return {"app.kubernetes.io/name": "gateway", "app.kubernetes.io/instance": self.gateway}

    def get(self, path: str, name: str) -> Object | None:
        """One object of the namespace; `path` is that of the group, then the plural."""
        group, plural = path.rsplit("/", 1)
        answer = self.api.get(f"{group}/namespaces/{self.namespace}/{plural}/{name}")
        return answer.body if answer.accepted else None

    def selector(self) -> str | None:
        """What the Service of the Model selects."""
        service = self.get("/api/v1/services", "digits")
        return None if service is None else str(service["spec"]["selector"]["serves.littoral.dev/digits"])

    def slice(self) -> list[Object] | None:
        """The endpoints of the Model's gateways."""
        found = self.get("/apis/discovery.k8s.io/v1/endpointslices", "digits-gateway")
        return None if found is None else list(found["endpoints"])

    def addresses(self) -> list[str]:
        """All addresses that a client of the Model's Service may be led to."""
        path = f"/apis/discovery.k8s.io/v1/namespaces/{self.namespace}/endpointslices"
        slices = self.api.get(path).granted()["items"]
        return sorted(
            address
            for it in slices
            if it["metadata"]["labels"].get("kubernetes.io/service-name") == "digits"
            for endpoint in it.get("endpoints") or []
            if endpoint["conditions"]["ready"]
            for address in endpoint["addresses"]
        )

    def config(self) -> Object:
        """The desired state of the gateway."""
        found = self.get("/api/v1/configmaps", self.gateway)
        read: Object = {} if found is None else json.loads(found["data"]["gateway.json"])
        return read

    def add_pod(self, name: str, address: str, labels: dict[str, str]) -> None:
        """A Pod that runs and is ready."""
        body = {
            "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "littoral"} | labels},
            "spec": {"nodeName": self.name, "containers": [{"name": "main", "image": "none"}]},
        }
        self.api.request("POST", f"/api/v1/namespaces/{self.namespace}/pods", body).granted()
        self.set_ready(name, address)

    def set_ready(self, name: str, address: str, *, ready: bool = True) -> None:
        """Say of a Pod what its kubelet would."""
        condition = {"type": "Ready", "status": "True" if ready else "False"}
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": [condition]}
        path = f"/api/v1/namespaces/{self.namespace}/pods/{name}/status"
        self.api.merge(path, {"status": status}).granted()

    def eventually(self, holds: Callable[[], bool], what: str) -> None:
        """Wait for a condition; where it does not come, show what the operator said."""
        try:
            wait_until(holds, what=what)
        except Exception as error:
            raise AssertionError(f"{what}: {error}\n{self.operator.log[-4000:]}") from error


@contextmanager
def agent(*models: tuple[str, str]) -> Iterator[str]:
    """A gateway's agent by which these Models (namespace, name) are routed; gives its Pod's address.

    An endpoint's address must not be one of loopback, and an agent's port is what it is: it has this machine's.
    """
    over = Event()
    routed = [{"namespace": namespace, "name": name} for namespace, name in models]
    status = json.dumps({"generation": 1, "haproxy": {"ready": True}, "models": routed}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "after=" in self.path:
                over.wait(5)
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(status)))
            self.end_headers()
            self.wfile.write(status)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # Nothing is sent: it only tells which address would be used.
        except OSError:
            pytest.skip("this machine has no address but that of loopback")
        address = str(probe.getsockname()[0])
    with ThreadingHTTPServer((address, 9400), Handler) as stub:
        thread = Thread(target=stub.serve_forever, daemon=True)
        thread.start()
        try:
            yield address
        finally:
            over.set()
            stub.shutdown()
            thread.join()


@pytest.fixture
def front(namespace: str) -> Iterator[str]:
    """Address of a gateway's Pod whose agent routes the Model."""
    with agent((namespace, "digits")) as address:
        yield address


@pytest.fixture
def pool(api: ApiServer, kubeconfig: Path, namespace: str, tmp_path: Path) -> Iterator[Pool]:
    name = f"p-{uuid4().hex[:8]}"
    # Another cluster's Assignments are no business of a hub that a test beside this one may run.
    more = ("--role", "site", "--member", name, *ON)
    operator = OperatorProcess(kubeconfig=kubeconfig, namespace=namespace, log=tmp_path / "operator.log", more=more)
    api.request("POST", "/api/v1/nodes", {"metadata": {"name": name, "labels": {"littoral.dev/pool": name}}}).granted()
    spec: dict[str, Any] = {
        "tier": "edge",
        "site": name,
        "member": name,
        "nodeSelector": {"matchLabels": {"littoral.dev/pool": name}},
        "servers": [server("digits", pool=name, namespace=namespace)],
        "routes": [{"namespace": namespace, "name": "digits", "rate": "100", "budget": "100ms"}],
    }
    body = {"apiVersion": "littoral.dev/v1alpha1", "kind": "Assignment", "metadata": {"name": name}, "spec": spec}
    api.create(body)
    with alive(api, name), operator:
        yield Pool(api=api, operator=operator, namespace=namespace, name=name)
    api.delete(f"{ASSIGNMENTS}/{name}")
    api.delete(f"/api/v1/nodes/{name}")


def test_clients_are_led_to_a_gateway_while_there_is_one(pool: Pool, front: str) -> None:
    pool.eventually(lambda: pool.get("/apis/apps/v1/deployments", pool.gateway) is not None, "there is a gateway")
    pool.eventually(lambda: pool.selector() == "true", "until it is ready, clients are led to the servers")
    labels = {"littoral.dev/server": f"triton-{pool.name}-cpu", "serves.littoral.dev/digits": "true"}
    pool.add_pod("server", "198.18.0.1", labels)
    pool.eventually(lambda: pool.addresses() == ["198.18.0.1"], "Kubernetes leads to the server")

    pool.add_pod("front", front, pool.front_labels)
    pool.eventually(lambda: pool.addresses() == [front], "clients are led to the gateway alone")
    (endpoint,) = pool.slice() or []
    assert endpoint["hints"] == {"forNodes": [{"name": pool.name}]}

    service = pool.get("/api/v1/services", "digits") or {}
    (model,) = pool.config()["models"]
    assert [(it["address"], it["ready"]) for it in model["servers"]] == [("198.18.0.1", True)]
    assert model["hosts"] == [service["spec"]["clusterIP"]]

    def told() -> bool:
        annotations = (pool.get("/api/v1/pods", "front") or {})["metadata"].get("annotations", {})
        return bool(annotations.get("littoral.dev/config") == pool.config()["revision"])

    pool.eventually(told, "the kubelet is to sync the gateway's routes")

    def reported() -> bool:
        status = pool.api.get(f"{ASSIGNMENTS}/{pool.name}").body.get("status", {})
        return bool(status.get("gateway", {}).get("readyReplicas") == 1)

    pool.eventually(reported, "the Assignment's status tells of the gateway")

    pool.set_ready("front", front, ready=False)
    pool.eventually(lambda: pool.addresses() == ["198.18.0.1"], "without a gateway clients are led to the server")
    pool.set_ready("front", front)
    pool.eventually(lambda: pool.addresses() == [front], "and back")

    # What is as it should be is not written again: once to begin with, and once for each of three changes.
    for child in (f"EndpointSlice {pool.namespace}/digits-gateway", f"Service {pool.namespace}/digits"):
        assert pool.operator.log.count(f"applied {child}\n") <= 4, pool.operator.log[-4000:]


def test_switched_off_nothing_leads_to_gateways_any_more(pool: Pool, front: str) -> None:
    pool.add_pod("front", front, pool.front_labels)
    pool.eventually(lambda: pool.selector() == "gateway", "clients are led to the gateway")
    pool.operator.terminate()
    pool.operator.more = tuple(word for word in pool.operator.more if word not in ON)
    pool.operator.start()
    pool.eventually(lambda: pool.selector() == "true", "clients are led to the servers")
    pool.eventually(lambda: pool.slice() is None, "what led to the gateway is gone")
    pool.eventually(lambda: pool.get("/apis/apps/v1/deployments", pool.gateway) is None, "the gateway is gone")
    assert pool.get("/apis/apps/v1/deployments", f"triton-{pool.name}-cpu") is not None
