"""Routes of the Gateway API, by its real CRDs, on a real API server: what it accepts, what the site role keeps true.

No gateway runs here: the tests say what one would.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from lab import programs
from littoral.render.gateway_api import (
    GatewayApiSettings,
    pool_service_name,
    render_export,
    render_pool_service,
    render_routes,
)
from tests.cluster.api_server import Answer, ApiServer, Object, wait_until
from tests.cluster.operator_process import OperatorProcess
from tests.support.objects import assignment, server

ASSIGNMENTS = "/apis/littoral.dev/v1alpha1/assignments"
GROUP = "/apis/gateway.networking.k8s.io/v1"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
PLURALS = {"HTTPRoute": "httproutes", "GRPCRoute": "grpcroutes"}
TEMPLATES = {"http": "{model}.{namespace}.example.com", "grpc": "{model}.{namespace}.grpc.example.com"}
SETTINGS = GatewayApiSettings.parse(parents=["infra/web"], **TEMPLATES)
ON = (
    "--gateway-api-parent=infra/web",
    f"--gateway-api-hostname={TEMPLATES['http']}",
    f"--gateway-api-grpc-hostname={TEMPLATES['grpc']}",
)


def install(api: ApiServer) -> None:
    """Install the CRDs of the routes, and wait until they are served."""
    for path in sorted((programs.fetch("gateway-api") / "config/crd/standard").glob("*route*.yaml")):
        crd = yaml.safe_load(path.read_text())
        if crd["spec"]["names"]["kind"] in PLURALS:
            answer = api.request(
                "PATCH",
                f"{CRDS}/{crd['metadata']['name']}",
                crd,
                content="application/apply-patch+yaml",
                query={"fieldManager": "littoral-tests", "force": "true"},
            )
            answer.granted()
    for plural in PLURALS.values():
        wait_until(lambda plural=plural: api.get(f"{GROUP}/{plural}").accepted, what=f"{plural} are served")


def uninstall(api: ApiServer) -> None:
    """Remove them, with all routes."""
    for plural in PLURALS.values():
        at = f"{CRDS}/{plural}.gateway.networking.k8s.io"
        api.delete(at)
        # Not only no longer served: one that is being deleted would take what is installed next along.
        wait_until(lambda at=at: api.get(at).status == 404, what=f"the CRD of {plural} is gone")
        wait_until(lambda plural=plural: api.get(f"{GROUP}/{plural}").status == 404, what=f"{plural} are gone")


@pytest.fixture(scope="module")
def routes_api(api: ApiServer) -> ApiServer:
    install(api)
    return api


def location(body: Object) -> str:
    group = "/api/v1" if body["apiVersion"] == "v1" else f"/apis/{body['apiVersion']}"
    plural = PLURALS.get(body["kind"], "services")
    metadata = body["metadata"]
    return f"{group}/namespaces/{metadata['namespace']}/{plural}/{metadata['name']}"


def apply_strictly(api: ApiServer, body: Object) -> Answer:
    """Server-side apply, in which an unknown field is an error."""
    query = {"fieldManager": "test", "fieldValidation": "Strict"}
    return api.request("PATCH", location(body), body, content="application/apply-patch+yaml", query=query)


@pytest.mark.parametrize(
    ("settings", "model", "shares"),
    [
        (SETTINGS, "digits", {"edge": 100}),
        (SETTINGS, "digits", {"edge": 1, "cloud": 99, "new": 0}),
        (SETTINGS, "m" * 63, {"p" * 35: 1, "q" * 35: 2}),
        (SETTINGS, "digits", {f"pool-{number}": number for number in range(20)}),
        (replace(SETTINGS, grpc=None), "digits", {"edge": 100}),
        (
            GatewayApiSettings.parse(parents=[f"infra/web/l-{number}" for number in range(32)], **TEMPLATES),
            "digits",
            {"edge": 100},
        ),
        (GatewayApiSettings.parse(parents=["a/x", "b/x", "b/y.z"], **TEMPLATES), "digits", {"edge": 100}),
    ],
)
def test_what_is_rendered_is_accepted(
    routes_api: ApiServer, namespace: str, settings: GatewayApiSettings, model: str, shares: dict[str, int]
) -> None:
    routes, _ = render_routes(namespace=namespace, model=model, shares=shares, settings=settings)
    services = [render_pool_service(namespace=namespace, model=model, pool=pool) for pool in shares]
    assert len(routes) == (1 if settings.grpc is None else 2)
    for body in (*services, *routes):
        live = apply_strictly(routes_api, body).granted()
        # The API server adds nothing to a route that would look like drift.
        assert body["kind"] == "Service" or live["spec"] == body["spec"]


def test_an_export_is_accepted(routes_api: ApiServer, namespace: str) -> None:
    pools = [assignment(name, servers=[server("digits", pool=name, namespace=namespace)]) for name in ("a", "b")]
    manifests, _ = render_export(pools, settings=SETTINGS, namespace=namespace)
    assert [body["kind"] for body in manifests] == ["Service", "Service", "HTTPRoute", "GRPCRoute"]
    for body in manifests:
        apply_strictly(routes_api, body).granted()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"hostnames": ["Digits.shop"]}, "spec.hostnames[0]"),
        ({"hostnames": ["digits.shop."]}, "spec.hostnames[0]"),
        ({"parentRefs": [{"name": "web"}, {"name": "web"}]}, "sectionName must be unique"),
        ({"parentRefs": [{"name": "web"}, {"name": "web", "sectionName": "x"}]}, "sectionName must be specified"),
        ({"parentRefs": [{"name": f"web-{number}"} for number in range(33)]}, "must have at most 32 items"),
        ({"rules": [{"backendRefs": [{"name": "x"}]}]}, "Must have port for Service reference"),
        ({"rules": [{"backendRefs": [{"name": "x", "port": 80, "weight": -1}]}]}, "greater than or equal to 0"),
        ({"rules": [{"backendRefs": [{"name": "x", "port": 80}] * 17}]}, "must have at most 16 items"),
        ({"rules": [{"backends": []}]}, "field not declared in schema"),
    ],
)
def test_what_our_own_checks_refuse_the_api_refuses_too(
    routes_api: ApiServer, namespace: str, change: Object, why: str
) -> None:
    """These checks are about the real thing: were it more lenient, ours could be."""
    ((route, _), _) = render_routes(namespace=namespace, model="digits", shares={"a": 1}, settings=SETTINGS)
    route["spec"] |= change
    answer = apply_strictly(routes_api, route)
    assert not answer.accepted
    assert why in answer.body["message"]


@dataclass(frozen=True, kw_only=True)
class Site:
    """The operator of a member cluster with pools and a namespace that no other test uses."""

    api: ApiServer
    operator: OperatorProcess
    namespace: str
    member: str

    def pool(self, name: str) -> str:
        """The full name of one of its pools."""
        return f"{self.member}-{name}"

    def assign(self, name: str, *models: str, replicas: int = 1, rate: str | None = None) -> None:
        """Have a pool serve these Models."""
        routes = [{"namespace": self.namespace, "name": it} | self._rate(rate) for it in models]
        spec: dict[str, Any] = {
            "tier": "edge",
            "site": self.member,
            "member": self.member,
            "nodeSelector": {"matchLabels": {"littoral.dev/pool": self.pool(name)}},
            "servers": [server(*models, pool=self.pool(name), namespace=self.namespace, replicas=replicas)]
            if models
            else [],
            "routes": routes,
        }
        body = {"apiVersion": "littoral.dev/v1alpha1", "kind": "Assignment", "metadata": {"name": self.pool(name)}}
        self.api.apply(body | {"spec": spec}, manager="littoral-hub").granted()

    @staticmethod
    def _rate(rate: str | None) -> Object:
        return {"rate": rate, "budget": "1s"} if rate else {}

    def path(self, kind: str, name: str = "digits") -> str:
        """The path of a route, or of a Service."""
        group, plural = (GROUP, PLURALS[kind]) if kind in PLURALS else ("/api/v1", "services")
        return f"{group}/namespaces/{self.namespace}/{plural}/{name}"

    def route(self, kind: str = "HTTPRoute", name: str = "digits") -> Object | None:
        """A route as it is."""
        answer = self.api.get(self.path(kind, name))
        return answer.body if answer.accepted else None

    def weights(self, kind: str = "HTTPRoute") -> dict[str, int]:
        """By the short name of each pool, how much goes there; nothing without a route."""
        route = self.route(kind)
        if route is None:
            return {}
        names = {pool_service_name(model="digits", pool=self.pool(name)): name for name in ("edge", "cloud", "spare")}
        (rule,) = route["spec"]["rules"]
        return {names.get(it["name"], it["name"]): it["weight"] for it in rule["backendRefs"]}

    def add_pod(self, pool: str, name: str) -> None:
        """A Pod that answers for the Model, as the site's labels and its kubelet say."""
        labels = {
            "app.kubernetes.io/managed-by": "littoral",
            "littoral.dev/server": f"triton-{self.pool(pool)}-cpu",
            "littoral.dev/pool": self.pool(pool),
            "serves.littoral.dev/digits": "true",
        }
        body = {
            "metadata": {"name": name, "labels": labels},
            "spec": {"nodeName": self.member, "containers": [{"name": "main", "image": "none"}]},
        }
        self.api.request("POST", f"/api/v1/namespaces/{self.namespace}/pods", body).granted()
        self.set_ready(name)

    def set_ready(self, name: str, *, ready: bool = True) -> None:
        """Say of a Pod what its kubelet would."""
        condition = {"type": "Ready", "status": "True" if ready else "False"}
        status = {"phase": "Running", "podIP": "198.18.0.1", "conditions": [condition]}
        self.api.merge(f"/api/v1/namespaces/{self.namespace}/pods/{name}/status", {"status": status}).granted()

    def told(self, pool: str) -> str:
        """The message of the Assignment's condition Ready."""
        status = self.api.get(f"{ASSIGNMENTS}/{self.pool(pool)}").body.get("status", {})
        return next((str(it["message"]) for it in status.get("conditions", ()) if it["type"] == "Ready"), "")

    def applied(self) -> int:
        """How often the operator has written a route or one of its Services."""
        lines = (line for line in self.operator.log.splitlines() if "applied " in line)
        return sum(any(kind in line for kind in ("HTTPRoute", "GRPCRoute", "Service")) for line in lines)

    def eventually(self, holds: Callable[[], bool], what: str, *, within: float = 30.0) -> None:
        """Wait for a condition; where it does not come, show what the operator said."""
        try:
            wait_until(holds, what=what, within=within)
        except Exception as error:
            raise AssertionError(f"{what}: {error}\n{self.operator.log[-4000:]}") from error


