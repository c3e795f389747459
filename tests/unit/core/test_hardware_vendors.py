"""What the vendors' device plugins and labellers announce, in their shapes, and what is read of it.

Shapes: NVIDIA k8s-device-plugin (docs/gpu-feature-discovery, internal/lm), Intel device plugins (cmd/gpu_plugin,
cmd/npu_plugin), AMD k8s-device-plugin (cmd/k8s-node-labeller), Huawei MindCluster (node labels), NFD (features). The
values are made up.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from littoral.core.hardware import Device, default_device_table
from tests.support.objects import node

MIB, GIB = 2**20, 2**30


def devices(extended: dict[str, int], labels: dict[str, str] | None = None, **fields: Any) -> list[Device]:
    """What a node with 4 cores and 8 GiB offers, its cores left out."""
    found = default_device_table().devices(node(extended=extended, labels=labels or {}, **fields))
    return [device for device in found if device.device_class != "cpu"]


def gpu(**fields: Any) -> Device:
    """Devices of class nvidia-gpu."""
    return replace(Device(device_class="nvidia-gpu", count=1, resource="nvidia.com/gpu", product="NVIDIA-L4"), **fields)


def discovered(**labels: str) -> dict[str, str]:
    """The labels of gpu-feature-discovery for one GPU, some of them different; `_` stands for `.`."""
    common = {"product": "NVIDIA-L4", "memory": "23034", "count": "1", "replicas": "1", "sharing-strategy": "none"}
    own = {name.replace("_", "."): value for name, value in labels.items()}
    return {f"nvidia.com/gpu.{name}": value for name, value in (common | own).items() if value}


class TestNvidia:
    def test_whole_gpus(self) -> None:
        assert devices({"nvidia.com/gpu": 2}, discovered(count="2")) == [gpu(count=2, memory=23034 * MIB)]

    def test_a_device_plugin_without_feature_discovery_tells_no_memory(self) -> None:
        assert devices({"nvidia.com/gpu": 2}) == [gpu(count=2, product=None)]

    @pytest.mark.parametrize("strategy", ["time-slicing", "mps"])
    def test_a_share_has_its_share_of_the_memory(self, strategy: str) -> None:
        labels = discovered(product="NVIDIA-L4-SHARED", replicas="4", **{"sharing-strategy": strategy})
        expected = gpu(count=4, product="NVIDIA-L4-SHARED", memory=23034 * MIB // 4)
        assert devices({"nvidia.com/gpu": 4}, labels) == [expected]

    def test_shares_under_a_name_of_their_own(self) -> None:
        """`renameByDefault`: the resource says so, the product does not."""
        labels = discovered(replicas="4")
        expected = gpu(count=4, resource="nvidia.com/gpu.shared", memory=23034 * MIB // 4)
        assert devices({"nvidia.com/gpu": 0, "nvidia.com/gpu.shared": 4}, labels) == [expected]

    @pytest.mark.parametrize("replicas", ["", "0", "1", "-2", "many"])
    def test_shares_of_nobody_knows_how_many_are_taken_for_shares_of_one(self, replicas: str) -> None:
        labels = discovered(product="NVIDIA-L4-SHARED", replicas=replicas)
        assert devices({"nvidia.com/gpu": 8}, labels)[0].memory == 23034 * MIB // 8

    def test_a_gpu_that_is_not_shared_is_whole(self) -> None:
        """Feature discovery says 0 where sharing cannot be, beside MIG's strategies."""
        assert devices({"nvidia.com/gpu": 1}, discovered(replicas="0")) == [gpu(memory=23034 * MIB)]

    def test_an_absurd_number_of_shares_leaves_no_room_and_no_error(self) -> None:
        assert devices({"nvidia.com/gpu": 2}, discovered(memory="1", replicas="60000"))[0].memory == MIB // 60000

    def test_mig_with_strategy_single(self) -> None:
        """Partitions are announced as GPUs: the labels are about one of them."""
        labels = discovered(product="NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", memory="4864", count="7", slices_gi="1")
        expected = gpu(count=7, product="NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", memory=4864 * MIB)
        assert devices({"nvidia.com/gpu": 7}, labels | {"nvidia.com/mig.strategy": "single"}) == [expected]

    def test_mig_with_strategy_mixed_is_a_class_for_each_size(self) -> None:
        labels = discovered(product="NVIDIA-A100-SXM4-40GB", memory="40960", replicas="0")
        for size, memory in (("1g.5gb", "4864"), ("3g.20gb", "19968"), ("1g.5gb.me", "4864")):
            labels |= {
                f"nvidia.com/mig-{size}.product": f"NVIDIA-A100-SXM4-40GB-MIG-{size}",
                f"nvidia.com/mig-{size}.memory": memory,
                f"nvidia.com/mig-{size}.count": "2",
                f"nvidia.com/mig-{size}.replicas": "1",
            }
        extended = {"nvidia.com/gpu": 1, "nvidia.com/mig-1g.5gb": 2, "nvidia.com/mig-1g.5gb.me": 1}
        mig = Device(
            device_class="mig-1g-5gb",
            count=2,
            resource="nvidia.com/mig-1g.5gb",
            product="NVIDIA-A100-SXM4-40GB-MIG-1g.5gb",
            memory=4864 * MIB,
        )
        assert devices(extended | {"nvidia.com/mig-3g.20gb": 1, "nvidia.com/mig-7g.40gb": 0}, labels) == [
            gpu(product="NVIDIA-A100-SXM4-40GB", memory=40960 * MIB),
            mig,
            replace(
                mig,
                device_class="mig-1g-5gb-me",
                count=1,
                resource="nvidia.com/mig-1g.5gb.me",
                product="NVIDIA-A100-SXM4-40GB-MIG-1g.5gb.me",
            ),
            replace(
                mig,
                device_class="mig-3g-20gb",
                count=1,
                resource="nvidia.com/mig-3g.20gb",
                product="NVIDIA-A100-SXM4-40GB-MIG-3g.20gb",
                memory=19968 * MIB,
            ),
        ]

    def test_a_node_may_have_partitions_alone(self) -> None:
        assert [it.device_class for it in devices({"nvidia.com/gpu": 0, "nvidia.com/mig-7g.141gb": 1})] == [
            "mig-7g-141gb"
        ]

    def test_shares_of_a_partition(self) -> None:
        labels = {"nvidia.com/mig-1g.5gb.memory": "4864", "nvidia.com/mig-1g.5gb.replicas": "2"}
        for resource in ("nvidia.com/mig-1g.5gb", "nvidia.com/mig-1g.5gb.shared"):
            (found,) = devices({resource: 14}, labels)
            assert found == Device(device_class="mig-1g-5gb", count=14, resource=resource, memory=2432 * MIB)

    def test_a_partition_whose_name_is_no_name_of_a_class_is_passed_over(self) -> None:
        assert devices({"nvidia.com/mig-UPPER_case": 1, f"nvidia.com/mig-{'9' * 20}": 1, "nvidia.com/mig-": 1}) == []

    def test_jetson_shares_the_memory_of_the_node(self) -> None:
        labels = discovered(product="Orin", memory="") | {"nvidia.com/gpu.machine": "NVIDIA-Jetson-AGX-Orin"}
        memory = float(7_400_000 * 1024)
        expected = gpu(product="Orin", memory=7 * GIB, unified=True)
        assert devices({"nvidia.com/gpu": 1}, labels, memory=memory) == [expected]

    def test_shares_of_a_jetson_share_it_too(self) -> None:
        labels = discovered(product="Orin-SHARED", memory="", replicas="4")
        assert devices({"nvidia.com/gpu": 4}, labels)[0].memory == 2 * GIB


