"""A member site and its hub on two real API servers, with the member's own rights and a cable that can be cut.

What is tested is the uplink. The site role and the hub's planner, which need nodes, are played here: statuses and
Assignments are written as they would write them.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import yaml

from littoral.api.assignment import Assignment
from littoral.cluster.client import ApiError, Client
from littoral.cluster.hub_access import HubAccess
from littoral.cluster.hub_access import Pace as AccessPace
from littoral.cluster.inviting import invite, revoke
from littoral.cluster.loop import LevelLoop
from littoral.cluster.membership import ASSIGNMENTS_ANNOTATION, HUB_SECRET, Credentials, member_name
from littoral.cluster.resources import (
    ASSIGNMENTS,
    CLUSTER_ROLES,
    DEPLOYMENTS,
    LATENCY_SLOS,
    LEASES,
    MODELS,
    NAMESPACES,
    NODE_POOLS,
    NODES,
    SECRETS,
)
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
from littoral.site.uplink_status import StatusPusher
from tests.cluster.api_server import ApiServer, Object
from tests.cluster.operator_process import OperatorProcess
from tests.support.cable import Cable, cable
from tests.support.objects import model, model_object, pool, pool_object, server, slo

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
        await until(lambda: _alone(self), "the site goes on by itself")

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


async def until(holds: Callable[[], Awaitable[bool] | bool], what: str, *, within: float = 30.0) -> None:
    """Wait for a condition."""
    end = time.monotonic() + within
    while True:
        held = holds()
        if await held if isinstance(held, Awaitable) else held:
            return
        assert time.monotonic() < end, f"{what}: not within {within:g} s"
        await asyncio.sleep(0.05)


def _cluster(kubeconfig: Path) -> dict[str, str]:
    cluster: dict[str, str] = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]
    return cluster


@pytest.fixture
async def pair(api: ApiServer, kubeconfig: Path, second_kubeconfig: Path) -> AsyncIterator[Pair]:
    name = uuid4().hex[:8]
    there = _cluster(second_kubeconfig)
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


# With the hub.


async def test_an_assignment_comes_down_and_its_status_goes_up(pair: Pair) -> None:
    generation = await pair.assign(pair.server("digits", replicas=2))
    async with pair.operator():
        await pair.follows(generation)
        copy = await pair.copy()
        assert copy is not None
        body = await pair.hub.get(ASSIGNMENTS, name=pair.pool)
        assert body is not None
        assert copy["spec"] == body["spec"]
        assert not copy["metadata"].get("ownerReferences")
        made = await pair.site.get(NAMESPACES, name=pair.shop)
        assert made is not None
        assert made["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "littoral"

        await pair.hears(-1)
        await pair.report()
        await pair.hears(generation, serving="1/1")
        status = await pair.status()
        assert [it["observedGeneration"] for it in status["conditions"]] == [generation]
        assert [(it["name"], it["ready"], it["cpu"]) for it in status["nodes"]] == [(pair.pool, True, "64")]

        newer = await pair.assign(pair.server("digits", replicas=3))
        await pair.follows(newer)
        await pair.hears(newer - 1)
        await pair.report()
        await pair.hears(newer)


async def test_a_node_that_changes_is_reported(pair: Pair) -> None:
    await pair.assign()
    async with pair.operator():
        await until(lambda: _nodes(pair, 1), "the node is reported")
        await pair.site.patch(NODES, {"spec": {"unschedulable": True}}, name=pair.pool, manager=ADMIN)

        async def cordoned() -> bool:
            return [it["schedulable"] for it in (await pair.status()).get("nodes", ())] == [False]

        await until(cordoned, "the cordon is reported")


async def _nodes(pair: Pair, count: int) -> bool:
    return len((await pair.status()).get("nodes", ())) == count


async def test_the_heartbeat_is_the_leaders(pair: Pair) -> None:
    async def renewed(before: str | None) -> bool:
        return await pair.renewed() not in (None, before)

    await pair.assign(pair.server("digits"))
    async with pair.operator(leads=False) as idle:
        await until(lambda: idle._copies.synced, "the replica knows what there is")
        assert not await renewed(None)
        assert await pair.copy() is None
    async with pair.operator():
        await until(lambda: renewed(None), "a heartbeat")
        first = await pair.renewed()
        await until(lambda: renewed(first), "the next heartbeat")


async def test_only_what_the_hub_names_no_more_is_removed(pair: Pair) -> None:
    other = f"{pair.pool}-2"
    await pair.assign(pair.server("digits"))
    await pair.assign(name=other, tell=False)
    await pair.tell(pair.pool, other)
    own = {
        "apiVersion": ASSIGNMENTS.api_version,
        "kind": "Assignment",
        "metadata": {"name": f"{pair.pool}-own"},
        "spec": pair.spec(),
    }
    await pair.site.apply(own, manager=ADMIN)

    async def there(*names: str) -> bool:
        bodies, _ = await pair.site.list(ASSIGNMENTS)
        return {it["metadata"]["name"] for it in bodies if it["metadata"]["name"].startswith(pair.pool)} == set(names)

    everything = (pair.pool, other, f"{pair.pool}-own")
    async with pair.operator() as uplink:
        await until(lambda: there(*everything), "both are mirrored")
        # That an Assignment is gone on the hub is not enough, nor that the Lease says nothing.
        await pair.hub.delete(ASSIGNMENTS, name=other)
        await _annotate(pair, None)
        await until(lambda: uplink.link.names is None, "the hub says nothing")
        await _annotate(pair, f"{other},{pair.pool}")
        await until(
            lambda: uplink.link.names is not None and uplink.link.hub(pair.pool) is not None, "it says it again"
        )
        assert await there(*everything)
        await pair.tell(pair.pool)
        await until(lambda: there(pair.pool, f"{pair.pool}-own"), "what is named no more is removed")
        await pair.tell()
        await until(lambda: there(f"{pair.pool}-own"), "nothing is named any more")


async def _annotate(pair: Pair, names: str | None) -> None:
    patch = {"metadata": {"annotations": {ASSIGNMENTS_ANNOTATION: names}}}
    name = member_name(pair.member)
    await pair.hub.patch(LEASES, patch, namespace=pair.namespace, name=name, manager=ADMIN)


# What a site does not do for its hub.


async def _there(pair: Pair, name: str) -> bool:
    return await pair.copy(name) is not None


async def _stalled(pair: Pair, text: str) -> None:
    async def holds() -> bool:
        found = {it["type"]: it for it in (await pair.status()).get("conditions", ())}
        return "Stalled" in found and text in found["Stalled"]["message"] and found["Ready"]["status"] == "False"

    await until(holds, f"the hub is told: {text}")


async def test_an_assignment_of_another_member_is_not_mirrored(pair: Pair) -> None:
    """Even where the Lease names it and the rights are there."""
    await pair.assign(member="somebody-else")
    await pair.assign(pair.server("digits"), name=f"{pair.pool}-2", tell=False)
    await pair.tell(pair.pool, f"{pair.pool}-2")

    async with pair.operator():
        await until(lambda: _there(pair, f"{pair.pool}-2"), "the other one is mirrored")
        assert await pair.copy() is None


async def test_an_assignment_that_is_not_the_hubs_is_left_alone(pair: Pair) -> None:
    own = {
        "apiVersion": ASSIGNMENTS.api_version,
        "kind": "Assignment",
        "metadata": {"name": pair.pool},
        "spec": pair.spec(pair.server("faces")),
    }
    await pair.site.apply(own, manager=ADMIN)
    await pair.assign(pair.server("digits"))
    async with pair.operator():
        await _stalled(pair, "not the hub's")
        assert await pair.replicas("digits") == 0
        assert await pair.replicas("faces") == 1
        await pair.site.delete(ASSIGNMENTS, name=pair.pool)
        await until(lambda: _is(pair, 1), "the hub's is mirrored")


async def _is(pair: Pair, replicas: int) -> bool:
    return await pair.replicas() == replicas


async def test_a_hub_gets_no_namespace_that_is_not_for_it(pair: Pair) -> None:
    """A Model may name Secrets of its namespace: those of others are none of the hub's business."""
    closed = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": pair.shop}}
    await pair.site.apply(closed, manager=ADMIN)
    system = pair.server("faces") | {"namespace": "kube-system"}
    generation = await pair.assign(pair.server("digits"), system)
    async with pair.operator():
        await _stalled(pair, f"in namespace kube-system, {pair.shop}")
        await pair.follows(generation)
        copy = await pair.copy()
        assert copy is not None
        assert not copy["spec"].get("servers")
        labels = {mirror.HUB_MODELS: mirror.ALLOWED}
        await pair.site.patch(NAMESPACES, {"metadata": {"labels": labels}}, name=pair.shop, manager=ADMIN)
        await until(lambda: _is(pair, 1), "the namespace that was opened is used")
        assert await pair.replicas("faces") == 0
        await _stalled(pair, "in namespace kube-system, and runs the rest")


