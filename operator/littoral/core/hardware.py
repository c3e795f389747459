"""What nodes can do: device classes from a table that is data, devices from labels and allocatable resources."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

import yaml

from littoral.api.meta import DEVICE_CLASS_LIMIT, DNS_LABEL_PATTERN
from littoral.api.quantity import parse_quantity

CPU: Final = "cpu"
"""The class that every node has."""

# No machine has more: such a number is a mistake, and counts as none. The sum over a large cluster still fits the
# int32 of a status.
_MOST_DEVICES: Final = 2**16
_MOST_BYTES: Final = 2**60

_KEEPING_OFF: Final = ("NoSchedule", "NoExecute")
# What `render/server.py` lets every server tolerate: a node that lost its link keeps what it runs.
_TOLERATED: Final = frozenset(
    {("node.kubernetes.io/unreachable", "NoExecute"), ("node.kubernetes.io/not-ready", "NoExecute")}
)

# What of a node's memory its devices are said to have: rounded down, so that equal machines say the same.
_UNIFIED_STEP: Final = 2**28

_SHARED_RESOURCE: Final = ".shared"
_SHARED_PRODUCT: Final = "-SHARED"


class InvalidDeviceTable(ValueError):
    """The table of device classes cannot be read; the message names the class and the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRule:
    """How the memory of one device is known.

    Attributes:
        labels: node labels that hold it; the first one that is there counts.
        unit: suffix of the label's number, such as `Mi`; empty for bytes.
        whole_node: whether the label adds up all devices of the node.
        unified: whether the devices have no memory but the node's: always, or, where this is the key of a label, when
            that label is there and none of `labels` is.
    """

    labels: tuple[str, ...] = ()
    unit: str = ""
    whole_node: bool = False
    unified: bool | str = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceClass:
    """One row of the table: how nodes announce such devices, and what drives them.

    Attributes:
        resources: extended resources; a node's devices are those of the first one that it offers.
        products: node labels that name the product; the first one that is there counts.
        features: node labels that say `true` where the device has a feature: their last parts stand for the product.
        shares: node label with the number of containers that share one device.
        partitions: the row of what one device can be divided into, with `*` in its labels and its only resource for
            the partition's size; None where it cannot be divided.
    """

    name: str
    resources: tuple[str, ...] = ()
    products: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    memory: MemoryRule = MemoryRule()
    shares: str = ""
    backends: frozenset[str] = frozenset()
    partitions: DeviceClass | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """The devices of one class on one node.

    Attributes:
        count: how many a server could be given (the extended resource's allocatable; whole cores for `cpu`).
        memory: bytes of one device, or of one share of it; the least where they differ; None where no label tells.
        unified: whether `memory` is the node's own, so that what a device takes the node has no more.
        resource: the extended resource to request; None for `cpu`.
        product: as labels name it; for `cpu` the features that matter to inference, such as `AVX512VNNI+AMXINT8`.
    """

    device_class: str
    count: int
    resource: str | None = None
    product: str | None = None
    memory: int | None = None
    unified: bool = False


