"""Host names among a gateway's servers: HAProxy takes addresses only while it runs. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence

from littoral.api.routing import GatewayConfig, ModelRoute, Upstream


def host_names(config: GatewayConfig) -> frozenset[str]:
    """The host names that are to be resolved."""
    return frozenset(
        it.address
        for model in config.models
        for it in (*model.servers, *(it for pool in model.next for it in pool.servers))
        if not is_address(it.address)
    )


def resolved(config: GatewayConfig, addresses: Mapping[str, Sequence[str]]) -> GatewayConfig:
    """The same with a server for each address of a host name, and without those of which none is known.

    Args:
        addresses: by host name.
    """
    names = host_names(config)
    if not names:
        return config

    def known(servers: Iterable[Upstream]) -> tuple[Upstream, ...]:
        return tuple(
            server.model_copy(update={"address": address}) if address != server.address else server
            for server in servers
            for address in (addresses.get(server.address, ()) if server.address in names else (server.address,))
        )

    def reached(model: ModelRoute) -> ModelRoute:
        pools = tuple(pool.model_copy(update={"servers": known(pool.servers)}) for pool in model.next)
        return model.model_copy(update={"servers": known(model.servers), "next": pools})

    return config.model_copy(update={"models": tuple(map(reached, config.models))})


def is_address(text: str) -> bool:
    """Whether it is an IP address, not a host name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
