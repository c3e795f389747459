"""The Service under whose name clients reach a Model by way of gateways. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from littoral.render import names
from littoral.render.server import Manifest
from littoral.render.service import render_service

MANAGED_SLICE: Final = "endpointslice.kubernetes.io/managed-by"
SLICE_MANAGER: Final = "littoral.dev"
"""Marks the EndpointSlices that are ours: Kubernetes' own controllers leave them alone."""

_GATEWAY: Final = "gateway"
_MOST_ENDPOINTS: Final = 1000  # that an EndpointSlice may have


@dataclass(frozen=True, kw_only=True, order=True)
class GatewayEndpoint:
    """A Pod of a gateway, as clients are led to it.

    Attributes:
        address: IPv4.
        node: that it runs on.
        ready: whether it takes requests.
        ending: whether it is leaving; it may be asked as long as no other is ready.
        for_nodes: nodes whose clients are to come here, at most 8.
    """

    address: str
    node: str
    ready: bool
    ending: bool = False
    for_nodes: tuple[str, ...] = ()


def slice_name(model: str) -> str:
    """Name of a Model's EndpointSlice."""
    return f"{model}-{_GATEWAY}"


def model_of_slice(name: str) -> str:
    """The Model whose EndpointSlice has that name."""
    return name.removesuffix(f"-{_GATEWAY}")


def leads_to_gateways(service: Manifest) -> bool:
    """Whether a live Service of a Model leads to gateways."""
    return _GATEWAY in ((service.get("spec") or {}).get("selector") or {}).values()


def render_model_service(
    *,
    namespace: str,
    model: str,
    endpoints: Sequence[GatewayEndpoint],
    owners: Sequence[Manifest],
) -> list[Manifest]:
    """The EndpointSlice of a Model's gateways, and the Service of its name: to them while one is ready, else straight
    to the servers. In the order in which they are to be applied, so that there is always somebody to lead to.

    The gateways' Pods are in another namespace, where a selector does not reach: the slice names them. The Service's
    selector stays, with a value that no Pod has: so Kubernetes' controllers take the servers out of their own slices
    by themselves, and put them back. Without any selector they would leave them there for ever.

    Args:
        owners: owner references of all Assignments that serve or route it.
    """
    service = render_service(namespace=namespace, model=model, owners=owners)
    if any(endpoint.ready for endpoint in endpoints):
        service["spec"]["selector"] = {names.serves(model): _GATEWAY}
    if not endpoints:
        return [service]
    # Those that are ready come first, should there be too many.
    chosen = sorted(endpoints, key=lambda it: (not it.ready, it))[:_MOST_ENDPOINTS]
    return [_slice(service, model=model, endpoints=chosen), service]


def _slice(service: Manifest, *, model: str, endpoints: Sequence[GatewayEndpoint]) -> Manifest:
    metadata = service["metadata"]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            **metadata,
            "name": slice_name(model),
            "labels": {
                **metadata["labels"],
                "kubernetes.io/service-name": model,
                MANAGED_SLICE: SLICE_MANAGER,
            },
        },
        "addressType": "IPv4",
        # kube-proxy matches them with the Service's by name.
        "ports": [
            {
                "name": port["name"],
                "port": port["targetPort"],
                "protocol": "TCP",
                "appProtocol": port["appProtocol"],
            }
            for port in service["spec"]["ports"]
        ],
        "endpoints": [_endpoint(it) for it in endpoints],
    }


def _endpoint(it: GatewayEndpoint) -> Manifest:
    # kube-proxy heeds hints if every ready endpoint has one and one of them is for its node, whatever the Service's
    # trafficDistribution says; else it takes all endpoints. Source: kubernetes/kubernetes, pkg/proxy/topology.go.
    hints = {"hints": {"forNodes": [{"name": name} for name in it.for_nodes]}} if it.for_nodes else {}
    return {
        "addresses": [it.address],
        "conditions": {"ready": it.ready, "serving": it.ready or it.ending, "terminating": it.ending},
        "nodeName": it.node,
        **hints,
    }
