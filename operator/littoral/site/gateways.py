"""What gateways are to do: their desired state, from the routes of Assignments and the Pods that there are. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from littoral.api.assignment import Assignment
from littoral.api.quantity import format_decimal, parse_decimal
from littoral.api.routes import RemoteGateway, Route
from littoral.api.routing import UNLIMITED, GatewayConfig, GatewayStatus, ModelRoute, NextPool, ServerSet, Upstream
from littoral.render import names
from littoral.render.gateway import GatewaySettings, Peers
from littoral.render.gateway_service import GatewayEndpoint
from littoral.site.views import PodView

MOST_HINTS: Final = 8
"""Nodes that an endpoint can be hinted for, by the API's limit."""

ModelKey = tuple[str, str]
"""Namespace and name of a Model."""

Places = Mapping[tuple[str, str, str], Sequence[PodView]]
"""Pool, namespace and name of a Model -> the Pods that serve it there."""


@dataclass(frozen=True, kw_only=True)
class Gateways:
    """That this cluster has gateways, and what they need to know of it.

    Attributes:
        settings: what the chart decides about them.
        namespace: where they run: the operator's own.
        nodes: the labels of each node.
        addresses: of each Model's Service (IPv4): requests that name it by its address are known by it.
        routed: the Models that each Pod of a gateway routes by now, by the Pod's uid.
    """

    settings: GatewaySettings
    namespace: str
    nodes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    addresses: Mapping[ModelKey, tuple[str, ...]] = field(default_factory=dict)
    routed: Mapping[str, Collection[ModelKey]] = field(default_factory=dict)


def gateway_name(pool: str) -> str:
    """Name of a pool's gateway, and of its objects."""
    return f"{names.GATEWAY}-{pool}"


def talks(assignment: Assignment) -> bool:
    """Whether the pool has a gateway that talks to gateways of other clusters: the hub says so."""
    return assignment.spec.certificate is not None and bool(assignment.spec.routes)


def peers_of_gateway(assignment: Assignment) -> Peers:
    """Which gateways of other clusters the pool's gateway talks to."""
    if not talks(assignment):
        return Peers.NONE
    return Peers.ASKED if assignment.spec.gateway is None else Peers.COMING


def serving_pods(assignments: Iterable[Assignment], pods: Iterable[PodView]) -> Places:
    """Where each Model is served, by the labels of the servers' Pods; in the order of their names."""
    servers: dict[tuple[str, str], tuple[str, set[str]]] = {
        (server.namespace, server.name): (assignment.name, {model.name for model in server.models})
        for assignment in assignments
        for server in assignment.spec.servers
    }
    places: dict[tuple[str, str, str], list[PodView]] = {}
    for pod in sorted(pods, key=lambda it: it.name):
        pool, wanted = servers.get((pod.namespace, pod.server), ("", set()))
        if pod.address:
            for model in names.served_models(dict(pod.labels)) & wanted:
                places.setdefault((pool, pod.namespace, model), []).append(pod)
    return places


def gateway_config(assignment: Assignment, *, places: Places, gateways: Gateways) -> GatewayConfig:
    """The routes of one pool's gateway.

    Args:
        places: of all pools of this cluster: what can be reached neither here nor by a gateway is left out.
    """
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
                servers=_upstreams(places.get((assignment.name, *key), ())),
                server_set=sets.get(key),
                rate=_share(route.rate, replicas=replicas),
                budget=route.budget,
                limit=None if route.limit is None else max(1, route.limit // replicas),
                next=_next(route, pool=assignment.name, places=places),
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
    assignment: Assignment, *, pods: Iterable[PodView], gateways: Gateways
) -> dict[ModelKey, list[GatewayEndpoint]]:
    """The Pods of a pool's gateway, as clients of each routed Model are to be led to them: those on the pool's nodes
    first of all.

    A Pod that does not route the Model yet would answer that it does not know it.
    """
    nodes = sorted(node for node, labels in gateways.nodes.items() if assignment.spec.node_selector.matches(labels))
    name = gateway_name(assignment.name)
    own = [
        pod
        for pod in sorted(pods, key=lambda it: it.name)
        if pod.gateway == name and pod.namespace == gateways.namespace and pod.node and _is_ipv4(pod.address)
    ]
    endpoints: dict[ModelKey, list[GatewayEndpoint]] = {}
    for route in assignment.spec.routes:
        key = (route.namespace, route.name)
        for pod in own:
            answers = pod.ready and key in gateways.routed.get(pod.uid, ())
            if pod.leaving and not (pod.ending and answers):
                continue
            endpoint = GatewayEndpoint(
                address=pod.address,
                node=pod.node,
                ready=answers and not pod.leaving,
                ending=pod.leaving,
                # A larger pool has clients that no hint can name: they go to whichever is there.
                for_nodes=tuple(nodes) if pod.node in nodes and len(nodes) <= MOST_HINTS else (pod.node,),
            )
            endpoints.setdefault(key, []).append(endpoint)
    return endpoints


def routed_models(
    pods: Iterable[PodView],
    *,
    statuses: Mapping[str, GatewayStatus],
    before: Mapping[str, frozenset[ModelKey]],
    led: Mapping[ModelKey, Collection[str]],
) -> dict[str, frozenset[ModelKey]]:
    """The Models that each Pod of a gateway routes by now, by the Pod's uid.

    What a Pod is about to change, and an agent that does not answer, change nothing: it routes what it has routed.

    Args:
        statuses: what the agents say, by their Pods' uids.
        before: this function's last answer.
        led: the addresses to which clients of each Model are led, for Pods of which nothing is known yet.
    """
    routed = {}
    for pod in pods:
        status = statuses.get(pod.uid)
        if status is not None and status.haproxy.ready:
            routed[pod.uid] = frozenset((model.namespace, model.name) for model in status.models)
        elif pod.uid in before:
            routed[pod.uid] = before[pod.uid]
        else:
            routed[pod.uid] = frozenset(key for key, addresses in led.items() if pod.address in addresses)
    return routed


def _is_ipv4(address: str) -> bool:
    return bool(address) and ":" not in address


def _upstreams(pods: Sequence[PodView]) -> tuple[Upstream, ...]:
    # A node that is cut off has no Pod that is Ready, as the API server sees it, and they may all serve: where none is,
    # HAProxy's own checks tell.
    tells = any(pod.ready and not pod.leaving for pod in pods)
    return tuple(
        Upstream(name=pod.name, address=pod.address, ready=not pod.leaving and (pod.ready or not tells)) for pod in pods
    )


def _next(route: Route, *, pool: str, places: Places) -> tuple[NextPool, ...]:
    pools = (
        NextPool(
            name=target.pool,
            weight=target.weight,
            servers=_remote(target.pool, target.gateway)
            if target.gateway is not None
            else _upstreams(places.get((target.pool, route.namespace, route.name), ())),
        )
        for target in sorted(route.next, key=lambda it: it.pool)
        if target.pool != pool
    )
    return tuple(it for it in pools if it.servers)


def _remote(pool: str, gateway: RemoteGateway) -> tuple[Upstream, ...]:
    host, _, port = gateway.address.rpartition(":")
    if not 0 < int(port) < 65536:
        return ()
    return (
        Upstream(
            name=gateway_name(pool),
            address=host.strip("[]"),
            http_port=int(port),
            grpc_port=int(port),
            tls_name=gateway.tls_name,
        ),
    )


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
