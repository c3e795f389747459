"""The gateway's Kubernetes objects."""

from __future__ import annotations

import json
from typing import Any

import pytest

from littoral.api.meta import NodeSelector
from littoral.api.routing import GatewayConfig, ModelRoute
from littoral.render.gateway import GatewaySettings, Peers, render_gateway
from littoral.render.gateway_service import GatewayEndpoint, leads_to_gateways, render_model_service
from littoral.render.service import render_service

SECRET = {"secretName": "gateway-edge", "optional": True, "defaultMode": 0o440}
CONFIG = GatewayConfig(revision="1", models=(ModelRoute(namespace="shop", name="digits"),))
SETTINGS = GatewaySettings(haproxy_image="haproxy:x", agent_image="littoral:x")


def manifests(*, peers: Peers = Peers.NONE, **changes: Any) -> list[dict[str, Any]]:
    settings = GatewaySettings(**{"haproxy_image": "haproxy:x", "agent_image": "littoral:x"} | changes)
    return render_gateway(CONFIG, name="gateway-edge", namespace="littoral-system", settings=settings, peers=peers)


def render(**changes: Any) -> dict[str, Any]:
    return {it["kind"]: it for it in manifests(**changes)}


def pod(**changes: Any) -> dict[str, Any]:
    spec = render(**changes)["Deployment"]["spec"]["template"]["spec"]
    assert isinstance(spec, dict)
    return spec


def test_routes_change_no_template() -> None:
    other = GatewayConfig(revision="2")
    one, two = (
        {it["kind"]: it for it in render_gateway(config, name="g", namespace="n", settings=SETTINGS)}
        for config in (CONFIG, other)
    )
    assert one["Deployment"] == two["Deployment"]
    assert GatewayConfig.parse(json.loads(one["ConfigMap"]["data"]["gateway.json"])) == CONFIG
    assert one["ConfigMap"] != two["ConfigMap"]


def test_pod_security_restricted() -> None:
    spec = pod(peers=Peers.COMING)
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (*spec["initContainers"], *spec["containers"]):
        context = container["securityContext"]
        assert context["runAsNonRoot"]
        assert context["runAsUser"] > 0
        assert context["readOnlyRootFilesystem"]
        assert not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]


def test_every_mount_has_its_volume() -> None:
    for spec in (pod(), pod(peers=Peers.ASKED, state_path="/var/lib/littoral")):
        volumes = {it["name"] for it in spec["volumes"]}
        mounts = {it["name"] for each in (*spec["initContainers"], *spec["containers"]) for it in each["volumeMounts"]}
        assert mounts == volumes


@pytest.mark.parametrize(
    ("peers", "listens"),
    [
        pytest.param(Peers.NONE, None, id="one cluster"),
        pytest.param(Peers.ASKED, "--secure-bind=127.0.0.1:8443", id="a site exposes nothing"),
        pytest.param(Peers.COMING, "--secure-bind=:8443", id="the cloud"),
    ],
)
def test_only_a_gateway_that_others_come_to_is_exposed(peers: Peers, listens: str | None) -> None:
    found = manifests(peers=peers)
    spec = next(it for it in found if it["kind"] == "Deployment")["spec"]["template"]["spec"]
    agent, haproxy = spec["initContainers"][0], spec["containers"][0]
    assert [it for it in agent["args"] if it.startswith("--secure-bind")] == ([listens] if listens else [])
    assert any(it.startswith("--certificates") for it in agent["args"]) is (peers is not Peers.NONE)
    # A Pod must start without: clients of the site do not wait for the hub.
    secrets = [it["secret"] for it in spec["volumes"] if "secret" in it]
    assert secrets == ([] if peers is Peers.NONE else [SECRET])
    services = {it["metadata"]["name"]: it["spec"] for it in found if it["kind"] == "Service"}
    coming = peers is Peers.COMING
    assert any(it["name"] == "secure" for it in haproxy["ports"]) is coming
    assert set(services) == {"gateway-edge"} | ({"gateway-edge-members"} if coming else set())
    assert not any(it["name"] == "secure" for it in services["gateway-edge"]["ports"])


