"""What a pool has follows its Nodes: labels, devices, cordons, readiness and taints, as they come and go."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from littoral.core.hardware import Node, Taint, default_device_table
from littoral.core.world import World
from littoral.hub.statuses import pool_status
from littoral.render.server import render_server
from littoral.render.settings import ServerSettings
from tests.support.objects import assignment, pool, server

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GPU, NPU = "nvidia.com/gpu", "npu.intel.com/accel"
READY = {"type": "Ready", "status": "True"}
TWO_GPUS = {"allocatable": {"cpu": "4", "memory": "8Gi", GPU: "2"}, "conditions": [READY]}
L4 = {"nvidia.com/gpu.product": "NVIDIA-L4", "nvidia.com/gpu.memory": "23034"}


def taint(key: str, effect: str = "NoSchedule", value: str | None = None) -> dict[str, str]:
    """A taint as a Node has it."""
    return {"key": key, "effect": effect} | ({} if value is None else {"value": value})


def read(
    *taints: Mapping[str, Any],
    allocatable: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    ready: str = "True",
    **spec: Any,
) -> Node:
    """A node of pool edge, with two GPUs unless said otherwise."""
    return Node.from_object(
        {
            "metadata": {
                "name": "edge-1",
                "labels": {"littoral.dev/pool": "edge"} | dict(L4 if labels is None else labels),
            },
            "spec": {"taints": list(taints), **spec},
            "status": {
                "allocatable": {"cpu": "4", "memory": "8Gi"} | dict({GPU: "2"} if allocatable is None else allocatable),
                "conditions": [{"type": "Ready", "status": ready}],
            },
        }
    )


def classes(node: Node) -> list[str]:
    """The classes that it offers."""
    return [device.device_class for device in default_device_table().devices(node)]


def status(node: Node) -> tuple[int, str | None]:
    """Ready nodes and devices of a pool that has this node alone."""
    edge = pool()
    found = pool_status(edge, world=World(pools=(edge,), nodes=(node,)), now=NOW)
    return found.ready_nodes, found.devices


class TestChanges:
    @pytest.mark.parametrize(
        ("node", "expected"),
        [
            pytest.param(read(), (1, "4 cpu, 2 nvidia-gpu"), id="as it was"),
            pytest.param(read(allocatable={GPU: "1"}), (1, "4 cpu, 1 nvidia-gpu"), id="one is unhealthy"),
            pytest.param(read(allocatable={GPU: "0"}), (1, "4 cpu"), id="all are unhealthy"),
            pytest.param(read(allocatable={}), (1, "4 cpu"), id="the device plugin is gone"),
            pytest.param(
                read(allocatable={GPU: "2", NPU: "1"}), (1, "4 cpu, 1 intel-npu, 2 nvidia-gpu"), id="another came"
            ),
            pytest.param(read(unschedulable=True), (0, "4 cpu, 2 nvidia-gpu"), id="cordoned: what runs there stays"),
            pytest.param(
                read(ready="Unknown"), (0, "4 cpu, 2 nvidia-gpu"), id="its link is cut: what runs there stays"
            ),
            pytest.param(read(taint("maintenance")), (0, "4 cpu, 2 nvidia-gpu"), id="tainted: what runs there stays"),
            pytest.param(read(taint("maintenance", "NoExecute")), (0, None), id="what ran there is driven away"),
            pytest.param(read(taint(GPU)), (1, "2 nvidia-gpu"), id="dedicated to its GPUs"),
        ],
    )
    def test_of_a_node_are_changes_of_its_pool(self, node: Node, expected: tuple[int, str | None]) -> None:
        assert status(node) == expected

    def test_of_labels_are_changes_of_its_devices(self) -> None:
        before, after, without = (
            default_device_table().devices(read(labels=labels))[0]
            for labels in (L4, L4 | {"nvidia.com/gpu.memory": "11517"}, {})
        )
        assert (before.memory, after.memory, without.memory) == (23034 * 2**20, 11517 * 2**20, None)
        assert (before.product, without.product) == ("NVIDIA-L4", None)

    def test_of_the_pool_s_label_take_the_node_out(self) -> None:
        edge = pool()
        gone = read(labels={"littoral.dev/pool": "other"})
        assert World(pools=(edge,), nodes=(gone,)).nodes_by_pool["edge"] == ()


class TestTaints:
    @pytest.mark.parametrize(
        "taints",
        [
            [],
            [taint("busy", "PreferNoSchedule")],
            # What an edge node without a link gets; every server tolerates these, and NotReady says the rest.
            [taint("node.kubernetes.io/unreachable", "NoExecute"), taint("node.kubernetes.io/not-ready", "NoExecute")],
        ],
    )
    def test_that_keep_no_server_off(self, taints: list[dict[str, str]]) -> None:
        node = read(*taints)
        assert (node.usable, node.taints, classes(node)) == (True, (), ["nvidia-gpu", "cpu"])

    @pytest.mark.parametrize(
        "taints",
        [
            [taint("node-role.kubernetes.io/control-plane")],
            [taint("node.kubernetes.io/memory-pressure")],
            [taint("node.kubernetes.io/not-ready")],
            [taint("node.kubernetes.io/unschedulable")],
            [taint(NPU)],
            [taint(GPU, value="present"), taint("team", value="vision")],
        ],
    )
    def test_that_no_server_tolerates_act_as_a_cordon(self, taints: list[dict[str, str]]) -> None:
        node = read(*taints)
        assert not node.usable
        assert "nvidia-gpu" in classes(node)

    def test_that_drive_every_server_away(self) -> None:
        node = read(taint("CriticalAddonsOnly", "NoExecute", value="true"))
        assert (node.usable, classes(node)) == (False, [])

    @pytest.mark.parametrize("effect", ["NoSchedule", "NoExecute"])
    @pytest.mark.parametrize("value", [None, "present"])
    def test_named_after_a_resource_dedicate_the_node_to_it(self, effect: str, value: str | None) -> None:
        node = read(taint(GPU, effect, value), allocatable={GPU: "2", NPU: "1"})
        assert (node.usable, classes(node)) == (True, ["nvidia-gpu"])

    def test_named_after_two_resources_leave_room_for_none(self) -> None:
        node = read(taint(GPU), taint(NPU), allocatable={GPU: "2", NPU: "1"})
        assert (node.usable, classes(node)) == (False, [])

    def test_named_after_a_resource_that_is_gone_keep_all_off(self) -> None:
        assert not read(taint(GPU), allocatable={GPU: "0"}).usable

    def test_that_are_no_taints_are_passed_over(self) -> None:
        node = read()
        odds: list[Any] = [7, "x", [7], [{}], [{"key": None, "effect": []}], [{"effect": "NoSuchEffect", "key": "a"}]]
        for odd in odds:
            body = {"metadata": {"name": "edge-1"}, "spec": {"taints": odd}, "status": TWO_GPUS}
            assert Node.from_object(body).taints == node.taints == ()

    def test_in_any_order_are_the_same(self) -> None:
        assert read(taint("a"), taint("b")) == read(taint("b"), taint("a"))
        assert read(taint("b"), taint("a")).taints == (Taint("a", "NoSchedule"), Taint("b", "NoSchedule"))

    @pytest.mark.parametrize("resource", [None, GPU])
    @pytest.mark.parametrize("effect", ["NoSchedule", "NoExecute", "PreferNoSchedule"])
    @pytest.mark.parametrize(
        "key",
        [
            GPU,
            NPU,
            "node.kubernetes.io/unreachable",
            "node.kubernetes.io/not-ready",
            "node.kubernetes.io/disk-pressure",
            "node-role.kubernetes.io/control-plane",
        ],
    )
    def test_are_judged_as_the_scheduler_judges_our_servers(self, key: str, effect: str, resource: str | None) -> None:
        """Against the tolerations that `render` really gives them."""
        node = read(taint(key, effect), allocatable={GPU: "2", NPU: "1"})
        offers = resource in {device.resource for device in default_device_table().devices(node)}
        assert (node.usable and offers) is (effect == "PreferNoSchedule" or tolerates(key, effect, resource))


def tolerates(key: str, effect: str, resource: str | None) -> bool:
    """Whether a rendered server tolerates the taint, by the rules of Kubernetes for operator Exists."""
    fields = {} if resource is None else {"accelerator": "nvidia-gpu", "extendedResource": resource}
    spec = assignment(servers=[server("a", **fields)]).spec
    owner = {"apiVersion": "littoral.dev/v1alpha1", "kind": "Assignment", "name": "edge", "uid": "u"}
    settings = ServerSettings(triton_image="t", agent_image="a")
    _, deployment = render_server(spec.servers[0], pool="edge", spec=spec, settings=settings, owner=owner)
    tolerations = deployment["spec"]["template"]["spec"]["tolerations"]
    assert all(toleration["operator"] == "Exists" for toleration in tolerations)
    return any(toleration["key"] == key and toleration.get("effect", effect) == effect for toleration in tolerations)
