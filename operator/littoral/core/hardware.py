"""What nodes can do: device classes from a table that is data, devices from labels and allocatable resources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Final

import yaml

from littoral.api.quantity import parse_quantity

CPU: Final = "cpu"
"""The class that every node has."""


class InvalidDeviceTable(ValueError):
    """The table of device classes cannot be read; the message names the class and the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceClass:
    """One row of the table: how nodes announce such devices, and what drives them."""

    name: str
    resources: tuple[str, ...] = ()
    product_label: str | None = None
    memory_label: str | None = None
    memory_unit: str = ""
    backends: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """The devices of one class on one node.

    Attributes:
        count: how many a server could be given (the extended resource's allocatable; whole cores for `cpu`).
        memory: bytes of one device; None where no label tells.
        resource: the extended resource to request; None for `cpu`.
    """

    device_class: str
    count: int
    resource: str | None = None
    product: str | None = None
    memory: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What Littoral reads of a Node.

    Attributes:
        cpu: allocatable cores.
        memory: allocatable bytes.
        extended: allocatable extended resources, in whole devices.
    """

    name: str
    ready: bool
    schedulable: bool
    cpu: float
    memory: float
    labels: Mapping[str, str] = field(default_factory=dict)
    extended: Mapping[str, int] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        """Whether new servers can start here."""
        return self.ready and self.schedulable

    @classmethod
    def from_object(cls, body: Mapping[str, Any]) -> Node:
        """Read a `v1` Node. A resource that cannot be read counts as absent: a node never breaks the snapshot."""
        status = body.get("status") or {}
        allocatable = {name: _number(value) for name, value in (status.get("allocatable") or {}).items()}
        conditions = status.get("conditions") or []
        return cls(
            name=body["metadata"]["name"],
            ready=any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions),
            schedulable=not (body.get("spec") or {}).get("unschedulable", False),
            cpu=allocatable.get("cpu", 0.0),
            memory=allocatable.get("memory", 0.0),
            labels=dict(body["metadata"].get("labels") or {}),
            # Only extended resources have a domain in their name; `hugepages-2Mi` and the like have none.
            extended={name: int(value) for name, value in allocatable.items() if "/" in name},
        )


def _number(value: object) -> float:
    try:
        return float(parse_quantity(str(value)))
    except ValueError:
        return 0.0


@dataclass(frozen=True, slots=True)
class DeviceTable:
    """All known device classes, in the table's order."""

    classes: Mapping[str, DeviceClass]

    def devices(self, node: Node) -> tuple[Device, ...]:
        """What one node offers, in the table's order; classes of which it has none are left out."""
        found = (self._device(node, device_class) for device_class in self.classes.values())
        return tuple(device for device in found if device is not None)

    def _device(self, node: Node, device_class: DeviceClass) -> Device | None:
        if device_class.name == CPU:
            return Device(device_class=CPU, count=int(node.cpu)) if node.cpu >= 1 else None
        resource = next((name for name in device_class.resources if node.extended.get(name, 0) > 0), None)
        if resource is None:
            return None
        return Device(
            device_class=device_class.name,
            count=node.extended[resource],
            resource=resource,
            product=node.labels.get(device_class.product_label or ""),
            memory=self._memory(node, device_class),
        )

    @staticmethod
    def _memory(node: Node, device_class: DeviceClass) -> int | None:
        label = node.labels.get(device_class.memory_label or "")
        if label is None:
            return None
        try:
            return int(parse_quantity(label + device_class.memory_unit))
        except ValueError:
            return None


def parse_device_table(text: str) -> DeviceTable:
    """Read a table in the form of `hardware.yaml`.

    Raises:
        InvalidDeviceTable: it is not YAML, or a class lacks its name, or two share one.
    """
    try:
        document = yaml.safe_load(text)
        rows = document["classes"]
        classes = [_device_class(row) for row in rows]
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise InvalidDeviceTable(f"the table of device classes cannot be read: {error!r}") from error
    by_name = {device_class.name: device_class for device_class in classes}
    if len(by_name) < len(classes):
        names = [device_class.name for device_class in classes]
        raise InvalidDeviceTable(f"device classes need different names: {', '.join(sorted(names))}")
    if CPU not in by_name:
        by_name[CPU] = DeviceClass(name=CPU)
    return DeviceTable(by_name)


def _device_class(row: Mapping[str, Any]) -> DeviceClass:
    memory = row.get("memory") or {}
    return DeviceClass(
        name=row["name"],
        resources=tuple(row.get("resources") or ()),
        product_label=row.get("product"),
        memory_label=memory.get("label"),
        memory_unit=memory.get("unit", ""),
        backends=frozenset(row.get("backends") or ()),
    )


@cache
def default_device_table() -> DeviceTable:
    """The table that ships with Littoral."""
    return parse_device_table((files("littoral.core") / "hardware.yaml").read_text())