@pytest.fixture
def site(api: ApiServer, kubeconfig: Path, namespace: str, tmp_path: Path) -> Iterator[Site]:
    member = f"m-{uuid4().hex[:8]}"
    # Another cluster's Assignments are no business of a hub that a test beside this one may run.
    more = ("--role", "site", "--member", member, *ON)
    operator = OperatorProcess(kubeconfig=kubeconfig, namespace=namespace, log=tmp_path / "operator.log", more=more)
    found = Site(api=api, operator=operator, namespace=namespace, member=member)
    with operator:
        yield found
    for name in ("edge", "cloud", "spare"):
        api.delete(f"{ASSIGNMENTS}/{found.pool(name)}")


@pytest.mark.usefixtures("routes_api")
def test_a_model_is_led_to_by_the_weights_of_the_plan(site: Site) -> None:
    site.assign("edge", "digits", rate="10")
    site.assign("cloud", "digits", replicas=3, rate="30")
    for kind in PLURALS:
        site.eventually(lambda kind=kind: site.weights(kind) == {"edge": 10, "cloud": 90}, f"the {kind} has weights")
    http, grpc = (site.route(kind) or {} for kind in PLURALS)
    assert http["spec"]["hostnames"] == [f"digits.{site.namespace}.example.com"]
    assert grpc["spec"]["hostnames"] == [f"digits.{site.namespace}.grpc.example.com"]
    assert http["spec"]["parentRefs"][0]["name"] == "web"
    for name in ("edge", "cloud"):
        service = site.route("Service", pool_service_name(model="digits", pool=site.pool(name))) or {}
        assert service["spec"]["selector"] == {
            "serves.littoral.dev/digits": "true",
            "littoral.dev/pool": site.pool(name),
        }
        assert service["metadata"]["ownerReferences"][0]["name"] == site.pool(name)
    assert {it["kind"] for it in http["metadata"]["ownerReferences"]} == {"Service"}

    # Whoever answers first has it all, until the other one does, too.
    site.add_pod("edge", "first")
    site.eventually(lambda: site.weights() == {"edge": 100, "cloud": 0}, "all goes to who answers")
    for number in range(3):
        site.add_pod("cloud", f"more-{number}")
    site.eventually(lambda: site.weights() == {"edge": 10, "cloud": 90}, "the others get their share")
    site.set_ready("more-0", ready=False)
    site.eventually(lambda: site.weights() == {"edge": 14, "cloud": 86}, "a Pod that is not ready has no share")


