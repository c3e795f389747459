"""What gateways are to do: their desired state, from the routes of Assignments and the Pods that there are. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from littoral.api.assignment import Assignment, Server
from littoral.api.quantity import format_decimal, parse_decimal
from littoral.api.routes import Route
from littoral.api.routing import UNLIMITED, GatewayConfig, ModelRoute, NextPool, ServerSet, Upstream
from littoral.render import names
from littoral.render.gateway import GatewaySettings
from littoral.render.gateway_service import GatewayEndpoint
from littoral.site.views import PodView

MOST_HINTS: Final = 8
"""Nodes that an endpoint can be hinted for, by the API's limit."""

ModelKey = tuple[str, str]
"""Namespace and name of a Model."""


@dataclass(frozen=True, kw_only=True)
class Gateways:
    """That this cluster has gateways, and what they need to know of it.

    Attributes:
        settings: what the chart decides about them.
        namespace: where they run: the operator's own.
        nodes: the labels of each node.
        addresses: of each Model's Service (IPv4): requests that name it by its address are known by it.
    """

    settings: GatewaySettings
    namespace: str
    nodes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    addresses: Mapping[ModelKey, tuple[str, ...]] = field(default_factory=dict)


def gateway_name(pool: str) -> str:
    """Name of a pool's gateway, and of its objects."""
    return f"{names.GATEWAY}-{pool}"


def gateway_config(
    assignment: Assignment, *, beside: Iterable[Assignment], pods: Collection[PodView], gateways: Gateways
) -> GatewayConfig:
    """The routes of one pool's gateway.

    Args:
        assignment: of the pool.
        beside: all Assignments of this cluster: what another pool cannot be reached from here is left out.
        pods: of all servers.
    """
    places = _places(beside, pods)
    own = _places([assignment], pods)
    replicas = max(gateways.settings.replicas, 1)
    sets = _sets(assignment)
    routes = []
    for route in sorted(assignment.spec.routes, key=lambda it: (it.namespace, it.name)):
        key = (route.namespace, route.name)
        routes.append(
            ModelRoute(
                namespace=route.namespace,
                name=route.name,
                hosts=tuple(sorted(gateways.addresses.get(key, ()))),
                priority=route.priority,
                overflow=route.overflow,
                servers=_upstreams(own.get((assignment.name, *key), ())),
                server_set=sets.get(key),
                rate=_share(route.rate, replicas=replicas),
                budget=route.budget,
                next=_next(route, assignment=assignment, places=places),
            )
        )
    limits = _limits(routes)
    config = GatewayConfig(
        revision="",
        site=assignment.spec.site or assignment.name,
        models=tuple(
            route if route.server_set in limits else route.model_copy(update={"server_set": None}) for route in routes
        ),
        server_sets=tuple(ServerSet(name=name, limit=limit) for name, limit in sorted(limits.items())),
    )
    return config.model_copy(update={"revision": _revision(config)})


def gateway_endpoints(
    assignment: Assignment, *, pods: Collection[PodView], gateways: Gateways
) -> tuple[GatewayEndpoint, ...]:
    """The Pods of a pool's gateway, as clients are to be led to them: those on the pool's nodes first of all."""
    name = gateway_name(assignment.name)
    nodes = sorted(node for node, labels in gateways.nodes.items() if assignment.spec.node_selector.matches(labels))
    endpoints = []
    for pod in sorted(pods, key=lambda it: it.name):
        ours = pod.gateway == name and pod.namespace == gateways.namespace
        gone = pod.leaving and not (pod.ending and pod.ready)
        if not ours or gone or not pod.node or not pod.address or ":" in pod.address:
            continue
        endpoint = GatewayEndpoint(
            address=pod.address,
            node=pod.node,
            ready=pod.ready and not pod.leaving,
            ending=pod.leaving,
            # A larger pool has clients that no hint can name: they go to whichever is there.
            for_nodes=tuple(nodes) if pod.node in nodes and len(nodes) <= MOST_HINTS else (pod.node,),
        )
        endpoints.append(endpoint)
    return tuple(endpoints)


def _places(assignments: Iterable[Assignment], pods: Collection[PodView]) -> dict[tuple[str, str, str], list[PodView]]:
    """(pool, namespace, Model) -> the Pods that serve it there, by their labels."""
    pools: dict[tuple[str, str], tuple[str, Server]] = {
        (server.namespace, server.name): (assignment.name, server)
        for assignment in assignments
        for server in assignment.spec.servers
    }
    places: dict[tuple[str, str, str], list[PodView]] = {}
    for pod in sorted(pods, key=lambda it: it.name):
        pool, server = pools.get((pod.namespace, pod.server), (None, None))
        if pool is None or server is None or not pod.address:
            continue
        wanted = {model.name for model in server.models}
        for model in sorted(names.served_models(dict(pod.labels)) & wanted):
            places.setdefault((pool, pod.namespace, model), []).append(pod)
    return places


def _upstreams(pods: Collection[PodView]) -> tuple[Upstream, ...]:
    # A node that is cut off has no Pod that is Ready, as the API server sees it, and they may all serve: where none is,
    # HAProxy's own checks tell.
    tells = any(pod.ready and not pod.leaving for pod in pods)
    return tuple(
        Upstream(name=pod.name, address=pod.address, ready=not pod.leaving and (pod.ready or not tells)) for pod in pods
    )


def _next(
    route: Route, *, assignment: Assignment, places: Mapping[tuple[str, str, str], list[PodView]]
) -> tuple[NextPool, ...]:
    pools = (
        NextPool(
            name=target.pool,
            weight=target.weight,
            servers=_upstreams(places.get((target.pool, route.namespace, route.name), ())),
        )
        for target in sorted(route.next, key=lambda it: it.pool)
        if target.pool != assignment.name
    )
    return tuple(pool for pool in pools if pool.servers)


def _share(rate: str | None, *, replicas: int) -> str | None:
    """A gateway's Pods do not know of each other's requests: each may send its part of what a server answers."""
    if rate is None or replicas == 1:
        return rate
    return format_decimal(float(parse_decimal(rate)) / replicas)


def _sets(assignment: Assignment) -> dict[ModelKey, str]:
    """Routed Models that share servers with others -> the name of what they share.

    Servers that have a Model in common are one set, which bears the name of the first of them.
    """
    routed = {(route.namespace, route.name) for route in assignment.spec.routes}
    groups: list[tuple[str, set[ModelKey]]] = []
    for server in sorted(assignment.spec.servers, key=lambda it: (it.namespace, it.name)):
        name = f"{server.namespace}.{server.name}"
        models = {(server.namespace, model.name) for model in server.models} & routed
        apart = [group for group in groups if not group[1] & models]
        for joined, theirs in groups:
            if theirs & models:
                name, models = min(name, joined), models | theirs
        groups = [*apart, (name, models)]
    return {model: name for name, models in groups if len(models) > 1 for model in models}


def _limits(routes: Iterable[ModelRoute]) -> dict[str, int]:
    """A set may be filled as far as the most patient of its Models allows, of those of which that is known."""
    limits: dict[str, int] = {}
    for route in routes:
        limit = route.limit_per_server
        if route.server_set is not None and limit < UNLIMITED:
            limits[route.server_set] = max(limits.get(route.server_set, 1), limit)
    return limits


def _revision(config: GatewayConfig) -> str:
    content = json.dumps(config.dump(), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]
