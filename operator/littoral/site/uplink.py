"""The site's end of a member's link to its hub: Assignments come down, statuses go up, and without the hub the site
goes on by itself. `step` is one level-triggered pass.

The copy of an Assignment in this cluster's own API server is all that the site role works by, so nothing here is needed
for what runs to go on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from littoral.api.assignment import Assignment, Server
from littoral.api.base import InvalidObject
from littoral.api.meta import NodeSelector
from littoral.api.nodes import NodeReport
from littoral.cluster.client import ApiError, Client, Object
from littoral.cluster.informer import Informer
from littoral.cluster.resources import ASSIGNMENTS, NAMESPACES, NODES
from littoral.cluster.store import KindStore
from littoral.core.hardware import Node
from littoral.core.node_reports import reports_of
from littoral.site import mirror
from littoral.site.local_planning import LocalPlanner
from littoral.site.uplink_link import Access, HubLink, Pace
from littoral.site.uplink_status import StatusPusher

logger = logging.getLogger(__name__)

_Version = tuple[str, int]
"""uid and generation of a hub's Assignment."""


class Uplink:
    """What a member site does for and without its hub. Its `jobs` and `informers` must run beside the passes."""

    def __init__(
        self,
        client: Client,
        *,
        access: Access,
        assignments: KindStore[Assignment],
        planner: LocalPlanner,
        namespace: str,
        identity: str,
        may_run: Callable[[], bool],
        on_change: Callable[[], None],
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """An uplink that has yet to see anything.

        Args:
            client: of this cluster.
            assignments: of this cluster, as the site role sees them.
            namespace: of this operator.
            identity: of this replica.
            may_run: whether this replica is the one that acts.
        """
        pace = pace or Pace()
        self._client = client
        self._member = access.member
        self._assignments = assignments
        self._planner = planner
        self._namespace = namespace
        self._on_change = on_change
        self._plan_every = pace.plan
        self._clock = clock
        self.link = HubLink(
            access,
            identity=identity,
            may_run=may_run,
            told=self._told,
            on_change=on_change,
            pace=pace,
            clock=clock,
        )
        self._copies: Informer[Object] = Informer(client, ASSIGNMENTS, keep=mirror.essence, on_change=on_change)
        self._nodes: Informer[Node] = Informer(client, NODES, keep=Node.from_object, on_change=on_change)
        self._statuses = StatusPusher(every=pace.push, within=pace.answer, on_change=on_change, clock=clock)
        self._learned_at = float("-inf")
        self._troubles: dict[str, tuple[_Version, str]] = {}
        self._followed: dict[str, tuple[_Version, int]] = {}

    @property
    def informers(self) -> list[Informer[Object] | Informer[Node]]:
        """What must run beside the passes."""
        return [self._copies, self._nodes]

    @property
    def away(self) -> bool:
        """Whether the site goes on by itself. A process that finds the mark of its predecessor waits for nothing."""
        return self.link.away or (not self.link.met and any(mirror.away_since(copy) for _, copy in self._mirrored()))

    def jobs(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What must run, besides the informers, by name; each ends only by cancellation."""
        return {"link to the hub": self.link.run(), "uplink tick": self._tick()}

    async def step(self) -> bool:
        """One pass. Returns whether all of it got through; what did not is tried again."""
        # 1. Before the first lists are in, absence means nothing.
        if not self._assignments.synced or not all(informer.synced for informer in self.informers):
            return True

        # 2. Learn what is measured here, whether or not it is needed.
        mine = [it for it in self._assignments.objects() if it.spec.member == self._member]
        if self._clock() - self._learned_at >= self._plan_every:
            self._learned_at = self._clock()
            try:
                await self._planner.learn(mine, self._nodes.values())
            except Exception:
                logger.exception("what is measured here taught nothing; the hub is followed all the same")

        # 3. With the hub: tell it what is, and do what it says. Without it for long: go on by ourselves.
        if (hub := self.link.client) is not None:
            return await self._follow(hub)
        return await self._go_on(mine) if self.away else True

    async def _tick(self) -> None:
        """Passes while nothing else happens: what is measured moves on, and so does time."""
        while True:
            self._on_change()
            await asyncio.sleep(self._plan_every)

    def _told(self) -> bool:
        """Whether the hub has heard of each of its Assignments in this session."""
        bodies = [self.link.hub(name) for name in self.link.names or ()]
        return all(body is not None and self._statuses.told(body, session=self.link.session) for body in bodies)

    async def _follow(self, hub: Client) -> bool:
        names = self.link.names
        if names is None:
            return True  # The hub has not said yet what there is: nothing is removed.
        bodies = {name: body for name in sorted(names) if (body := self.link.hub(name)) is not None}
        ours = {name: body for name, body in bodies.items() if mirror.is_ours(body, member=self._member)}
        for name in bodies.keys() - ours.keys():
            logger.warning("the hub's Assignment %s is not for member %s: it is left alone", name, self._member)
        done = True
        selectors = _selectors(ours)
        for name, body in ours.items():
            if self.link.client is None:
                return True  # It went away meanwhile; whoever comes back begins anew.
            try:
                done &= await self._follow_one(hub, body, selectors=selectors)
            except Exception:
                logger.exception("Assignment %s could not be followed; the others are", name)
                done = False
        for name, copy in self._mirrored():
            if name not in names:
                done &= await self._remove(copy)
        self._statuses.retain(names)
        return done

    async def _follow_one(self, hub: Client, body: Object, *, selectors: Mapping[str, NodeSelector]) -> bool:
        done = await self._mirror(body, self._copies.get(("", body["metadata"]["name"])))
        told = self._statuses.told(body, session=self.link.session)
        status = self._status(body, selectors=selectors)
        done &= await self._statuses.push(hub, body, status, session=self.link.session)
        if not told and self._statuses.told(body, session=self.link.session):
            self._on_change()  # Now the hub's word counts again.
        return done

    def _status(self, body: Object, *, selectors: Mapping[str, NodeSelector]) -> Object:
        copy = self._copies.get(("", body["metadata"]["name"]))
        version, trouble = self._troubles.get(body["metadata"]["name"], (None, ""))
        return mirror.hub_status(
            body,
            copy=copy if copy is not None and mirror.is_copy(copy) else None,
            nodes=_reports(body["metadata"]["name"], self._nodes.values(), selectors=selectors),
            trouble=trouble if version == _version(body) else "",
            now=datetime.now(UTC),
        )

    async def _mirror(self, body: Object, copy: Object | None) -> bool:
        """Bring the copy in line with the hub's Assignment. What cannot be is the hub's to know; the copy goes on."""
        name = body["metadata"]["name"]
        if not self._is_due(body, copy):
            return True
        trouble = ""
        if copy is not None and not mirror.is_copy(copy):
            trouble = f"the site has an Assignment {name} that is not the hub's: delete it there"
        trouble = trouble or mirror.why_unreadable(body)
        if trouble:
            self._note(body, trouble)
            return True
        try:
            closed = await self._closed(mirror.namespaces(body))
            applied = await self._client.apply(mirror.copy_of(body, closed=closed), manager=mirror.MANAGER)
        except ApiError as error:
            self._note(body, f"the site's API server refuses it: {error}")
            return False
        if copy is None or not mirror.is_of(copy, body):
            logger.info("Assignment %s follows the hub's generation %d", name, _version(body)[1])
        self._followed[name] = _version(body), applied["metadata"]["generation"]
        self._note(body, mirror.closed_namespaces(closed))
        return not closed

    def _is_due(self, body: Object, copy: Object | None) -> bool:
        """Whether the copy is to be written now."""
        if body["metadata"].get("deletionTimestamp"):
            return False
        if copy is None:
            return True
        if mirror.away_since(copy) is not None:
            # The hub's word counts once it has heard what the site has done without it: when it says something newer,
            # or has said nothing newer for long enough.
            newer = not mirror.is_of(copy, body)
            told = self._statuses.told(body, session=self.link.session)
            return told and (newer or self.link.settled or mirror.says_the_same(copy, body))
        if self._troubles.get(copy["metadata"]["name"], (None, ""))[0] == _version(body):
            return True
        followed = self._followed.get(copy["metadata"]["name"])
        return not mirror.is_of(copy, body) or followed != (_version(body), copy["metadata"]["generation"])

    def _note(self, body: Object, trouble: str) -> None:
        """Keep what is wrong with an Assignment as it is now, to be said to the hub; log it once."""
        name = body["metadata"]["name"]
        if not trouble:
            self._troubles.pop(name, None)
        elif self._troubles.get(name) != (_version(body), trouble):
            self._troubles[name] = _version(body), trouble
            logger.warning("Assignment %s does not follow the hub: %s", name, trouble)

    async def _closed(self, wanted: Collection[str]) -> frozenset[str]:
        """Those of the namespaces in which the hub may have nothing run. What is missing is created."""
        closed = set()
        for name in sorted(wanted):
            if mirror.is_reserved(name, operator=self._namespace):
                closed.add(name)
                continue
            found = await self._client.get(NAMESPACES, name=name)
            if found is None:
                await self._client.create(NAMESPACES, mirror.namespace_of_models(name))
                logger.info("created namespace %s for Models of the hub", name)
            elif not mirror.may_have_models(found):
                closed.add(name)
        return frozenset(closed)

    async def _remove(self, copy: Object) -> bool:
        name = copy["metadata"]["name"]
        try:
            await self._client.delete(ASSIGNMENTS, name=name, uid=copy["metadata"]["uid"])
        except ApiError as error:
            logger.warning("Assignment %s, which the hub no longer has, could not be deleted: %s", name, error)
            return False
        self._followed.pop(name, None)
        self._troubles.pop(name, None)
        logger.info("deleted Assignment %s, which the hub no longer has", name)
        return True

    async def _go_on(self, mine: list[Assignment]) -> bool:
        """Scale what runs here by what is asked here, and mark that it was not the hub."""
        copies = dict(self._mirrored())
        assignments = [it for it in mine if it.name in copies]
        floors = {it.name: mirror.hub_replicas(copies[it.name]) for it in assignments}
        planned = await self._planner.servers(assignments, floors=floors)
        done = True
        for it in assignments:
            copy, servers = copies[it.name], planned.get(it.name, it.spec.servers)
            if copy["metadata"]["generation"] != it.metadata.generation:
                continue  # One of the two has yet to hear of the last change.
            if mirror.away_since(copy) is not None and _by_key(servers) == _by_key(it.spec.servers):
                continue
            try:
                body = mirror.scaled(copy, servers, since=self.link.heard_at)
                await self._client.apply(body, manager=mirror.MANAGER)
                logger.info("without the hub: %s", _difference(it, servers))
            except ApiError as error:
                logger.warning("Assignment %s could not be scaled: %s", it.name, error)
                done = False
        return done

    def _mirrored(self) -> Iterator[tuple[str, Object]]:
        return ((name, copy) for (_, name), copy in self._copies.items() if mirror.is_copy(copy))


def _selectors(bodies: Mapping[str, Object]) -> dict[str, NodeSelector]:
    found: dict[str, NodeSelector] = {}
    for name, body in bodies.items():
        try:
            found[name] = NodeSelector.parse(body["spec"]["nodeSelector"])
        except (InvalidObject, KeyError):
            continue
    return found


def _reports(pool: str, nodes: Collection[Node], *, selectors: Mapping[str, NodeSelector]) -> tuple[NodeReport, ...]:
    """The nodes of a pool: each belongs to the first pool by name that selects it, as on the hub."""
    return reports_of(
        node
        for node in nodes
        if next((name for name in sorted(selectors) if selectors[name].matches(node.labels)), None) == pool
    )


def _version(body: Object) -> _Version:
    return body["metadata"].get("uid", ""), body["metadata"].get("generation", 0)


def _by_key(servers: Collection[Server]) -> dict[tuple[str, str], Server]:
    return {(server.namespace, server.name): server for server in servers}


def _difference(assignment: Assignment, servers: Collection[Server]) -> str:
    """What changes, in a line."""
    before = {key: server.replicas for key, server in _by_key(assignment.spec.servers).items()}
    after = {key: server.replicas for key, server in _by_key(servers).items()}
    changes = [
        f"{'/'.join(key)} {before.get(key, 0)} -> {after.get(key, 0)} replicas"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]
    return f"Assignment {assignment.name}: {', '.join(changes) or 'as it is'}"
