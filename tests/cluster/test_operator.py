"""The operator on a real API server: from a Model to the objects of its servers, through drift, deletion and kill -9.

No kubelet runs here, so Pods stay Pending; what becomes of them is tested end to end on the lab.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import uuid4

import pytest

from tests.cluster.api_server import ApiServer, Object, wait_until
from tests.cluster.operator_process import OperatorProcess
from tests.support.objects import model_object, pool_object, variant

GROUP = "/apis/littoral.dev/v1alpha1"


@dataclass(frozen=True, kw_only=True)
class Site:
    """A namespace, and a pool with one node, that no other test uses."""

    api: ApiServer
    namespace: str
    pool: str

    def path(self, plural: str, name: str = "") -> str:
        """The path of a collection in the namespace, or of one of its objects."""
        group = {"deployments": "/apis/apps/v1", "models": GROUP, "latencyslos": GROUP}.get(plural, "/api/v1")
        return f"{group}/namespaces/{self.namespace}/{plural}" + (f"/{name}" if name else "")

    def get(self, plural: str, name: str) -> Object | None:
        """One object of the namespace."""
        answer = self.api.get(self.path(plural, name))
        return answer.body if answer.accepted else None

    def create_model(self, name: str = "digits", **fields: Any) -> Object:
        """Create a Model."""
        return self.api.create(model_object(name, namespace=self.namespace, **fields))

    def assigned(self) -> list[str] | None:
        """The Models that the pool's Assignment holds for the namespace; None without an Assignment."""
        answer = self.api.get(f"{GROUP}/assignments/{self.pool}")
        if not answer.accepted:
            return None
        servers = answer.body["spec"].get("servers", [])
        return [m["name"] for s in servers if s["namespace"] == self.namespace for m in s["models"]]

    def condition(self, plural: str, name: str, kind: str) -> tuple[str, str, str]:
        """(status, reason, message) of a condition; empty strings where there is none."""
        body = self.get(plural, name) or {}
        for condition in body.get("status", {}).get("conditions", []):
            if condition["type"] == kind:
                return condition["status"], condition["reason"], condition["message"]
        return "", "", ""


@pytest.fixture
def site(api: ApiServer, namespace: str) -> Iterator[Site]:
    name = f"p-{uuid4().hex[:8]}"
    api.request("POST", "/api/v1/nodes", {"metadata": {"name": name, "labels": {"littoral.dev/pool": name}}}).granted()
    with alive(api, name):
        api.create(pool_object(name))
        yield Site(api=api, namespace=namespace, pool=name)
    api.delete(f"{GROUP}/nodepools/{name}")
    api.delete(f"{GROUP}/assignments/{name}")
    api.delete(f"/api/v1/nodes/{name}")


@contextmanager
def alive(api: ApiServer, name: str) -> Iterator[None]:
    """Say that a node is well, as its kubelet would: without that the controller manager finds it lost after 50 s."""
    over = Event()

    def beat() -> None:
        while True:
            ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
            status = {"allocatable": {"cpu": "4", "memory": "8Gi"}, "conditions": [ready]}
            api.merge(f"/api/v1/nodes/{name}/status", {"status": status}).granted()
            first.set()
            if over.wait(10):
                return

    first = Event()
    kubelet = Thread(target=beat, daemon=True)
    kubelet.start()
    assert first.wait(30), "the node's status can be written"
    try:
        yield
    finally:
        over.set()
        kubelet.join()


@pytest.fixture
def operator(api: ApiServer, kubeconfig: Path, namespace: str, tmp_path: Path) -> Iterator[OperatorProcess]:
    process = OperatorProcess(kubeconfig=kubeconfig, namespace=namespace, log=tmp_path / "operator.log")
    with process:
        yield process


def eventually(predicate: Callable[[], bool], what: str, operator: OperatorProcess) -> None:
    """Wait for a condition; where it does not come, show what the operator said."""
    try:
        wait_until(predicate, what=what)
    except Exception as error:
        raise AssertionError(f"{what}: {error}\n{operator.log[-4000:]}") from error


@pytest.mark.usefixtures("operator")
def test_a_model_becomes_servers(site: Site, operator: OperatorProcess) -> None:
    site.create_model(variants=[variant("npu", accelerator="intel-npu", backend="openvino"), variant("cpu")])
    server = f"triton-{site.pool}-cpu"
    eventually(lambda: site.get("services", "digits") is not None, "the Model has a Service", operator)
    deployment, service = site.get("deployments", server), site.get("services", "digits")
    assert deployment is not None
    assert service is not None
    assert service["spec"]["selector"] == {"serves.littoral.dev/digits": "true"}
    assert deployment["metadata"]["ownerReferences"][0]["kind"] == "Assignment"
    assert site.get("configmaps", server) is not None

    eventually(
        lambda: site.condition("models", "digits", "Reconciling")[:2] == ("True", "Progressing"),
        "the Model says that it is on its way",
        operator,
    )
    status = (site.get("models", "digits") or {})["status"]
    assert status["observedGeneration"] == 1
    assert [(p["pool"], p["variant"], p["reason"]) for p in status["placements"]] == [
        (site.pool, "cpu", "FallbackVariant")
    ]
    mine = [(r["variant"], r["reason"], r["message"]) for r in status["rejections"] if r["pool"] == site.pool]
    assert mine == [("npu", "NoDevice", f"no node of pool {site.pool} has intel-npu")]


