"""The routes of a pool's gateway, as its Assignment has them, and what the gateway reports of them."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from littoral.api.base import ApiModel
from littoral.api.latencyslo import Overflow
from littoral.api.meta import Count, DnsLabel, HostPort, Message, ObjectName, PoolName, ServiceName
from littoral.api.quantity import Decimal, Duration, PositiveDuration
from littoral.api.rules import ListMap, Rule

LIMIT_MOST = 1_000_000
"""Requests that a replica may have, by the API."""

Pem = Annotated[str, Field(min_length=1, max_length=32768, pattern=r"^-----BEGIN ")]


def gateway_tls_name(pool: str) -> str:
    """The name in the certificate of a pool's gateway."""
    return f"gateway-{pool}.littoral.internal"


class RemoteGateway(ApiModel):
    """Where the gateway of a pool in another cluster is reached, over mutual TLS."""

    address: HostPort
    """Host name or IP address, and port. Example: gateway.cloud.example:8443."""
    tls_name: ObjectName
    """Name in the certificate that it shows. Example: gateway-cloud.littoral.internal."""


class GatewayCertificate(ApiModel):
    """What the pool's gateway shows to gateways of other clusters, signed by the hub. Nothing of it is secret."""

    certificate: Pem | None = None
    """Certificate of the gateway (PEM), for the request that its site reported; absent until there is one."""
    authorities: Pem
    """Certificates of the authorities whose gateways are trusted (PEM)."""


class RouteTarget(ApiModel):
    """Another pool to which requests go that do not fit here."""

    pool: PoolName
    """Name of the pool."""
    weight: Decimal = "1"
    """Share of what leaves, relative to the other pools."""
    gateway: RemoteGateway | None = None
    """Where the pool's gateway is reached; absent for a pool of the same cluster."""


class Route(ApiModel):
    """How the gateway of a pool routes requests for one Model. Which Pods answer, the site knows."""

    namespace: DnsLabel
    """Namespace of the Model."""
    name: ServiceName
    """Name of the Model."""
    priority: int = Field(default=0, json_schema_extra={"format": "int32"})
    """Priority of the Model: of Models that share servers, one with a lower priority leaves or is refused earlier."""
    overflow: Overflow = Overflow.ALLOW
    """Never: no request leaves the site."""
    rate: Decimal | None = None
    """Requests per second that one replica here answers when it is full; absent while nothing is known."""
    budget: PositiveDuration | None = None
    """Time that a request may take from the gateway to the answer; absent without a LatencySLO."""
    limit: int | None = Field(default=None, ge=1, le=LIMIT_MOST, json_schema_extra={"format": "int32"})
    """Requests that one replica here may have, so that the last of them is answered within the budget; absent while
    too little is known of its batches: then it is rate x budget."""
    next: Annotated[tuple[RouteTarget, ...], Field(max_length=64), ListMap("pool")] = ()
    """Other pools that serve the Model, for what does not fit here."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.rate) == has(self.budget)",
            holds=lambda it: (it.rate is None) == (it.budget is None),
            message="rate and budget are given together or not at all",
        ),
    )


class RoundTrip(ApiModel):
    """How far another pool is."""

    pool: PoolName
    """Name of the pool."""
    time: Duration
    """Time from this gateway to a server of that pool and back."""


class RouteReport(ApiModel):
    """What was asked of a Model at the pool's gateway: requests per second, within the last minute."""

    namespace: DnsLabel
    """Namespace of the Model."""
    name: ServiceName
    """Name of the Model."""
    arrived: Decimal = "0"
    """All that came, whatever became of them."""
    spilled: Decimal = "0"
    """Sent to another pool."""
    refused: Decimal = "0"
    """Answered with 503, since there was no room or no server."""
    failed: Decimal = "0"
    """Answered with an error of a server or of the gateway."""
    outstanding: Count = 0
    """Requests that the pool's own servers have now."""
    p50: Duration | None = None
    """Half of the answers took no longer; absent, as p99, without answers."""
    p99: Duration | None = None
    """99 % of the answers took no longer."""

    # Written as a whole: the object's managed fields need not name every part.
    atomic: ClassVar[bool] = True


class GatewayReport(ApiModel):
    """The pool's gateway."""

    replicas: Count = 0
    """Pods that exist."""
    ready_replicas: Count = 0
    """Pods that are Ready."""
    message: Message | None = None
    """Why Pods are missing, or why the routes are not followed; absent when all is well."""
    routes: Annotated[tuple[RouteReport, ...], Field(max_length=1024), ListMap("namespace", "name")] = ()
    """The Models that were asked for."""
    round_trips: Annotated[tuple[RoundTrip, ...], Field(max_length=64), ListMap("pool")] = ()
    """How far other pools are."""
    certificate_request: Pem | None = None
    """Request for the certificate of a gateway that talks to gateways of other clusters (PEM, PKCS #10); its key stays
    at the site. Absent where it talks to none."""
