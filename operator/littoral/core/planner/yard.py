"""The books of one pool while a plan is being made: which device, core and byte of which node is still free.

A *draft* is a server in the making: one model set, some replicas, each on a node. A yard never gives the same thing
twice, and never lets a draft outgrow the nodes it is on.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from littoral.api.meta import NodeSelector
from littoral.core.hardware import CPU
from littoral.core.planner.company import Guest, Habit
from littoral.core.planner.facts import SERVER_MEMORY, ModelFacts, PoolFacts, VariantFacts
from littoral.core.world import ModelKey

SLACK: Final = 1e-9
"""Rounding errors below this are none: loads are sums of quotients."""

_MODELS_MOST: Final = 256  # What an Assignment allows for one server.


@dataclass(slots=True)
class Burden:
    """What a server is given of one Model: requests/s, 0 where it is only to be present; how it behaves, where that is
    known; and whether any of it is held to the SLO."""

    amount: float
    habit: Habit | None
    held: bool


class Draft:
    """A server in the making. `load` counts replicas' worth of requests: it may be `replicas` at most."""

    __slots__ = (
        "accelerator",
        "burdens",
        "cpu",
        "device_memory",
        "hosts",
        "least",
        "load",
        "members",
        "memory",
        "name",
        "namespace",
        "pool",
        "price",
        "selectors",
    )

    def __init__(self, *, pool: str, namespace: str, accelerator: str, price: float, name: str = "") -> None:
        self.pool = pool
        self.namespace = namespace
        self.accelerator = accelerator
        self.price = price
        self.name = name
        self.least = 0
        self.load = 0.0
        self.cpu = 0.0
        self.memory = SERVER_MEMORY
        self.device_memory = 0.0
        self.selectors: tuple[NodeSelector, ...] = ()
        self.members: dict[ModelKey, tuple[ModelFacts, VariantFacts]] = {}
        self.hosts: list[int] = []
        self.burdens: dict[ModelKey, Burden] = {}

    @property
    def replicas(self) -> int:
        """Pods, each on one of the nodes in `hosts`."""
        return len(self.hosts)

    def guests(self, but: ModelKey | None = None) -> list[Guest]:
        """The Models that have load here and are known to behave in some way, but for one."""
        return [
            Guest(burden.habit, burden.amount, burden.held)
            for key, burden in self.burdens.items()
            if key != but and burden.amount > 0 and burden.habit is not None
        ]

    @property
    def slack(self) -> float:
        """What its replicas can still take."""
        return len(self.hosts) - self.load


