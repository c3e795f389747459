"""How a Node is read, what cannot break it, and the table of device classes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littoral.core.hardware import Device, InvalidDeviceTable, Node, default_device_table, parse_device_table
from tests.support.objects import node


def body(*, labels: dict[str, Any] | None = None, allocatable: dict[str, Any] | None = None, **rest: Any) -> Any:
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
    read = Node.from_object(body(labels={"a": "b"}, allocatable={"nvidia.com/gpu": "2", "hugepages-2Mi": "1Gi"}))
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
        ({"conditions": [{"type": "MemoryPressure", "status": "True"}]}, False),
        ({"conditions": None}, False),
    ],
)
def test_whether_new_servers_can_start(fields: dict[str, Any], usable: bool) -> None:
    assert Node.from_object(body(**fields)).usable is usable


class TestCpuNodes:
    @pytest.mark.parametrize(
        ("text", "cores"), [("4", 4.0), (4, 4.0), ("3920m", 3.92), ("500m", 0.5), ("1e1", 10.0), ("0.1k", 100.0)]
    )
    def test_cores_in_any_unit(self, text: str | int, cores: float) -> None:
        assert Node.from_object(body(allocatable={"cpu": text})).cpu == cores

    @pytest.mark.parametrize(
        ("text", "size"),
        [
            ("8254410752", 8254410752),
            ("8061924Ki", 8061924 * 1024),
            ("7872Mi", 7872 * 2**20),
            ("7.5Gi", 7.5 * 2**30),
            ("8G", 8e9),
            ("8e9", 8e9),
            # The kubelet writes thousandths where it has reserved a share.
            ("8254410752500m", 8254410752.5),
        ],
    )
    def test_memory_in_any_unit(self, text: str, size: float) -> None:
        assert Node.from_object(body(allocatable={"memory": text})).memory == size

    def test_huge_pages_are_no_devices_and_no_memory(self) -> None:
        pages = {"hugepages-1Gi": "4Gi", "hugepages-2Mi": "512Mi", "ephemeral-storage": "47093746742", "memory": "2Gi"}
        read = Node.from_object(body(allocatable=pages))
        assert (read.memory, read.extended) == (2.0 * 2**30, {})

    def test_whole_cores_are_offered(self) -> None:
        assert default_device_table().devices(node(cpu=3.92)) == (Device(device_class="cpu", count=3),)

    def test_less_than_a_core_is_none(self) -> None:
        assert default_device_table().devices(node(cpu=0.92)) == ()


class TestWhatCannotBeRead:
    @pytest.mark.parametrize(
        "count", ["", "many", "-1", "-9223372036854775808", "9223372036854775807", "1e99", "0", "NaN"]
    )
    def test_is_no_device(self, count: str) -> None:
        read = Node.from_object(body(allocatable={"nvidia.com/gpu": count, "amd.com/gpu": "1"}))
        assert [device.device_class for device in default_device_table().devices(read)] == ["amd-gpu", "cpu"]

    @pytest.mark.parametrize("amount", ["", "lots", "-4", "1e99", "9223372036854775807"])
    def test_is_no_core_and_no_memory(self, amount: str) -> None:
        read = Node.from_object(body(allocatable={"cpu": amount, "memory": f"{amount}Gi"}))
        assert (read.cpu, read.memory, default_device_table().devices(read)) == (0.0, 0.0, ())

    @pytest.mark.parametrize("memory", ["", "unknown", "-1", "15,360", "15360MiB", "9" * 40, "0", "1e40"])
    def test_is_no_memory_of_a_device(self, memory: str) -> None:
        labels = {"nvidia.com/gpu.product": "NVIDIA-L4", "nvidia.com/gpu.memory": memory}
        found = default_device_table().devices(node(extended={"nvidia.com/gpu": 1}, labels=labels))
        assert (found[0].count, found[0].memory) == (1, None)

    def test_a_manifest_that_a_person_wrote_may_leave_quotes_out(self) -> None:
        labels = {"nvidia.com/gpu.memory": 23034, "feature.node.kubernetes.io/cpu-cpuid.AMXINT8": True}
        gpu, cpu = default_device_table().devices(
            Node.from_object(body(labels=labels, allocatable={"nvidia.com/gpu": 1}))
        )
        assert (gpu.memory, cpu.product) == (23034 * 2**20, "AMXINT8")

    @given(
        labels=st.dictionaries(
            st.sampled_from(
                [
                    f"{prefix}.{name}"
                    for prefix in ("nvidia.com/gpu", "nvidia.com/mig-1g.5gb", "gpu.intel.com", "amd.com/gpu")
                    for name in ("memory", "product", "replicas", "count", "vram", "vram.16G", "vram.x")
                ]
                + ["gpu.intel.com/memory.max", "amd.com/gpu.vram."]
            ),
            st.one_of(st.text(max_size=9), st.integers().map(str), st.sampled_from(["16G", "X-SHARED", "1e9", "0"])),
        ),
        extended=st.dictionaries(
            st.sampled_from(
                [
                    "nvidia.com/gpu",
                    "nvidia.com/gpu.shared",
                    "nvidia.com/mig-1g.5gb",
                    "nvidia.com/mig-",
                    "nvidia.com/mig-.",
                    "nvidia.com/mig-1g.5gb.shared",
                    "nvidia.com/mig-UPPER_case",
                    f"nvidia.com/mig-{'9' * 40}",
                    "gpu.intel.com/i915",
                    "npu.intel.com/accel",
                    "amd.com/gpu",
                ]
            ),
            st.one_of(st.integers(), st.text(max_size=5), st.sampled_from(["1", "8", "500m", "1k"])),
        ),
    )
    def test_breaks_nothing(self, labels: dict[str, str], extended: dict[str, Any]) -> None:
        found = default_device_table().devices(Node.from_object(body(labels=labels, allocatable=extended)))
        assert len({device.device_class for device in found}) == len(found)
        for device in found:
            assert 0 < device.count <= 2**16
            assert device.memory is None or 0 < device.memory <= 2**60


def test_a_node_without_any_label_is_a_cpu_node() -> None:
    assert default_device_table().devices(node()) == (Device(device_class="cpu", count=4),)


class TestTable:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("classes: {", "cannot be read"),
            ("[]", "cannot be read"),
            ("classes: [{resources: [a/b]}]", "cannot be read"),
            ("classes: [{name: a, resources: 7}]", "cannot be read"),
            ("classes: [{name: a}, {name: a}]", "different names: a, a"),
            ("classes: [{name: a, partitions: {name: a, resource: x/*}}]", "different names: a, a"),
            ("classes: [{name: 7}]", "must be a text: 7"),
            ("classes: [{name: a, resources: [7]}]", "device class a: resources must be texts"),
            ("classes: [{name: a, memory: {unified: 7}}]", "device class a: memory.unified"),
            (
                "classes: [{name: a, partitions: {name: b, resource: x/y}}]",
                r"device class a: partitions.resource needs",
            ),
        ],
    )
    def test_a_bad_one_is_refused(self, text: str, message: str) -> None:
        with pytest.raises(InvalidDeviceTable, match=message):
            parse_device_table(text)

    def test_cpu_is_added_where_it_is_missing(self) -> None:
        assert set(parse_device_table("classes: [{name: tpu, resources: [google.com/tpu]}]").classes) == {"tpu", "cpu"}

    def test_two_readings_of_one_table_are_equal(self) -> None:
        text = "classes: [{name: tpu, resources: [google.com/tpu], partitions: {name: part, resource: google.com/p-*}}]"
        assert parse_device_table(text) == parse_device_table(text)
        assert parse_device_table(text) != default_device_table()

    def test_the_class_of_a_partition_is_known_without_any_node(self) -> None:
        classes = default_device_table().classes
        assert classes["mig-1g-5gb"].backends == classes["nvidia-gpu"].backends
        assert "mig-1g-5gb" in classes
        assert "mig" not in classes
        assert "migraine" not in classes
        assert "mig-1g-5gb" not in list(classes)

    def test_a_class_of_one_s_own(self) -> None:
        table = parse_device_table(
            """
            classes:
            - name: tpu
              resources: [google.com/tpu]
              product: [cloud.google.com/gke-tpu-accelerator, tpu]
              memory: {label: example.com/tpu-memory, unit: Gi}
              backends: python
            """
        )
        labels = {"tpu": "v5e", "example.com/tpu-memory": "16"}
        assert table.devices(node(extended={"google.com/tpu": 4}, labels=labels, cpu=0.0)) == (
            Device(device_class="tpu", count=4, resource="google.com/tpu", product="v5e", memory=16 * 2**30),
        )
        assert table.classes["tpu"].backends == {"python"}
