"""What the site role reads of Pods and of its own children: small, comparable views of large objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from littoral.cluster.client import Object
from littoral.render import names

CONTENT: Final = ("spec", "data", "addressType", "ports", "endpoints")
"""Fields of a child that hold what it is."""


@dataclass(frozen=True, kw_only=True)
class PodView:
    """One Pod of a Triton server, or of a gateway.

    Attributes:
        server: name of the server; empty for a gateway.
        gateway: name of the gateway; empty for a server.
        trouble: why it does not run as it should, in the words of the scheduler or the kubelet; empty when it does.
        ending: whether it is being deleted and still holds its node's resources.
        requests: the resources that its Triton is to have now, as quantities.
    """

    namespace: str
    name: str
    uid: str
    server: str
    address: str
    node: str
    ready: bool
    leaving: bool
    config_revision: str
    trouble: str
    ending: bool = False
    gateway: str = ""
    requests: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_object(cls, body: Object) -> PodView:
        """Read a `v1` Pod."""
        metadata, status = body["metadata"], body.get("status") or {}
        labels = metadata.get("labels") or {}
        conditions = {c["type"]: c for c in status.get("conditions") or []}
        return cls(
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=metadata["uid"],
            server=labels.get(names.SERVER, ""),
            address=status.get("podIP", ""),
            node=(body.get("spec") or {}).get("nodeName", ""),
            ready=conditions.get("Ready", {}).get("status") == "True",
            leaving="deletionTimestamp" in metadata or status.get("phase") in ("Failed", "Succeeded"),
            ending="deletionTimestamp" in metadata and status.get("phase") not in ("Failed", "Succeeded"),
            config_revision=(metadata.get("annotations") or {}).get(names.CONFIG_REVISION, ""),
            trouble=_trouble(status, conditions),
            gateway=labels.get(names.INSTANCE, "") if labels.get(names.APP) == names.GATEWAY else "",
            requests=_requests(body.get("spec") or {}),
            labels=labels,
        )


def _requests(spec: Mapping[str, Any]) -> Mapping[str, str]:
    for container in spec.get("containers") or []:
        if container["name"] == names.TRITON:
            return dict((container.get("resources") or {}).get("requests") or {})
    return {}


def _trouble(status: Mapping[str, Any], conditions: Mapping[str, Any]) -> str:
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return f"cannot be scheduled: {scheduled.get('message', '')}"
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason = waiting.get("reason", "")
        if reason and reason not in ("ContainerCreating", "PodInitializing"):
            return f"container {container['name']}: {reason}: {waiting.get('message', '')}".rstrip(": ")
    pending = conditions.get("PodResizePending", {})
    if pending.get("status") == "True":
        return f"cannot be resized: {pending.get('reason', '')}: {pending.get('message', '')}".rstrip(": ")
    return ""


def essence(body: Object) -> Object:
    """A child without what the API server adds to every object: what drift is measured on."""
    metadata = body["metadata"]
    kept: Object = {key: value for key, value in body.items() if key in CONTENT}
    kept["metadata"] = {key: metadata[key] for key in ("uid", "labels", "ownerReferences") if key in metadata}
    kept["status"] = {"conditions": (body.get("status") or {}).get("conditions") or []}
    return kept


def trouble_of_deployment(deployment: Object) -> str:
    """Why a Deployment cannot make its Pods (quota, Pod Security, ...); empty when it can."""
    for condition in deployment.get("status", {}).get("conditions", []):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return str(condition.get("message", ""))
    return ""


def service_addresses(service: Mapping[str, Any]) -> tuple[str, ...]:
    """The IPv4 addresses of a live Service."""
    addresses = (service.get("spec") or {}).get("clusterIPs") or ()
    return tuple(address for address in addresses if address != "None" and ":" not in address)


def ready_addresses(endpoint_slice: Mapping[str, Any]) -> frozenset[str]:
    """The addresses to which a live EndpointSlice leads clients."""
    return frozenset(
        address
        for endpoint in endpoint_slice.get("endpoints") or ()
        if endpoint["conditions"].get("ready")
        for address in endpoint["addresses"]
    )
