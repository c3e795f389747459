"""Devices that a node announces although the machine lacks them: extended resources with the vendors' labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from lab.api import Client

# The kubelet takes a node that it meets again without this file for a new machine and sets what it did not register
# itself to zero. The sum is the one of a file that lists no device.
CHECKPOINT_NAME = "lib/kubelet/device-plugins/kubelet_internal_checkpoint"
CHECKPOINT = '{"Data":{"PodDeviceEntries":null,"RegisteredDevices":{}},"Checksum":3467439661}'


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device class: the extended resource that counts it, and the labels of a node that has it."""

    resource: str
    labels: Mapping[str, str]


def device_classes() -> dict[str, Device]:
    """The table ``devices.yaml``: class -> device."""
    data = yaml.safe_load(Path(__file__).with_name("devices.yaml").read_text())
    return {name: Device(resource=item["resource"], labels=item["labels"]) for name, item in data.items()}


def labels(devices: Mapping[str, int]) -> dict[str, str]:
    """The labels of a node with these devices (class -> count)."""
    table = device_classes()
    return {
        key: value.format(count=count) for name, count in devices.items() for key, value in table[name].labels.items()
    }


def resources(devices: Mapping[str, int]) -> dict[str, str]:
    """The extended resources of a node with these devices (class -> count)."""
    table = device_classes()
    return {table[name].resource: str(count) for name, count in devices.items()}


def announce(client: Client, *, node: str, devices: Mapping[str, int]) -> None:
    """Write the labels, and the resources as capacity and allocatable, to a registered node; the kubelet keeps them."""
    client.patch(f"/api/v1/nodes/{node}", {"metadata": {"labels": labels(devices)}})
    counts = resources(devices)
    client.patch(f"/api/v1/nodes/{node}/status", {"status": {"capacity": counts, "allocatable": counts}})
