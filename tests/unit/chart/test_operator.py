"""The operator's Deployment: what it is told, what it may, and when it is started anew."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from littoral.cli.operator import operator
from tests.unit.chart.chart import CHART, NAMESPACE, Object, Refused, Rendered, render, run_helm

TRUSTED_ROOT = '{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1", "tlogs": []}'
PEM = "-----BEGIN CERTIFICATE-----\nTGl0dG9yYWw=\n-----END CERTIFICATE-----\n"
DIGEST = "sha256:" + "0123456789abcdef" * 4
TABLE = {
    "classes": [{"name": "cpu", "backends": ["onnxruntime"]}, {"name": "odd-npu", "resources": ["odd.example/npu"]}]
}


def options(rendered: Rendered, monkeypatch: pytest.MonkeyPatch, *, files: Path) -> Object:
    """What `littoral operator` makes of the container's arguments and environment."""
    for variable in rendered.container["env"]:
        monkeypatch.setenv(variable["name"], variable.get("value", "from the Pod"))
    for volume in rendered.of("ConfigMap"):
        for name, text in volume["data"].items():
            (files / name).write_text(text)
    command, *arguments = rendered.container["args"]
    assert command == "operator"
    arguments = [argument.replace("/etc/littoral", str(files)) for argument in arguments]
    context = operator.make_context("operator", arguments)
    assert isinstance(context, click.Context)
    return context.params


def test_the_defaults_are_arguments_that_the_operator_takes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert options(render(), monkeypatch, files=tmp_path) == {
        "roles": ("hub", "site"),
        "namespace": NAMESPACE,
        "lease": "littoral-operator",
        "identity": "from the Pod",
        "member": None,
        "triton_image": "nvcr.io/nvidia/tritonserver:25.10-py3",
        "triton_command": "tritonserver",
        "agent_image": "localhost/littoral:0.1.0",
        "image_pull_policy": "IfNotPresent",
        "image_pull_secrets": (),
        "cache": "HostPath",
        "cache_path": "/var/lib/littoral/cache",
        "cache_quota": "",
        "signature_policy": "Off",
        "files_root": "/var/lib/littoral/files",
        "ca_bundle": None,
        "sigstore_trusted_root": None,
        "drain": 5,
        "device_table": None,
        "forecast_quantile": 0.95,
        "scale_down_after": 120.0,
        "scale_to_zero_after": 0.0,
        "standby": True,
        "gateway": False,
        "gateway_image": "",
        "gateway_replicas": 1,
        "gateway_cpu": "100m",
        "gateway_memory": "512Mi",
        "gateway_compress_uplink": False,
        "gateway_members_service_type": "LoadBalancer",
        "gateway_members_node_port": None,
        "gateway_api_parents": (),
        "gateway_api_hostname": "",
        "gateway_api_grpc_hostname": "",
        "health_port": 8080,
        "metrics_port": 9090,
        "log_format": "json",
        "verbose": False,
    }


