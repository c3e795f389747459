"""The objects of one server: what Triton and its agent are given, and how little they may do."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from littoral.api.serving import ServerConfig
from littoral.render.server import render_server, server_config
from littoral.render.settings import CacheType, ServerSettings
from tests.support.objects import DIGEST, assignment, server

SETTINGS = ServerSettings(triton_image="triton:1", agent_image="littoral:1")
OWNER = {"apiVersion": "littoral.dev/v1alpha1", "kind": "Assignment", "name": "edge", "uid": "u"}


def rendered(*, settings: ServerSettings = SETTINGS, **fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(ConfigMap, Deployment) of a server with the Models a and b."""
    parsed = assignment(servers=[server("a", "b", **fields)])
    config, deployment = render_server(
        parsed.spec.servers[0], pool="edge", spec=parsed.spec, settings=settings, owner=OWNER
    )
    return config, deployment


def pod(**fields: Any) -> dict[str, Any]:
    """The Pod's spec."""
    spec: dict[str, Any] = rendered(**fields)[1]["spec"]["template"]["spec"]
    return spec


def containers(**fields: Any) -> dict[str, dict[str, Any]]:
    """agent and triton."""
    spec = pod(**fields)
    return {container["name"]: container for container in (*spec["initContainers"], *spec["containers"])}


def test_the_config_map_is_what_the_agent_reads() -> None:
    config, deployment = rendered()
    read = ServerConfig.parse(json.loads(config["data"]["server.json"]))
    assert [model.name for model in read.models] == ["a", "b"]
    assert read.accelerator == deployment["metadata"]["labels"]["littoral.dev/accelerator"]
    assert config["metadata"] == deployment["metadata"]
    assert config["metadata"]["ownerReferences"] == [OWNER]


def test_a_change_of_models_changes_the_revision_and_not_the_pods() -> None:
    """Also when its Models need more: running Pods are resized in place."""
    one, two = (
        assignment(servers=[server(*models, cpu=cpu)]).spec.servers[0]
        for models, cpu in ((("a",), "1"), (("a", "b"), "2"))
    )
    assert server_config(one).revision != server_config(two).revision
    pods = [
        render_server(each, pool="edge", spec=assignment().spec, settings=SETTINGS, owner=OWNER)[1]["spec"]["template"]
        for each in (one, two)
    ]
    assert pods[0] == pods[1]


@pytest.mark.parametrize("cache", list(CacheType))
@pytest.mark.parametrize("accelerator", ["cpu", "nvidia-gpu"])
def test_containers_may_do_nothing_that_they_need_not(cache: CacheType, accelerator: str) -> None:
    settings = ServerSettings(triton_image="t", agent_image="a", cache=cache)
    resource = {} if accelerator == "cpu" else {"extendedResource": "nvidia.com/gpu"}
    spec = pod(settings=settings, accelerator=accelerator, **resource)
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (*spec["initContainers"], *spec["containers"]):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        # Only the agent that writes to the node's own directory is root, and then without any capability.
        may_be_root = container["name"] == "agent" and cache == CacheType.HOST_PATH
        assert context["runAsNonRoot"] is not may_be_root


def test_triton_cannot_write_what_it_loads() -> None:
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in containers()["triton"]["volumeMounts"]}
    assert mounts["/models"] is True
    assert mounts["/var/cache/littoral"] is True