class Yard:
    """The nodes of one pool and the drafts on them."""

    __slots__ = ("_cpu", "_devices", "_memory", "drafts", "facts", "groups", "pods")

    def __init__(self, facts: PoolFacts) -> None:
        self.facts = facts
        self.pods = 0
        self.drafts: list[Draft] = []
        self.groups: dict[tuple[str, str], list[Draft]] = defaultdict(list)
        self._cpu = [node.cpu for node in facts.nodes]
        self._memory = [node.memory for node in facts.nodes]
        self._devices = [{name: device.count for name, device in node.devices.items()} for node in facts.nodes]

    def open(
        self,
        model: ModelFacts,
        variant: VariantFacts,
        *,
        price: float,
        name: str = "",
    ) -> Draft | None:
        """A new server of one replica for the Model; None where nothing is left for it."""
        draft = Draft(
            pool=self.facts.name,
            namespace=model.key.namespace,
            accelerator=variant.accelerator,
            price=price,
            name=name,
        )
        _join(draft, model, variant)
        if not self.grow(draft):
            return None
        self.add(draft)
        return draft

    def add(self, draft: Draft) -> None:
        """List a draft whose replicas are placed."""
        self.drafts.append(draft)
        self.groups[draft.namespace, draft.accelerator].append(draft)

    def place(self, draft: Draft) -> bool:
        """Whether there is room for a draft of another yard, on any nodes; books it if so."""
        other = Draft(pool=draft.pool, namespace=draft.namespace, accelerator=draft.accelerator, price=draft.price)
        for model, variant in draft.members.values():
            _join(other, model, variant)
        return all(self.grow(other, anywhere=True) for _ in draft.hosts)

    def admit(self, draft: Draft, model: ModelFacts, variant: VariantFacts, *, anywhere: bool = False) -> bool:
        """Take one more Model into a server, moving its replicas to other nodes where these have no room for it.

        Args:
            anywhere: whether nodes that are cordoned or not ready count, as they do for what runs already.
        """
        if len(draft.members) >= _MODELS_MOST:
            return False
        before = (draft.cpu, draft.memory, draft.device_memory, draft.selectors, draft.hosts)
        self._release(draft)
        draft.hosts = []
        _join(draft, model, variant)
        for host in before[-1]:
            # Where it is now, if there is room: nothing moves without need.
            if not (self._fits(draft, host) and host in self._eligible(draft)):
                break
            self._take(draft, host)
        while draft.replicas < len(before[-1]):
            if not self.grow(draft, anywhere=anywhere):
                self._release(draft)
                del draft.members[model.key]
                draft.cpu, draft.memory, draft.device_memory, draft.selectors, draft.hosts = before
                for host in draft.hosts:
                    self._charge(draft, host, 1)
                return False
        return True

    def has_room(self, draft: Draft) -> bool:
        """Whether `grow` would find a node."""
        if self.facts.limit is not None and self.pods >= self.facts.limit:
            return False
        nodes = self.facts.nodes
        return any(nodes[host].usable and self._fits(draft, host) for host in self._eligible(draft))

    def grow(self, draft: Draft, *, anywhere: bool = False) -> bool:
        """One more replica, if a node has room for it and the pool allows one more Pod."""
        if self.facts.limit is not None and self.pods >= self.facts.limit:
            return False
        nodes = self.facts.nodes
        for host in self._eligible(draft):
            if nodes[host].usable and self._fits(draft, host):
                self._take(draft, host)
                return True
        if anywhere:
            for host in self._eligible(draft):
                if self._fits(draft, host):
                    self._take(draft, host)
                    return True
        return False

    def shrink(self, draft: Draft, replicas: int) -> None:
        """Give back all replicas but the first ones."""
        for host in draft.hosts[replicas:]:
            self._charge(draft, host, -1)
        del draft.hosts[replicas:]

    def drop(self, draft: Draft) -> None:
        """Remove a server."""
        self.shrink(draft, 0)
        self.drafts.remove(draft)
        self.groups[draft.namespace, draft.accelerator].remove(draft)

    def dismiss(self, draft: Draft, keys: Sequence[ModelKey]) -> None:
        """Take Models out of a server."""
        for host in draft.hosts:
            self._charge(draft, host, -1)
        members = [pair for key, pair in draft.members.items() if key not in keys]
        draft.cpu, draft.memory, draft.device_memory = 0.0, SERVER_MEMORY, 0.0
        draft.selectors, draft.members = (), {}
        for model, variant in members:
            _join(draft, model, variant)
        for host in draft.hosts:
            self._charge(draft, host, 1)

    def _eligible(self, draft: Draft) -> tuple[int, ...]:
        return self.facts.hosts(draft.accelerator, draft.selectors)

    def _fits(self, draft: Draft, host: int) -> bool:
        if self._cpu[host] + SLACK < draft.cpu or self._memory[host] < draft.memory:
            return False
        if draft.accelerator == CPU:
            return self._siblings(draft, host) < max(1, math.ceil(self.facts.nodes[host].cpu))
        if self._devices[host].get(draft.accelerator, 0) < 1:
            return False
        size = self.facts.nodes[host].devices[draft.accelerator].memory
        return size is None or size >= draft.device_memory

    def _siblings(self, draft: Draft, host: int) -> int:
        """Replicas on a node that serve a Model of this server on the same cores. More of them than cores take these
        from each other, and look as if even more were needed."""
        others = (
            other
            for other in self.groups[draft.namespace, CPU]
            if other is not draft and not other.members.keys().isdisjoint(draft.members)
        )
        return draft.hosts.count(host) + sum(other.hosts.count(host) for other in others)

    def _take(self, draft: Draft, host: int) -> None:
        draft.hosts.append(host)
        self._charge(draft, host, 1)

    def _release(self, draft: Draft) -> None:
        for host in draft.hosts:
            self._charge(draft, host, -1)

    def _charge(self, draft: Draft, host: int, count: int) -> None:
        self.pods += count
        self._cpu[host] -= count * draft.cpu
        self._memory[host] -= count * draft.memory
        if draft.accelerator != CPU:
            self._devices[host][draft.accelerator] -= count


def _join(draft: Draft, model: ModelFacts, variant: VariantFacts) -> None:
    draft.members[model.key] = (model, variant)
    draft.cpu += variant.cpu
    draft.memory += variant.memory
    draft.device_memory += variant.device_memory
    if variant.selector is not None and variant.selector not in draft.selectors:
        draft.selectors += (variant.selector,)