def test_every_value_reaches_the_operator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    values = {
        "roles": ["site"],
        "image": {"repository": "registry.example/a/littoral", "digest": DIGEST, "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "one"}, {"name": "two"}],
        "triton": {"image": {"repository": "registry.example:5000/triton", "tag": "x-igpu"}, "command": []},
        "agent": {"filesRoot": "", "caBundle": PEM, "drainSeconds": 9},
        "cache": {"type": "EmptyDir", "quota": "50%"},
        "artifacts": {"signaturePolicy": "Require", "sigstoreTrustedRoot": TRUSTED_ROOT},
        "hardware": {"table": TABLE},
        "planning": {"forecastQuantile": 0.99, "scaleDownAfter": 60, "scaleToZeroAfter": 900, "standby": False},
        "gateway": {
            "enabled": True,
            "image": {"repository": "registry.example/haproxy", "tag": "3"},
            "replicas": 2,
            "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
            "compressUplink": True,
            "members": {"serviceType": "NodePort", "nodePort": 30443},
        },
        "gatewayApi": {
            "parentRefs": [{"namespace": "a", "name": "web"}, {"namespace": "b", "name": "x.y", "sectionName": "tls"}],
            "hostnames": {"http": "{model}.{namespace}.example.com", "grpc": "{model}.{namespace}.grpc.example.com"},
        },
        "log": {"format": "text", "verbose": True},
        "member": "store-12",
        "extraArgs": ["--lease=other"],
    }
    rendered = render(values)
    got = options(rendered, monkeypatch, files=tmp_path)
    expected = {
        "roles": ("site",),
        "agent_image": f"registry.example/a/littoral@{DIGEST}",
        "triton_image": "registry.example:5000/triton:x-igpu",
        "triton_command": "",
        "image_pull_policy": "Always",
        "image_pull_secrets": ("one", "two"),
        "files_root": "",
        "drain": 9,
        "cache": "EmptyDir",
        "cache_quota": "50%",
        "signature_policy": "Require",
        "forecast_quantile": 0.99,
        "scale_down_after": 60.0,
        "scale_to_zero_after": 900.0,
        "standby": False,
        "gateway": True,
        "gateway_image": "registry.example/haproxy:3",
        "gateway_replicas": 2,
        "gateway_cpu": "1",
        "gateway_memory": "1Gi",
        "gateway_compress_uplink": True,
        "gateway_members_service_type": "NodePort",
        "gateway_members_node_port": 30443,
        "gateway_api_parents": ("a/web", "b/x.y/tls"),
        "gateway_api_hostname": "{model}.{namespace}.example.com",
        "gateway_api_grpc_hostname": "{model}.{namespace}.grpc.example.com",
        "log_format": "text",
        "verbose": True,
        "member": "store-12",
        "lease": "other",
    }
    assert {name: got[name] for name in expected} == expected
    assert got["ca_bundle"].read_text() == PEM
    assert json.loads(got["sigstore_trusted_root"].read_text()) == json.loads(TRUSTED_ROOT)
    assert rendered.container["image"] == got["agent_image"]
    assert rendered.pod["spec"]["imagePullSecrets"] == values["imagePullSecrets"]


def test_a_member_is_no_hub() -> None:
    for roles in (["hub", "site"], ["hub"]):
        with pytest.raises(Refused, match=r"set roles to \[site\]"):
            render({"roles": roles, "member": "store-12"})


def test_the_notes_of_a_member_say_how_to_join() -> None:
    values = {"roles": ["site"], "member": "store-12", "image": {"repository": "r.example/l"}}
    notes = run_helm("install", "littoral", str(CHART), f"--namespace={NAMESPACE}", "--dry-run=client", values=values)
    assert "littoral invite store-12" in notes
    assert f"littoral join TOKEN --namespace={NAMESPACE}" in notes
    assert "NOTE:" not in notes


@pytest.mark.parametrize(
    ("version", "enabled", "taken"),
    [("1.33.9", True, False), ("1.33.9", False, True), ("1.34.0", True, True), ("1.36.3+k3s1", True, True)],
)
def test_gateways_need_an_api_with_hints_for_nodes(version: str, enabled: bool, taken: bool) -> None:
    arguments = ("template", "littoral", str(CHART), f"--namespace={NAMESPACE}", f"--kube-version={version}")
    if taken:
        assert run_helm(*arguments, values={"gateway": {"enabled": enabled}})
    else:
        with pytest.raises(Refused, match=r"needs Kubernetes 1\.34"):
            run_helm(*arguments, values={"gateway": {"enabled": enabled}})


@pytest.mark.parametrize(
    ("image", "taken"),
    [
        ({"tag": "2.6"}, False),
        ({"tag": "2.7-alpine"}, False),
        ({"tag": "2.8"}, True),
        ({"tag": "3"}, True),
        ({"tag": "2.6", "digest": DIGEST}, True),  # the digest wins, and says nothing of a version
    ],
)
def test_compression_needs_an_haproxy_that_can(image: dict[str, str], taken: bool) -> None:
    values = {"gateway": {"enabled": True, "compressUplink": True, "image": image}}
    if taken:
        assert render(values)
    else:
        with pytest.raises(Refused, match=r"needs HAProxy 2\.8 or later"):
            render(values)


def test_the_device_table_is_one_that_the_planner_reads() -> None:
    from littoral.core.hardware import parse_device_table

    table = parse_device_table(render({"hardware": {"table": TABLE}}).one("ConfigMap")["data"]["devices.yaml"])
    assert set(table.classes) == {"cpu", "odd-npu"}
    assert table.classes["odd-npu"].resources == ("odd.example/npu",)


def test_the_pod_satisfies_pod_security_restricted() -> None:
    pod, container = render().pod["spec"], render().container
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 65532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC", "volumes"} & pod.keys()


def test_only_the_operators_pod_gets_a_token() -> None:
    rendered = render()
    assert rendered.one("ServiceAccount")["automountServiceAccountToken"] is False
    assert rendered.pod["spec"]["automountServiceAccountToken"] is True


def test_the_kubelet_asks_where_the_operator_answers() -> None:
    container = render().container
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"health": 8080, "metrics": 9090}
    for probe in ("startupProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/healthz", "port": "health"}