class Taint(NamedTuple):
    """A taint that keeps Pods off a node, or drives them away. Its value is nobody's matter: no server names one."""

    key: str
    effect: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What Littoral reads of a Node.

    Attributes:
        cpu: allocatable cores.
        memory: allocatable bytes.
        extended: allocatable extended resources, in whole devices.
        taints: those of effect `NoSchedule` or `NoExecute` that not every server tolerates.
        member: the member cluster that has it; None for the hub's own.
    """

    name: str
    ready: bool
    schedulable: bool
    cpu: float
    memory: float
    labels: Mapping[str, str] = field(default_factory=dict)
    extended: Mapping[str, int] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    member: str | None = None

    @property
    def usable(self) -> bool:
        """Whether new servers of any class can start here."""
        return self.ready and self.schedulable and (not self.taints or self._dedicated is not None)

    def keeps(self, resource: str | None) -> bool:
        """Whether taints leave room for servers that request the extended resource (None: for those of `cpu`).

        A server tolerates taints named after its resource, and no others: a node that is tainted for one device is no
        node for the rest. A foreign `NoExecute` drives away what runs; a foreign `NoSchedule` leaves it alone, as a
        cordon does (then the node is not `usable`, but has its devices).
        """
        return not any(
            taint.key != resource and (taint.effect == "NoExecute" or self.extended.get(taint.key, 0) > 0)
            for taint in self.taints
        )

    @property
    def _dedicated(self) -> str | None:
        """The one resource after which all taints are named, if the node offers it."""
        keys = {taint.key for taint in self.taints}
        return next((key for key in keys if len(keys) == 1 and self.extended.get(key, 0) > 0), None)

    @classmethod
    def from_object(cls, body: Mapping[str, Any]) -> Node:
        """Read a `v1` Node. A resource that cannot be read counts as absent: a node never breaks the snapshot."""
        status, spec = body.get("status") or {}, body.get("spec") or {}
        allocatable = status.get("allocatable") or {}
        conditions = status.get("conditions") or ()
        return cls(
            name=body["metadata"]["name"],
            ready=any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions),
            schedulable=not spec.get("unschedulable", False),
            cpu=_number(str(allocatable.get("cpu", "")), _MOST_DEVICES),
            memory=_number(str(allocatable.get("memory", "")), _MOST_BYTES),
            labels=_labels(body["metadata"].get("labels")),
            # Only extended resources have a domain in their name; `hugepages-2Mi` and the like have none.
            extended={
                name: int(_number(str(value), _MOST_DEVICES)) for name, value in allocatable.items() if "/" in name
            },
            taints=tuple(sorted(_taints(spec["taints"]))) if spec.get("taints") else (),
        )


# The same few texts come from thousands of nodes.
@lru_cache(maxsize=2**14)
def _number(text: str, most: int) -> float:
    """A quantity between 0 and `most`; 0 for anything else."""
    try:
        number = parse_quantity(text)
    except ValueError:
        return 0.0
    return float(number) if 0 <= number <= most else 0.0


def _labels(found: Any) -> dict[str, str]:
    """The API server has texts only, but a manifest that a person wrote may say `true` or `16384`."""
    labels = dict(found or {})
    if not {str}.issuperset(map(type, labels.values())):
        return {
            str(key): str(value).lower() if isinstance(value, bool) else str(value) for key, value in labels.items()
        }
    return labels


def _taints(found: Any) -> Iterator[Taint]:
    for taint in found if isinstance(found, list) else ():
        if not isinstance(taint, Mapping):
            continue
        key, effect = str(taint.get("key", "")), taint.get("effect")
        if effect in _KEEPING_OFF and (key, effect) not in _TOLERATED:
            yield Taint(key, effect)


class _Classes(Mapping[str, DeviceClass]):
    """The rows of a table by their names. The class of a partition is found, too, but which there are nodes know."""

    def __init__(self, rows: Iterable[DeviceClass]) -> None:
        self.rows: Final = tuple(rows)
        self._rows = {row.name: row for row in self.rows}
        self._sizes: dict[tuple[str, str], DeviceClass | None] = {}

    def __getitem__(self, name: str) -> DeviceClass:
        row = self._rows.get(name)
        if row is not None:
            return row
        for parent in self._rows.values():
            if parent.partitions is not None and name.startswith(f"{parent.partitions.name}-"):
                return replace(parent.partitions, name=name, backends=parent.backends)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def partition(self, parent: DeviceClass, resource: str) -> DeviceClass | None:
        """The class of the partitions that an extended resource stands for, if it does."""
        key = (parent.name, resource)
        if key not in self._sizes:
            self._sizes[key] = _sized(parent, resource)
        return self._sizes[key]


def _sized(parent: DeviceClass, resource: str) -> DeviceClass | None:
    row = parent.partitions
    if row is None:
        return None
    before, _, after = row.resources[0].partition("*")
    if not (resource.startswith(before) and resource.endswith(after)):
        return None
    size = resource[len(before) : len(resource) - len(after)].removesuffix(_SHARED_RESOURCE)
    name = f"{row.name}-{size.replace('.', '-')}"
    if len(name) > DEVICE_CLASS_LIMIT or re.fullmatch(DNS_LABEL_PATTERN, name) is None:
        return None
    return replace(
        row,
        name=name,
        resources=(resource,),
        products=tuple(label.replace("*", size) for label in row.products),
        memory=replace(row.memory, labels=tuple(label.replace("*", size) for label in row.memory.labels)),
        shares=row.shares.replace("*", size),
        backends=parent.backends,
    )


@dataclass(frozen=True, slots=True)
class DeviceTable:
    """All known device classes, in the table's order."""

    classes: _Classes

    def devices(self, node: Node) -> tuple[Device, ...]:
        """What one node offers, in the table's order; classes of which it has none are left out."""
        offered = self._offered(node)
        return tuple(device for device in offered if node.keeps(device.resource)) if node.taints else tuple(offered)

    def _offered(self, node: Node) -> Iterator[Device]:
        extended = node.extended
        for row in self.classes.rows:
            if row.name == CPU:
                if node.cpu >= 1:
                    yield Device(device_class=CPU, count=int(node.cpu), product=_product(node, row))
            elif extended:
                resource = next((name for name in row.resources if extended.get(name, 0) > 0), None)
                if resource is not None:
                    yield _device(node, row, resource=resource)
                if row.partitions is not None:
                    yield from self._partitions(node, row)

    def _partitions(self, node: Node, parent: DeviceClass) -> Iterator[Device]:
        """A class for each size: sizes differ in memory, speed and price as products do."""
        seen: set[str] = set()
        for resource in sorted(node.extended):
            row = self.classes.partition(parent, resource)
            if row is not None and row.name not in seen and node.extended[resource] > 0:
                seen.add(row.name)
                yield _device(node, row, resource=resource)


