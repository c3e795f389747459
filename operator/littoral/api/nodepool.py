"""NodePool: nodes of one site or cloud that Models may run on."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field, computed_field

from littoral.api.base import ApiModel
from littoral.api.meta import (
    Conditions,
    Count,
    DeviceClass,
    DnsLabel,
    HostPort,
    NodeSelector,
    ObjectMeta,
    PoolName,
    Resource,
    Timestamp,
)
from littoral.api.quantity import Decimal, Duration, PositiveQuantity
from littoral.api.rules import ListMap, Rule


class Tier(StrEnum):
    """How near to its users a pool is."""

    EDGE = "edge"
    CLOUD = "cloud"


class AcceleratorPrice(ApiModel):
    """What one device of a class costs."""

    device_class: DeviceClass = Field(alias="class")
    """Class of device. Example: nvidia-gpu."""
    cost_per_hour: Decimal
    """What a device of the class costs per hour, in the currency that all pools share. Example: "0.35"."""


class Network(ApiModel):
    """How far away other pools are, and how much goes through the uplink."""

    round_trip: Annotated[
        dict[str, Duration],
        Field(max_length=256),
        Rule(
            cel="self.all(pool, pool.matches('^[a-z0-9]([-a-z0-9]{0,33}[a-z0-9])?$'))",
            holds=lambda it: all(re.fullmatch("[a-z0-9]([-a-z0-9]{0,33}[a-z0-9])?", pool) for pool in it),
            message="keys must be names of NodePools, such as cloud",
        ),
    ] = Field(default_factory=dict)
    """Round-trip time to other pools, by the name of the pool, used until it is measured. Example: {cloud: 35ms}."""
    bandwidth: PositiveQuantity | None = None
    """Bytes per second with which each server of the pool fetches artifacts at most. Example: 2Mi. Absent: no limit."""


class Limits(ApiModel):
    """Bounds on what Littoral starts in a pool."""

    servers: int | None = Field(default=None, ge=0, le=10_000, json_schema_extra={"format": "int32"})
    """Most Triton Pods in the pool at a time. Absent: as many as fit."""


class Cache(ApiModel):
    """The store of artifacts on each node."""

    quota: PositiveQuantity | None = None
    """Disk space on each node for artifacts; those that no Model uses make room. Example: 40Gi. Absent: the agent's
    default."""


class GatewayAddress(ApiModel):
    """Where the pool's gateway is reached from outside its cluster."""

    address: HostPort
    """Host name or IP address, and port. Example: gateway.cloud.example:8443."""


class NodePoolSpec(ApiModel):
    """Which nodes, where they are, what they cost."""

    tier: Tier
    """edge: near its users, at a site; cloud: elsewhere, takes what the edge cannot."""
    site: DnsLabel | None = None
    """Site of the nodes, such as one store; LatencySLOs name it. Required for tier edge; for tier cloud it may name a
    region. Example: store-12."""
    member: DnsLabel | None = None
    """Member cluster that holds the nodes and dials in under this name. Absent: this cluster. Cannot be changed."""
    node_selector: NodeSelector
    """Nodes of the pool, by their labels. {} selects every node; a node belongs to one pool."""
    accelerators: Annotated[tuple[AcceleratorPrice, ...], Field(max_length=16), ListMap("class")] = ()
    """Prices of devices, by class. Which devices exist is discovered from the nodes."""
    network: Network = Network()
    """How far away other pools are."""
    limits: Limits = Limits()
    """Bounds on what Littoral starts here."""
    cache: Cache = Cache()
    """The store of artifacts on each node."""
    gateway: GatewayAddress | None = None
    """Where gateways of member clusters reach this pool's gateway, over mutual TLS. Absent: they send it nothing."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.tier != 'edge' || has(self.site)",
            holds=lambda it: it.tier != Tier.EDGE or it.site is not None,
            message="tier edge needs a site: say where the nodes are, such as store-12",
            field=".site",
            reason="FieldValueRequired",
        ),
        Rule(
            cel=("has(self.member) == has(oldSelf.member) && (!has(self.member) || self.member == oldSelf.member)"),
            message="cannot be changed: make another NodePool for the nodes of another cluster",
            field=".member",
        ),
    )


class DiscoveredAccelerator(ApiModel):
    """Devices of one class and product that the nodes announce."""

    device_class: str = Field(alias="class")
    """Class of device."""
    product: str = ""
    """Product, as the nodes' labels name it; empty where they do not say."""
    count: Count = 0
    """Devices that can be allocated, over all nodes; for cpu, whole cores."""
    memory: str | None = None
    """Memory of one device, as a quantity; absent where the labels do not say. Example: 8Gi."""
    nodes: Count = 0
    """Nodes that have such a device."""


class NodePoolStatus(ApiModel):
    """What Littoral found in the pool."""

    observed_generation: int = Field(default=-1, json_schema_extra={"format": "int64"})
    """metadata.generation that this status is about; -1 until Littoral has seen the pool."""
    conditions: Conditions = ()
    """Ready: the pool has a ready node; Unknown while its member cluster is not heard of. Reconciling and Stalled are
    present only while true."""
    nodes: Count = 0
    """Nodes of the pool."""
    ready_nodes: Count = 0
    """Nodes of the pool that are Ready and can take Pods."""
    accelerators: Annotated[tuple[DiscoveredAccelerator, ...], Field(max_length=256)] = ()
    """Devices of the pool, by class and product."""
    unreachable_since: Timestamp | None = None
    """When the member cluster of the pool was last heard of; absent while it is heard of, and for the own cluster. What
    runs there goes on; nodes and devices are as it reported them last."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def devices(self) -> str | None:
        """Devices of the pool in a line, for a column. Example: 8 cpu, 1 intel-npu."""
        counts: dict[str, int] = {}
        for accelerator in self.accelerators:
            counts[accelerator.device_class] = counts.get(accelerator.device_class, 0) + accelerator.count
        return ", ".join(f"{count} {device_class}" for device_class, count in counts.items()) or None


class NodePoolMeta(ObjectMeta):
    """Metadata whose name becomes part of the names of servers."""

    name: PoolName


class NodePool(Resource):
    """Nodes of one site or cloud that Models may run on, with their prices."""

    KIND: ClassVar[str] = "NodePool"
    PLURAL: ClassVar[str] = "nodepools"
    NAMESPACED: ClassVar[bool] = False

    kind: Literal["NodePool"] = "NodePool"
    metadata: NodePoolMeta
    spec: NodePoolSpec
    """Which nodes, where they are, what they cost."""
    status: NodePoolStatus = NodePoolStatus()
    """What Littoral found there."""