class TestIntel:
    @pytest.mark.parametrize("driver", ["i915", "xe"])
    def test_the_memory_label_adds_up_all_gpus_of_the_node(self, driver: str) -> None:
        labels = {
            "gpu.intel.com/device-id.0380-56c0.present": "true",
            "gpu.intel.com/device-id.0380-56c0.count": "2",
            "gpu.intel.com/family": "Flex_Series",
            "gpu.intel.com/product": "Flex_170",
            "gpu.intel.com/memory.max": str(2 * 16 * GIB),
            "gpu.intel.com/gpu-numbers": "0.1",
        }
        extended = {f"gpu.intel.com/{driver}": 2, f"gpu.intel.com/{driver}_monitoring": 1, "gpu.intel.com/tiles": 2}
        assert devices(extended, labels) == [
            Device(
                device_class="intel-gpu",
                count=2,
                resource=f"gpu.intel.com/{driver}",
                product="Flex_170",
                memory=16 * GIB,
            )
        ]

    def test_containers_that_share_a_gpu_share_its_memory(self) -> None:
        """`-shared-dev-num 4` announces each GPU four times."""
        labels = {"gpu.intel.com/memory.max": str(16 * GIB)}
        assert devices({"gpu.intel.com/i915": 4}, labels)[0].memory == 4 * GIB

    def test_an_integrated_gpu_tells_no_product_and_no_memory(self) -> None:
        labels = {"gpu.intel.com/device-id.0300-9a49.present": "true", "intel.feature.node.kubernetes.io/gpu": "true"}
        assert devices({"gpu.intel.com/i915": 1}, labels) == [
            Device(device_class="intel-gpu", count=1, resource="gpu.intel.com/i915")
        ]

    def test_the_npu_has_the_memory_of_the_node(self) -> None:
        labels = {"intel.feature.node.kubernetes.io/npu": "true"}
        expected = Device(
            device_class="intel-npu", count=1, resource="npu.intel.com/accel", memory=8 * GIB, unified=True
        )
        assert devices({"npu.intel.com/accel": 1}, labels) == [expected]
        assert devices({"npu.intel.com/accel": 10}, labels) == [replace(expected, count=10, memory=3 * GIB // 4)]

    def test_equal_machines_say_the_same(self) -> None:
        """Allocatable memory differs by what firmware and kernel took; a status lists each size apart."""
        sizes = {
            devices({"npu.intel.com/accel": 1}, memory=7.75 * GIB + spare * MIB)[0].memory
            for spare in range(0, 200, 17)
        }
        assert sizes == {7.75 * GIB}


class TestAmd:
    def test_one_product(self) -> None:
        labels = {
            "amd.com/gpu.vram": "64G",
            "amd.com/gpu.product-name": "AMD_Instinct_MI210",
            "amd.com/gpu.cu-count": "104",
            "beta.amd.com/gpu.vram.64G": "2",
            "beta.amd.com/gpu.vram": "64G",
        }
        assert devices({"amd.com/gpu": 2}, labels) == [
            Device(
                device_class="amd-gpu",
                count=2,
                resource="amd.com/gpu",
                product="AMD_Instinct_MI210",
                memory=64 * 10**9,
            )
        ]

    def test_several_products_count_with_the_smallest_memory(self) -> None:
        labels = {
            "amd.com/gpu.vram.16G": "1",
            "amd.com/gpu.vram.8G": "2",
            "amd.com/gpu.product-name.Radeon_RX_7600": "2",
            "amd.com/gpu.product-name.Radeon_PRO_W7600": "1",
        }
        (found,) = devices({"amd.com/gpu": 3}, labels)
        assert (found.memory, found.product) == (8 * 10**9, "Radeon_PRO_W7600, Radeon_RX_7600")

    def test_an_old_labeller(self) -> None:
        labels = {"beta.amd.com/gpu.vram.16G": "1", "beta.amd.com/gpu.family.AI": "1"}
        assert devices({"amd.com/gpu": 1}, labels)[0].memory == 16 * 10**9

    def test_if_one_size_cannot_be_read_none_is_known(self) -> None:
        labels = {"amd.com/gpu.vram.16G": "1", "amd.com/gpu.vram.huge": "1"}
        assert devices({"amd.com/gpu": 2}, labels)[0].memory is None


class TestOthers:
    @pytest.mark.parametrize(
        ("labels", "product"),
        [
            (
                {
                    "accelerator": "huawei-Ascend310P",
                    "node.kubernetes.io/npu.chip.name": "310P3",
                    "servertype": "Ascend310P-8",
                },
                "310P3",
            ),
            ({"accelerator": "huawei-Ascend310P", "host-arch": "huawei-arm"}, "huawei-Ascend310P"),
            ({}, None),
        ],
    )
    def test_ascend(self, labels: dict[str, str], product: str | None) -> None:
        extended = {"huawei.com/Ascend310P": 2, "huawei.com/Ascend310P-2c": 4}
        assert devices(extended, labels) == [
            Device(device_class="ascend", count=2, resource="huawei.com/Ascend310P", product=product)
        ]

    def test_hailo(self) -> None:
        assert devices({"hailo.ai/h8": 1}, {"hailo.ai/device": "present"}) == [
            Device(device_class="hailo", count=1, resource="hailo.ai/h8")
        ]

    def test_peers_on_one_node(self) -> None:
        extended = {"npu.intel.com/accel": 1, "gpu.intel.com/xe": 1, "nvidia.com/gpu": 1}
        assert [it.device_class for it in devices(extended)] == ["nvidia-gpu", "intel-gpu", "intel-npu"]


class TestCpuFeatures:
    PREFIX = "feature.node.kubernetes.io/cpu-cpuid."

    @pytest.mark.parametrize(
        ("flags", "product"),
        [
            (["AVX2", "AVX512F", "AVX512VNNI", "AMXTILE", "AMXINT8", "AMXBF16"], "AVX512VNNI+AMXINT8+AMXBF16"),
            (["AVX2", "AVXVNNI"], "AVXVNNI"),
            (["ASIMD", "ASIMDDP"], "ASIMDDP"),
            (["AVX2"], None),
        ],
    )
    def test_those_that_make_int8_and_bf16_fast_are_the_product(self, flags: list[str], product: str | None) -> None:
        labels = {self.PREFIX + flag: "true" for flag in flags}
        (cpu,) = default_device_table().devices(node(labels=labels))
        assert cpu == Device(device_class="cpu", count=4, product=product)

    def test_a_flag_that_is_not_true_is_not_there(self) -> None:
        (cpu,) = default_device_table().devices(node(labels={f"{self.PREFIX}AMXINT8": "false"}))
        assert cpu.product is None