@pytest.mark.parametrize("plural", ["deployments", "services", "configmaps"])
def test_what_is_deleted_by_hand_comes_back(site: Site, operator: OperatorProcess, plural: str) -> None:
    site.create_model()
    name = "digits" if plural == "services" else f"triton-{site.pool}-cpu"
    eventually(lambda: site.get(plural, name) is not None, "it is there", operator)
    before = (site.get(plural, name) or {})["metadata"]["uid"]
    site.api.delete(site.path(plural, name)).granted()

    def is_back() -> bool:
        found = site.get(plural, name)
        return found is not None and found["metadata"]["uid"] != before

    eventually(is_back, "it is there again", operator)


def test_what_is_changed_by_hand_is_changed_back(site: Site, operator: OperatorProcess) -> None:
    site.create_model()
    name = f"triton-{site.pool}-cpu"
    eventually(lambda: site.get("services", "digits") is not None, "all is there", operator)
    site.api.merge(site.path("services", "digits"), {"spec": {"selector": {"serves.littoral.dev/digits": "no"}}})
    site.api.merge(site.path("configmaps", name), {"data": {"server.json": "{}"}})
    site.api.merge(site.path("deployments", name), {"spec": {"replicas": 7}})

    def as_before() -> bool:
        service, config, deployment = (
            site.get("services", "digits"),
            site.get("configmaps", name),
            site.get("deployments", name),
        )
        return (
            service is not None
            and config is not None
            and deployment is not None
            and service["spec"]["selector"] == {"serves.littoral.dev/digits": "true"}
            and "digits" in config["data"]["server.json"]
            and deployment["spec"]["replicas"] == 1
        )

    eventually(as_before, "all is as it should be", operator)


def test_deletion_cleans_up_and_leaves_others_alone(site: Site, operator: OperatorProcess) -> None:
    site.create_model("going")
    site.create_model("staying")
    eventually(lambda: site.assigned() == ["going", "staying"], "both are assigned", operator)
    eventually(lambda: site.get("services", "going") is not None, "both have Services", operator)
    site.api.delete(site.path("models", "going")).granted()
    eventually(lambda: site.get("services", "going") is None, "its Service is gone", operator)
    assert site.assigned() == ["staying"]
    assert site.get("services", "staying") is not None

    site.api.delete(site.path("models", "staying")).granted()
    eventually(lambda: site.get("deployments", f"triton-{site.pool}-cpu") is None, "the server is gone", operator)
    eventually(lambda: site.get("configmaps", f"triton-{site.pool}-cpu") is None, "its ConfigMap is gone", operator)

    site.api.delete(f"{GROUP}/nodepools/{site.pool}").granted()
    eventually(lambda: site.assigned() is None, "the pool's Assignment is gone", operator)


def test_an_slo_for_nobody_says_so(site: Site, operator: OperatorProcess) -> None:
    spec = {"modelRef": {"name": "nobody"}, "latency": "50ms"}
    site.api.create(
        {
            "apiVersion": "littoral.dev/v1alpha1",
            "kind": "LatencySLO",
            "metadata": {"name": "s", "namespace": site.namespace},
            "spec": spec,
        }
    )
    eventually(
        lambda: site.condition("latencyslos", "s", "Stalled")[1] == "ModelNotFound", "it says what is missing", operator
    )


def test_what_the_api_server_refuses_is_told_and_tried_again(site: Site, operator: OperatorProcess) -> None:
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"count/deployments.apps": "0"}}}
    site.api.request("POST", site.path("resourcequotas"), quota).granted()
    wait_until(lambda: "status" in (site.get("resourcequotas", "none") or {}), what="the quota is in force")
    site.create_model()
    eventually(
        lambda: "exceeded quota" in site.condition("models", "digits", "Ready")[2], "the Model says why", operator
    )
    site.api.delete(site.path("resourcequotas", "none")).granted()
    eventually(lambda: site.get("deployments", f"triton-{site.pool}-cpu") is not None, "it was tried again", operator)