def test_the_agent_is_a_native_sidecar_whose_readiness_is_the_pods() -> None:
    agent = containers()["agent"]
    assert agent["restartPolicy"] == "Always"
    assert agent["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert "readinessProbe" not in containers()["triton"]


def test_a_device_is_requested_once_and_replaced_in_place() -> None:
    fields = {"accelerator": "nvidia-gpu", "extendedResource": "nvidia.com/gpu", "cpu": "2", "memory": "3Gi"}
    resources = containers(**fields)["triton"]["resources"]
    assert resources["limits"] == {"nvidia.com/gpu": "1"}
    assert resources["requests"]["nvidia.com/gpu"] == "1"
    strategy = rendered(**fields)[1]["spec"]["strategy"]["rollingUpdate"]
    assert strategy == {"maxSurge": 0, "maxUnavailable": 1}
    assert {"key": "nvidia.com/gpu", "operator": "Exists"} in pod(**fields)["tolerations"]


def test_a_cpu_server_is_replaced_without_a_gap() -> None:
    assert rendered()[1]["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_nodes_are_those_of_the_pool_that_suit_every_model() -> None:
    selector = {"matchExpressions": [{"key": "memory", "operator": "Gt", "values": ["4000"]}]}
    affinity = pod(nodeSelector=selector)["affinity"]["nodeAffinity"]
    terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert terms == [
        {
            "matchExpressions": [
                {"key": "littoral.dev/pool", "operator": "In", "values": ["edge"]},
                {"key": "memory", "operator": "Gt", "values": ["4000"]},
            ]
        }
    ]


def test_a_lost_link_moves_no_pod() -> None:
    tolerated = {(each["key"], each.get("tolerationSeconds")) for each in pod()["tolerations"]}
    assert {("node.kubernetes.io/unreachable", None), ("node.kubernetes.io/not-ready", None)} <= tolerated


def test_claims_are_mounted_for_the_agent_alone() -> None:
    model = {
        "name": "a",
        "variant": "v",
        "backend": "onnxruntime",
        "artifact": {"uri": "pvc://networks/a.onnx", "digest": DIGEST},
    }
    found = containers(models=[model])
    mount = {"name": "claim-networks", "mountPath": "/artifacts/networks", "readOnly": True}
    assert mount in found["agent"]["volumeMounts"]
    assert mount not in found["triton"]["volumeMounts"]
    volume = {"name": "claim-networks", "persistentVolumeClaim": {"claimName": "networks", "readOnly": True}}
    assert volume in pod(models=[model])["volumes"]


def test_secrets_are_mounted_for_the_agent_alone() -> None:
    models = [
        {
            "name": name,
            "variant": "v",
            "backend": "onnxruntime",
            "artifact": {"uri": f"oci://registry.example/{name}", "digest": DIGEST, "secretRef": {"name": secret}},
        }
        for name, secret in (("a", "login"), ("b", "login"), ("c", "a.name." + "with-dots." * 20 + "x"))
    ]
    found, volumes = containers(models=models), pod(models=models)["volumes"]
    mounts = [it for it in found["agent"]["volumeMounts"] if it["mountPath"].startswith("/credentials/")]
    assert [it["mountPath"].removeprefix("/credentials/") for it in mounts] == sorted(
        {model["artifact"]["secretRef"]["name"] for model in models}
    )
    assert all(it["readOnly"] for it in mounts)
    assert "--credentials-root=/credentials" in found["agent"]["args"]
    for mount in mounts:
        assert mount not in found["triton"]["volumeMounts"]
        assert re.fullmatch("[a-z0-9-]{1,63}", mount["name"])
        (volume,) = (it for it in volumes if it["name"] == mount["name"])
        # A Secret that is missing is a message of the agent's, not a Pod that never starts.
        assert volume["secret"] == {"secretName": mount["mountPath"].removeprefix("/credentials/"), "optional": True}
    assert not any("credentials" in it for it in containers()["agent"]["args"])


def test_of_a_secret_with_a_key_pair_only_the_public_key_is_mounted() -> None:
    models = [
        {
            "name": name,
            "variant": "v",
            "backend": "onnxruntime",
            "artifact": {"uri": f"https://models.example/{name}", "digest": DIGEST},
            "verification": {"publicKeySecretRef": {"name": "release", "key": key}},
        }
        for name, key in (("a", "cosign.pub"), ("b", "next.pub"), ("c", "cosign.pub"))
    ]
    found = containers(models=models)
    (mount,) = (it for it in found["agent"]["volumeMounts"] if it["mountPath"].startswith("/keys/"))
    assert mount["mountPath"] == "/keys/release"
    assert mount["readOnly"]
    assert mount not in found["triton"]["volumeMounts"]
    (volume,) = (it for it in pod(models=models)["volumes"] if it["name"] == mount["name"])
    assert volume["secret"] == {
        "secretName": "release",
        "optional": True,
        "items": [{"key": "cosign.pub", "path": "cosign.pub"}, {"key": "next.pub", "path": "next.pub"}],
    }
    assert "--keys-root=/keys" in found["agent"]["args"]
    assert not any("keys" in it for it in containers()["agent"]["args"])


def test_what_is_encrypted_is_decrypted_into_memory_that_triton_may_read() -> None:
    def models(*secrets: str) -> list[dict[str, Any]]:
        return [
            {
                "name": f"m{index}",
                "variant": "v",
                "backend": "onnxruntime",
                "artifact": {
                    "uri": "https://models.example/x.age",
                    "digest": DIGEST,
                    "encryption": {"identitySecretRef": {"name": secret}},
                },
            }
            for index, secret in enumerate(secrets)
        ]

    found, volumes = containers(models=models("release", "release", "other")), pod(models=models("release"))["volumes"]
    mounts = {it["mountPath"]: it for it in found["agent"]["volumeMounts"]}
    assert {path for path in mounts if path.startswith("/identities/")} == {"/identities/other", "/identities/release"}
    identity = mounts["/identities/release"]
    assert identity["readOnly"]
    (volume,) = (it for it in volumes if it["name"] == identity["name"])
    assert volume["secret"] == {
        "secretName": "release",
        "optional": True,
        "items": [{"key": "identity", "path": "identity"}],
    }
    (volume,) = (it for it in volumes if it["name"] == "decrypted")
    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "4Gi"}
    assert "readOnly" not in mounts["/decrypted"]
    seen = {it["mountPath"]: it for it in found["triton"]["volumeMounts"]}
    assert seen["/decrypted"]["readOnly"]
    assert not any(path.startswith("/identities") for path in seen)
    assert {"--identities-root=/identities", "--decrypted-root=/decrypted"} <= set(found["agent"]["args"])
    # What the agent writes into memory counts as its own.
    assert found["agent"]["resources"]["limits"] == {"memory": "4608Mi"}
    assert containers()["agent"]["resources"]["limits"] == {"memory": "512Mi"}
    assert "decrypted" not in json.dumps(pod())


@pytest.mark.parametrize(
    ("settings", "present", "absent"),
    [
        ({"files_root": None}, [], ["--files-root=/var/lib/littoral/files"]),
        ({}, ["--files-root=/var/lib/littoral/files"], ["--ca-file=/etc/littoral/ca.crt"]),
        ({"ca_bundle": "PEM"}, ["--ca-file=/etc/littoral/ca.crt"], []),
        ({"sigstore_trusted_root": "{}"}, ["--sigstore-trusted-root=/etc/littoral/trusted_root.json"], []),
        ({}, [], ["--sigstore-trusted-root=/etc/littoral/trusted_root.json"]),
    ],
)
def test_what_the_agent_may_reach(settings: dict[str, Any], present: list[str], absent: list[str]) -> None:
    arguments = containers(settings=ServerSettings(triton_image="t", agent_image="a", **settings))["agent"]["args"]
    assert set(present) <= set(arguments)
    assert not set(absent) & set(arguments)


def test_a_pool_s_own_cache_and_bandwidth_come_first() -> None:
    settings = ServerSettings(triton_image="t", agent_image="a", cache_quota="50%")
    parsed = assignment(servers=[server("a")])
    spec = parsed.spec.model_copy(update={"cache_quota": "40Gi", "bandwidth": "2Mi"})
    for given, expected in ((parsed.spec, {"--cache-quota=50%"}), (spec, {"--cache-quota=40Gi", "--bandwidth=2Mi"})):
        deployment = render_server(given.servers[0], pool="edge", spec=given, settings=settings, owner=OWNER)[1]
        arguments = deployment["spec"]["template"]["spec"]["initContainers"][0]["args"]
        assert {it for it in arguments if it.startswith(("--cache-quota", "--bandwidth"))} == expected
