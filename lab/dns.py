"""The Service `kube-dns`: it leads to the CoreDNS that runs as a program in the control plane's machine.

A program instead of pods: names resolve as soon as a node has its proxy, and no image needs to be built for it.
"""

from __future__ import annotations

from lab.addresses import AddressPlan
from lab.api import Client, Json

_NAMESPACE = "kube-system"
_LABELS = {"app.kubernetes.io/managed-by": "littoral-lab", "k8s-app": "kube-dns"}


def publish(client: Client, *, plan: AddressPlan) -> None:
    """Let CoreDNS watch what it answers about, and give it its Service address."""
    name = "littoral-lab-coredns"
    watch = {"verbs": ["list", "watch"]}
    role: Json = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name, "labels": _LABELS},
        "rules": [
            {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], **watch},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], **watch},
        ],
    }
    binding: Json = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name, "labels": _LABELS},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:coredns"}],
    }
    ports = [("dns", "UDP"), ("dns-tcp", "TCP")]
    service: Json = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": _NAMESPACE, "labels": _LABELS},
        "spec": {
            "clusterIP": str(plan.dns_service),
            "ports": [{"name": port, "port": 53, "protocol": protocol} for port, protocol in ports],
        },
    }
    endpoints: Json = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kube-dns-lab",
            "namespace": _NAMESPACE,
            "labels": {**_LABELS, "kubernetes.io/service-name": "kube-dns"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [str(plan.control_plane)], "conditions": {"ready": True}}],
        "ports": [{"name": port, "port": 53, "protocol": protocol} for port, protocol in ports],
    }
    rbac, core = "/apis/rbac.authorization.k8s.io/v1", f"/api/v1/namespaces/{_NAMESPACE}"
    client.apply(f"{rbac}/clusterroles/{name}", role)
    client.apply(f"{rbac}/clusterrolebindings/{name}", binding)
    client.apply(f"{core}/services/kube-dns", service)
    client.apply(f"/apis/discovery.k8s.io/v1/namespaces/{_NAMESPACE}/endpointslices/kube-dns-lab", endpoints)