@contextmanager
def loosened(api: ApiServer, plural: str) -> Iterator[None]:
    """Let the API server take any spec of a kind, as it did before a rule existed."""
    at = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.littoral.dev"
    strict = api.get(at).granted()["spec"]
    loose = deepcopy(strict)
    schema = loose["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema.pop("x-kubernetes-validations", None)
    loose["versions"][0]["subresources"].pop("scale", None)

    def put(spec: Object) -> None:
        crd = api.get(at).granted()
        api.request("PUT", at, crd | {"spec": spec}).granted()

    try:
        put(loose)
        yield
    finally:
        put(strict)


def test_a_malformed_model_gets_a_condition_and_harms_nobody(site: Site, operator: OperatorProcess) -> None:
    site.create_model("good")
    eventually(lambda: site.assigned() == ["good"], "the good one is assigned", operator)
    bad = model_object("bad", namespace=site.namespace) | {"spec": {"variants": "none", "scaling": 7}}
    with loosened(site.api, "models"):
        answer = site.api.dry_create(bad)
        wait_until(lambda: site.api.dry_create(bad).accepted, what=f"the API server takes anything: {answer}")
        site.api.create(bad)
        eventually(
            lambda: site.condition("models", "bad", "Stalled")[1] == "InvalidSpec", "it says what is wrong", operator
        )
        assert "spec.variants" in site.condition("models", "bad", "Stalled")[2]
        assert site.assigned() == ["good"]
        site.create_model("other")
        eventually(lambda: site.assigned() == ["good", "other"], "other Models go on", operator)
        site.api.delete(site.path("models", "bad")).granted()
    wait_until(lambda: not site.api.dry_create(bad).accepted, what="the API server is strict again")


def test_a_malformed_assignment_keeps_its_servers(site: Site, operator: OperatorProcess) -> None:
    """What cannot be read is not empty: nothing that serves may stop because of it."""
    site.create_model()
    name = f"triton-{site.pool}-cpu"
    eventually(lambda: site.get("deployments", name) is not None, "the server is there", operator)
    uid = (site.get("deployments", name) or {})["metadata"]["uid"]
    path = f"{GROUP}/assignments/{site.pool}"
    with loosened(site.api, "assignments"):
        operator.terminate()
        wait_until(lambda: site.api.merge(path, {"spec": {"tier": "sea"}}).accepted, what="anything is taken")
        operator.start()
        eventually(lambda: "cannot be read" in operator.log, "the operator has seen it", operator)
        # The hub writes the Assignment anew; until then and after it, the same Deployment serves.
        eventually(lambda: site.api.get(path).body["spec"]["tier"] == "edge", "the hub has written it anew", operator)
    assert (site.get("deployments", name) or {})["metadata"]["uid"] == uid


def test_kill_9_at_any_moment_is_harmless(site: Site, operator: OperatorProcess) -> None:
    """Models come and go while the operator is killed again and again; in the end all is as if nothing had been."""
    chance = random.Random(20261124)
    alive: set[str] = set()
    for round_number in range(12):
        name = f"m{round_number}"
        site.create_model(name)
        if len(alive) > 2:
            victim = chance.choice(sorted(alive))
            site.api.delete(site.path("models", victim)).granted()
            alive.remove(victim)
        alive.add(name)
        # Somewhere in its work.
        stage = chance.choice(
            [
                lambda round_number=round_number: operator.log.count("leading:") > round_number,
                lambda name=name: name in (site.assigned() or []),
                lambda name=name: site.get("services", name) is not None,
            ]
        )
        eventually(stage, "it is at work", operator)
        operator.kill()
        operator.start()
    eventually(lambda: site.assigned() == sorted(alive), "the Assignment holds what is alive", operator)

    def services() -> list[str]:
        found = site.api.get(site.path("services")).granted()["items"]
        return sorted(service["metadata"]["name"] for service in found)

    eventually(lambda: services() == sorted(alive), "the Services are those of what is alive", operator)


def test_a_successor_takes_over(site: Site, operator: OperatorProcess, kubeconfig: Path, tmp_path: Path) -> None:
    operator.wait_leading()
    standby = OperatorProcess(
        kubeconfig=kubeconfig, namespace=site.namespace, log=tmp_path / "standby.log", lease=operator.lease
    )
    with standby:
        wait_until(lambda: "Initial authentication has finished" in standby.log, what="the standby watches")
        assert "leading:" not in standby.log
        assert operator.terminate() == 0
        standby.wait_leading()
        site.create_model()
        eventually(lambda: site.assigned() == ["digits"], "the successor works", standby)


def test_what_was_learned_is_kept_when_the_operator_ends(site: Site, operator: OperatorProcess) -> None:
    site.create_model()
    eventually(lambda: site.assigned() == ["digits"], "the operator works", operator)
    operator.terminate()
    kept = site.get("configmaps", f"{operator.lease}-memory-0")
    assert kept is not None
    assert kept["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "littoral"
    operator.start()
    site.create_model("second")
    eventually(lambda: site.assigned() == ["digits", "second"], "its successor goes on", operator)
