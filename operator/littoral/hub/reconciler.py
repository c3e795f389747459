"""One pass of the hub, in numbered steps: snapshot, learn, plan, write the Assignments, tell people."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from littoral.api.assignment import Assignment, AssignmentSpec
from littoral.api.model import Model, ModelStatus
from littoral.api.nodepool import NodePool, NodePoolStatus
from littoral.cluster.client import ApiError, Client
from littoral.cluster.events import EventRecorder
from littoral.cluster.informer import Informer
from littoral.cluster.kinds import Kinds
from littoral.cluster.resources import ASSIGNMENTS, NODES
from littoral.cluster.status import refuse_malformed, write_statuses
from littoral.core.hardware import DeviceTable, Node
from littoral.core.inputs import Copies
from littoral.core.learning import Learner
from littoral.core.member_nodes import MemberNodes
from littoral.core.plan import Plan
from littoral.core.planner import Memo, Problem, Tuning, plan
from littoral.core.staging import stage
from littoral.core.world import ModelKey, World, in_order, key_of
from littoral.hub.announcements import announcements, pool_announcements
from littoral.hub.authority import GatewayAuthority
from littoral.hub.heartbeats import Heartbeats
from littoral.hub.members import Members
from littoral.hub.memory import Memory
from littoral.hub.statuses import model_status, pool_status, slo_status

logger = logging.getLogger(__name__)

FIELD_MANAGER = "littoral-hub"

_SAVE_EVERY: Final = 300.0  # Seconds.


class Reconciler:
    """Keeps Assignments equal to the plan, and statuses equal to what is. `step` is one level-triggered pass."""

    def __init__(
        self,
        client: Client,
        *,
        kinds: Kinds,
        devices: DeviceTable,
        recorder: EventRecorder,
        learner: Learner,
        memory: Memory,
        members: Members,
        heartbeats: Heartbeats,
        authority: GatewayAuthority,
        tuning: Tuning,
        on_change: Callable[[], None],
    ) -> None:
        self._client = client
        self._kinds = kinds
        self._devices = devices
        self._recorder = recorder
        self._learner = learner
        self._memory = memory
        self._members = members
        self._heartbeats = heartbeats
        self._authority = authority
        self._save_at: float | None = None
        self._tuning = tuning
        self._memo = Memo()
        self._problem: Problem | None = None
        self._finished: tuple[Problem, int] | None = None
        self._nodes: Informer[Node] = Informer(client, NODES, keep=Node.from_object, on_change=on_change)
        self._member_nodes = MemberNodes()
        self._copies = Copies()

    @property
    def informers(self) -> list[Informer[Any]]:
        """What must run beside the passes."""
        return [self._nodes, self._members.informer, self._heartbeats.informer]

    async def step(self) -> bool:
        """One pass. Returns whether all of it got through; what did not is tried again."""
        # 1. Take a snapshot. Before the first lists are in, absence means nothing.
        if not self._nodes.synced or not self._kinds.synced or self._is_deaf:
            return True
        changes = self._kinds.changes
        assignments = self._kinds.assignments.objects()
        world = self._snapshot(assignments)

        # 2. Take up what an earlier process has learned, once, and keep what this one has, from time to time.
        await self._remember()

        # 3. Learn from what the sites report, off the event loop: watches and the Lease must not wait.
        problem = await asyncio.to_thread(self._learn, world, assignments)
        finished = self._finished is not None and self._finished[1] == changes and problem.same(self._finished[0])
        if finished and not self._authority.due:
            return await self._give(assignments)

        # 4. Plan.
        decided = await asyncio.to_thread(plan, problem, memo=self._memo)

        # 5. Write the Assignments that differ, remove those whose pool is gone. What serves stays until its replacement
        #    serves, so a plan may take several passes.
        written = await self._write_assignments(world, decided)

        # 6. Give the member clusters what the passes before this one have written.
        given = await self._give(assignments)

        # 7. Tell people.
        told = await self._tell(world, problem, decided)
        self._finished = (problem, changes) if written and told else None
        return given and written and told

    async def _give(self, assignments: Sequence[Assignment]) -> bool:
        unreadable = {malformed.name for malformed in self._kinds.assignments.malformed()}
        pools = {pool.name: pool.spec.member for pool in self._kinds.pools.objects()}
        return await self._members.write(assignments, unreadable=unreadable, pools=pools)

    @property
    def _is_deaf(self) -> bool:
        """Whether there are members, and nobody can tell yet which of them are heard of."""
        return not self._heartbeats.informer.synced and any(it.spec.member for it in self._kinds.pools.objects())

    def _snapshot(self, assignments: Sequence[Assignment]) -> World:
        pools = self._kinds.pools.objects()
        there = self._member_nodes.of(assignments, pools={pool.name: pool.spec.member for pool in pools})
        return World(
            models=self._kinds.models.objects(),
            slos=self._kinds.slos.objects(),
            pools=pools,
            nodes=in_order((*self._nodes.values(), *there)),
            devices=self._devices,
            unreachable=self._heartbeats.unreachable(pools, assignments),
        )

    async def close(self) -> None:
        """Keep what was learned, if this process has led."""
        if self._save_at is not None:
            await self._memory.save(self._learner.dump())

    async def _remember(self) -> None:
        if self._save_at is None:
            self._learner.load(await self._memory.load())
        elif time.monotonic() >= self._save_at:
            await self._memory.save(await asyncio.to_thread(self._learner.dump))
        else:
            return
        self._save_at = time.monotonic() + _SAVE_EVERY

    def _learn(self, world: World, assignments: Sequence[Assignment]) -> Problem:
        inputs = self._learner.learn(world, assignments, now=time.time())
        self._problem = inputs.problem(world, assignments, tuning=self._tuning, before=self._problem)
        return self._problem

    async def _write_assignments(self, world: World, decided: Plan) -> bool:
        current = {assignment.name: assignment for assignment in self._kinds.assignments.objects()}
        pools = {pool.name: pool for pool in world.pools}
        staged = self._copies.fill(stage(decided, current=current), world=world, current=current)
        specs, done = await self._authority.certify(staged, current=current)
        unreadable = {malformed.name for malformed in self._kinds.assignments.malformed()}
        for name, spec in specs.items():
            if name in current and current[name].spec == spec:
                continue
            if name in unreadable and spec.member is not None:
                # Nor can be read which nodes there are: what runs there goes on.
                continue
            try:
                await self._client.apply(_assignment(pools[name], spec), manager=FIELD_MANAGER)
                logger.info("assigned %d servers to pool %s", len(spec.servers), name)
            except ApiError as error:
                logger.warning("Assignment %s was refused: %s", name, error)
                done = False
        # A pool that cannot be read is not a pool that is gone: what runs there goes on.
        kept = pools.keys() | {malformed.name for malformed in self._kinds.pools.malformed()}
        for name in current.keys() - kept:
            try:
                await self._client.delete(ASSIGNMENTS, name=name, uid=current[name].metadata.uid)
            except ApiError as error:
                logger.warning("Assignment %s could not be deleted: %s", name, error)
                done = False
        return done

    async def _tell(self, world: World, problem: Problem, decided: Plan) -> bool:
        now = datetime.now(UTC)
        assignments = {assignment.name: assignment for assignment in self._kinds.assignments.objects()}
        # The snapshot is immutable, so that the statuses can be computed off the event loop, too.
        models = await asyncio.to_thread(_model_statuses, world, problem, decided, assignments, now)
        done = True
        for model, status, written in await write_statuses(self._client, models, manager=FIELD_MANAGER):
            done &= written
            if written:
                await self._announce(model, status)
        slos = [(slo, slo_status(slo, world=world, decisions=decided.decisions, now=now)) for slo in world.slos]
        pools = [
            (pool, pool_status(pool, world=world, now=now, assignment=assignments.get(pool.name)))
            for pool in world.pools
        ]
        for _, _, written in await write_statuses(self._client, slos, manager=FIELD_MANAGER):
            done &= written
        for pool, pool_said, written in await write_statuses(self._client, pools, manager=FIELD_MANAGER):
            done &= written
            if written:
                await self._announce_pool(pool, pool_said)
        for malformed in self._kinds.malformed():
            done &= await refuse_malformed(self._client, malformed, manager=FIELD_MANAGER, now=now)
        return done

    async def _announce(self, model: Model, status: ModelStatus) -> None:
        """Events for what changed, so that `kubectl describe` tells the story."""
        for it in announcements(model.status, status):
            await self._recorder.record(_reference(model), kind=it.kind, reason=it.reason, action="Place", note=it.note)

    async def _announce_pool(self, pool: NodePool, status: NodePoolStatus) -> None:
        for it in pool_announcements(pool.status, status, member=pool.spec.member):
            await self._recorder.record(_reference(pool), kind=it.kind, reason=it.reason, action="Watch", note=it.note)


def _model_statuses(
    world: World, problem: Problem, decided: Plan, assignments: Mapping[str, Assignment], now: datetime
) -> list[tuple[Model, ModelStatus]]:
    decisions, demand = decided.decisions, _by_model(problem)
    return [
        (
            each,
            model_status(
                each,
                decision=decisions[key_of(each)],
                demand=demand.get(key_of(each), {}),
                world=world,
                assignments=assignments,
                now=now,
            ),
        )
        for each in world.models
    ]


def _by_model(problem: Problem) -> Mapping[ModelKey, Mapping[str | None, float]]:
    """What each Model's sites are expected to ask."""
    found: dict[ModelKey, dict[str | None, float]] = defaultdict(dict)
    for (key, site), amount in problem.demand.items():
        if amount is not None:
            found[key][site] = amount
    return found


def _assignment(pool: NodePool, spec: AssignmentSpec) -> dict[str, Any]:
    return {
        "apiVersion": pool.api_version,
        "kind": Assignment.KIND,
        "metadata": {
            "name": pool.name,
            "ownerReferences": [
                {
                    "apiVersion": pool.api_version,
                    "kind": NodePool.KIND,
                    "name": pool.name,
                    "uid": pool.metadata.uid,
                    "controller": True,
                }
            ],
        },
        "spec": spec.dump(),
    }


def _reference(it: Model | NodePool) -> dict[str, Any]:
    """Names an object in an Event."""
    metadata = {"name": it.name, "uid": it.metadata.uid} | ({"namespace": it.namespace} if it.namespace else {})
    return {"apiVersion": it.api_version, "kind": type(it).KIND, "metadata": metadata}