class Strict(Client):
    """A site whose API server takes no server of more than two replicas, as an older CRD or a rule might."""

    async def apply(self, body: Object, *, manager: str, subresource: str | None = None) -> Object:
        if any(it.get("replicas", 1) > 2 for it in body.get("spec", {}).get("servers", ())):
            raise ApiError(status=422, reason="Invalid", message="two are enough")
        return await super().apply(body, manager=manager, subresource=subresource)


async def test_what_the_sites_api_server_refuses_is_said_and_the_old_copy_goes_on(pair: Pair, kubeconfig: Path) -> None:
    generation = await pair.assign(pair.server("digits"))
    async with await Strict.connect(kubeconfig=str(kubeconfig)) as strict, pair.operator(strict):
        await pair.follows(generation)
        await pair.report()
        await pair.hears(generation, serving="1/1")
        newer = await pair.assign(pair.server("digits", replicas=3))
        await _stalled(pair, "two are enough")
        await pair.hears(newer, serving="1/1")
        assert await pair.replicas() == 1
        newest = await pair.assign(pair.server("digits", replicas=2))
        await pair.follows(newest)
        await pair.report()
        await pair.hears(newest)
        assert [it["type"] for it in (await pair.status())["conditions"]] == ["Ready"]


async def test_a_newer_site_reports_to_an_older_hub(pair: Pair) -> None:
    """The hub drops what it does not know, and takes the rest."""
    await pair.assign()
    body = await pair.hub.get(ASSIGNMENTS, name=pair.pool)
    assert body is not None
    statuses = StatusPusher(every=0.0, within=10.0, on_change=lambda: None, clock=time.monotonic)
    said = {"observedGeneration": 1, "newer": {"field": 1}, "serving": "1/1"}
    async with _as_member(pair) as client:
        assert await statuses.push(client, body, said, session=1)
    status = await pair.status()
    assert (status["observedGeneration"], status["serving"]) == (1, "1/1")


