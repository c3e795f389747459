"""One pass of the site role, in numbered steps: from Assignments to running servers, and back to a report."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from littoral.api.assignment import Assignment
from littoral.cluster.client import ApiError, Client, Object
from littoral.cluster.drift import covers
from littoral.cluster.informer import Informer
from littoral.cluster.resources import CONFIG_MAPS, DEPLOYMENTS, PODS, SERVICES, Resource
from littoral.cluster.status import write_status
from littoral.cluster.store import KindStore
from littoral.render import names
from littoral.render.server import Manifest, server_config
from littoral.render.settings import ServerSettings
from littoral.site.agents import Agents
from littoral.site.desired import ChildKey, desired_children
from littoral.site.readiness import pod_patch, resize_patch
from littoral.site.report import report
from littoral.site.telemetry import Telemetry
from littoral.site.views import PodView, essence, trouble_of_deployment

logger = logging.getLogger(__name__)

FIELD_MANAGER = "littoral-site"
_OURS = f"{names.MANAGED_BY}={names.MANAGER}"


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
    ) -> None:
        """`member` is the name under which this cluster dials in to a hub; None in the hub's own cluster."""
        self._client = client
        self._assignments = assignments
        self._settings = settings
        self._member = member
        self._children: dict[str, Informer[Object]] = {
            resource.kind: Informer(client, resource, keep=essence, on_change=on_change, label_selector=_OURS)
            for resource in (CONFIG_MAPS, DEPLOYMENTS, SERVICES)
        }
        self._pods = Informer(client, PODS, keep=PodView.from_object, on_change=on_change, label_selector=_OURS)
        self._agents = Agents(on_change=on_change)
        self._telemetry = Telemetry(on_change=on_change)

    @property
    def informers(self) -> list[Informer[Object] | Informer[PodView]]:
        """What must run beside the passes."""
        return [*self._children.values(), self._pods]

    async def close(self) -> None:
        """Stop following the agents and their Tritons."""
        await self._telemetry.close()
        await self._agents.close()

    async def step(self) -> bool:
        """One pass. Returns whether all of it got through; what did not is tried again."""
        # 1. Nothing is known before the first lists are in, and nothing is done then.
        if not self._assignments.synced or not all(informer.synced for informer in self.informers):
            return True
        assignments = [a for a in self._assignments.objects() if a.spec.member == self._member]

        # 2. Apply what differs from what the Assignments say.
        desired = desired_children(assignments, settings=self._settings, pods=self._pods.values())
        troubles = await self._apply(desired)

        # 3. Remove what no Assignment asks for any more.
        clean = await self._prune(desired)

        # 4. Lead clients to the Pods that are ready for each model, and away from those that are not.
        pods = self._pods.values()
        self._agents.follow(pods)
        self._telemetry.follow(pods, self._agents.statuses)
        led = await self._lead(assignments, pods)

        # 5. Report.
        for (namespace, name), deployment in self._children[DEPLOYMENTS.kind].items():
            if trouble := trouble_of_deployment(deployment):
                troubles.setdefault(ChildKey(DEPLOYMENTS.kind, namespace, name), trouble)
        statuses, now = self._agents.statuses, datetime.now(UTC)
        reported = True
        for assignment in assignments:
            status = report(assignment, pods=pods, statuses=statuses, troubles=troubles, now=now)
            status = self._telemetry.annotate(assignment, status)
            reported &= await write_status(self._client, assignment, status, manager=FIELD_MANAGER)
        return clean and led and reported and not troubles

    async def _apply(self, desired: dict[ChildKey, Manifest]) -> dict[ChildKey, str]:
        """Apply each child that drifted. What the API server refuses is that server's trouble, not the others'."""
        troubles: dict[ChildKey, str] = {}
        for key, manifest in desired.items():
            live = self._children[key.kind].get((key.namespace, key.name))
            comparable = {part: manifest[part] for part in ("data", "spec") if part in manifest}
            metadata = {part: manifest["metadata"][part] for part in ("labels", "ownerReferences")}
            if live is not None and covers(live, comparable | {"metadata": metadata}):
                continue
            try:
                if live is None and await self._is_foreign(key):
                    troubles[key] = f"{key} is there already and not Littoral's: delete it, or rename the Model"
                    continue
                await self._client.apply(manifest, manager=FIELD_MANAGER)
                logger.info("applied %s", key)
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

    async def _delete(self, resource: Resource, key: ChildKey, *, uid: str) -> bool:
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


_RESOURCES = {resource.kind: resource for resource in (CONFIG_MAPS, DEPLOYMENTS, SERVICES)}
