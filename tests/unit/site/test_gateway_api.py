"""Routes beside the servers, as far as no API server is needed: what is read of one, and when nothing is done."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from littoral.api import conditions
from littoral.api.assignment import Assignment, AssignmentStatus
from littoral.cluster.client import ApiError
from littoral.cluster.informer import key_of
from littoral.cluster.resources import HTTP_ROUTES
from littoral.render.gateway_api import GatewayApiSettings, pool_service_name
from littoral.site import gateway_api
from littoral.site.gateway_api import GatewayApi, RouteInformer, route_essence
from tests.support.objects import assignment, server
from tests.unit.cli.test_explain import SINCE

SETTINGS = GatewayApiSettings.parse(parents=["infra/web"], http="{model}.{namespace}.example.com")
SERVICE = pool_service_name(model="digits", pool="edge")


class FakeClient:
    """Holds the routes; answers 404 until there is a CRD."""

    def __init__(self, *, served: bool = True) -> None:
        self.served = served
        self.routes: dict[tuple[str, str], Any] = {}
        self.written: list[str] = []

    async def list(self, resource: Any, **_: Any) -> tuple[list[Any], str]:
        if not self.served:
            raise ApiError(status=404, reason="NotFound", message="404 page not found")
        return list(self.routes.values()), "1"

    async def get(self, resource: Any, *, namespace: str, name: str) -> Any:
        return self.routes.get((namespace, name))

    async def apply(self, body: Any, *, manager: str) -> Any:
        body = body | {"metadata": body["metadata"] | {"uid": "uid-of-route"}}
        self.routes[key_of(body)] = body
        self.written.append(f"applied {body['kind']}")
        return body

    async def delete(self, resource: Any, *, namespace: str, name: str, uid: str) -> bool:
        del self.routes[namespace, name]
        self.written.append(f"deleted {resource.kind}")
        return True


class Services:
    """The live Services of pools."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def get(self, key: tuple[str, str]) -> Any:
        return {"metadata": {"uid": f"uid-of-{key[1]}"}} if key[1] in self.names else None


async def passes(
    api: GatewayApi, client: Any, *assignments: Assignment, services: Sequence[str] = (SERVICE,), frozen: bool = False
) -> bool:
    """What the informer would see first, and then a pass."""
    (informer,) = api.informers
    if client.served:
        await informer._list()
    api.services(assignments, pods=())
    return await api.step(services=Services(*services), frozen=frozen)  # type: ignore[arg-type]


def made(client: Any) -> GatewayApi:
    return GatewayApi(client, settings=SETTINGS, on_change=lambda: None)


async def test_a_route_follows_its_services_and_goes_with_them() -> None:
    client = FakeClient()
    api, edge = made(client), assignment("edge", servers=[server("digits")])
    assert await passes(api, client, edge, services=())
    assert client.written == []  # Its Service is not there yet.
    assert await passes(api, client, edge)
    assert await passes(api, client, edge)
    assert client.written == ["applied HTTPRoute"]
    (owner,) = client.routes["shop", "digits"]["metadata"]["ownerReferences"]
    assert owner == {"apiVersion": "v1", "kind": "Service", "name": SERVICE, "uid": f"uid-of-{SERVICE}"}
    assert await passes(api, client)
    assert client.written == ["applied HTTPRoute", "deleted HTTPRoute"]


async def test_a_route_without_owners_is_not_ours_to_delete() -> None:
    client = FakeClient()
    metadata = {"name": "mine", "namespace": "shop", "uid": "x", "labels": {}}
    client.routes["shop", "mine"] = {"kind": "HTTPRoute", "metadata": metadata, "spec": {}}
    assert await passes(made(client), client)
    assert client.written == []


async def test_while_an_assignment_cannot_be_read_routes_stay_as_they_are() -> None:
    client = FakeClient()
    api, edge = made(client), assignment("edge", servers=[server("digits")])
    await passes(api, client, edge)
    before = client.routes["shop", "digits"]
    assert await passes(api, client, frozen=True)
    cloud = assignment("cloud", servers=[server("digits", pool="cloud", replicas=5)])
    both = (SERVICE, pool_service_name(model="digits", pool="cloud"))
    assert await passes(api, client, edge, cloud, services=both, frozen=True)
    assert client.written == ["applied HTTPRoute"]
    assert client.routes["shop", "digits"] == before
    assert await passes(api, client, edge, cloud, services=both)
    assert client.written == ["applied HTTPRoute"] * 2


async def test_a_crd_that_is_missing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_api, "_LOOK_AGAIN", 0.001)
    client, changed = FakeClient(served=False), asyncio.Event()
    informer = RouteInformer(
        client,  # type: ignore[arg-type]
        HTTP_ROUTES,
        keep=route_essence,
        on_change=changed.set,
    )
    assert informer.trouble == ""
    listing = asyncio.create_task(informer._list())
    await changed.wait()
    assert "does not serve HTTPRoute of gateway.networking.k8s.io/v1" in informer.trouble
    changed.clear()
    client.served = True
    await listing
    assert changed.is_set()
    assert (informer.trouble, informer.synced) == ("", True)


async def test_everything_else_goes_on_without_crds_and_the_status_tells() -> None:
    client = FakeClient(served=False)
    api, edge = made(client), assignment("edge", servers=[server("digits", "faces")])
    (informer,) = api.informers
    informer._lose()  # type: ignore[attr-defined]
    assert await passes(api, client, edge)
    assert set(api.services([edge], pods=()))  # Services are children like any other.
    told = conditions.ready((), reason="Applied", message="1 servers serve", generation=3, now=SINCE)
    status = api.annotate(edge, AssignmentStatus(conditions=told))
    (condition,) = status.conditions
    assert condition.message == (
        "1 servers serve; the cluster does not serve HTTPRoute of gateway.networking.k8s.io/v1: install the CRDs of "
        "the Gateway API (standard channel) (routes of shop/digits, shop/faces)"
    )
    assert (condition.status, condition.last_transition_time) == (told[0].status, told[0].last_transition_time)


def test_what_gateways_say_against_a_route() -> None:
    def said(kind: str, status: str) -> dict[str, str]:
        return {"type": kind, "status": status, "reason": "Because", "message": "of that"}

    parents = [
        {"parentRef": {"namespace": "a", "name": "x"}, "conditions": [said("Accepted", "True")]},
        {
            "parentRef": {"namespace": "a", "name": "y", "sectionName": "tls"},
            "conditions": [said("Accepted", "False"), said("ResolvedRefs", "False"), said("Other", "False")],
        },
    ]
    body = {"kind": "HTTPRoute", "metadata": {"name": "x"}, "spec": {}, "status": {"parents": parents}}
    assert route_essence(body)["refusals"] == (
        "HTTPRoute at Gateway a/y/tls: Accepted is False: Because: of that",
        "HTTPRoute at Gateway a/y/tls: ResolvedRefs is False: Because: of that",
    )
