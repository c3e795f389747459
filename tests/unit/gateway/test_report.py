"""What HAProxy's figures mean of a server."""

from __future__ import annotations

import pytest

from littoral.api.routing import GatewayConfig, ModelRoute, NextPool, Upstream, UpstreamState, UpstreamStatus
from littoral.gateway.haproxy import ServerFigures
from littoral.gateway.ledger import Ledger
from littoral.gateway.report import describe

FAR = Upstream(name="gateway-cloud", address="gateway.example", http_port=8443, grpc_port=8443, tls_name="x.example")
MODEL = ModelRoute(
    namespace="shop",
    name="digits",
    servers=(Upstream(name="a", address="198.18.0.1"),),
    next=(NextPool(name="cloud", servers=(FAR,)),),
)


def said(*servers: tuple[str, str, int]) -> dict[str, UpstreamStatus]:
    """By name, what is told of servers of which HAProxy says: address and protocol, status, milliseconds."""
    figures = []
    for which, status, check in servers:
        address, protocol = which.split("/")
        port = {"http": 8000, "grpc": 8001}[protocol]
        far = address.startswith("192")
        figures.append(
            ServerFigures(
                backend=f"digits.shop:{'next' if far else 'local'}:{protocol}",
                name=f"cloud:gateway-cloud:{address}:8443:x.example" if far else f":a:{address}:{port}:plain",
                status=status,
                sessions=1,
                check=check,
            )
        )
    (model,) = describe(
        GatewayConfig(revision="1", models=(MODEL,)), ledger=Ledger(), outstanding={}, figures=figures, now=0.0
    )
    return {it.name: it for it in model.servers}


@pytest.mark.parametrize(
    ("servers", "name", "state", "check"),
    [
        pytest.param([("198.18.0.1/http", "UP", 2), ("198.18.0.1/grpc", "UP", 3)], "a", "Up", 2, id="both"),
        pytest.param([("198.18.0.1/http", "UP", 2), ("198.18.0.1/grpc", "DOWN", 0)], "a", "Down", 0, id="one of two"),
        pytest.param([("198.18.0.1/http", "DRAIN", 2), ("198.18.0.9/http", "UP", 4)], "a", "Up", 4, id="it has moved"),
        pytest.param([], "gateway-cloud", "Unknown", None, id="nothing is known yet"),
        pytest.param(
            [("192.0.2.1/http", "DOWN", 0), ("192.0.2.2/http", "UP 1/3", 90)], "gateway-cloud", "Up", 90,
            id="one address of two is enough, and the other says nothing of how far it is",
        ),
        pytest.param(
            [("192.0.2.1/http", "DOWN", 0), ("192.0.2.2/http", "UP", 9), ("192.0.2.2/grpc", "DOWN", 8)],
            "gateway-cloud", "Down", 0, id="none is whole",
        ),
    ],
)  # fmt: skip
def test_the_state_of_a_server(
    servers: list[tuple[str, str, int]], name: str, state: UpstreamState, check: int | None
) -> None:
    got = said(*servers)[name]
    assert (got.state, got.check_milliseconds) == (state, check)
    assert got.outstanding == len(servers)