def test_the_operator_has_a_memory_limit_and_no_cpu_limit() -> None:
    resources = render().container["resources"]
    assert resources["limits"].keys() == {"memory"}
    assert resources["requests"].keys() == {"cpu", "memory"}


@pytest.mark.parametrize(
    "change", [{"agent": {"caBundle": PEM}}, {"hardware": {"table": TABLE}}], ids=lambda c: next(iter(c))
)
def test_a_changed_file_starts_the_pod_anew(change: Object) -> None:
    before, after = (render(values).pod["metadata"]["annotations"]["checksum/config"] for values in (None, change))
    assert before != after
    assert render(change).pod["spec"]["volumes"] == [{"name": "config", "configMap": {"name": "littoral"}}]


def test_a_value_that_the_operator_does_not_see_leaves_the_pod_alone() -> None:
    assert render({"serviceMonitor": {"enabled": True}}).pod == render().pod


@pytest.mark.parametrize(("replicas", "budgets"), [(0, 0), (1, 0), (2, 1)])
def test_a_disruption_budget_comes_with_the_second_replica(replicas: int, budgets: int) -> None:
    assert len(render({"replicas": replicas}).of("PodDisruptionBudget")) == budgets


def test_the_network_policy_selects_the_operator() -> None:
    rendered = render({"networkPolicy": {"enabled": True, "apiServerPorts": [16443]}})
    policy = rendered.one("NetworkPolicy")["spec"]
    labels = rendered.pod["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    ports = [{port["port"] for port in rule["ports"]} for rule in policy["egress"]]
    assert ports == [{16443}, {53}, {8000, 8002, 9400}]
    assert not render().of("NetworkPolicy")


def test_a_service_monitor_finds_the_metrics_port() -> None:
    rendered = render({"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}})
    monitor, service = rendered.one("ServiceMonitor"), rendered.one("Service")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    assert service["spec"]["selector"].items() <= rendered.pod["metadata"]["labels"].items()
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


def test_the_operators_own_objects_are_not_taken_for_its_childrens() -> None:
    # The site role looks for `managed-by: littoral`, and deletes what no Assignment asks for.
    for body in render({"serviceMonitor": {"enabled": True}, "agent": {"caBundle": PEM}}).objects:
        labels = body["metadata"].get("labels", {})
        assert labels.get("app.kubernetes.io/managed-by") != "littoral", body["metadata"]["name"]


@pytest.mark.parametrize(
    ("values", "hint"),
    [
        ({}, "localhost/littoral is one that each node must have"),
        ({"image": {"repository": "registry.example/littoral"}}, None),
        ({"cache": {"type": "EmptyDir"}, "image": {"repository": "r.example/l"}}, "hostPath volume"),
        ({"crds": {"keep": False}, "image": {"repository": "r.example/l"}}, "deletes every Model"),
        ({"roles": ["hub"], "image": {"repository": "r.example/l"}}, "the role hub alone"),
    ],
)
def test_the_notes_warn_of_what_is_unusual(values: Object, hint: str | None) -> None:
    notes = run_helm("install", "littoral", str(CHART), f"--namespace={NAMESPACE}", "--dry-run=client", values=values)
    assert "kubectl get models" in notes
    assert ("NOTE:" in notes) == (hint is not None)
    if hint:
        assert hint in " ".join(notes.split())
