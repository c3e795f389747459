"""One pass of the site role, in numbered steps: from Assignments to running servers, and back to a report."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from littoral.api.assignment import Assignment
from littoral.api.routing import GatewayStatus
from littoral.api.serving import ServerStatus
from littoral.cluster.client import ApiError, Client, Object
from littoral.cluster.drift import covers
from littoral.cluster.informer import Informer
from littoral.cluster.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    NODES,
    POD_DISRUPTION_BUDGETS,
    PODS,
    SECRETS,
    SERVICES,
    Resource,
)
from littoral.cluster.status import write_status
from littoral.cluster.store import KindStore
from littoral.render import names
from littoral.render.gateway import GATEWAY_CONFIG_FILE
from littoral.render.gateway_service import MANAGED_SLICE, SLICE_MANAGER, leads_to_gateways, model_of_slice, slice_name
from littoral.render.server import Manifest, server_config
from littoral.render.settings import ServerSettings
from littoral.site.agents import Agents
from littoral.site.desired import ChildKey, desired_children
from littoral.site.gateway_api import GatewayApi
from littoral.site.gateway_certificates import GatewayCertificates, Identity
from littoral.site.gateway_report import gateway_report
from littoral.site.gateways import Gateways, ModelKey, gateway_name, routed_models
from littoral.site.readiness import config_patch, pod_patch, resize_patch
from littoral.site.report import report
from littoral.site.telemetry import Telemetry
from littoral.site.views import CONTENT, PodView, essence, ready_addresses, service_addresses, trouble_of_deployment

logger = logging.getLogger(__name__)

FIELD_MANAGER = "littoral-site"
_OURS = f"{names.MANAGED_BY}={names.MANAGER}"
# Kubernetes' own slices of our Services bear the Services' labels.
_SELECTORS = {ENDPOINT_SLICES.kind: f"{_OURS},{MANAGED_SLICE}={SLICE_MANAGER}"}
_CHILDREN = (CONFIG_MAPS, DEPLOYMENTS, SERVICES)
_GATEWAY_CHILDREN = (ENDPOINT_SLICES, POD_DISRUPTION_BUDGETS)
_RESOURCES = {resource.kind: resource for resource in (*_CHILDREN, *_GATEWAY_CHILDREN)}
_COUNTED = 5.0  # Seconds after which a gateway's agent is asked again for what it has counted.


class Reconciler:
    """Makes this cluster run what its Assignments say. `step` is one level-triggered pass."""

    def __init__(
        self,
        client: Client,
        *,
        assignments: KindStore[Assignment],
        settings: ServerSettings,
        member: str | None,
        on_change: Callable[[], None],
        gateways: Gateways | None = None,
        gateway_api: GatewayApi | None = None,
    ) -> None:
        """A reconciler that has yet to see anything.

        Args:
            member: the name under which this cluster dials in to a hub; None in the hub's own cluster.
            gateways: what is known of them from the start; None where clients are led straight to the servers.
            gateway_api: the routes of other people's gateways; None where there are none.
        """
        self._client = client
        self._assignments = assignments
        self._settings = settings
        self._member = member
        self._children: dict[str, Informer[Object]] = {
            resource.kind: Informer(
                client,
                resource,
                keep=essence,
                on_change=on_change,
                label_selector=_SELECTORS.get(resource.kind, _OURS),
            )
            for resource in (*_CHILDREN, *(_GATEWAY_CHILDREN if gateways is not None else ()))
        }
        self._pods = Informer(client, PODS, keep=PodView.from_object, on_change=on_change, label_selector=_OURS)
        self._gateways = gateways
        self._gateway_api = gateway_api
        self._nodes = Informer(client, NODES, keep=_labels, on_change=on_change) if gateways is not None else None
        self._agents = Agents(ServerStatus.parse, on_change=on_change)
        self._gateway_agents = Agents(GatewayStatus.parse, on_change=on_change, wait=_COUNTED)
        self._certificates = (
            GatewayCertificates(client, namespace=gateways.namespace, manager=FIELD_MANAGER) if gateways else None
        )
        self._routed: dict[str, frozenset[ModelKey]] = {}
        self._left: set[ChildKey] = set()  # EndpointSlices of a time with gateways.
        self._telemetry = Telemetry(on_change=on_change)

    @property
    def informers(self) -> list[Informer[Object] | Informer[PodView] | Informer[Mapping[str, str]]]:
        """What must run beside the passes."""
        return [*self._awaited, *(() if self._gateway_api is None else self._gateway_api.informers)]

    @property
    def _awaited(self) -> list[Informer[Object] | Informer[PodView] | Informer[Mapping[str, str]]]:
        nodes = [] if self._nodes is None else [self._nodes]
        return [*self._children.values(), self._pods, *nodes]

    async def close(self) -> None:
        """Stop following the agents and their Tritons."""
        await self._telemetry.close()
        await self._agents.close()
        await self._gateway_agents.close()

    async def step(self) -> bool:
        """One pass. Returns whether all of it got through; what did not is tried again."""
        # 1. Nothing is known before the first lists are in, and nothing is done then.
        if not self._assignments.synced or not all(informer.synced for informer in self._awaited):
            return True
        assignments = [a for a in self._assignments.objects() if a.spec.member == self._member]

        # 2. Apply what differs from what the Assignments say.
        gateways = self._known_gateways()
        identities = await self._certificates.step(assignments) if self._certificates is not None else {}
        desired = desired_children(assignments, settings=self._settings, pods=self._pods.values(), gateways=gateways)
        if self._gateway_api is not None:
            desired |= self._gateway_api.services(assignments, pods=self._pods.values())
        troubles = await self._apply(desired)
        for pool, identity in identities.items():
            if gateways is not None and identity.trouble:
                troubles[ChildKey(SECRETS.kind, gateways.namespace, gateway_name(pool))] = identity.trouble
        routed = self._gateway_api is None or await self._gateway_api.step(
            services=self._children[SERVICES.kind], frozen=bool(self._assignments.malformed())
        )

        # 3. Remove what no Assignment asks for any more.
        clean = await self._prune(desired) & await self._prune_slices()

        # 4. Lead clients to the Pods that are ready for each model, and away from those that are not.
        pods = [pod for pod in self._pods.values() if not pod.gateway]
        self._agents.follow(pods)
        self._telemetry.follow(pods, self._agents.statuses)
        led = await self._lead(assignments, pods)
        fronts = [pod for pod in self._pods.values() if pod.gateway and gateways is not None]
        self._gateway_agents.follow(fronts)
        led &= await self._tell(fronts, desired, identities={gateway_name(it): seen for it, seen in identities.items()})

        # 5. Report.
        for (namespace, name), deployment in self._children[DEPLOYMENTS.kind].items():
            if trouble := trouble_of_deployment(deployment):
                troubles.setdefault(ChildKey(DEPLOYMENTS.kind, namespace, name), trouble)
        statuses, now = self._agents.statuses, datetime.now(UTC)
        reported = True
        for assignment in assignments:
            status = report(assignment, pods=pods, statuses=statuses, troubles=troubles, now=now)
            status = self._telemetry.annotate(assignment, status)
            if gateways is not None:
                said = self._gateway_agents.statuses
                own = identities.get(assignment.name)
                front = gateway_report(
                    assignment,
                    gateways=gateways,
                    pods=fronts,
                    statuses=said,
                    troubles=troubles,
                    certificate_request=own.request if own is not None else None,
                )
                status = status.model_copy(update={"gateway": front})
            if self._gateway_api is not None:
                status = self._gateway_api.annotate(assignment, status)
            reported &= await write_status(self._client, assignment, status, manager=FIELD_MANAGER)
        return clean and led and routed and reported and not troubles

    async def _apply(self, desired: dict[ChildKey, Manifest]) -> dict[ChildKey, str]:
        """Apply each child that drifted. What the API server refuses is that server's trouble, not the others'."""
        troubles: dict[ChildKey, str] = {}
        for key, manifest in desired.items():
            live = self._children[key.kind].get((key.namespace, key.name))
            comparable = {part: manifest[part] for part in CONTENT if part in manifest}
            metadata = {part: manifest["metadata"][part] for part in ("labels", "ownerReferences")}
            if live is not None and covers(live, comparable | {"metadata": metadata}):
                continue
            try:
                if live is None and await self._is_foreign(key):
                    troubles[key] = f"{key} is there already and not Littoral's: delete it, or rename the Model"
                    continue
                await self._client.apply(manifest, manager=FIELD_MANAGER)
                logger.info("applied %s", key)
                if self._gateways is None and live is not None and leads_to_gateways(live):
                    self._left.add(ChildKey(ENDPOINT_SLICES.kind, key.namespace, slice_name(key.name)))
            except ApiError as error:
                logger.warning("%s was refused: %s", key, error)
                troubles[key] = f"the API server refused {key}: {error}"
        return troubles

    async def _is_foreign(self, key: ChildKey) -> bool:
        """Whether somebody else's object has the name already: it is never taken over."""
        found = await self._client.get(_RESOURCES[key.kind], namespace=key.namespace, name=key.name)
        if found is None:
            return False
        return (found["metadata"].get("labels") or {}).get(names.MANAGED_BY) != names.MANAGER

    async def _prune(self, desired: dict[ChildKey, Manifest]) -> bool:
        # The children of an Assignment that cannot be read go on as they are: nobody knows what it asks for.
        spared = {malformed.uid for malformed in self._assignments.malformed()}
        clean = True
        for kind, informer in self._children.items():
            for (namespace, name), live in informer.items():
                key = ChildKey(kind, namespace, name)
                owners = {owner["uid"] for owner in live["metadata"].get("ownerReferences", [])}
                if key in desired or not owners or owners & spared:
                    continue
                clean &= await self._delete(_RESOURCES[kind], key, uid=live["metadata"]["uid"])
        return clean

    async def _prune_slices(self) -> bool:
        """Remove what led a Service to gateways, where there are none any more: nothing is watched then."""
        for key in sorted(self._left):
            if await self._delete(ENDPOINT_SLICES, key):
                self._left.discard(key)
        return not self._left

    async def _delete(self, resource: Resource, key: ChildKey, *, uid: str | None = None) -> bool:
        try:
            await self._client.delete(resource, namespace=key.namespace, name=key.name, uid=uid)
            logger.info("deleted %s", key)
        except ApiError as error:
            logger.warning("%s could not be deleted: %s", key, error)
            return False
        return True

    async def _lead(self, assignments: list[Assignment], pods: list[PodView]) -> bool:
        servers = {
            (server.namespace, server.name): server for assignment in assignments for server in assignment.spec.servers
        }
        statuses = self._agents.statuses
        done = True
        for pod in pods:
            server = servers.get((pod.namespace, pod.server))
            if server is None or pod.leaving:
                continue
            labels = pod_patch(pod, config=server_config(server), status=statuses.get(pod.uid))
            if labels is not None:
                done &= await self._patch(pod, labels)
            size = resize_patch(pod, server=server)
            if size is not None:
                done &= await self._patch(pod, size, subresource="resize")
        return done

    def _known_gateways(self) -> Gateways | None:
        """The gateways of this cluster, with what the informers know."""
        if self._gateways is None or self._nodes is None:
            return None
        slices = self._children[ENDPOINT_SLICES.kind]
        self._routed = routed_models(
            (pod for pod in self._pods.values() if pod.gateway),
            statuses=self._gateway_agents.statuses,
            before=self._routed,
            led={
                (namespace, model_of_slice(name)): ready_addresses(live) for (namespace, name), live in slices.items()
            },
        )
        return replace(
            self._gateways,
            nodes={name: labels for (_, name), labels in self._nodes.items()},
            addresses={key: service_addresses(service) for key, service in self._children[SERVICES.kind].items()},
            routed=self._routed,
        )

    async def _tell(
        self, pods: list[PodView], desired: Mapping[ChildKey, Manifest], *, identities: Mapping[str, Identity]
    ) -> bool:
        """Have the kubelet sync routes and certificates that have changed; `identities` by the gateways' names."""
        done = True
        for pod in pods:
            routes = desired.get(ChildKey(CONFIG_MAPS.kind, pod.namespace, pod.gateway))
            if routes is None or pod.leaving:
                continue
            revision = json.loads(routes["data"][GATEWAY_CONFIG_FILE])["revision"]
            if (identity := identities.get(pod.gateway)) is not None and identity.revision:
                revision = f"{revision}.{identity.revision}"
            patch = config_patch(pod, revision=revision)
            if patch is not None:
                done &= await self._patch(pod, patch)
        return done

    async def _patch(self, pod: PodView, patch: Object, *, subresource: str | None = None) -> bool:
        try:
            await self._client.patch(
                PODS,
                patch,
                namespace=pod.namespace,
                name=pod.name,
                subresource=subresource,
                manager=FIELD_MANAGER,
                strategic=True,
            )
        except ApiError as error:
            # 404: the Pod is gone, or the cluster is older than in-place resize (1.33) and the first requests stay.
            if error.status != 404:
                logger.warning("Pod %s/%s could not be changed: %s", pod.namespace, pod.name, error)
                return False
        return True


def _labels(node: Object) -> Mapping[str, str]:
    return node["metadata"].get("labels") or {}
