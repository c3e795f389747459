"""Which agents a server's agents ask for an artifact before they use the uplink. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable

from littoral.api.assignment import Server
from littoral.api.serving import Peers
from littoral.render.names import AGENT_PORT
from littoral.site.views import PodView

MOST = 8
"""Agents that one is told of: each is asked, and the first that has the artifact will do."""


def peers_of(server: Server, *, beside: Iterable[Server], pods: Collection[PodView]) -> Peers:
    """The agents whose servers want a public artifact that this one wants too: others would not give it.

    The server's own Pods are among them: its replicas share one ConfigMap, and are on other nodes as a rule.

    Args:
        beside: the servers of the pool, this one included.
        pods: of all servers.
    """
    digests = _public(server)
    sharing = {(other.namespace, other.name) for other in beside if digests & _public(other)}
    found = [pod for pod in pods if (pod.namespace, pod.server) in sharing and pod.address and not pod.leaving]
    # Of many, another choice for each server, so that not all ask the same few; and no other choice without need.
    found.sort(key=lambda pod: hashlib.sha256(f"{server.namespace}/{server.name} {pod.uid}".encode()).digest())
    return Peers(agents=tuple(sorted(_authority(pod.address) for pod in found[:MOST])))


def _public(server: Server) -> set[str]:
    return {model.artifact.digest for model in server.models if model.artifact.public}


def _authority(address: str) -> str:
    return f"[{address}]:{AGENT_PORT}" if ":" in address else f"{address}:{AGENT_PORT}"
