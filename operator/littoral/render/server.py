"""One server of an Assignment: a Deployment of Triton with the agent beside it, and the ConfigMap that steers it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from littoral.api.assignment import AssignmentSpec, Server
from littoral.api.quantity import format_quantity
from littoral.api.serving import Peers, ServerConfig
from littoral.render import names
from littoral.render.affinity import node_affinity
from littoral.render.settings import CacheType, ServerSettings

Manifest = dict[str, Any]

_TRITON_USER = 1000  # `triton-server` in NVIDIA's image.
_AGENT_USER = 65532
_ROOT = 0
_EXIT_TIMEOUT = 10  # Seconds.
_NO_PEERS = Peers()
_AGENT_MEMORY = 512 << 20  # Bytes.
_DECRYPTED = 4 << 30  # Bytes; one for all servers, since another size would replace their Pods.

# What a server is scheduled with. The site role resizes it in place to what its Models need: a Model more or less
# changes no template, and so restarts nothing.
_FIRST_REQUESTS = {"cpu": "100m", "memory": "256Mi"}


def render_server(
    server: Server,
    *,
    pool: str,
    spec: AssignmentSpec,
    settings: ServerSettings,
    owner: Manifest,
    peers: Peers = _NO_PEERS,
) -> list[Manifest]:
    """The manifests of one server, in the order in which they must exist.

    Args:
        pool: name of the NodePool, and of the Assignment.
        owner: the owner reference of the Assignment: what it owns is collected when it goes.
        peers: agents that may have its artifacts.
    """
    metadata = {
        "name": server.name,
        "namespace": server.namespace,
        "labels": _labels(server, pool=pool),
        "ownerReferences": [owner],
    }
    config = server_config(server)
    data = {
        names.CONFIG_FILE: json.dumps(config.dump(), indent=2, sort_keys=True),
        names.PEERS_FILE: json.dumps(peers.dump()),
    }
    if settings.ca_bundle:
        data["ca.crt"] = settings.ca_bundle
    if settings.sigstore_trusted_root:
        data["trusted_root.json"] = settings.sigstore_trusted_root
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": server.replicas,
                "selector": {"matchLabels": _selector(server)},
                "strategy": _strategy(server),
                "template": _pod(server, pool=pool, spec=spec, settings=settings),
            },
        },
    ]


def server_config(server: Server) -> ServerConfig:
    """What the agent shall serve, with a revision that is the content's hash."""
    content = json.dumps([model.dump() for model in server.models], sort_keys=True)
    return ServerConfig(
        revision=hashlib.sha256(content.encode()).hexdigest()[:16],
        accelerator=server.accelerator,
        models=server.models,
    )


def _selector(server: Server) -> dict[str, str]:
    return {names.APP: names.TRITON, names.SERVER: server.name}


def _labels(server: Server, *, pool: str) -> dict[str, str]:
    return _selector(server) | names.ours() | {names.POOL: pool, names.ACCELERATOR: server.accelerator}


def _strategy(server: Server) -> Manifest:
    # A CPU server is replaced by starting its successor first. Where each replica holds a device there may be none left
    # for a successor: the old one must go first, or the rollout never ends.
    surge, unavailable = (1, 0) if server.extended_resource is None else (0, 1)
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}


def _pod(server: Server, *, pool: str, spec: AssignmentSpec, settings: ServerSettings) -> Manifest:
    pod: Manifest = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": settings.drain + _EXIT_TIMEOUT + 15,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "initContainers": [_agent(server, spec=spec, settings=settings)],
        "containers": [_triton(server, settings)],
        "volumes": _volumes(server, settings),
        "affinity": {"nodeAffinity": node_affinity(spec.node_selector, server.node_selector)},
        # Replicas beside each other on one node share its fate.
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": _selector(server)},
            }
        ],
        # An edge node that has lost its link is NotReady for as long as that takes: what runs there stays.
        "tolerations": [
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"},
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"},
        ],
    }
    if server.extended_resource is not None:
        # Device nodes are tainted with their resource's name by custom (GKE, AKS, NVIDIA's operator).
        pod["tolerations"].append({"key": server.extended_resource, "operator": "Exists"})
    if settings.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    return {"metadata": {"labels": _labels(server, pool=pool)}, "spec": pod}