@pytest.mark.usefixtures("routes_api")
def test_drift_is_repaired_and_a_steady_state_is_not_written(site: Site) -> None:
    site.assign("edge", "digits")
    site.assign("cloud", "digits")
    fair = {"edge": 50, "cloud": 50}
    for kind in PLURALS:
        site.eventually(lambda kind=kind: site.weights(kind) == fair, f"there is a {kind}")

    def changed(route: Object, spec: Object) -> None:
        site.api.merge(location(route), {"spec": route["spec"] | spec}).granted()

    for kind in PLURALS:
        original = (site.route(kind) or {})["spec"]
        (rule,) = original["rules"]
        heavier = [it | {"weight": 7} for it in rule["backendRefs"]]
        more = [*rule["backendRefs"], {"name": "mine", "port": 80}]
        header = {"set": [{"name": "x-by-hand", "value": "yes"}]}
        filtered = [{"type": "RequestHeaderModifier", "requestHeaderModifier": header}]
        for spec in (
            {"rules": [rule | {"backendRefs": heavier}]},
            {"rules": [rule | {"backendRefs": more}]},
            {"rules": [rule | {"filters": filtered}]},
            {"rules": [rule, rule]},
            {"hostnames": ["other.example.com"]},
            {"parentRefs": [{"name": "other"}]},
        ):
            changed(site.route(kind) or {}, spec)
            site.eventually(
                lambda kind=kind, original=original: (site.route(kind) or {}).get("spec") == original,
                f"the {kind} is repaired after {spec}",
            )
        before = (site.route(kind) or {})["metadata"]["uid"]
        site.api.delete(site.path(kind))
        site.eventually(
            lambda kind=kind, before=before: (site.route(kind) or {}).get("metadata", {}).get("uid", before) != before,
            f"the {kind} is made anew",
        )
        assert (site.route(kind) or {})["spec"] == original

    # A new Assignment is a new pass, which reports when it is over.
    count = site.applied()
    site.assign("spare", "faces")
    site.eventually(lambda: bool(site.told("spare")) and site.route("GRPCRoute", "faces") is not None, "it is over")
    faces = sum("faces" in line for line in site.operator.log.splitlines() if "applied " in line)
    assert site.applied() - count == faces, site.operator.log[-4000:]