@pytest.mark.parametrize(
    ("kind", "port", "expected"),
    [
        ("LoadBalancer", None, None),
        ("NodePort", 30443, 30443),
        ("LoadBalancer", 30443, 30443),
        ("ClusterIP", 30443, None),
    ],
)
def test_how_members_come_to_a_gateway(kind: str, port: int | None, expected: int | None) -> None:
    found = manifests(peers=Peers.COMING, members_service_type=kind, members_node_port=port)
    service = next(it for it in found if it["metadata"]["name"] == "gateway-edge-members")
    assert service["spec"]["type"] == kind
    assert [(it["port"], it["targetPort"], it.get("nodePort")) for it in service["spec"]["ports"]] == [
        (8443, "secure", expected)
    ]


@pytest.mark.parametrize(("peers", "told"), [(Peers.NONE, False), (Peers.ASKED, True), (Peers.COMING, True)])
def test_a_gateway_that_talks_to_other_clusters_is_told_to_compress(peers: Peers, told: bool) -> None:
    assert "--compress-uplink" not in str(manifests(peers=peers))
    assert ("--compress-uplink" in str(manifests(peers=peers, compress_uplink=True))) is told


def test_pods_that_are_more_than_one_are_not_evicted_together() -> None:
    assert "PodDisruptionBudget" not in render()
    assert render(replicas=2)["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1


def test_it_runs_on_the_nodes_of_its_pool() -> None:
    selector = NodeSelector.parse(
        {
            "matchLabels": {"littoral.dev/pool": "edge"},
            "matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["2"]}],
        }
    )
    found = render_gateway(CONFIG, name="g", namespace="n", settings=SETTINGS, node_selector=selector)
    spec = {it["kind"]: it for it in found}["Deployment"]["spec"]["template"]["spec"]
    required = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert required["nodeSelectorTerms"] == [
        {
            "matchExpressions": [
                {"key": "littoral.dev/pool", "operator": "In", "values": ["edge"]},
                {"key": "cores", "operator": "Gt", "values": ["2"]},
            ]
        }
    ]
    assert "affinity" not in pod()


ONE = GatewayEndpoint(address="10.0.0.1", node="edge", ready=True, for_nodes=("edge", "edge-2"))
OTHER = GatewayEndpoint(address="10.0.0.2", node="cloud", ready=False, for_nodes=("cloud",))
LEAVING = GatewayEndpoint(address="10.0.0.3", node="edge", ready=False, ending=True)


def service_of(*endpoints: GatewayEndpoint) -> list[dict[str, Any]]:
    return render_model_service(namespace="shop", model="digits", endpoints=endpoints, owners=[])


def test_a_models_service_leads_to_the_gateways() -> None:
    # The slice first: at no time is there nobody to lead to.
    slice_, service = service_of(OTHER, ONE)
    assert slice_["metadata"]["labels"]["kubernetes.io/service-name"] == service["metadata"]["name"] == "digits"
    assert [it["name"] for it in slice_["ports"]] == [it["name"] for it in service["spec"]["ports"]]
    assert [it["port"] for it in slice_["ports"]] == [it["targetPort"] for it in service["spec"]["ports"]]
    assert slice_["endpoints"] == [
        {
            "addresses": ["10.0.0.1"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": "edge",
            "hints": {"forNodes": [{"name": "edge"}, {"name": "edge-2"}]},
        },
        {
            "addresses": ["10.0.0.2"],
            "conditions": {"ready": False, "serving": False, "terminating": False},
            "nodeName": "cloud",
            "hints": {"forNodes": [{"name": "cloud"}]},
        },
    ]
    assert leads_to_gateways(service)


@pytest.mark.parametrize(
    ("endpoints", "direct"),
    [
        pytest.param((), True, id="no gateway"),
        pytest.param((OTHER,), True, id="none is ready"),
        pytest.param((LEAVING,), True, id="the last one leaves"),
        pytest.param((ONE, LEAVING), False, id="one is ready"),
    ],
)
def test_without_a_gateway_a_models_service_leads_straight_to_its_servers(
    endpoints: tuple[GatewayEndpoint, ...], direct: bool
) -> None:
    *slices, service = service_of(*endpoints)
    plain = render_service(namespace="shop", model="digits", owners=[])
    assert (service == plain) is direct
    assert leads_to_gateways(service) is not direct
    assert len(slices) == bool(endpoints)
    # No Pod has that label's value, so Kubernetes' own controller takes the servers out of its slices.
    if not direct:
        assert service["spec"]["selector"] == {"serves.littoral.dev/digits": "gateway"}


def test_one_that_leaves_serves_while_no_other_does() -> None:
    slice_, _ = service_of(LEAVING)
    assert slice_["endpoints"][0]["conditions"] == {"ready": False, "serving": True, "terminating": True}
