"""values.yaml and values.schema.json: the same names, and refusals that say what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.unit.chart.chart import CHART, Object, Refused, render, run_helm

VALUES: Object = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: Object = json.loads((CHART / "values.schema.json").read_text())

# Objects of Kubernetes, which the API server checks.
FREE = {"resources", "podSecurityContext", "securityContext", "affinity"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"replica": 2}, "additional properties 'replica' not allowed"),
        ({"triton": {"comand": ["x"]}}, "at '/triton': additional properties 'comand' not allowed"),
        ({"crds": {"enable": False}}, "at '/crds': additional properties 'enable' not allowed"),
        ({"replicas": "2"}, "at '/replicas': got string, want integer"),
        ({"roles": []}, "at '/roles': minItems"),
        ({"roles": ["hub", "edge"]}, "at '/roles/1': value must be one of 'hub', 'site'"),
        ({"member": "Store 12"}, "at '/member': 'Store 12' does not match pattern"),
        ({"cache": {"type": "Memory"}}, "at '/cache/type': value must be one of 'HostPath', 'EmptyDir'"),
        ({"cache": {"hostPath": "var/lib"}}, "at '/cache/hostPath': 'var/lib' does not match pattern"),
        ({"cache": {"quota": "much"}}, "at '/cache/quota': 'much' does not match pattern"),
        ({"artifacts": {"signaturePolicy": "Ignore"}}, "at '/artifacts/signaturePolicy': value must be one of"),
        ({"agent": {"filesRoot": "files"}}, "at '/agent/filesRoot'"),
        ({"agent": {"caBundle": "ca.crt"}}, "at '/agent/caBundle': 'ca.crt' does not match pattern"),
        ({"artifacts": {"sigstoreTrustedRoot": "x"}}, "at '/artifacts/sigstoreTrustedRoot': 'x' does not match"),
        ({"image": {"repository": "littoral:0.1.0"}}, "at '/image/repository'"),
        ({"image": {"digest": "sha256:12"}}, "at '/image/digest'"),
        ({"triton": {"image": {"tag": ""}}}, "at '/triton/image'"),
        ({"hardware": {"table": {"classes": [{"resource": ["x"]}]}}}, "'resource' not allowed"),
        ({"gatewayApi": {"parentRefs": ["web"]}}, "at '/gatewayApi/parentRefs/0'"),
        ({"gatewayApi": {"parentRefs": [{"name": "web"}]}}, "missing property 'namespace'"),
        (
            {"gatewayApi": {"parentRefs": [{"namespace": "a", "name": "b"}]}},
            "at '/gatewayApi/hostnames/http': minLength",
        ),
        ({"gatewayApi": {"hostnames": {"http": "models.example.com"}}}, "at '/gatewayApi/hostnames/http'"),
        ({"gatewayApi": {"hostnames": {"grpc": "{model}-{namespace}.example"}}}, "at '/gatewayApi/hostnames/grpc'"),
        ({"log": {"format": "xml"}}, "at '/log/format': value must be one of 'json', 'text'"),
        ({"networkPolicy": {"apiServerPorts": [70000]}}, "at '/networkPolicy/apiServerPorts/0'"),
        ({"extraArgs": ["member=x"]}, "at '/extraArgs/0'"),
        ({"imagePullSecrets": ["name"]}, "at '/imagePullSecrets/0'"),
    ],
    ids=lambda x: json.dumps(x) if isinstance(x, dict) else "",
)
def test_a_mistake_is_refused_and_named(values: Object, message: str) -> None:
    with pytest.raises(Refused, match="values don't meet the specifications") as refusal:
        render(values)
    assert message in str(refusal.value)


def test_global_values_of_a_parent_chart_are_taken() -> None:
    assert render({"global": {"anything": 1}}).one("Deployment")


def test_schema_and_values_name_the_same_things() -> None:
    def compare(values: Any, schema: Object, path: str) -> None:
        if path in FREE or "properties" not in schema:
            return
        assert schema["additionalProperties"] is False, path
        # What is empty by default is described in the schema alone.
        if values:
            assert values.keys() == schema["properties"].keys() - {"global"}, path
            for name, value in values.items():
                compare(value, schema["properties"][name], f"{path}.{name}".strip("."))

    compare(VALUES, SCHEMA, "")


def test_the_chart_passes_helm_lint() -> None:
    assert "0 chart(s) failed" in run_helm("lint", "--strict", str(CHART))


def test_the_chart_and_the_program_have_one_version() -> None:
    from littoral import __version__

    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__
