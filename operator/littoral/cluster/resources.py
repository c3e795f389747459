"""The resources that Littoral reads or writes, as the API server's paths name them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from littoral.api.base import GROUP, VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One resource type: where it is served and what its objects are called."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """The `apiVersion` of its objects: `v1`, `apps/v1`, ..."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, *, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of a collection, of one object, or of one of its subresources.

        Raises:
            ValueError: a single object of a namespaced resource is named without its namespace.
        """
        if name and self.namespaced and not namespace:
            raise ValueError(f"{self.kind} {name}: its namespace is missing")
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/" + "/".join(parts)


MODELS: Final = Resource(group=GROUP, version=VERSION, plural="models", kind="Model")
LATENCY_SLOS: Final = Resource(group=GROUP, version=VERSION, plural="latencyslos", kind="LatencySLO")
NODE_POOLS: Final = Resource(group=GROUP, version=VERSION, plural="nodepools", kind="NodePool", namespaced=False)
ASSIGNMENTS: Final = Resource(group=GROUP, version=VERSION, plural="assignments", kind="Assignment", namespaced=False)

NAMESPACES: Final = Resource(group="", version="v1", plural="namespaces", kind="Namespace", namespaced=False)
NODES: Final = Resource(group="", version="v1", plural="nodes", kind="Node", namespaced=False)
PODS: Final = Resource(group="", version="v1", plural="pods", kind="Pod")
SECRETS: Final = Resource(group="", version="v1", plural="secrets", kind="Secret")
SERVICE_ACCOUNTS: Final = Resource(group="", version="v1", plural="serviceaccounts", kind="ServiceAccount")
SERVICES: Final = Resource(group="", version="v1", plural="services", kind="Service")
CONFIG_MAPS: Final = Resource(group="", version="v1", plural="configmaps", kind="ConfigMap")
DEPLOYMENTS: Final = Resource(group="apps", version="v1", plural="deployments", kind="Deployment")
ENDPOINT_SLICES: Final = Resource(group="discovery.k8s.io", version="v1", plural="endpointslices", kind="EndpointSlice")
POD_DISRUPTION_BUDGETS: Final = Resource(
    group="policy", version="v1", plural="poddisruptionbudgets", kind="PodDisruptionBudget"
)
_RBAC: Final = "rbac.authorization.k8s.io"
ROLES: Final = Resource(group=_RBAC, version="v1", plural="roles", kind="Role")
ROLE_BINDINGS: Final = Resource(group=_RBAC, version="v1", plural="rolebindings", kind="RoleBinding")
CLUSTER_ROLES: Final = Resource(group=_RBAC, version="v1", plural="clusterroles", kind="ClusterRole", namespaced=False)
CLUSTER_ROLE_BINDINGS: Final = Resource(
    group=_RBAC, version="v1", plural="clusterrolebindings", kind="ClusterRoleBinding", namespaced=False
)
LEASES: Final = Resource(group="coordination.k8s.io", version="v1", plural="leases", kind="Lease")
_GATEWAY_API: Final = "gateway.networking.k8s.io"
HTTP_ROUTES: Final = Resource(group=_GATEWAY_API, version="v1", plural="httproutes", kind="HTTPRoute")
GRPC_ROUTES: Final = Resource(group=_GATEWAY_API, version="v1", plural="grpcroutes", kind="GRPCRoute")
EVENTS: Final = Resource(group="events.k8s.io", version="v1", plural="events", kind="Event")

_BY_KIND: Final = {
    (resource.api_version, resource.kind): resource
    for resource in (
        MODELS,
        LATENCY_SLOS,
        NODE_POOLS,
        ASSIGNMENTS,
        NAMESPACES,
        NODES,
        PODS,
        SECRETS,
        SERVICE_ACCOUNTS,
        SERVICES,
        CONFIG_MAPS,
        DEPLOYMENTS,
        ENDPOINT_SLICES,
        POD_DISRUPTION_BUDGETS,
        ROLES,
        ROLE_BINDINGS,
        CLUSTER_ROLES,
        CLUSTER_ROLE_BINDINGS,
        LEASES,
        HTTP_ROUTES,
        GRPC_ROUTES,
        EVENTS,
    )
}


def resource_of(*, api_version: str, kind: str) -> Resource:
    """The resource whose objects carry this `apiVersion` and `kind`.

    Raises:
        KeyError: Littoral does not handle that kind.
    """
    return _BY_KIND[(api_version, kind)]
