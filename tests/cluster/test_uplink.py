"""What a member site takes over from its hub, and what it reports there."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from littoral.cluster.client import ApiError, Client
from littoral.cluster.membership import ASSIGNMENTS_ANNOTATION, HUB_SECRET, Credentials, member_name
from littoral.cluster.resources import (
    ASSIGNMENTS,
    DEPLOYMENTS,
    LATENCY_SLOS,
    LEASES,
    MODELS,
    NAMESPACES,
    NODE_POOLS,
    NODES,
    SECRETS,
)
from littoral.site import mirror
from littoral.site.uplink_status import StatusPusher
from tests.cluster.api_server import Object, until
from tests.cluster.operator_process import OperatorProcess
from tests.cluster.uplink_pair import ADMIN, Pair, has_nodes, is_there
from tests.support.objects import model_object, pool_object, slo

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
        await until(lambda: has_nodes(pair, 1), "the node is reported")
        await pair.site.patch(NODES, {"spec": {"unschedulable": True}}, name=pair.pool, manager=ADMIN)

        async def cordoned() -> bool:
            return [it["schedulable"] for it in (await pair.status()).get("nodes", ())] == [False]

        await until(cordoned, "the cordon is reported")


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
        await until(lambda: is_there(pair, f"{pair.pool}-2"), "the other one is mirrored")
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
        await until(lambda: has_nodes(pair, 1), "the hub knows the site's node", within=60)
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
