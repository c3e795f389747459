"""A member site and its hub on two real API servers, with the member's own rights and a cable that can be cut.

The site role and the hub's planner, which need nodes, are played here: statuses and Assignments are written as they
would write them.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from littoral.api.assignment import Assignment
from littoral.cluster.client import Client
from littoral.cluster.hub_access import HubAccess
from littoral.cluster.hub_access import Pace as AccessPace
from littoral.cluster.inviting import invite, revoke
from littoral.cluster.loop import LevelLoop
from littoral.cluster.membership import member_name
from littoral.cluster.resources import ASSIGNMENTS, CLUSTER_ROLES, LEASES, NAMESPACES, NODES
from littoral.cluster.store import KindStore
from littoral.core.hardware import default_device_table
from littoral.core.inputs import Copies
from littoral.core.learning import Learner
from littoral.core.planner import Tuning
from littoral.core.world import World
from littoral.hub.members import Members
from littoral.site import mirror
from littoral.site.local_planning import LocalPlanner
from littoral.site.uplink import Uplink
from littoral.site.uplink_link import Pace
from tests.cluster.api_server import ApiServer, Object, cluster_of, until
from tests.support.cable import Cable, cable
from tests.support.objects import model, pool, server, slo

ADMIN = "littoral-tests"
QUICK = Pace(beat=0.1, answer=4.0, push=0.1, plan=0.1, greet=0.05)
LOOK = AccessPace(look=0.5, retry_first=0.05, retry_most=0.2)
MINUTE = 61.0


@dataclass(kw_only=True)
class Pair:
    """A hub, a site with a node, and the cable between them, for one member with one pool."""

    hub: Client
    site: Client
    cable: Cable
    namespace: str
    """Of the operators, in both clusters."""
    member: str
    pool: str
    shop: str
    """Of the Models."""
    skew: float = 0.0
    """Seconds by which the site's clock is ahead of the time that this test takes."""

    def spec(self, *servers: Mapping[str, Any], **more: Any) -> Object:
        """What the hub assigns, with all that belongs to it."""
        spec = {
            "tier": "edge",
            "site": self.member,
            "member": self.member,
            "nodeSelector": {"matchLabels": {"littoral.dev/pool": self.pool}},
            "servers": list(servers),
        }
        world = World(
            models=tuple(model(name, namespace=self.shop) for name in ("digits", "faces")),
            slos=(slo("digits", namespace=self.shop),),
            pools=(pool(self.pool, member=self.member, site=self.member),),
        )
        parsed = Assignment.parse({"metadata": {"name": self.pool}, "spec": spec}).spec
        filled = Copies().fill({self.pool: parsed}, world=world, current={})
        return filled[self.pool].dump() | more

    def server(self, *models: str, **more: Any) -> Object:
        """A server of the pool."""
        return server(*models, pool=self.pool, namespace=self.shop, **more)

    async def assign(self, *servers: Mapping[str, Any], name: str | None = None, tell: bool = True, **more: Any) -> int:
        """What the hub's operator does after a plan. Returns the generation."""
        body = {
            "apiVersion": ASSIGNMENTS.api_version,
            "kind": ASSIGNMENTS.kind,
            "metadata": {"name": name or self.pool},
            "spec": self.spec(*servers, **more),
        }
        written = await self.hub.apply(body, manager=ADMIN)
        if tell:
            await self.tell(name or self.pool)
        generation: int = written["metadata"]["generation"]
        return generation

    async def tell(self, *names: str) -> None:
        """Grant the member its Assignments, and name them in its Lease."""
        members = Members(self.hub, namespace=self.namespace, manager=ADMIN, on_change=lambda: None)
        spec = self.spec()
        task = asyncio.create_task(members.informer.run())
        try:
            await until(lambda: members.informer.synced, "the Leases are known")
            assert await members.write(Assignment.parse({"metadata": {"name": it}, "spec": spec}) for it in names)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def copy(self, name: str | None = None) -> Object | None:
        """The Assignment at the site."""
        return await self.site.get(ASSIGNMENTS, name=name or self.pool)

    async def status(self) -> Object:
        """What the hub knows."""
        body = await self.hub.get(ASSIGNMENTS, name=self.pool)
        return (body or {}).get("status") or {}

    async def follows(self, generation: int) -> None:
        """Wait until the copy is of that generation, with the hub in charge."""

        async def holds() -> bool:
            copy = await self.copy()
            annotations = copy["metadata"].get("annotations", {}) if copy else {}
            return annotations.get(mirror.HUB_GENERATION) == str(generation) and mirror.AWAY_SINCE not in annotations

        await until(holds, f"the site follows generation {generation}")

    async def hears(self, generation: int, **fields: Any) -> None:
        """Wait until the hub knows that of its generation."""

        async def holds() -> bool:
            status = await self.status()
            return status.get("observedGeneration") == generation and all(
                status.get(key) == value for key, value in fields.items()
            )

        await until(holds, f"the hub knows of generation {generation}: {fields}")

    async def report(self, *, arrived: float = 0.0) -> None:
        """What the site role does when all is well: it says so."""
        copy = await self.copy()
        assert copy is not None
        generation = copy["metadata"]["generation"]
        servers = [
            {
                "name": it["name"],
                "namespace": it["namespace"],
                "replicas": it.get("replicas", 1),
                "readyReplicas": it.get("replicas", 1),
                "models": [
                    {
                        "name": served["name"],
                        "variant": served["variant"],
                        "digest": served["artifact"]["digest"],
                        "state": "Ready",
                        "readyReplicas": it.get("replicas", 1),
                    }
                    for served in it["models"]
                ],
            }
            for it in copy["spec"].get("servers", ())
        ]
        status = {
            "observedGeneration": generation,
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "Applied",
                    "message": "all is well",
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                    "observedGeneration": generation,
                }
            ],
            "servers": servers,
            "serving": f"{len(servers)}/{len(servers)}",
            "gateway": {
                "replicas": 1,
                "readyReplicas": 1,
                "routes": [{"namespace": self.shop, "name": "digits", "arrived": str(arrived)}],
            },
        }
        await self.site.apply(
            {"apiVersion": copy["apiVersion"], "kind": "Assignment", "metadata": {"name": self.pool}, "status": status},
            manager="littoral-site",
            subresource="status",
        )

    async def renewed(self) -> str | None:
        """When the site has renewed its Lease last."""
        lease = await self.hub.get(LEASES, namespace=self.namespace, name=member_name(self.member))
        spec = (lease or {}).get("spec") or {}
        return spec.get("renewTime") if spec.get("holderIdentity") == "operator-1" else None

    async def replicas(self, model: str = "digits") -> int:
        """Replicas of a Model that the site is to run."""
        copy = await self.copy()
        servers = copy["spec"].get("servers", ()) if copy else ()
        return sum(it.get("replicas", 1) for it in servers if any(each["name"] == model for each in it["models"]))

    async def cut(self, uplink: Uplink, *, silently: bool = False) -> None:
        """Cut the cable, and let more than a minute pass at the site, until it goes on by itself."""
        self.cable.silence() if silently else self.cable.cut()
        await until(lambda: uplink.link.client is None, "the break is noticed")
        self.skew += MINUTE
        await until(lambda: is_alone(self), "the site goes on by itself")

    @asynccontextmanager
    async def operator(
        self, client: Client | None = None, *, leads: bool = True, tuning: Tuning | None = None
    ) -> AsyncIterator[Uplink]:
        """The uplink of the site's operator; `client` is of the site."""
        client = client or self.site
        loops: list[LevelLoop] = []

        def trigger() -> None:
            for loop in loops:
                loop.trigger()

        access = HubAccess(client, namespace=self.namespace, member=self.member, on_change=trigger, pace=LOOK)
        store = KindStore(Assignment, ASSIGNMENTS, on_change=lambda: None)
        ticks = itertools.count(time.time(), 5.0)
        uplink = Uplink(
            client,
            access=access,
            assignments=store,
            planner=LocalPlanner(
                member=self.member,
                devices=default_device_table(),
                learner=Learner(),
                tuning=tuning or Tuning(),
                clock=lambda: next(ticks),
            ),
            namespace=self.namespace,
            identity="operator-1",
            may_run=lambda: leads,
            on_change=trigger,
            pace=QUICK,
            clock=lambda: time.monotonic() + self.skew,
        )

        async def step() -> bool:
            await store.sync(client)
            return await uplink.step()

        loops.append(LevelLoop("uplink", step, may_run=lambda: leads, quiet=0.01, patience=0.05))
        jobs = [
            access.run(),
            *uplink.jobs().values(),
            *(loop.run() for loop in loops),
            *(it.run() for it in uplink.informers),
        ]
        tasks = [asyncio.create_task(job) for job in jobs]
        try:
            yield uplink
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def pair(api: ApiServer, kubeconfig: Path, second_kubeconfig: Path) -> AsyncIterator[Pair]:
    name = uuid4().hex[:8]
    there = cluster_of(second_kubeconfig)
    address = urlsplit(there["server"])
    assert address.hostname is not None
    async with (
        await Client.connect(kubeconfig=str(second_kubeconfig)) as hub,
        await Client.connect(kubeconfig=str(kubeconfig)) as site,
        cable(address.hostname, address.port or 443) as link,
    ):
        made = Pair(
            hub=hub,
            site=site,
            cable=link,
            namespace=f"littoral-{name}",
            member=f"m-{name}",
            pool=f"p-{name}",
            shop=f"shop-{name}",
        )
        for client in (hub, site):
            await client.apply(
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": made.namespace}}, manager=ADMIN
            )
        labels = {"littoral.dev/pool": made.pool}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": made.pool, "labels": labels}}
        await site.create(NODES, node)
        await _beat(site, made.pool)
        ca = base64.b64decode(there["certificate-authority-data"]).decode()
        invitation = await invite(
            hub, made.member, namespace=made.namespace, server=f"https://127.0.0.1:{link.port}", ca=ca, valid=3600
        )
        await site.apply(invitation.credentials.to_secret(namespace=made.namespace), manager="littoral-join")
        yield made
        await site.delete(NODES, name=made.pool)
        for client in (hub, site):
            bodies, _ = await client.list(ASSIGNMENTS)
            for body in bodies:
                if body["metadata"]["name"].startswith(made.pool):
                    await client.delete(ASSIGNMENTS, name=body["metadata"]["name"])
        await revoke(hub, made.member, namespace=made.namespace)
        await hub.delete(CLUSTER_ROLES, name=member_name(made.member))
        for client, names in ((hub, (made.namespace,)), (site, (made.namespace, made.shop))):
            for it in names:
                await client.delete(NAMESPACES, name=it)


async def _beat(site: Client, name: str) -> None:
    """What a kubelet says; the controller manager does not miss it within the time of a test."""
    status = {
        "allocatable": {"cpu": "64", "memory": "64Gi", "pods": "110"},
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    await site.patch(NODES, {"status": status}, name=name, subresource="status", manager=ADMIN)


async def has_nodes(pair: Pair, count: int) -> bool:
    """Whether the hub knows this many nodes of the pool."""
    return len((await pair.status()).get("nodes", ())) == count


async def is_there(pair: Pair, name: str) -> bool:
    """Whether the site has an Assignment of this name."""
    return await pair.copy(name) is not None


async def is_alone(pair: Pair) -> bool:
    """Whether the site goes on by itself."""
    copy = await pair.copy()
    return copy is not None and mirror.away_since(copy) is not None


async def has_at_least(pair: Pair, replicas: int) -> bool:
    """Whether the site has planned so many replicas."""
    return await pair.replicas() >= replicas


async def serves(pair: Pair, replicas: int) -> bool:
    """Whether so many replicas serve `digits`, as the hub has heard."""
    servers = (await pair.status()).get("servers", ())
    return sum(it["readyReplicas"] for it in servers if any(m["name"] == "digits" for m in it["models"])) >= replicas
