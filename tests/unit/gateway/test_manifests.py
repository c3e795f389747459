"""The gateway's Kubernetes objects."""

from __future__ import annotations

import json
from typing import Any

import pytest

from littoral.api.routing import GatewayConfig, ModelRoute
from littoral.render.gateway import GatewaySettings, render_gateway, render_model_service

CONFIG = GatewayConfig(revision="1", models=(ModelRoute(namespace="shop", name="digits"),))
SETTINGS = GatewaySettings(haproxy_image="haproxy:x", agent_image="littoral:x")


def render(**changes: Any) -> dict[str, Any]:
    settings = GatewaySettings(**{"haproxy_image": "haproxy:x", "agent_image": "littoral:x"} | changes)
    manifests = render_gateway(CONFIG, name="gateway-store-12", namespace="littoral-system", settings=settings)
    return {it["kind"]: it for it in manifests}


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
    spec = pod(certificate_secret="gateway-tls")
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
    for spec in (pod(), pod(certificate_secret="gateway-tls", state_path="/var/lib/littoral")):
        volumes = {it["name"] for it in spec["volumes"]}
        mounts = {it["name"] for each in (*spec["initContainers"], *spec["containers"]) for it in each["volumeMounts"]}
        assert mounts == volumes


@pytest.mark.parametrize("secret", [None, "gateway-tls"])
def test_the_secure_port_is_there_with_certificates_only(secret: str | None) -> None:
    manifests = render(certificate_secret=secret)
    secure = any(it["name"] == "secure" for it in manifests["Service"]["spec"]["ports"])
    agent = manifests["Deployment"]["spec"]["template"]["spec"]["initContainers"][0]
    assert secure == (secret is not None) == any(it.startswith("--certificates") for it in agent["args"])


def test_pods_that_are_more_than_one_are_not_evicted_together() -> None:
    assert "PodDisruptionBudget" not in render()
    assert render(replicas=2)["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1


def test_the_models_service_leads_to_the_gateway() -> None:
    service, slice_ = render_model_service(
        namespace="shop", model="digits", addresses=[("10.0.0.2", False), ("10.0.0.1", True)], owners=[]
    )
    assert "selector" not in service["spec"]
    assert slice_["metadata"]["labels"]["kubernetes.io/service-name"] == service["metadata"]["name"] == "digits"
    assert [it["name"] for it in slice_["ports"]] == [it["name"] for it in service["spec"]["ports"]]
    assert [it["port"] for it in slice_["ports"]] == [it["targetPort"] for it in service["spec"]["ports"]]
    assert slice_["endpoints"] == [
        {"addresses": ["10.0.0.1"], "conditions": {"ready": True}},
        {"addresses": ["10.0.0.2"], "conditions": {"ready": False}},
    ]
