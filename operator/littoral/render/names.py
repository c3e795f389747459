"""Labels, annotations, ports and paths that the rendered objects, the site role and the agent agree on."""

from __future__ import annotations

from typing import Final

MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGER: Final = "littoral"
APP: Final = "app.kubernetes.io/name"
PART_OF: Final = "app.kubernetes.io/part-of"

INSTANCE: Final = "app.kubernetes.io/instance"

GATEWAY: Final = "gateway"
"""Name of the app that a gateway's Pods' labels name."""

TRITON: Final = "triton"
"""Name of Triton's container, and of the app that its Pods' labels name."""

POOL: Final = "littoral.dev/pool"
SERVER: Final = "littoral.dev/server"
ACCELERATOR: Final = "littoral.dev/accelerator"
CONFIG_REVISION: Final = "littoral.dev/config"
"""Pod annotation: its change makes the kubelet sync the mounted ConfigMap at once, not within a minute."""

_SERVES: Final = "serves.littoral.dev/"

HTTP_PORT: Final = 8000
GRPC_PORT: Final = 8001
METRICS_PORT: Final = 8002
AGENT_PORT: Final = 9400

CONFIG_DIRECTORY: Final = "/etc/littoral"
CONFIG_FILE: Final = "server.json"
PEERS_FILE: Final = "peers.json"
CACHE_DIRECTORY: Final = "/var/cache/littoral"
REPOSITORY_DIRECTORY: Final = "/models"
CLAIMS_DIRECTORY: Final = "/artifacts"
CREDENTIALS_DIRECTORY: Final = "/credentials"
KEYS_DIRECTORY: Final = "/keys"
IDENTITIES_DIRECTORY: Final = "/identities"
"""Secrets that artifacts name, one folder each; in the agent's container alone."""
DECRYPTED_DIRECTORY: Final = "/decrypted"
"""In memory: artifacts that are published encrypted, as Triton loads them."""


def ours() -> dict[str, str]:
    """Labels of all that Littoral makes: what lacks the first is somebody else's, and is left alone."""
    return {MANAGED_BY: MANAGER, PART_OF: MANAGER}


def serves(model: str) -> str:
    """The Pod label that is `"true"` while Triton in that Pod answers requests for the model."""
    return _SERVES + model


def served_models(labels: dict[str, str]) -> frozenset[str]:
    """The models that a Pod's labels say it serves."""
    return frozenset(
        label.removeprefix(_SERVES) for label, value in labels.items() if label.startswith(_SERVES) and value == "true"
    )