def _device(node: Node, row: DeviceClass, *, resource: str) -> Device:
    count = node.extended[resource]
    product = _product(node, row)
    memory, unified = _memory(node, row.memory)
    if memory is not None:
        shares = count if unified or row.memory.whole_node else _shares(node, row, resource, product)
        memory = max(1, memory // shares)
        if unified and memory > _UNIFIED_STEP:
            memory -= memory % _UNIFIED_STEP
    return Device(
        device_class=row.name, count=count, resource=resource, product=product, memory=memory, unified=unified
    )


def _values(node: Node, keys: tuple[str, ...]) -> list[str]:
    """What the first label says that is there. Where the devices of a node differ, AMD's labeller moves the value into
    the key (`amd.com/gpu.vram.16G: "2"`): then there are several."""
    for key in keys:
        if key in node.labels:
            return [node.labels[key]]
    for key in keys:
        prefix = f"{key}."
        if several := [label.removeprefix(prefix) for label in node.labels if label.startswith(prefix)]:
            return sorted(several)
    return []


def _product(node: Node, row: DeviceClass) -> str | None:
    if row.products:
        return ", ".join(_values(node, row.products)) or None
    found = [label for label in row.features if node.labels.get(label) == "true"]
    return "+".join(re.split(r"[./]", label)[-1] for label in found) if found else None


def _memory(node: Node, rule: MemoryRule) -> tuple[int | None, bool]:
    """Bytes as the label tells them, of all devices or of one; and whether they are the node's own."""
    values = _values(node, rule.labels) if rule.labels else []
    if not values:
        unified = rule.unified if isinstance(rule.unified, bool) else rule.unified in node.labels
        return (int(node.memory), True) if unified and node.memory > 0 else (None, False)
    sizes = [int(_number(value + rule.unit, _MOST_BYTES)) for value in values]
    # Nobody can say which of them a server will be given. What cannot be read is not known to be larger than anything.
    return (min(sizes), False) if all(sizes) else (None, False)


def _shares(node: Node, row: DeviceClass, resource: str, product: str | None) -> int:
    """How many containers share the memory of one device: none of NVIDIA's ways to share a GPU adds memory to it."""
    if not row.shares:
        return 1
    told = int(_number(node.labels.get(row.shares, ""), _MOST_DEVICES))
    if told > 1:
        return told
    shared = resource.endswith(_SHARED_RESOURCE) or (product or "").endswith(_SHARED_PRODUCT)
    # Shared, but not among how many: in the worst case all are shares of the same device.
    return node.extended[resource] if shared else 1


def parse_device_table(text: str) -> DeviceTable:
    """Read a table in the form of `hardware.yaml`.

    Raises:
        InvalidDeviceTable: it is not YAML, or a class lacks its name or has a field of the wrong form, or two classes
            share a name.
    """
    try:
        document = yaml.safe_load(text)
        rows = document["classes"]
        classes = [_device_class(row) for row in rows]
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise InvalidDeviceTable(f"the table of device classes cannot be read: {error!r}") from error
    names = [row.name for it in classes for row in (it, it.partitions) if row is not None]
    if len(set(names)) < len(names):
        raise InvalidDeviceTable(f"device classes need different names: {', '.join(sorted(names))}")
    if CPU not in names:
        classes.append(DeviceClass(name=CPU))
    return DeviceTable(_Classes(classes))


def _device_class(row: Mapping[str, Any]) -> DeviceClass:
    name = row["name"]
    if not isinstance(name, str):
        raise InvalidDeviceTable(f"the name of a device class must be a text: {name!r}")
    memory = row.get("memory") or {}
    unified = memory.get("unified", False)
    if not isinstance(unified, bool | str):
        raise InvalidDeviceTable(f"device class {name}: memory.unified must be true, false or a label: {unified!r}")
    partitions = row.get("partitions")
    if partitions is not None and str(partitions.get("resource")).count("*") != 1:
        raise InvalidDeviceTable(f"device class {name}: partitions.resource needs one * for the partition's size")
    return DeviceClass(
        name=name,
        resources=_texts(row, "resources") or _texts(row, "resource"),
        products=_texts(row, "product"),
        features=_texts(row, "features"),
        memory=MemoryRule(
            labels=_texts(memory, "label"),
            unit=str(memory.get("unit", "")),
            whole_node=bool(memory.get("wholeNode", False)),
            unified=unified,
        ),
        shares=str(row.get("shares", "")),
        backends=frozenset(_texts(row, "backends")),
        partitions=None if partitions is None else _device_class(partitions),
    )


def _texts(row: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """A text, or a list of them."""
    found = row.get(key) or ()
    values = (found,) if isinstance(found, str) else tuple(found)
    if not all(isinstance(value, str) for value in values):
        raise InvalidDeviceTable(f"device class {row.get('name', '')}: {key} must be texts: {found!r}")
    return values


@cache
def default_device_table() -> DeviceTable:
    """The table that ships with Littoral."""
    return parse_device_table((files("littoral.core") / "hardware.yaml").read_text())