@asynccontextmanager
async def _as_member(pair: Pair) -> AsyncIterator[Client]:
    """The hub, with the rights of the member and no more."""
    body = await pair.site.get(SECRETS, namespace=pair.namespace, name=HUB_SECRET)
    assert body is not None
    credentials = Credentials.from_secret(body)
    async with Client.at(credentials.server, ca=credentials.ca, token=credentials.token) as client:
        yield client


# Without the hub.


async def _alone(pair: Pair) -> bool:
    copy = await pair.copy()
    return copy is not None and mirror.away_since(copy) is not None


async def _at_least(pair: Pair, replicas: int) -> bool:
    return await pair.replicas() >= replicas


async def _busy(pair: Pair, uplink: Uplink) -> None:
    """Bring load to the site, and wait until it has scaled."""
    await pair.report(arrived=80.0)
    await until(lambda: _at_least(pair, 4), "the site scales by itself")
    assert uplink.away


async def test_without_the_hub_the_site_scales_and_with_it_the_hub_decides(pair: Pair) -> None:
    generation = await pair.assign(pair.server("digits"))
    async with pair.operator() as uplink:
        await pair.follows(generation)
        await pair.report(arrived=1.0)
        await pair.hears(generation)
        await pair.cut(uplink)
        assert await pair.replicas() == 1
        await _busy(pair, uplink)
        await pair.report(arrived=80.0)
        copy = await pair.copy()
        assert copy is not None
        assert copy["metadata"]["annotations"][mirror.HUB_GENERATION] == str(generation)
        body = await pair.hub.get(ASSIGNMENTS, name=pair.pool)
        assert body is not None
        assert copy["spec"] | {"servers": []} == body["spec"] | {"servers": []}

        # The hub hears of it before it hears that the site is back.
        grown, last = await pair.replicas(), await pair.renewed()
        pair.cable.mend()

        async def back() -> bool:
            return await pair.renewed() != last

        await until(back, "the Lease is renewed again")
        assert await _served(pair, grown)

        # While the hub says nothing newer, the site stays as it is.
        assert await _alone(pair)
        assert await pair.replicas() == grown
        newer = await pair.assign(pair.server("digits", replicas=7))
        await pair.follows(newer)
        assert await pair.replicas() == 7


