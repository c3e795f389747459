"""What the chart decides about every server: images, cache, trust."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CacheType(StrEnum):
    """Where a node's artifacts are kept.

    `HostPath` survives the Pod and is shared by all servers of the node; Pod Security `restricted` refuses it.
    `EmptyDir` is allowed everywhere, and lasts as long as the Pod.
    """

    HOST_PATH = "HostPath"
    EMPTY_DIR = "EmptyDir"


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Settings that all servers of a cluster share.

    Attributes:
        triton_image: the Triton Inference Server.
        triton_command: its command; None for the image's own entrypoint (NVIDIA's image needs `tritonserver`).
        agent_image: the image with `littoral agent`.
        pull_policy: for both; None leaves it to Kubernetes.
        image_pull_secrets: names of Secrets, in the namespace of each server.
        cache: where a node's artifacts are kept.
        cache_path: the node's directory for them, for `HostPath`.
        cache_quota: how large a node's cache may become, as a quantity or a percentage of its disk; empty for the
            agent's default.
        signature_policy: what becomes of a Model that asks for no signature: Off, Warn or Require.
        files_root: the node's directory below which `file://` artifacts lie; None switches them off.
        ca_bundle: CA certificates (PEM) that `https://` sources may have, beside the system's; empty for none.
        sigstore_trusted_root: whose certificates and logs are believed (Sigstore's trusted_root.json); empty for the
            public ones.
        shared_memory: size limit of Triton's /dev/shm, as a quantity.
        drain: seconds between the announcement that a Pod or a model goes and its end, so that clients have gone
            elsewhere.
    """

    triton_image: str
    agent_image: str
    triton_command: tuple[str, ...] | None = ("tritonserver",)
    pull_policy: str | None = None
    image_pull_secrets: tuple[str, ...] = ()
    cache: CacheType = CacheType.HOST_PATH
    cache_path: str = "/var/lib/littoral/cache"
    cache_quota: str = ""
    signature_policy: str = "Off"
    files_root: str | None = "/var/lib/littoral/files"
    ca_bundle: str = ""
    sigstore_trusted_root: str = ""
    shared_memory: str = "256Mi"
    drain: int = 5