def _agent(server: Server, *, spec: AssignmentSpec, settings: ServerSettings) -> Manifest:
    arguments = [
        f"--config={names.CONFIG_DIRECTORY}/{names.CONFIG_FILE}",
        f"--peers={names.CONFIG_DIRECTORY}/{names.PEERS_FILE}",
        f"--cache={names.CACHE_DIRECTORY}",
        # The servers of a node share the cache; what each shall serve is its own.
        f"--state={names.CACHE_DIRECTORY}/state/{server.namespace}_{server.name}",
        f"--repository={names.REPOSITORY_DIRECTORY}",
        f"--claims-root={names.CLAIMS_DIRECTORY}",
        f"--listen=0.0.0.0:{names.AGENT_PORT}",
        f"--triton=127.0.0.1:{names.HTTP_PORT}",
        f"--drain={settings.drain}s",
    ]
    mounts = [
        {"name": "config", "mountPath": names.CONFIG_DIRECTORY, "readOnly": True},
        {"name": "cache", "mountPath": names.CACHE_DIRECTORY},
        {"name": "models", "mountPath": names.REPOSITORY_DIRECTORY},
        {"name": "tmp", "mountPath": "/tmp", "subPath": "agent"},  # noqa: S108 - a path in the container
        *_claim_mounts(server),
        *_mounts(_secrets(server), directory=names.CREDENTIALS_DIRECTORY),
        *_mounts(_keys(server), directory=names.KEYS_DIRECTORY, kind="key"),
        *_mounts(_identities(server), directory=names.IDENTITIES_DIRECTORY, kind="identity"),
    ]
    if quota := spec.cache_quota or settings.cache_quota:
        arguments.append(f"--cache-quota={quota}")
    if spec.bandwidth:
        arguments.append(f"--bandwidth={spec.bandwidth}")
    if settings.signature_policy != "Off":
        arguments.append(f"--signature-policy={settings.signature_policy}")
    if _keys(server):
        arguments.append(f"--keys-root={names.KEYS_DIRECTORY}")
    if _identities(server):
        arguments.append(f"--identities-root={names.IDENTITIES_DIRECTORY}")
        arguments.append(f"--decrypted-root={names.DECRYPTED_DIRECTORY}")
        mounts.append({"name": "decrypted", "mountPath": names.DECRYPTED_DIRECTORY})
    if settings.files_root is not None:
        arguments.append(f"--files-root={settings.files_root}")
        mounts.append({"name": "files", "mountPath": settings.files_root, "readOnly": True})
    if _secrets(server):
        arguments.append(f"--credentials-root={names.CREDENTIALS_DIRECTORY}")
    if settings.ca_bundle:
        arguments.append(f"--ca-file={names.CONFIG_DIRECTORY}/ca.crt")
    if settings.sigstore_trusted_root:
        arguments.append(f"--sigstore-trusted-root={names.CONFIG_DIRECTORY}/trusted_root.json")
    return _container(
        name="agent",
        image=settings.agent_image,
        settings=settings,
        # The node's directory belongs to root; a root that may do nothing but write there is the least that works.
        user=_ROOT if settings.cache == CacheType.HOST_PATH else _AGENT_USER,
        container={
            "args": ["agent", *arguments],
            # A native sidecar: started before Triton, stopped after it.
            "restartPolicy": "Always",
            "ports": [{"name": "agent", "containerPort": names.AGENT_PORT}],
            "startupProbe": _probe("/healthz", names.AGENT_PORT, period=1, failures=60),
            "livenessProbe": _probe("/healthz", names.AGENT_PORT, period=10, failures=6),
            "readinessProbe": _probe("/readyz", names.AGENT_PORT, period=1, failures=1),
            "resources": {"requests": {"cpu": "20m", "memory": "96Mi"}, "limits": {"memory": _agent_limit(server)}},
            "volumeMounts": mounts,
        },
    )


def _agent_limit(server: Server) -> str:
    """What it decrypts into memory counts as its own."""
    return format_quantity(_AGENT_MEMORY + (_DECRYPTED if _identities(server) else 0), binary=True)


def _triton(server: Server, settings: ServerSettings) -> Manifest:
    requests = dict(_FIRST_REQUESTS)
    limits: dict[str, str] = {}
    if server.extended_resource is not None:
        # Extended resources are never overcommitted: the limit is the request.
        requests[server.extended_resource] = limits[server.extended_resource] = "1"
    container: Manifest = {
        "args": [
            f"--model-repository={names.REPOSITORY_DIRECTORY}",
            "--model-control-mode=explicit",
            # A model that does not load is that model's trouble, and the agent says so; the others are served.
            "--strict-readiness=false",
            "--exit-on-error=false",
            "--metrics-config=summary_latencies=true",
            # On SIGTERM Triton waits for what is under way, and also for idle connections that clients keep.
            f"--exit-timeout-secs={_EXIT_TIMEOUT}",
            f"--http-port={names.HTTP_PORT}",
            f"--grpc-port={names.GRPC_PORT}",
            f"--metrics-port={names.METRICS_PORT}",
        ],
        "ports": [
            {"name": "http", "containerPort": names.HTTP_PORT},
            {"name": "grpc", "containerPort": names.GRPC_PORT},
            {"name": "metrics", "containerPort": names.METRICS_PORT},
        ],
        # Until every client has learnt that this Pod is leaving, requests still arrive: serve them.
        "lifecycle": {"preStop": {"sleep": {"seconds": settings.drain}}},
        "startupProbe": _probe("/v2/health/live", names.HTTP_PORT, period=1, failures=300),
        "livenessProbe": _probe("/v2/health/live", names.HTTP_PORT, period=10, failures=6),
        "resources": {"requests": requests} | ({"limits": limits} if limits else {}),
        "volumeMounts": [
            {"name": "models", "mountPath": names.REPOSITORY_DIRECTORY, "readOnly": True},
            {"name": "cache", "mountPath": names.CACHE_DIRECTORY, "readOnly": True},
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - a path in the container
            {"name": "tmp", "mountPath": "/tmp", "subPath": "triton"},  # noqa: S108 - a path in the container
        ],
    }
    if _identities(server):
        container["volumeMounts"].append(
            {"name": "decrypted", "mountPath": names.DECRYPTED_DIRECTORY, "readOnly": True}
        )
    if settings.triton_command is not None:
        container["command"] = list(settings.triton_command)
    return _container(
        name=names.TRITON, image=settings.triton_image, settings=settings, user=_TRITON_USER, container=container
    )