async def _served(pair: Pair, replicas: int) -> bool:
    servers = (await pair.status()).get("servers", ())
    return sum(it["readyReplicas"] for it in servers if any(m["name"] == "digits" for m in it["models"])) >= replicas


async def test_a_hub_that_stays_by_its_word_is_followed_after_a_minute(pair: Pair) -> None:
    generation = await pair.assign(pair.server("digits"))
    async with pair.operator() as uplink:
        await pair.follows(generation)
        await pair.cut(uplink)
        await _busy(pair, uplink)
        pair.cable.mend()
        await pair.hears(max(generation - 1, 0))
        assert await _alone(pair)
        pair.skew += MINUTE
        await pair.follows(generation)
        assert await pair.replicas() == 1


async def test_a_link_that_falls_silent_is_as_one_that_breaks(pair: Pair) -> None:
    """Nobody says that it is gone: connections stay, and new ones are made, and nothing comes."""
    generation = await pair.assign(pair.server("digits"))
    async with pair.operator() as uplink:
        await pair.follows(generation)
        await pair.cut(uplink, silently=True)
        await _busy(pair, uplink)
        pair.cable.mend()
        newer = await pair.assign(pair.server("digits", replicas=6))
        await pair.follows(newer)


async def test_where_nothing_has_changed_the_hub_is_followed_at_once(pair: Pair) -> None:
    generation = await pair.assign(pair.server("digits"))
    async with pair.operator() as uplink:
        await pair.follows(generation)
        await pair.cut(uplink)
        pair.cable.mend()
        await pair.follows(generation)


async def test_a_short_break_changes_nothing(pair: Pair) -> None:
    generation = await pair.assign(pair.server("digits"))
    async with pair.operator() as uplink:
        await pair.follows(generation)
        session = uplink.link.session
        pair.cable.cut()
        await pair.report(arrived=80.0)
        await until(lambda: uplink.link.client is None, "the break is noticed")
        assert not uplink.away
        pair.cable.mend()
        await until(lambda: uplink.link.session > session, "contact is made again")
        await pair.hears(generation)
        assert not await _alone(pair)
        assert await pair.replicas() == 1


async def test_an_operator_that_starts_without_the_hub_goes_on(pair: Pair) -> None:
    """The next process finds the mark, waits for nothing, and does not take what was added for the hub's."""
    generation = await pair.assign(pair.server("digits", replicas=2))
    async with pair.operator() as uplink:
        await pair.follows(generation)
        await pair.cut(uplink)
    async with pair.operator() as uplink:
        await _busy(pair, uplink)
        copy = await pair.copy()
        assert copy is not None
        assert mirror.hub_replicas(copy) == {(pair.shop, f"triton-{pair.pool}-cpu"): 2}
    async with pair.operator() as uplink:
        await until(lambda: uplink.away, "the next one goes on, too")
        pair.cable.mend()
        newer = await pair.assign(pair.server("digits", replicas=5))
        await pair.follows(newer)


class Crash(BaseException):
    """The process dies here."""


class Dying(Client):
    """A client of the site whose process dies at a request."""

    left = 0

    async def _json(self, *arguments: Any, **more: Any) -> Object:
        if self.left == 0:
            raise Crash
        self.left -= 1
        return await super()._json(*arguments, **more)


@pytest.mark.parametrize("away", [False, True], ids=["with the hub", "without the hub"])
async def test_a_restart_at_any_point_is_harmless(pair: Pair, kubeconfig: Path, *, away: bool) -> None:
    generation = await pair.assign(pair.server("digits"), tell=False)
    await pair.assign(name=f"{pair.pool}-2", tell=False)
    await pair.tell(pair.pool, f"{pair.pool}-2")
    if away:
        async with pair.operator() as uplink:
            await pair.follows(generation)
            await pair.cut(uplink)
            await pair.report(arrived=80.0)
    for left in range(2, 24, 2):
        async with await Dying.connect(kubeconfig=str(kubeconfig)) as client:
            client.left = left
            async with pair.operator(client):
                await until(lambda client=client: client.left == 0, "it died")
        assert await pair.replicas() >= (1 if away else 0)
    pair.cable.mend()
    newer = await pair.assign(pair.server("digits", replicas=3), tell=False)
    async with pair.operator():
        await pair.follows(newer)
        await until(lambda: _there(pair, f"{pair.pool}-2"), "the other one is there")
        await pair.report()
        await pair.hears(newer)


# The whole operator.


