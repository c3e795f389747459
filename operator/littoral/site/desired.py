"""Everything that a cluster is to run for its Assignments. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from littoral.api.assignment import Assignment
from littoral.render.server import Manifest, render_server
from littoral.render.service import render_service
from littoral.render.settings import ServerSettings
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
    assignments: Iterable[Assignment], *, settings: ServerSettings, pods: Collection[PodView] = ()
) -> dict[ChildKey, Manifest]:
    """The children of all Assignments, each before what refers to it (ConfigMap, Deployment, Service).

    Args:
        pods: of the servers, as they are: agents learn of each other from them.
    """
    servers: dict[ChildKey, Manifest] = {}
    owners: dict[tuple[str, str], list[Manifest]] = {}
    for assignment in sorted(assignments, key=lambda assignment: assignment.name):
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
                references = owners.setdefault((server.namespace, model.name), [])
                if owner not in references:
                    references.append(owner)
    services = (
        render_service(namespace=namespace, model=model, owners=references)
        for (namespace, model), references in sorted(owners.items())
    )
    return servers | {key_of_child(service): service for service in services}


def owner_reference(assignment: Assignment) -> Manifest:
    """Makes an object a dependent of the Assignment: the garbage collector takes it when the Assignment goes."""
    return {
        "apiVersion": assignment.api_version,
        "kind": assignment.KIND,
        "name": assignment.name,
        "uid": assignment.metadata.uid,
    }
