"""The books of one plan: which devices, cores and server slots of each pool are still free."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from littoral.api.assignment import Server
from littoral.api.meta import NodeSelector
from littoral.api.model import Model, Variant
from littoral.api.nodepool import NodePool
from littoral.api.quantity import format_quantity, parse_quantity
from littoral.api.serving import Artifact, ServedModel
from littoral.core.hardware import CPU, Device, Node
from littoral.core.plan import Reason, Rejection
from littoral.core.world import World

# What Triton itself needs beside its models (measured: 150 to 300 MiB resident with the Python backend's stubs), and
# what a model is given whose variant does not say.
_SERVER_MEMORY: Final = parse_quantity("256Mi")
_MODEL_MEMORY: Final = parse_quantity("256Mi")
_MODEL_CPU: Final = parse_quantity("250m")

_ServerKey = tuple[str, str, str]


@dataclass(kw_only=True)
class _Draft:
    """A server while its Models are being gathered."""

    name: str
    namespace: str
    accelerator: str
    resource: str | None
    replicas: int = 1
    cpu: Decimal = Decimal(0)
    memory: Decimal = _SERVER_MEMORY
    device_memory: Decimal = Decimal(0)
    selectors: tuple[NodeSelector, ...] = ()
    models: list[ServedModel] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Seat:
    """A Model's place on a server, while the plan is being made: the server's replicas may still grow."""

    model: Model
    variant: Variant
    pool: NodePool
    server: _Draft
    devices: int
    product: str | None


@dataclass(frozen=True, kw_only=True)
class _Offer:
    """What some nodes have of one device class.

    Attributes:
        count: devices, over all nodes.
        cpu, memory: of the node that has most.
        device_memory: of the device that has most; infinite where one does not say.
    """

    count: int = 0
    resource: str | None = None
    product: str | None = None
    cpu: float = 0.0
    memory: float = 0.0
    device_memory: float = 0.0

    @classmethod
    def of(cls, found: Sequence[tuple[Node, Device]]) -> _Offer:
        """Add up what each node has."""
        if not found:
            return cls()
        return cls(
            count=sum(device.count for _, device in found),
            resource=found[0][1].resource,
            product=found[0][1].product,
            cpu=max(node.cpu for node, _ in found),
            memory=max(node.memory for node, _ in found),
            device_memory=max(math.inf if device.memory is None else device.memory for _, device in found),
        )


class Ledger:
    """Gives Models their seats and never gives the same device twice."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._drafts: dict[_ServerKey, _Draft] = {}
        self._offers: dict[tuple[str, str, tuple[str, ...]], _Offer] = {}

    def take(self, model: Model, *, variant: Variant, pool: NodePool) -> Seat | Rejection:
        """Seat a Model in a pool with one variant, or say what is missing."""
        device_class = self._world.devices.classes.get(variant.accelerator)
        if device_class is not None and device_class.backends and variant.backend not in device_class.backends:
            return self._refuse(
                pool,
                variant,
                Reason.UNSUPPORTED_BACKEND,
                f"backend {variant.backend} does not run on {variant.accelerator}: "
                f"use one of {', '.join(sorted(device_class.backends))}",
            )
        key = (pool.name, model.namespace or "", variant.accelerator)
        draft = self._drafts.get(key)
        fresh = draft is None
        if draft is None:
            draft = _Draft(
                name=f"triton-{pool.name}-{variant.accelerator}",
                namespace=model.namespace or "",
                accelerator=variant.accelerator,
                resource=None,
            )
        selectors = draft.selectors
        if variant.node_selector is not None and variant.node_selector not in selectors:
            selectors += (variant.node_selector,)
        cpu = draft.cpu + (parse_quantity(variant.cpu) if variant.cpu else _MODEL_CPU)
        stated = parse_quantity(variant.memory) if variant.memory else None
        # `memory` means the accelerator's own; its server still needs some of the node's to load from.
        on_device = variant.accelerator != CPU
        memory = draft.memory + (_MODEL_MEMORY if on_device or stated is None else stated)
        device_memory = draft.device_memory + (stated if on_device and stated is not None else 0)

        offer = self._offer(pool, variant.accelerator, selectors)
        missing = self._missing(pool, variant, offer=offer, cpu=cpu, memory=memory, device_memory=device_memory)
        if missing is not None:
            return missing
        if fresh and (full := self._full(pool, variant, devices=offer.count)) is not None:
            return full

        draft.selectors, draft.cpu, draft.memory, draft.device_memory = selectors, cpu, memory, device_memory
        draft.resource = offer.resource
        draft.models.append(
            ServedModel(
                name=model.name,
                variant=variant.name,
                backend=variant.backend,
                artifact=Artifact(
                    uri=variant.artifact.uri, digest=variant.artifact.digest, secret_ref=variant.artifact.secret_ref
                ),
                parameters=variant.parameters,
            )
        )
        self._drafts[key] = draft
        return Seat(
            model=model,
            variant=variant,
            pool=pool,
            server=draft,
            devices=offer.count,
            product=offer.product,
        )

    def scale(self, seats: list[Seat], *, replicas: int) -> None:
        """Spread a Model's least number of replicas over its seats, the nearest first, as far as devices allow."""
        if not seats:
            return
        share, rest = divmod(replicas, len(seats))
        for index, seat in enumerate(seats):
            wanted = share + (1 if index < rest else 0)
            while seat.server.replicas < wanted and self._can_grow(seat):
                seat.server.replicas += 1

    def servers(self, pool: NodePool) -> tuple[Server, ...]:
        """The pool's servers, by namespace and name."""
        drafts = sorted(
            (draft for (name, _, _), draft in self._drafts.items() if name == pool.name),
            key=lambda draft: (draft.namespace, draft.name),
        )
        return tuple(
            Server(
                name=draft.name,
                namespace=draft.namespace,
                accelerator=draft.accelerator,
                extended_resource=draft.resource,
                node_selector=_merge(draft.selectors),
                replicas=draft.replicas,
                cpu=format_quantity(draft.cpu),
                memory=format_quantity(draft.memory, binary=True),
                models=tuple(sorted(draft.models, key=lambda served: served.name)),
            )
            for draft in drafts
        )

    def _missing(
        self,
        pool: NodePool,
        variant: Variant,
        *,
        offer: _Offer,
        cpu: Decimal,
        memory: Decimal,
        device_memory: Decimal,
    ) -> Rejection | None:
        if not self._world.nodes_by_pool[pool.name]:
            where = f"member cluster {pool.spec.member} has not reported any" if pool.spec.member else "it selects none"
            return self._refuse(pool, variant, Reason.NO_NODE, f"pool {pool.name} has no node: {where}")
        alone = () if variant.node_selector is None else (variant.node_selector,)
        if not self._offer(pool, variant.accelerator, alone).count:
            selected = " that its nodeSelector selects" if variant.node_selector is not None else ""
            return self._refuse(
                pool,
                variant,
                Reason.NO_DEVICE,
                f"no node of pool {pool.name} has {variant.accelerator}{selected}",
            )
        if not offer.count:
            return self._refuse(
                pool,
                variant,
                Reason.CONFLICTING_NODE_SELECTORS,
                f"no node of pool {pool.name} satisfies the nodeSelectors of all Models of the namespace that share "
                f"its {variant.accelerator}",
            )
        if offer.cpu < cpu:
            return self._refuse(
                pool,
                variant,
                Reason.INSUFFICIENT_CPU,
                f"the server would need {format_quantity(cpu)} cores, and the largest node has {offer.cpu:g}",
            )
        if offer.memory < memory:
            return self._refuse(
                pool,
                variant,
                Reason.INSUFFICIENT_MEMORY,
                f"the server would need {format_quantity(memory, binary=True)} of memory, and the largest node has "
                f"{offer.memory / 2**20:.0f}Mi",
            )
        if offer.device_memory < device_memory:
            return self._refuse(
                pool,
                variant,
                Reason.INSUFFICIENT_MEMORY,
                f"its Models would need {format_quantity(device_memory, binary=True)} of {variant.accelerator} memory, "
                f"and the largest has {offer.device_memory / 2**20:.0f}Mi",
            )
        return None

    def _full(self, pool: NodePool, variant: Variant, *, devices: int) -> Rejection | None:
        if self._servers_left(pool) <= 0:
            return self._refuse(
                pool,
                variant,
                Reason.POOL_FULL,
                f"pool {pool.name} runs its limits.servers of {pool.spec.limits.servers} already",
            )
        if variant.accelerator != CPU and self._taken(pool, variant.accelerator) >= devices:
            return self._refuse(
                pool,
                variant,
                Reason.DEVICES_TAKEN,
                f"servers of other namespaces or of higher priority hold all {devices} {variant.accelerator} of pool "
                f"{pool.name}",
            )
        return None

    def _offer(self, pool: NodePool, accelerator: str, selectors: tuple[NodeSelector, ...]) -> _Offer:
        """What the nodes of a pool that satisfy all selectors have of a class. A thousand Models ask the same."""
        key = (pool.name, accelerator, tuple(selector.model_dump_json() for selector in selectors))
        if key not in self._offers:
            self._offers[key] = _Offer.of(
                [
                    (node, devices[accelerator])
                    for node, devices in self._world.devices_by_pool[pool.name]
                    if accelerator in devices and all(selector.matches(node.labels) for selector in selectors)
                ]
            )
        return self._offers[key]

    def _can_grow(self, seat: Seat) -> bool:
        if self._servers_left(seat.pool) <= 0:
            return False
        return seat.variant.accelerator == CPU or self._taken(seat.pool, seat.variant.accelerator) < seat.devices

    def _taken(self, pool: NodePool, accelerator: str) -> int:
        return sum(
            draft.replicas
            for (pool_name, _, name), draft in self._drafts.items()
            if pool_name == pool.name and name == accelerator
        )

    def _servers_left(self, pool: NodePool) -> int:
        limit = pool.spec.limits.servers
        if limit is None:
            return 1
        return limit - sum(draft.replicas for (name, _, _), draft in self._drafts.items() if name == pool.name)

    @staticmethod
    def _refuse(pool: NodePool, variant: Variant, reason: Reason, message: str) -> Rejection:
        return Rejection(pool=pool.name, variant=variant.name, reason=reason, message=message)


def _merge(selectors: tuple[NodeSelector, ...]) -> NodeSelector | None:
    """One selector that selects what all of them select."""
    if not selectors:
        return None
    labels: dict[str, str] = {}
    for selector in selectors:
        labels |= selector.match_labels
    return NodeSelector(
        match_labels=labels,
        match_expressions=tuple(
            dict.fromkeys(requirement for selector in selectors for requirement in selector.match_expressions)
        ),
    )
