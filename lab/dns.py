"""The Service `kube-dns`: it leads to the CoreDNS that runs as a program in the control plane's machine.

A program instead of pods: names resolve as soon as a node has its proxy, and no image needs to be built for it.
"""

from __future__ import annotations

import secrets
import socket
import struct
from pathlib import Path

from lab.addresses import AddressPlan
from lab.api import Client, Json
from lab.programs import Programs
from lab.spec import Probe, Program

_NAMESPACE = "kube-system"
_LABELS = {"app.kubernetes.io/managed-by": "littoral-lab", "k8s-app": "kube-dns"}


_COREFILE = """\
.:53 {{
    errors
    health :8080
    ready :8181
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig}
        ttl 5
    }}
    cache 5
}}
"""


def program(*, programs: Programs, directory: Path, kubeconfig: Path, after: tuple[Probe, ...] = ()) -> Program:
    """CoreDNS as a program of the control plane's machine, whose directory takes its configuration."""
    corefile = directory / "etc" / "Corefile"
    corefile.write_text(_COREFILE.format(kubeconfig=kubeconfig))
    return Program(name="coredns", argv=(programs.path("coredns"), "-conf", str(corefile)), after=after)


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


def answers(server: str, *, name: str = "kubernetes.default.svc.cluster.local", timeout: float = 0.3) -> bool:
    """Whether the name server at ``server`` resolves ``name`` (one A query over UDP) within ``timeout`` seconds."""
    identifier = secrets.randbits(16)
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    query = struct.pack(">6H", identifier, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.settimeout(timeout)
        try:
            connection.sendto(query, (server, 53))
            reply = connection.recv(512)
        except OSError:
            return False
    answer_identifier, flags, _, answer_count = struct.unpack(">4H", reply[:8])
    return bool(answer_identifier == identifier and flags & 0xF == 0 and answer_count > 0)