def _container(*, name: str, image: str, settings: ServerSettings, user: int, container: Manifest) -> Manifest:
    policy = {"imagePullPolicy": settings.pull_policy} if settings.pull_policy else {}
    return {
        "name": name,
        "image": image,
        **policy,
        "securityContext": {
            "runAsUser": user,
            "runAsNonRoot": user != _ROOT,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        **container,
    }


def _volumes(server: Server, settings: ServerSettings) -> list[Manifest]:
    cache: Manifest = {"emptyDir": {}}
    if settings.cache == CacheType.HOST_PATH:
        cache = {"hostPath": {"path": settings.cache_path, "type": "DirectoryOrCreate"}}
    volumes: list[Manifest] = [
        {"name": "config", "configMap": {"name": server.name}},
        {"name": "cache", **cache},
        {"name": "models", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
        # Triton's Python backends hand tensors over through shared memory; the runtime's 64 MiB are soon full.
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": settings.shared_memory}},
    ]
    if settings.files_root is not None:
        volumes.append(
            {"name": "files", "hostPath": {"path": settings.files_root, "type": "DirectoryOrCreate"}},
        )
    volumes += [
        {"name": f"claim-{claim}", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
        for claim in _claims(server)
    ]
    volumes += [
        # Optional: a Secret that is missing is something that the agent says, not a Pod that never starts.
        {"name": _secret_volume(secret), "secret": {"secretName": secret, "optional": True}}
        for secret in _secrets(server)
    ]
    volumes += [
        # Only the public keys: `cosign generate-key-pair` puts the private key into the same Secret.
        {
            "name": _secret_volume(secret, kind="key"),
            "secret": {
                "secretName": secret,
                "optional": True,
                "items": [{"key": key, "path": key} for key in sorted(keys)],
            },
        }
        for secret, keys in _keys(server).items()
    ]
    if _identities(server):
        limit = format_quantity(_DECRYPTED, binary=True)
        volumes.append({"name": "decrypted", "emptyDir": {"medium": "Memory", "sizeLimit": limit}})
    volumes += [
        {
            "name": _secret_volume(secret, kind="identity"),
            "secret": {
                "secretName": secret,
                "optional": True,
                "items": [{"key": "identity", "path": "identity"}],
            },
        }
        for secret in _identities(server)
    ]
    return volumes


def _claims(server: Server) -> list[str]:
    return sorted({claim for model in server.models if (claim := model.artifact.claim) is not None})


def _claim_mounts(server: Server) -> list[Manifest]:
    return [
        {"name": f"claim-{claim}", "mountPath": f"{names.CLAIMS_DIRECTORY}/{claim}", "readOnly": True}
        for claim in _claims(server)
    ]


def _secrets(server: Server) -> list[str]:
    references = (model.artifact.secret_ref for model in server.models)
    return sorted({reference.name for reference in references if reference is not None})


def _keys(server: Server) -> dict[str, set[str]]:
    """The Secrets with public keys, and the keys in each that are one."""
    found: dict[str, set[str]] = {}
    for model in server.models:
        reference = model.verification.public_key_secret_ref if model.verification else None
        if reference is not None:
            found.setdefault(reference.name, set()).add(reference.key)
    return dict(sorted(found.items()))


def _identities(server: Server) -> list[str]:
    """The Secrets that open encrypted artifacts."""
    found = (model.artifact.encryption for model in server.models)
    return sorted({it.identity_secret_ref.name for it in found if it is not None})


def _mounts(secrets: Iterable[str], *, directory: str, kind: str = "secret") -> list[Manifest]:
    """Secrets, one folder each."""
    return [
        {"name": _secret_volume(secret, kind=kind), "mountPath": f"{directory}/{secret}", "readOnly": True}
        for secret in secrets
    ]


def _secret_volume(secret: str, *, kind: str = "secret") -> str:
    """A volume's name has 63 characters at most and no dot, a Secret's 253 and dots."""
    return f"{kind}-{hashlib.sha256(secret.encode()).hexdigest()[:12]}"


def _probe(path: str, port: int, *, period: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": 3,
    }