@pytest.mark.usefixtures("routes_api")
def test_what_nobody_asks_for_is_removed(site: Site) -> None:
    site.assign("edge", "digits")
    site.assign("cloud", "digits")
    for kind in PLURALS:
        site.eventually(lambda kind=kind: site.weights(kind) == {"edge": 50, "cloud": 50}, f"there is a {kind}")
    site.assign("cloud")
    site.eventually(lambda: site.weights() == {"edge": 100}, "a pool that no longer serves it gets nothing")
    gone = pool_service_name(model="digits", pool=site.pool("cloud"))
    site.eventually(lambda: site.route("Service", gone) is None, "its Service is gone")
    site.assign("edge")
    for kind in PLURALS:
        site.eventually(lambda kind=kind: site.route(kind) is None, f"the {kind} is gone")


@pytest.mark.usefixtures("routes_api")
def test_switched_off_the_routes_go_with_their_services(site: Site) -> None:
    site.assign("edge", "digits")
    for kind in PLURALS:
        site.eventually(lambda kind=kind: site.route(kind) is not None, f"there is a {kind}")
    site.operator.terminate()
    site.operator.more = tuple(word for word in site.operator.more if word not in ON)
    site.operator.start()
    service = pool_service_name(model="digits", pool=site.pool("edge"))
    site.eventually(lambda: site.route("Service", service) is None, "the Service is gone")
    for kind in PLURALS:
        # The garbage collector learns of new CRDs every 30 s.
        site.eventually(lambda kind=kind: site.route(kind) is None, f"the {kind} is collected", within=90)
    assert site.route("Service") is not None


@pytest.mark.usefixtures("routes_api")
def test_somebody_elses_route_is_left_alone(site: Site) -> None:
    theirs = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "digits", "namespace": site.namespace},
        "spec": {"hostnames": ["theirs.example.com"]},
    }
    live = apply_strictly(site.api, theirs).granted()
    site.assign("edge", "digits")
    site.eventually(lambda: "HTTPRoute" in site.told("edge"), "the Assignment tells")
    assert f"HTTPRoute {site.namespace}/digits is there already and not Littoral's" in site.told("edge")
    site.eventually(lambda: site.route("GRPCRoute") is not None, "the other route is made")
    assert (site.route() or {})["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"]


