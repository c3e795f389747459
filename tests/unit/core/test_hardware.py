"""What is read of Nodes, and of the table of device classes. Labels and resources have the vendors' shapes."""

from __future__ import annotations

from typing import Any

import pytest

from littoral.core.hardware import Device, InvalidDeviceTable, Node, default_device_table, parse_device_table
from tests.support.objects import node


def body(*, labels: dict[str, str] | None = None, allocatable: dict[str, Any] | None = None, **rest: Any) -> Any:
    """A `v1` Node as the API server sends it."""
    return {
        "metadata": {"name": "n", "labels": labels},
        "spec": rest.get("spec", {}),
        "status": {
            "allocatable": {"cpu": "3920m", "memory": "7872040Ki", "pods": "110"} | (allocatable or {}),
            "conditions": rest.get("conditions", [{"type": "Ready", "status": "True"}]),
        },
    }


def test_a_node_is_read() -> None:
    read = Node.from_object(body(labels={"a": "b"}, allocatable={"nvidia.com/gpu": "2", "hugepages-2Mi": "0"}))
    assert read == Node(
        name="n",
        ready=True,
        schedulable=True,
        cpu=3.92,
        memory=7872040 * 1024.0,
        labels={"a": "b"},
        extended={"nvidia.com/gpu": 2},
    )


@pytest.mark.parametrize(
    ("fields", "usable"),
    [
        ({}, True),
        ({"spec": {"unschedulable": True}}, False),
        ({"conditions": [{"type": "Ready", "status": "Unknown"}]}, False),
        ({"conditions": None}, False),
    ],
)
def test_whether_new_servers_can_start(fields: dict[str, Any], usable: bool) -> None:
    assert Node.from_object(body(**fields)).usable is usable


def test_a_quantity_that_cannot_be_read_is_absent() -> None:
    read = Node.from_object(body(allocatable={"cpu": "many", "nvidia.com/gpu": "", "amd.com/gpu": "1"}))
    assert (read.cpu, read.extended["nvidia.com/gpu"], read.extended["amd.com/gpu"]) == (0.0, 0, 1)


GIB = 2**30


@pytest.mark.parametrize(
    ("extended", "labels", "expected"),
    [
        pytest.param(
            {"nvidia.com/gpu": 4},
            {"nvidia.com/gpu.product": "Tesla-T4-SHARED", "nvidia.com/gpu.memory": "15360"},
            ("nvidia-gpu", 4, "nvidia.com/gpu", "Tesla-T4-SHARED", 15 * GIB),
            id="NVIDIA, time-sliced",
        ),
        pytest.param(
            {"gpu.intel.com/xe": 1},
            {"gpu.intel.com/memory.max": "17179869184"},
            ("intel-gpu", 1, "gpu.intel.com/xe", None, 16 * GIB),
            id="Intel GPU with the xe driver",
        ),
        pytest.param(
            {"npu.intel.com/accel": 10},
            {"intel.feature.node.kubernetes.io/npu": "true"},
            ("intel-npu", 10, "npu.intel.com/accel", None, None),
            id="Intel NPU, shared",
        ),
        pytest.param(
            {"amd.com/gpu": 1},
            {"amd.com/gpu.product-name": "AMD_Instinct_MI210", "amd.com/gpu.vram": "64G"},
            ("amd-gpu", 1, "amd.com/gpu", "AMD_Instinct_MI210", 64 * 10**9),
            id="AMD",
        ),
        pytest.param({"huawei.com/Ascend310P": 2}, {}, ("ascend", 2, "huawei.com/Ascend310P", None, None), id="Ascend"),
        pytest.param({"hailo.ai/h8": 1}, {}, ("hailo", 1, "hailo.ai/h8", None, None), id="Hailo"),
        pytest.param(
            {"nvidia.com/gpu": 1},
            {"nvidia.com/gpu.memory": "unknown"},
            ("nvidia-gpu", 1, "nvidia.com/gpu", None, None),
            id="a memory label that is no number",
        ),
    ],
)
def test_devices_of_a_node(extended: dict[str, int], labels: dict[str, str], expected: tuple[Any, ...]) -> None:
    device_class, count, resource, product, memory = expected
    found = default_device_table().devices(node(extended=extended, labels=labels, cpu=4.0))
    assert found == (
        Device(device_class=device_class, count=count, resource=resource, product=product, memory=memory),
        Device(device_class="cpu", count=4),
    )


def test_a_node_without_any_label_is_a_cpu_node() -> None:
    assert default_device_table().devices(node()) == (Device(device_class="cpu", count=4),)


def test_a_resource_of_which_all_are_unhealthy_is_no_device() -> None:
    assert default_device_table().devices(node(extended={"nvidia.com/gpu": 0})) == (
        Device(device_class="cpu", count=4),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classes: {", "cannot be read"),
        ("[]", "cannot be read"),
        ("classes: [{resources: [a/b]}]", "cannot be read"),
        ("classes: [{name: a}, {name: a}]", "different names: a, a"),
    ],
)
def test_a_bad_table_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidDeviceTable, match=message):
        parse_device_table(text)


def test_a_table_without_cpu_gets_it() -> None:
    assert set(parse_device_table("classes: [{name: tpu, resources: [google.com/tpu]}]").classes) == {"tpu", "cpu"}
