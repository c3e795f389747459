"""Everything that a cluster is to run for its Assignments. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from littoral.api.assignment import Assignment
from littoral.render.gateway import render_gateway
from littoral.render.gateway_service import GatewayEndpoint, render_model_service
from littoral.render.server import Manifest, render_server
from littoral.render.settings import ServerSettings
from littoral.site.gateways import (
    Gateways,
    ModelKey,
    gateway_config,
    gateway_endpoints,
    gateway_name,
    peers_of_gateway,
    serving_pods,
)
from littoral.site.peers import peers_of
from littoral.site.views import PodView


class ChildKey(NamedTuple):
    """Names one child object. Ordered so that what others need comes first."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


def key_of_child(manifest: Mapping[str, Any]) -> ChildKey:
    """The key of a rendered or live object."""
    metadata = manifest["metadata"]
    return ChildKey(manifest["kind"], metadata["namespace"], metadata["name"])


def desired_children(
    assignments: Iterable[Assignment],
    *,
    settings: ServerSettings,
    pods: Collection[PodView] = (),
    gateways: Gateways | None = None,
) -> dict[ChildKey, Manifest]:
    """The children of all Assignments, each before what refers to it (ConfigMap, Deployment, Service).

    Args:
        pods: of the servers and gateways, as they are: agents learn of each other from them, and gateways of servers.
        gateways: of this cluster; None where clients are led straight to the servers.
    """
    servers: dict[ChildKey, Manifest] = {}
    owners: dict[ModelKey, list[Manifest]] = {}
    endpoints: dict[ModelKey, list[GatewayEndpoint]] = {}
    ordered = sorted(assignments, key=lambda assignment: assignment.name)
    places = serving_pods(ordered, pods) if gateways is not None else {}
    fronts: dict[str, list[PodView]] = {}
    for pod in pods:
        fronts.setdefault(pod.gateway, []).append(pod)
    for assignment in ordered:
        owner = owner_reference(assignment)
        for server in assignment.spec.servers:
            for manifest in render_server(
                server,
                pool=assignment.name,
                spec=assignment.spec,
                settings=settings,
                owner=owner,
                peers=peers_of(server, beside=assignment.spec.servers, pods=pods),
            ):
                servers[key_of_child(manifest)] = manifest
            for model in server.models:
                _add(owners.setdefault((server.namespace, model.name), []), owner)
        if gateways is None or not assignment.spec.routes:
            continue
        for manifest in render_gateway(
            gateway_config(assignment, places=places, gateways=gateways),
            name=gateway_name(assignment.name),
            namespace=gateways.namespace,
            settings=gateways.settings,
            owner=owner,
            node_selector=assignment.spec.node_selector,
            peers=peers_of_gateway(assignment),
        ):
            servers[key_of_child(manifest)] = manifest
        for route in assignment.spec.routes:
            _add(owners.setdefault((route.namespace, route.name), []), owner)
        own = fronts.get(gateway_name(assignment.name), ())
        for key, leading in gateway_endpoints(assignment, pods=own, gateways=gateways).items():
            endpoints.setdefault(key, []).extend(leading)
    services = (
        manifest
        for (namespace, model), references in sorted(owners.items())
        for manifest in render_model_service(
            namespace=namespace, model=model, endpoints=endpoints.get((namespace, model), ()), owners=references
        )
    )
    return servers | {key_of_child(service): service for service in services}


def _add(owners: list[Manifest], owner: Manifest) -> None:
    if owner not in owners:
        owners.append(owner)


def owner_reference(assignment: Assignment) -> Manifest:
    """Makes an object a dependent of the Assignment: the garbage collector takes it when the Assignment goes."""
    return {
        "apiVersion": assignment.api_version,
        "kind": assignment.KIND,
        "name": assignment.name,
        "uid": assignment.metadata.uid,
    }
