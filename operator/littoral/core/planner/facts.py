"""What planning reads of Models, LatencySLOs, NodePools and Nodes: parsed once, as numbers.

Facts are compared by identity: two of them are the same only if they were read from the same objects. That makes it
cheap to see that nothing changed, among thousands of Models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from littoral.api.latencyslo import LatencySLO, Overflow
from littoral.api.meta import NodeSelector
from littoral.api.model import Model, Variant
from littoral.api.nodepool import NodePool, Tier
from littoral.api.quantity import parse_duration, parse_quantity
from littoral.api.serving import Artifact, Batching, ServedModel
from littoral.core.capacity.batch_time import BatchTime
from littoral.core.capacity.batching import largest_batch
from littoral.core.hardware import CPU, Device, DeviceTable, Node
from littoral.core.world import ModelKey

# What Triton itself needs beside its models (measured: 150 to 300 MiB resident with the Python backend's stubs), and
# what a model is given whose variant does not say.
SERVER_MEMORY: Final = float(parse_quantity("256Mi"))
MODEL_MEMORY: Final = float(parse_quantity("256Mi"))
MODEL_CPU: Final = float(parse_quantity("250m"))


@dataclass(frozen=True, eq=False, kw_only=True)
class VariantFacts:
    """One variant of a Model.

    Attributes:
        rank: its place in the Model's order of preference, from 0.
        cpu: cores that a replica of its server requests for it.
        memory: bytes of the node that a replica requests for it.
        device_memory: bytes of the accelerator's own memory; 0 for `cpu` and where nothing is stated or measured.
        supported: whether its backend can drive its class of device at all.
    """

    rank: int
    name: str
    accelerator: str
    backend: str
    selector: NodeSelector | None
    cpu: float
    memory: float
    device_memory: float
    accuracy: float | None
    supported: bool
    served: ServedModel


@dataclass(frozen=True, eq=False, kw_only=True)
class SloFacts:
    """One LatencySLO. `sites` is None where it is about all."""

    name: str
    latency: float
    percentile: str
    floor: float
    min_accuracy: float | None
    stays: bool
    sites: frozenset[str] | None

    def covers(self, site: str | None) -> bool:
        """Whether it is about requests that arrive at the site."""
        return self.sites is None or site in self.sites


@dataclass(frozen=True, eq=False, kw_only=True)
class ModelFacts:
    """One Model with the LatencySLOs that name it.

    Attributes:
        away: replicas in pools that are not planned, since nobody hears of them.
    """

    key: ModelKey
    priority: int
    variants: tuple[VariantFacts, ...]
    slos: tuple[SloFacts, ...]
    min_replicas: int
    max_replicas: int
    away: int = 0

    @property
    def least(self) -> int:
        """The least replicas in the pools that are planned."""
        return max(0, self.min_replicas - self.away)

    @property
    def most(self) -> int:
        """The most replicas in the pools that are planned."""
        return max(0, self.max_replicas - self.away)

    @cached_property
    def order(self) -> tuple[int, ModelKey]:
        """Sorts the most important Model first."""
        return (-self.priority, self.key)

    @cached_property
    def plain(self) -> bool:
        """Whether every variant may serve every site: most Models, so that it pays to know."""
        return all(slo.min_accuracy is None for slo in self.slos)

    def floor(self, site: str | None) -> float:
        """Requests per second at the site to be ready for at any time."""
        return max((slo.floor for slo in self.slos if slo.covers(site)), default=0.0)

    def stays(self, site: str | None) -> bool:
        """Whether requests of the site must not leave it."""
        return any(slo.stays for slo in self.slos if slo.covers(site))

    def wanted_at(self, site: str | None) -> bool:
        """Whether the Model is to run at the site at all: everywhere without SLOs, else where one of them says."""
        return not self.slos or any(slo.covers(site) for slo in self.slos)


@dataclass(frozen=True, eq=False, kw_only=True)
class NodeFacts:
    """One node: what servers can be given of it."""

    name: str
    usable: bool
    cpu: float
    memory: float
    devices: Mapping[str, Device]
    labels: Mapping[str, str]


@dataclass(frozen=True, eq=False, kw_only=True)
class PoolFacts:
    """One NodePool with its nodes, by name.

    Attributes:
        shared: whether requests of any site may come here (tier `cloud`).
        prices: of one replica for an hour, by device class, where the pool states them.
        round_trips: seconds from this pool to others, by their names.
        limit: most Pods of servers at a time.
        sources: what the nodes were read from.
    """

    pool: NodePool
    name: str
    site: str | None
    shared: bool
    prices: Mapping[str, float]
    round_trips: Mapping[str, float]
    limit: int | None
    nodes: tuple[NodeFacts, ...]
    sources: tuple[Node, ...]

    @cached_property
    def classes(self) -> frozenset[str]:
        """The device classes that any of its nodes has."""
        return frozenset(name for node in self.nodes for name in node.devices)

    def reaches(self, other: PoolFacts) -> bool:
        """Whether requests can go from here to the other pool: to a Pod of the same cluster, or to a gateway of another
        cluster, of which it is known where it is."""
        return self.pool.spec.member == other.pool.spec.member or other.pool.spec.gateway is not None

    def hosts(self, accelerator: str, selectors: Sequence[NodeSelector]) -> tuple[int, ...]:
        """The nodes that have the device and satisfy all selectors, by index, those without accelerators first for
        `cpu`, so that servers without need leave the others their cores."""
        key = (accelerator, tuple(map(id, selectors)) if selectors else ())
        found = self._hosts.get(key)
        if found is None:
            fitting = [
                index
                for index, node in enumerate(self.nodes)
                if accelerator in node.devices and all(selector.matches(node.labels) for selector in selectors)
            ]
            if accelerator == CPU:
                fitting.sort(key=lambda index: (len(self.nodes[index].devices), index))
            # The selectors are kept with the answer, so that their ids stay theirs.
            self._hosts[key] = found = (tuple(fitting), tuple(selectors))
        return found[0]

    @cached_property
    def _hosts(self) -> dict[tuple[str, tuple[int, ...]], tuple[tuple[int, ...], tuple[NodeSelector, ...]]]:
        return {}


def read_model(
    model: Model, slos: Sequence[LatencySLO], *, devices: DeviceTable, measured: Mapping[str, float], away: int = 0
) -> ModelFacts:
    """Read a Model.

    Args:
        measured: bytes that a variant has been seen to take, by its name; they outrank what the Model states.
        away: replicas in pools that are not planned.
    """
    known = tuple(_slo(slo) for slo in sorted(slos, key=lambda slo: slo.name))
    tightest = min((slo.latency for slo in known), default=None)
    return ModelFacts(
        key=ModelKey(model.namespace or "", model.name),
        priority=model.spec.priority,
        variants=tuple(
            _variant(model, variant, rank=rank, devices=devices, measured=measured.get(variant.name), tightest=tightest)
            for rank, variant in enumerate(model.spec.variants)
        ),
        slos=known,
        min_replicas=model.spec.scaling.min_replicas,
        max_replicas=model.spec.scaling.max_replicas,
        away=away,
    )


def _variant(
    model: Model,
    variant: Variant,
    *,
    rank: int,
    devices: DeviceTable,
    measured: float | None,
    tightest: float | None,
) -> VariantFacts:
    stated = measured if measured is not None else float(parse_quantity(variant.memory)) if variant.memory else None
    on_device = variant.accelerator != CPU
    known = devices.classes.get(variant.accelerator)
    return VariantFacts(
        rank=rank,
        name=variant.name,
        accelerator=variant.accelerator,
        backend=variant.backend,
        selector=variant.node_selector,
        cpu=float(parse_quantity(variant.cpu)) if variant.cpu else MODEL_CPU,
        # `memory` means the accelerator's own; its server still needs some of the node's to load from.
        memory=MODEL_MEMORY if on_device or stated is None else stated,
        device_memory=stated if on_device and stated is not None else 0.0,
        accuracy=None if variant.accuracy is None else float(variant.accuracy),
        supported=known is None or not known.backends or variant.backend in known.backends,
        served=ServedModel(
            name=model.name,
            variant=variant.name,
            backend=variant.backend,
            artifact=Artifact.model_construct(
                uri=variant.artifact.uri,
                digest=variant.artifact.digest,
                secret_ref=variant.artifact.secret_ref,
                encryption=variant.artifact.encryption,
            ),
            parameters=variant.parameters,
            batching=_batching(variant, tightest=tightest),
            verification=model.spec.verification,
        ),
    )


def _batching(variant: Variant, *, tightest: float | None) -> Batching | None:
    """Batches that fit the tightest LatencySLO, by the profile that the Model states. What is learned later does not
    count: each change would load the model anew."""
    if variant.profile is None or tightest is None:
        return None
    profile = BatchTime(base=parse_duration(variant.profile.base), per_item=parse_duration(variant.profile.per_item))
    return Batching(max_batch_size=largest_batch(profile, budget=tightest))


def _slo(slo: LatencySLO) -> SloFacts:
    spec = slo.spec
    return SloFacts(
        name=slo.name,
        latency=parse_duration(spec.latency),
        percentile=spec.percentile,
        floor=float(parse_quantity(spec.demand.floor)),
        min_accuracy=None if spec.min_accuracy is None else float(spec.min_accuracy),
        stays=spec.overflow == Overflow.NEVER,
        sites=None if spec.sites is None else frozenset(spec.sites.match_names),
    )


def read_pool(pool: NodePool, nodes: tuple[Node, ...], *, devices: DeviceTable) -> PoolFacts:
    """Read a NodePool and its nodes, which come sorted by name."""
    return PoolFacts(
        pool=pool,
        name=pool.name,
        site=pool.spec.site,
        shared=pool.spec.tier == Tier.CLOUD,
        prices={price.device_class: float(price.cost_per_hour) for price in pool.spec.accelerators},
        round_trips={name: parse_duration(text) for name, text in pool.spec.network.round_trip.items()},
        limit=pool.spec.limits.servers,
        nodes=tuple(
            NodeFacts(
                name=node.name,
                usable=node.usable,
                cpu=node.cpu,
                memory=node.memory,
                devices={device.device_class: device for device in devices.devices(node)},
                labels=node.labels,
            )
            for node in nodes
        ),
        sources=nodes,
    )
