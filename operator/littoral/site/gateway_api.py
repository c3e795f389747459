"""Keeps the routes of the Gateway API beside the servers: what Models of this cluster look like to a gateway that is
not Littoral's.

The Services of the pools are children like any other: the reconciler applies and prunes them. The routes are owned by
those Services, so that they are collected with them, also by a cluster whose operator no longer knows of any Gateway.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from littoral.api import conditions
from littoral.api.assignment import Assignment, AssignmentStatus
from littoral.api.base import shorten
from littoral.cluster.client import ApiError, Client, Object
from littoral.cluster.drift import covers
from littoral.cluster.informer import Informer
from littoral.cluster.resources import GRPC_ROUTES, HTTP_ROUTES, SERVICES, Resource
from littoral.render import names
from littoral.render.gateway_api import (
    GatewayApiSettings,
    ModelKey,
    pool_service_name,
    pool_shares,
    render_pool_service,
    render_routes,
)
from littoral.render.server import Manifest
from littoral.site.desired import ChildKey, key_of_child, owner_reference
from littoral.site.gateways import serving_pods
from littoral.site.views import PodView

logger = logging.getLogger(__name__)

FIELD_MANAGER: Final = "littoral-site"
_OURS: Final = f"{names.MANAGED_BY}={names.MANAGER}"
_LOOK_AGAIN: Final = 10.0
"""Seconds after which it is looked for CRDs that are not there."""
_NAMED: Final = 3
"""Models that a message names."""


class GatewayApi:
    """The routes of one cluster."""

    def __init__(self, client: Client, *, settings: GatewayApiSettings, on_change: Callable[[], None]) -> None:
        self._client = client
        self._settings = settings
        self._shares: dict[ModelKey, dict[str, int]] = {}
        self._told: dict[ModelKey, str] = {}
        self._routes = {
            resource.kind: RouteInformer(
                client, resource, keep=route_essence, on_change=on_change, label_selector=_OURS
            )
            for resource in ((HTTP_ROUTES, GRPC_ROUTES) if settings.grpc else (HTTP_ROUTES,))
        }

    @property
    def informers(self) -> Sequence[Informer[Object]]:
        """What must run beside the passes. A pass does not wait for their first lists: there may be no such CRD."""
        return list(self._routes.values())

    def services(self, assignments: Iterable[Assignment], *, pods: Iterable[PodView]) -> dict[ChildKey, Manifest]:
        """The Services that the routes lead to."""
        ordered = sorted(assignments, key=lambda assignment: assignment.name)
        serving = {
            (namespace, model, pool): sum(pod.ready and not pod.leaving for pod in there)
            for (pool, namespace, model), there in serving_pods(ordered, pods).items()
        }
        self._shares = pool_shares(ordered, serving=serving)
        owners = {assignment.name: [owner_reference(assignment)] for assignment in ordered}
        services = (
            render_pool_service(namespace=namespace, model=model, pool=pool, owners=owners[pool])
            for (namespace, model), shares in self._shares.items()
            for pool in shares
        )
        return {key_of_child(service): service for service in services}

    async def step(self, *, services: Informer[Object], frozen: bool) -> bool:
        """Make the routes say how requests are divided among the Services. Returns whether all of it got through.

        Args:
            services: the live Services: a route comes after those that it leads to.
            frozen: whether to change no route and remove none, since nobody knows what an unreadable Assignment asks.
        """
        troubles: dict[ModelKey, list[str]] = {}
        wanted: set[ChildKey] = set()
        done = True
        for (namespace, model), shares in self._shares.items():
            owners, seen = _seen(services, (namespace, model), shares)
            routes = render_routes(
                namespace=namespace, model=model, shares=seen, settings=self._settings, owners=owners
            )
            told = troubles[namespace, model] = routes.troubles
            for route in routes.manifests:
                key = key_of_child(route)
                wanted.add(key)
                if not self._routes[key.kind].synced:
                    told.append(self._routes[key.kind].trouble)
                    continue
                if seen and not frozen and (trouble := await self._apply(key, route)):
                    told.append(trouble)
                    done = False
                told += (self._routes[key.kind].get((namespace, model)) or {}).get("refusals", ())
        if not frozen:
            done &= await self._prune(wanted)
        self._tell(troubles)
        return done

    def annotate(self, assignment: Assignment, status: AssignmentStatus) -> AssignmentStatus:
        """The status, whose condition Ready also tells which routes are not in force."""
        models: dict[str, list[str]] = {}
        for key in sorted({(server.namespace, it.name) for server in assignment.spec.servers for it in server.models}):
            if text := self._told.get(key):
                models.setdefault(text, []).append("/".join(key))
        if not models:
            return status
        told = "; ".join(f"{text} (routes of {_list(whose)})" for text, whose in models.items())
        return status.model_copy(
            update={
                "conditions": tuple(
                    it.model_copy(update={"message": shorten(f"{it.message}; {told}")})
                    if it.type == conditions.READY
                    else it
                    for it in status.conditions
                )
            }
        )

    async def _apply(self, key: ChildKey, route: Manifest) -> str:
        """Apply a route that drifted. Returns why it could not be; empty when it is as it should be."""
        live = self._routes[key.kind].get((key.namespace, key.name))
        if live is not None and _covers(live, route):
            return ""
        try:
            if live is None and await self._is_foreign(key):
                return f"{key} is there already and not Littoral's: delete it, or rename the Model"
            await self._client.apply(route, manager=FIELD_MANAGER)
            logger.info("applied %s", key)
        except ApiError as error:
            return f"the API server refused {key}: {error}"
        return ""

    async def _is_foreign(self, key: ChildKey) -> bool:
        found = await self._client.get(_resource(key.kind), namespace=key.namespace, name=key.name)
        if found is None:
            return False
        return (found["metadata"].get("labels") or {}).get(names.MANAGED_BY) != names.MANAGER

    async def _prune(self, wanted: set[ChildKey]) -> bool:
        clean = True
        for kind, informer in self._routes.items():
            for (namespace, name), live in informer.items():
                key = ChildKey(kind, namespace, name)
                if key in wanted or not live["metadata"].get("ownerReferences"):
                    continue
                try:
                    uid = live["metadata"]["uid"]
                    await self._client.delete(_resource(kind), namespace=namespace, name=name, uid=uid)
                    logger.info("deleted %s", key)
                except ApiError as error:
                    logger.warning("%s could not be deleted: %s", key, error)
                    clean = False
        return clean

    def _tell(self, troubles: Mapping[ModelKey, Sequence[str]]) -> None:
        """Log what is new."""
        told = {key: "; ".join(dict.fromkeys(filter(None, texts))) for key, texts in troubles.items()}
        new: dict[str, list[str]] = {}
        for key, text in told.items():
            if text and self._told.get(key) != text:
                new.setdefault(text, []).append("/".join(key))
        for text, models in new.items():
            logger.warning("routes of %s: %s", _list(models), text)
        self._told = told


class RouteInformer(Informer[Object]):
    """An informer of a kind that the cluster may not have, or not yet, or no longer: then it holds nothing."""

    trouble = ""
    """Why nothing is known of the kind; empty when it is."""

    async def _list(self) -> str:
        while True:
            try:
                version = await super()._list()
            except ApiError as error:
                if error.status != 404:
                    self.trouble = f"the API server does not give the {self._resource.plural}: {error}"
                    raise
                self._lose()
                # Jitter: see `run`.
                await asyncio.sleep(_LOOK_AGAIN * random.uniform(0.5, 1.0))  # noqa: S311
                continue
            self.trouble = ""
            return version

    def _lose(self) -> None:
        known, kind = self._synced or not self.trouble, self._resource
        self._objects, self._synced = {}, False
        self.trouble = (
            f"the cluster does not serve {kind.kind} of {kind.api_version}: install the CRDs of the Gateway API "
            "(standard channel)"
        )
        if known:
            self._on_change()


def route_essence(body: Object) -> Object:
    """A route without what nobody compares, and with what Gateways say against it."""
    metadata = body["metadata"]
    return {
        "metadata": {key: metadata[key] for key in ("uid", "labels", "ownerReferences") if key in metadata},
        "spec": body.get("spec") or {},
        "refusals": tuple(_refusals(body)),
    }


def _refusals(body: Object) -> list[str]:
    refusals = []
    for parent in (body.get("status") or {}).get("parents") or ():
        ref = parent["parentRef"]
        name = f"{ref.get('namespace', '')}/{ref['name']}" + (f"/{ref['sectionName']}" if "sectionName" in ref else "")
        for condition in parent.get("conditions") or ():
            if condition["type"] in ("Accepted", "ResolvedRefs") and condition["status"] == "False":
                said = f"{condition['reason']}: {condition.get('message', '')}".rstrip(": ")
                refusals.append(f"{body['kind']} at Gateway {name}: {condition['type']} is False: {said}")
    return refusals


def _covers(live: Mapping[str, Any], route: Manifest) -> bool:
    metadata = {part: route["metadata"][part] for part in ("labels", "ownerReferences")}
    return covers(live["metadata"], metadata) and _same(live["spec"], route["spec"])


def _same(live: Any, wanted: Any) -> bool:
    """Whether nothing was added to a list or a rule, either: another backend would get requests."""
    if isinstance(wanted, dict):
        return (
            isinstance(live, dict)
            and all(key in live and _same(live[key], value) for key, value in wanted.items())
            and ("backendRefs" not in wanted or live.keys() == wanted.keys())
        )
    if isinstance(wanted, list):
        return isinstance(live, list) and len(live) == len(wanted) and all(map(_same, live, wanted))
    return bool(live == wanted)


def _seen(
    services: Informer[Object], key: ModelKey, shares: Mapping[str, int]
) -> tuple[list[Manifest], dict[str, int]]:
    """Owner references to the Services of the pools, and the shares, of those whose Service is there."""
    owners, seen = [], {}
    for pool, weight in shares.items():
        name = pool_service_name(model=key[1], pool=pool)
        live = services.get((key[0], name))
        if live is not None:
            owners.append({"apiVersion": "v1", "kind": SERVICES.kind, "name": name, "uid": live["metadata"]["uid"]})
            seen[pool] = weight
    return owners, seen


def _list(models: Sequence[str]) -> str:
    more = len(models) - _NAMED
    return ", ".join(models[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _resource(kind: str) -> Resource:
    return HTTP_ROUTES if kind == HTTP_ROUTES.kind else GRPC_ROUTES