async def test_the_operator_of_a_member_site(pair: Pair, kubeconfig: Path, tmp_path: Path) -> None:
    """As `littoral operator --role site --member` runs it: joined, then killed, then without its hub."""
    generation = await pair.assign(pair.server("digits"))
    operator = OperatorProcess(
        kubeconfig=kubeconfig,
        namespace=pair.namespace,
        log=tmp_path / "operator.log",
        more=("--role", "site", "--member", pair.member),
    )
    name = f"triton-{pair.pool}-cpu"

    async def runs(replicas: int) -> bool:
        found = await pair.site.get(DEPLOYMENTS, namespace=pair.shop, name=name)
        return found is not None and found["spec"]["replicas"] == replicas

    try:
        operator.start()
        await until(lambda: runs(1), "the server is there")
        await pair.hears(generation)
        newer = await pair.assign(pair.server("digits", replicas=2))
        await until(lambda: runs(2), "it follows")
        await pair.hears(newer)
        operator.kill()
        pair.cable.cut()
        operator.start()
        await pair.site.delete(DEPLOYMENTS, namespace=pair.shop, name=name)
        await until(lambda: runs(2), "without the hub it makes anew what was deleted")
        pair.cable.mend()
        newest = await pair.assign(pair.server("digits", replicas=3))
        await until(lambda: runs(3), "it follows again", within=60)
        await pair.hears(newest)
    finally:
        operator.terminate()
        await pair.site.delete(DEPLOYMENTS, namespace=pair.shop, name=name)
    assert "Traceback" not in operator.log


async def test_a_model_of_the_hub_runs_at_the_site(
    pair: Pair, kubeconfig: Path, second_kubeconfig: Path, tmp_path: Path
) -> None:
    """Both operators: what is declared on the hub becomes a server at the site, and the hub says how it is."""
    await pair.hub.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": pair.shop}}, manager=ADMIN)
    own = {"namespace": pair.namespace, "lease": f"test-{pair.pool}"}
    hub = OperatorProcess(kubeconfig=second_kubeconfig, log=tmp_path / "hub.log", more=("--role", "hub"), **own)
    site = OperatorProcess(
        kubeconfig=kubeconfig, log=tmp_path / "site.log", more=("--role", "site", "--member", pair.member), **own
    )
    name = f"triton-{pair.pool}-cpu"

    async def runs() -> bool:
        return await pair.site.get(DEPLOYMENTS, namespace=pair.shop, name=name) is not None

    async def placed() -> bool:
        found = await pair.hub.get(MODELS, namespace=pair.shop, name="digits")
        return any(it["pool"] == pair.pool for it in ((found or {}).get("status") or {}).get("placements", ()))

    async def assigned() -> Object:
        body = await pair.hub.get(ASSIGNMENTS, name=pair.pool)
        assert body is not None
        return body

    try:
        hub.start()
        site.start()
        await pair.hub.create(NODE_POOLS, pool_object(pair.pool, site=pair.member, member=pair.member))
        await until(lambda: _nodes(pair, 1), "the hub knows the site's node", within=60)
        await pair.hub.create(MODELS, model_object("digits", namespace=pair.shop), namespace=pair.shop)
        await until(runs, "the server is there")
        await until(placed, "the hub says where it is")
        body = await assigned()
        await pair.hears(body["metadata"]["generation"])
        inputs = body["spec"]["inputs"]
        assert [it["name"] for it in inputs["models"]] == ["digits"]
        assert inputs["pool"]["member"] == pair.member

        # A hub that starts anew writes nothing for the sake of the inputs.
        hub.kill()
        hub.start()
        await pair.hub.apply(slo("digits", namespace=pair.shop).dump() | {"kind": "LatencySLO"}, manager=ADMIN)

        async def told() -> bool:
            return [it["name"] for it in (await assigned())["spec"]["inputs"].get("slos", ())] == ["digits-slo"]

        await until(told, "the site gets the LatencySLO")
        assert (await assigned())["metadata"]["generation"] == body["metadata"]["generation"] + 1
    finally:
        for process in (hub, site):
            process.terminate()
        await pair.hub.delete(NODE_POOLS, name=pair.pool)
        for resource, what in ((MODELS, "digits"), (LATENCY_SLOS, "digits-slo"), (NAMESPACES, pair.shop)):
            await pair.hub.delete(resource, namespace=pair.shop, name=what)
        await pair.site.delete(DEPLOYMENTS, namespace=pair.shop, name=name)
    assert "Traceback" not in hub.log + site.log