@pytest.mark.usefixtures("routes_api")
def test_a_route_that_a_gateway_refuses_is_told(site: Site) -> None:
    site.assign("edge", "digits")
    site.eventually(lambda: site.route() is not None, "there is a route")

    def answer(status: str, reason: str) -> None:
        condition = {
            "type": "Accepted",
            "status": status,
            "reason": reason,
            "message": "no listener takes it",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        parent = {"parentRef": {"namespace": "infra", "name": "web"}, "controllerName": "example.com/test"}
        parents = [parent | {"conditions": [condition]}]
        site.api.merge(f"{site.path('HTTPRoute')}/status", {"status": {"parents": parents}}).granted()

    answer("False", "NoMatchingListenerHostname")
    site.eventually(lambda: "NoMatchingListenerHostname" in site.told("edge"), "the Assignment tells")
    assert site.told("edge").endswith(
        "HTTPRoute at Gateway infra/web: Accepted is False: NoMatchingListenerHostname: no listener takes it "
        f"(routes of {site.namespace}/digits)"
    )
    answer("True", "Accepted")
    site.eventually(lambda: "Accepted" not in site.told("edge"), "and no longer, once it is accepted")


def test_crds_that_come_later_are_picked_up(site: Site) -> None:
    uninstall(site.api)
    site.assign("edge", "digits")
    site.eventually(lambda: "the cluster does not serve HTTPRoute" in site.told("edge"), "the Assignment tells")
    assert "the cluster does not serve GRPCRoute of gateway.networking.k8s.io/v1: install" in site.told("edge")
    deployment = f"/apis/apps/v1/namespaces/{site.namespace}/deployments/triton-{site.pool('edge')}-cpu"
    site.eventually(lambda: site.api.get(deployment).accepted, "everything else goes on")
    assert site.operator.log.count("WARNING") <= len(PLURALS), site.operator.log
    install(site.api)
    for kind in PLURALS:
        site.eventually(lambda kind=kind: site.weights(kind) == {"edge": 100}, f"there is a {kind}")
    site.eventually(lambda: "does not serve" not in site.told("edge"), "nothing is told any more")
    # And gone again, they are missed without harm.
    uninstall(site.api)
    site.eventually(lambda: "does not serve HTTPRoute" in site.told("edge"), "the Assignment tells again")
    install(site.api)
    site.eventually(lambda: site.weights() == {"edge": 100}, "the route is back")


def littoral(kubeconfig: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("littoral"), "export", "gateway-api", *arguments]
    env = os.environ | {"KUBECONFIG": str(kubeconfig)}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.usefixtures("routes_api")
def test_the_command_prints_what_the_operator_would_make(site: Site, kubeconfig: Path) -> None:
    site.assign("edge", "digits", rate="10")
    site.assign("cloud", "digits", "faces", replicas=3, rate="30")
    site.eventually(lambda: site.weights("GRPCRoute") == {"edge": 10, "cloud": 90}, "there are routes")
    asked = (
        f"--namespace={site.namespace}",
        f"--member={site.member}",
        "--parent=infra/web",
        f"--hostname={TEMPLATES['http']}",
    )
    ran = littoral(kubeconfig, "digits", *asked, f"--grpc-hostname={TEMPLATES['grpc']}")
    assert ran.returncode == 0, ran.stderr
    printed = list(yaml.safe_load_all(ran.stdout))
    assert [body["kind"] for body in printed] == ["Service", "Service", "HTTPRoute", "GRPCRoute"]
    for body in printed[2:]:
        assert body["spec"] == (site.route(body["kind"]) or {})["spec"]
    ran = littoral(kubeconfig, *asked, "--output=json")
    listed = json.loads(ran.stdout)
    names = [(body["kind"], body["metadata"]["name"]) for body in listed["items"] if body["kind"] != "Service"]
    assert names == [("HTTPRoute", "digits"), ("HTTPRoute", "faces")]

    for arguments, why in (
        (("digit", *asked), "did you mean digits?"),
        (("digits", asked[0], *asked[2:]), "there is no Model that is served digits"),
        (("--namespace=nowhere", *asked[1:]), "no Model is served in namespace nowhere"),
        (("--parent=web", f"--hostname={TEMPLATES['http']}"), "NAMESPACE/NAME"),
    ):
        ran = littoral(kubeconfig, *arguments)
        assert (ran.returncode, ran.stdout) == (1, "")
        assert why in ran.stderr


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (ON[:1], "the host names of Models are missing"),
        (("--gateway-api-parent=web", *ON[1:]), "NAMESPACE/NAME"),
        ((*ON[:2], f"--gateway-api-grpc-hostname={TEMPLATES['http']}"), "can be the same host name"),
        ((ON[0], "--gateway-api-hostname={model}.example.com"), "{namespace} must stand in it once"),
    ],
)
def test_an_operator_with_wrong_options_does_not_start(
    kubeconfig: Path, tmp_path: Path, options: Sequence[str], why: str
) -> None:
    log = tmp_path / "operator.log"
    operator = OperatorProcess(kubeconfig=kubeconfig, namespace="default", log=log, more=options)
    with operator:
        wait_until(lambda: why in operator.log, what="it says why")
