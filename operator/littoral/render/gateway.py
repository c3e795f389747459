"""A pool's gateway as Kubernetes objects. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from littoral.api.meta import NodeSelector
from littoral.api.routing import GatewayConfig
from littoral.render import names
from littoral.render.affinity import node_affinity
from littoral.render.gateway_haproxy import HAPROXY_ENVIRONMENT

Manifest = dict[str, Any]

GATEWAY_CONFIG_FILE: Final = "gateway.json"
SECURE_PORT: Final = 8443
"""Where gateways of other clusters are served, by their certificates."""
MEMBERS_SUFFIX: Final = "-members"
"""Of the Service by which they reach it."""

_RUN = "/run/littoral"
_STATE = "/var/lib/littoral"
_CERTIFICATES = "/etc/littoral-certificates"
_AGENT_USER = 65532
_HAPROXY_USER = 99  # `haproxy` in the official image.
_GROUP = 65532
_DRAIN = 5  # Seconds until every client has learnt that a Pod is leaving.
_FINISH = 30  # Seconds for what is under way then.


class Peers(Enum):
    """Which gateways of other clusters a gateway talks to."""

    NONE = auto()
    ASKED = auto()
    """It sends requests to some, and none comes to it."""
    COMING = auto()
    """Some send it requests, too."""


@dataclass(frozen=True, kw_only=True)
class GatewaySettings:
    """What the chart decides about a cluster's gateways.

    Attributes:
        haproxy_image: HAProxy 2.6 or later.
        haproxy_command: its program; the image's entrypoint is not used.
        agent_image: the image with `littoral gateway`.
        pull_policy: for both; None leaves it to Kubernetes.
        image_pull_secrets: names of Secrets in the gateway's namespace.
        replicas: Pods. Each has its own count of outstanding requests: a limit counts for each by itself.
        service_type: of the Service for clients outside the cluster.
        members_service_type: of the Service for gateways of other clusters, where there is one.
        members_node_port: of that Service, where it is of the type NodePort or LoadBalancer; None for any.
        compress_uplink: whether bodies over HTTP are compressed on their way to other clusters; HAProxy 2.8 or later.
        state_path: the node's directory that outlives the Pod, for the last good routes; None for the Pod's own.
        threads: of HAProxy; None for one for each core of the node.
        cpu: that HAProxy requests.
        memory: that HAProxy may take at most.
    """

    haproxy_image: str
    agent_image: str
    haproxy_command: tuple[str, ...] = ("haproxy",)
    pull_policy: str | None = None
    image_pull_secrets: tuple[str, ...] = ()
    replicas: int = 1
    service_type: str = "ClusterIP"
    members_service_type: str = "LoadBalancer"
    members_node_port: int | None = None
    compress_uplink: bool = False
    state_path: str | None = None
    threads: int | None = 2
    cpu: str = "100m"
    memory: str = "512Mi"


def render_gateway(
    config: GatewayConfig,
    *,
    name: str,
    namespace: str,
    settings: GatewaySettings,
    owner: Manifest | None = None,
    node_selector: NodeSelector | None = None,
    peers: Peers = Peers.NONE,
) -> list[Manifest]:
    """The manifests of one gateway, in the order in which they must exist: ConfigMap, Deployment, Services,
    PodDisruptionBudget where there is more than one Pod.

    A change of routes changes only the ConfigMap. Whoever applies it also changes the annotation
    `littoral.dev/config` of the gateway's Pods (not of the template), so that the kubelet syncs the mount at once.

    Args:
        owner: owner reference of the Assignment that the gateway belongs to.
        node_selector: the nodes that it may run on; None for all.
        peers: gateways of other clusters that it talks to. Their certificates are in the Secret of the gateway's name,
            with tls.crt, tls.key and ca.crt; until it is there, the gateway does without.
    """
    metadata: Manifest = {"name": name, "namespace": namespace, "labels": _labels(name)}
    if owner is not None:
        metadata["ownerReferences"] = [owner]
    selector = _selector(name)
    ports = [
        {"name": "http", "port": 80, "targetPort": "http", "appProtocol": "http"},
        {"name": "grpc", "port": names.GRPC_PORT, "targetPort": "grpc", "appProtocol": "kubernetes.io/h2c"},
    ]
    manifests: list[Manifest] = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {GATEWAY_CONFIG_FILE: json.dumps(config.dump(), sort_keys=True)},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": settings.replicas,
                "selector": {"matchLabels": selector},
                # The next one answers before the last one goes.
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                "template": {"metadata": {"labels": _labels(name)}, "spec": _pod(name, settings, node_selector, peers)},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"type": settings.service_type, "selector": selector, "ports": ports},
        },
    ]
    if peers is Peers.COMING:
        port: Manifest = {"name": "secure", "port": SECURE_PORT, "targetPort": "secure"}
        if settings.members_node_port is not None and settings.members_service_type != "ClusterIP":
            port["nodePort"] = settings.members_node_port
        manifests.append(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {**metadata, "name": f"{name}{MEMBERS_SUFFIX}"},
                "spec": {"type": settings.members_service_type, "selector": selector, "ports": [port]},
            }
        )
    if settings.replicas > 1:
        manifests.append(
            {
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": metadata,
                "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector}},
            }
        )
    return manifests


def _selector(name: str) -> dict[str, str]:
    return {names.APP: names.GATEWAY, names.INSTANCE: name}


def _labels(name: str) -> dict[str, str]:
    return _selector(name) | names.ours()


def _pod(name: str, settings: GatewaySettings, node_selector: NodeSelector | None, peers: Peers) -> Manifest:
    state: Manifest = {"emptyDir": {}}
    if settings.state_path is not None:
        state = {"hostPath": {"path": f"{settings.state_path}/{name}", "type": "DirectoryOrCreate"}}
    pod: Manifest = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _DRAIN + _FINISH,
        # Both write to the shared folder, as different users of one group.
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}, "fsGroup": _GROUP},
        "initContainers": [_agent(settings, peers)],
        "containers": [_haproxy(settings, peers)],
        "volumes": [
            {"name": "config", "configMap": {"name": name}},
            {"name": "run", "emptyDir": {"medium": "Memory"}},
            {"name": "state", **state},
        ],
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": _selector(name)},
            }
        ],
        # An edge node that has lost its link is NotReady for as long as that takes: what runs there stays.
        "tolerations": [
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"},
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"},
        ],
    }
    if affinity := node_affinity(node_selector):
        pod["affinity"] = {"nodeAffinity": affinity}
    if peers is not Peers.NONE:
        # Clients of the site must not wait for the hub's signature, nor for the Secret.
        secret = {"secretName": name, "optional": True, "defaultMode": 0o440}
        pod["volumes"].append({"name": "certificates", "secret": secret})
    if settings.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    return pod


def _agent(settings: GatewaySettings, peers: Peers) -> Manifest:
    arguments = [
        "gateway",
        f"--config={names.CONFIG_DIRECTORY}/{GATEWAY_CONFIG_FILE}",
        f"--run={_RUN}",
        f"--state={_STATE}",
        f"--bind=:{names.HTTP_PORT}",
        f"--bind=:{names.GRPC_PORT}",
        f"--listen=0.0.0.0:{names.AGENT_PORT}",
    ]
    mounts = [
        {"name": "config", "mountPath": names.CONFIG_DIRECTORY, "readOnly": True},
        {"name": "run", "mountPath": _RUN},
        {"name": "state", "mountPath": _STATE},
    ]
    if settings.threads is not None:
        arguments.append(f"--threads={settings.threads}")
    if peers is not Peers.NONE:
        # What only sends to others listens to nobody outside of its Pod.
        host = "" if peers is Peers.COMING else "127.0.0.1"
        arguments += [f"--certificates={_CERTIFICATES}", f"--secure-bind={host}:{SECURE_PORT}"]
        mounts.append({"name": "certificates", "mountPath": _CERTIFICATES, "readOnly": True})
        if settings.compress_uplink:
            arguments.append("--compress-uplink")
    return _container(
        name="agent",
        image=settings.agent_image,
        user=_AGENT_USER,
        settings=settings,
        container={
            "args": arguments,
            # A native sidecar: it has written HAProxy's configuration before HAProxy starts, and stays to the end.
            "restartPolicy": "Always",
            "ports": [{"name": "agent", "containerPort": names.AGENT_PORT}],
            "startupProbe": {
                "exec": {"command": ["python3", "-c", f"open('{_RUN}/haproxy.cfg')"]},
                "periodSeconds": 1,
                "failureThreshold": 120,
            },
            "livenessProbe": _probe("/healthz", period=10, failures=6),
            "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
            "volumeMounts": mounts,
        },
    )


def _haproxy(settings: GatewaySettings, peers: Peers) -> Manifest:
    ports = [
        {"name": "http", "containerPort": names.HTTP_PORT},
        {"name": "grpc", "containerPort": names.GRPC_PORT},
    ]
    if peers is Peers.COMING:
        ports.append({"name": "secure", "containerPort": SECURE_PORT})
    program = " ".join(settings.haproxy_command)
    # Finishing is asked of HAProxy itself: it has other signals than the kubelet, and the images differ in theirs.
    finish = f"sleep {_DRAIN}; kill -USR1 1; sleep {_FINISH - 5}"
    return _container(
        name="haproxy",
        image=settings.haproxy_image,
        user=_HAPROXY_USER,
        settings=settings,
        container={
            "command": [
                "/bin/sh",
                "-c",
                f"umask 0007; exec {program} -W -db -S {_RUN}/master.sock,mode,660,level,admin -f {_RUN}/haproxy.cfg",
            ],
            "env": [{"name": key, "value": value} for key, value in HAPROXY_ENVIRONMENT.items()],
            "ports": ports,
            "lifecycle": {"preStop": {"exec": {"command": ["/bin/sh", "-c", finish]}}},
            # It answers as long as it lives; what it lacks, the agent says.
            "startupProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 1, "failureThreshold": 60},
            "readinessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 1, "failureThreshold": 2},
            "livenessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 10, "failureThreshold": 6},
            "resources": {
                "requests": {"cpu": settings.cpu, "memory": "64Mi"},
                "limits": {"memory": settings.memory},
            },
            "volumeMounts": [{"name": "run", "mountPath": _RUN}],
        },
    )


def _container(*, name: str, image: str, user: int, settings: GatewaySettings, container: Manifest) -> Manifest:
    policy = {"imagePullPolicy": settings.pull_policy} if settings.pull_policy else {}
    return {
        "name": name,
        "image": image,
        **policy,
        "securityContext": {
            "runAsUser": user,
            "runAsGroup": _GROUP,
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        **container,
    }


def _probe(path: str, *, period: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": names.AGENT_PORT},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": 3,
    }
