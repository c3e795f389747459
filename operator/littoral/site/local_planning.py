"""The planner of a member site: it learns all the time, and plans while the hub is away."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence

from littoral.api.assignment import Assignment, Server
from littoral.core.hardware import DeviceTable, Node
from littoral.core.learning import Learner
from littoral.core.learning.learner import Inputs
from littoral.core.local_plan import ServerKey, local_servers
from littoral.core.local_world import local_world
from littoral.core.planner import Memo, Problem, Tuning, plan
from littoral.core.world import World

logger = logging.getLogger(__name__)


class LocalPlanner:
    """Plans the pools of one member by what came with its Assignments and by what is measured here."""

    def __init__(
        self,
        *,
        member: str,
        devices: DeviceTable,
        learner: Learner,
        tuning: Tuning,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` tells the seconds since the epoch."""
        self._member = member
        self._devices = devices
        self._learner = learner
        self._tuning = tuning
        self._clock = clock
        self._memo = Memo()
        self._problem: Problem | None = None
        self._known: tuple[World, Inputs] | None = None
        self._unreadable: tuple[str, ...] = ()

    async def learn(self, assignments: Sequence[Assignment], nodes: Sequence[Node]) -> None:
        """Take in what is measured now, so that there is something to go by when it is needed."""
        found = local_world(assignments, nodes, devices=self._devices, member=self._member)
        if found.unreadable != self._unreadable:
            self._unreadable = found.unreadable
            for text in found.unreadable:
                logger.warning("it goes on as it is while the hub is away, since it cannot be read here: %s", text)
        told = await asyncio.to_thread(self._learner.learn, found.world, assignments, now=self._clock())
        self._known = found.world, told

    async def servers(
        self, assignments: Sequence[Assignment], *, floors: Mapping[str, Mapping[ServerKey, int]]
    ) -> dict[str, tuple[Server, ...]]:
        """The servers that each pool is to have now; pools that cannot be planned here are absent.

        Args:
            floors: replicas of each server that came from the hub, by pool.
        """
        if self._known is None:
            return {}
        world, told = self._known
        return await asyncio.to_thread(self._plan, world, told, assignments, floors)

    def _plan(
        self,
        world: World,
        told: Inputs,
        assignments: Sequence[Assignment],
        floors: Mapping[str, Mapping[ServerKey, int]],
    ) -> dict[str, tuple[Server, ...]]:
        self._problem = told.problem(world, assignments, tuning=self._tuning, before=self._problem)
        decided = plan(self._problem, memo=self._memo)
        return local_servers(decided, current={it.name: it for it in assignments}, floors=floors)
