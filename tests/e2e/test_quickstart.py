"""The main job: the demo, as a person runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from examples.quickstart.client import ModelClient
from examples.quickstart.digits import load
from examples.quickstart.reading import under_load
from littoral.api.quantity import parse_quantity
from tests.e2e.littoral import ROOT, Littoral, digits_model, digits_variants, stays_at_the_edge

pytestmark = pytest.mark.timeout(600)


def test_the_demo_runs_on_a_lab_that_has_it_already(littoral: Littoral) -> None:
    """All its steps, which check answers and accuracy by themselves; here, what it says of them."""
    command = [sys.executable, "-m", "examples.quickstart.demo", "--lab", littoral.lab, "--keep"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 failed" in done.stdout
    assert "(through Triton) == " in done.stdout
    assert "Harbour Bakery" in done.stdout
    assert "StaysAtSite: LatencySLO text-detect has overflow: Never" in done.stdout


def test_a_device_decides_the_variant(littoral: Littoral) -> None:
    """The edge node announces an NPU, and only the first Model that needs it gets it."""
    littoral.wait(lambda: _variant(littoral, "text-detect") == "openvino-npu", what="text-detect is on the NPU")
    status = littoral.wait_ready("text-detect")["status"]
    placement = status["placements"][0]
    assert (placement["pool"], placement["variant"]) == ("edge", "openvino-npu")
    assert placement["server"] == "triton-edge-intel-npu"
    assert {r["variant"]: r["reason"] for r in status["rejections"] if r["pool"] == "edge"} == {"onnx-gpu": "NoDevice"}
    pool = littoral.cluster.get("nodepools.littoral.dev", "edge")["status"]
    assert {a["class"]: a["count"] for a in pool["accelerators"]}["intel-npu"] == 1


def test_a_device_that_disappears_moves_its_model_to_the_next_variant(littoral: Littoral) -> None:
    littoral.wait_ready("text-detect")
    _announce(littoral, "0")
    try:
        littoral.wait(lambda: _variant(littoral, "text-detect") == "onnx-cpu", what="text-detect falls back to the CPU")
        littoral.wait_ready("text-detect")
    finally:
        _announce(littoral, "1")
    littoral.wait(lambda: _variant(littoral, "text-detect") == "openvino-npu", what="text-detect is on the NPU again")
    littoral.wait_ready("text-detect")


def _announce(littoral: Littoral, count: str) -> None:
    """Have the node edge announce so many NPUs."""
    devices = {"npu.intel.com/accel": count}
    patch = json.dumps({"status": {"capacity": devices, "allocatable": devices}})
    littoral.cluster.run("patch", "node", "edge", "--subresource=status", "--type=merge", f"--patch={patch}")


def _variant(littoral: Littoral, name: str) -> str:
    """The variant of a Model's first place."""
    return str(littoral.model(name)["status"]["placements"][0]["variant"])


def test_a_model_that_moves_to_another_device_loses_no_request(littoral: Littoral) -> None:
    """At one site alone, from the NPU to the CPU and back: the old server goes when the new one serves."""
    _, test = load()
    name, where = "moving", "--namespace=shop"
    on_npu = digits_variants()[0] | {"name": "openvino-npu", "accelerator": "intel-npu", "backend": "openvino"}
    littoral.cluster.apply(
        [
            stays_at_the_edge(name, namespace="shop"),
            digits_model(name, namespace="shop", variants=[on_npu, *digits_variants()]),
        ]
    )
    try:
        littoral.wait_ready(name)
        littoral.wait_answers(name)
        address = littoral.address(name)
        with under_load(lambda: ModelClient(url=address, model=name), test.images, keep=False) as running:
            for npus, variant in (("0", "onnx-cpu"), ("1", "openvino-npu")):
                _announce(littoral, npus)
                littoral.wait(
                    lambda variant=variant: _variant(littoral, name) == variant, what=f"{name} is placed as {variant}"
                )
                littoral.wait_ready(name)
        assert (running.report().failed, running.report().errors) == (0, ())
    finally:
        _announce(littoral, "1")
        littoral.cluster.run("delete", "models.littoral.dev,latencyslos.littoral.dev", name, where)


def test_a_model_more_restarts_nothing(littoral: Littoral) -> None:
    """It is loaded into the server that is there, which is resized in place."""
    pools = [each["pool"] for each in littoral.wait_ready("digits")["status"]["placements"]]
    servers = [littoral.server("digits", pool=pool) for pool in pools]
    before = {pod["metadata"]["uid"]: pod for name in servers for pod in littoral.servers(name)}
    more = digits_model("more", namespace="shop", variants=[digits_variants()[0] | {"memory": "200Mi"}])
    littoral.cluster.apply([more])
    try:
        (placement,) = littoral.wait_ready("more")["status"]["placements"]
        server = str(placement["server"])

        def resized() -> bool:
            pods = littoral.servers(server)
            return all(_memory(pod) >= _memory(before[pod["metadata"]["uid"]]) + 200 * 2**20 for pod in pods)

        littoral.wait(resized, what="Triton may use more")
        for pod in littoral.servers(server):
            assert _restarts(pod) == _restarts(before[pod["metadata"]["uid"]])
    finally:
        littoral.cluster.run("delete", "models.littoral.dev", "more", "--namespace=shop")


def _restarts(pod: dict[str, Any]) -> dict[str, int]:
    """How often each container was started again."""
    return {status["name"]: status["restartCount"] for status in pod["status"]["containerStatuses"]}


def _memory(pod: dict[str, Any]) -> float:
    """Bytes of memory that Triton has been given, as the kubelet says it."""
    (triton,) = (status for status in pod["status"]["containerStatuses"] if status["name"] == "triton")
    return float(parse_quantity(triton.get("resources", {}).get("requests", {}).get("memory", "0")))


def test_what_a_model_does_is_measured(littoral: Littoral) -> None:
    """Rate, latency and batch times of a real Triton, in the status of the Assignment."""
    _, test = load()
    littoral.wait_ready("digits")
    littoral.wait_answers("digits")

    def measured() -> dict[str, Any]:
        servers = littoral.cluster.get("assignments.littoral.dev", "cloud")["status"]["servers"]
        models = [model for each in servers for model in each["models"] if model["name"] == "digits"]
        found: dict[str, Any] = models[0].get("measured", {})
        return found

    with under_load(lambda: littoral.connect("digits"), test.images, pause=0.05):
        littoral.wait(lambda: float(measured().get("rate", "0")) > 5, what="the rate is measured")
        littoral.wait(lambda: "p99" in measured().get("latency", {}), what="there are enough requests for a p99")
    assert measured()["batches"][0]["size"] >= 1


def test_pods_of_a_server_have_no_credentials_and_no_rights(littoral: Littoral) -> None:
    littoral.wait_ready("digits")
    (pod,) = littoral.servers(littoral.server("digits", pool="edge"))
    assert not any("kube-api-access" in volume["name"] for volume in pod["spec"]["volumes"])
    where = ["--namespace=shop", pod["metadata"]["name"], "--container=triton", "--"]
    identity = littoral.cluster.run("exec", *where, "sh", "-c", "id -u; grep CapEff /proc/self/status")
    assert identity.split() == ["1000", "CapEff:", "0000000000000000"]
    refused = littoral.cluster.run("exec", *where, "sh", "-c", "touch /models/x /usr/x 2>&1 || true")
    assert refused.count("Read-only file system") == 2
