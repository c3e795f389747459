"""The stores of our four kinds, side by side."""

from __future__ import annotations

from collections.abc import Callable

from littoral.api.assignment import Assignment
from littoral.api.latencyslo import LatencySLO
from littoral.api.model import Model
from littoral.api.nodepool import NodePool
from littoral.cluster.client import Client
from littoral.cluster.resources import ASSIGNMENTS, LATENCY_SLOS, MODELS, NODE_POOLS
from littoral.cluster.store import KindStore, Malformed


class Kinds:
    """What is known of Models, LatencySLOs, NodePools and Assignments.

    A process that is not a hub may read Assignments and nothing else: its other stores stay empty and unsynced.
    """

    def __init__(self, *, hub: bool, on_change: Callable[[], None]) -> None:
        self._hub = hub
        self.models = KindStore(Model, MODELS, on_change=on_change)
        self.slos = KindStore(LatencySLO, LATENCY_SLOS, on_change=on_change)
        self.pools = KindStore(NodePool, NODE_POOLS, on_change=on_change)
        self.assignments = KindStore(Assignment, ASSIGNMENTS, on_change=on_change)

    @property
    def synced(self) -> bool:
        """Whether the first list of every kind is in."""
        return self.models.synced and self.slos.synced and self.pools.synced and self.assignments.synced

    @property
    def changes(self) -> int:
        """Counts what was noted of all kinds: equal numbers mean that nothing is new."""
        return sum(store.changes for store in (self.models, self.slos, self.pools, self.assignments))

    def malformed(self) -> tuple[Malformed, ...]:
        """The objects of all kinds that cannot be read."""
        return (
            *self.models.malformed(),
            *self.slos.malformed(),
            *self.pools.malformed(),
            *self.assignments.malformed(),
        )

    async def sync(self, client: Client) -> None:
        """Compare every store with a fresh list."""
        await self.assignments.sync(client)
        if self._hub:
            for store in (self.models, self.slos, self.pools):
                await store.sync(client)
