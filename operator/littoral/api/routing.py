"""The contract between the site role and the agent beside the gateway's HAProxy.

The site role writes a `GatewayConfig` into the gateway's ConfigMap as `gateway.json`; the agent answers
`GET /v1/status` with a `GatewayStatus`.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from littoral.api.base import ApiModel
from littoral.api.latencyslo import Overflow
from littoral.api.meta import DnsLabel, ObjectName, ServiceName
from littoral.api.quantity import Decimal, PositiveDuration, parse_duration
from littoral.api.rules import ListMap, ListSet, Rule

SEQUENCE_HEADER = "littoral-sequence-id"
"""Header, and gRPC metadata, whose value names a sequence: all of its requests go to the same server."""
HOP_HEADER = "littoral-spilled-from"
"""Header that a gateway adds to what it sends to another pool; a client that sends it is not believed."""

UNLIMITED = 1_000_000
"""Outstanding requests for each server that stand for no limit."""

BUCKETS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000, 1500, 2000, 5000, 10000, 30000)
"""Upper bounds of the latency histogram in milliseconds; what took longer is in one more."""

Port = Annotated[int, Field(ge=1, le=65535)]
Address = Annotated[str, Field(pattern=r"^[A-Za-z0-9:]([-A-Za-z0-9.:]*[A-Za-z0-9:])?$", max_length=253)]
Weight = Annotated[int, Field(ge=0, le=256)]


class Upstream(ApiModel):
    """One place that answers requests for a Model: a Pod, or another gateway."""

    name: ObjectName
    """Stable name: that of the Pod, or of the gateway."""
    address: Address
    """IP address; of another gateway, also a host name."""
    http_port: Port = 8000
    """Port for HTTP."""
    grpc_port: Port = 8001
    """Port for gRPC; another gateway has both on one port."""
    weight: Weight = 1
    """Share of the pool's requests, relative to its other servers."""
    ready: bool = True
    """False while it is to get no new requests; those that it has are finished, and sequences stay with it."""
    tls_name: ObjectName | None = None
    """Name in the certificate that it must show, over mutual TLS. Absent: plain HTTP."""


class NextPool(ApiModel):
    """Another pool of the plan, to which requests go that do not fit here."""

    name: DnsLabel
    """Name of the pool."""
    weight: Decimal = "1"
    """Share of what leaves, relative to the Model's other pools."""
    servers: Annotated[tuple[Upstream, ...], ListMap("name")] = ()
    """Its gateways, or in one cluster its Pods."""


class ServerSet(ApiModel):
    """Servers that several Models share, so that each makes the others wait."""

    name: ObjectName
    """Name of the set: <namespace>.<server>."""
    limit: Annotated[int, Field(ge=1, le=UNLIMITED)]
    """Outstanding requests of all its Models together, for each of its servers."""


class ModelRoute(ApiModel):
    """How requests for one Model are routed."""

    namespace: DnsLabel
    """Namespace of the Model."""
    name: ServiceName
    """Name of the Model."""
    hosts: Annotated[tuple[ObjectName, ...], ListSet()] = ()
    """Host names under which it is reached besides <name>.<namespace>. Example: digits.shop.example.com."""
    priority: int = 0
    """Of Models that share servers, one with a lower priority is refused, or leaves, earlier."""
    overflow: Overflow = Overflow.ALLOW
    """Never: no request is sent to another pool."""
    servers: Annotated[tuple[Upstream, ...], ListMap("name")] = ()
    """The site's own servers."""
    server_set: ObjectName | None = None
    """Name of the ServerSet that these servers are; absent while the Model has them for itself."""
    limit: Annotated[int, Field(ge=1, le=UNLIMITED)] | None = None
    """Outstanding requests for each own server up to which a request is answered in time; the next one leaves."""
    rate: Decimal | None = None
    """Requests per second that one own server answers; with `budget` and without `limit`, the limit is their
    product."""
    budget: PositiveDuration | None = None
    """Time that a request may take from the gateway to the answer."""
    queue: Annotated[int, Field(ge=1, le=UNLIMITED)] | None = None
    """Outstanding requests for each own server up to which requests wait here while no other pool can take them;
    absent: four times the limit."""
    next: Annotated[tuple[NextPool, ...], ListMap("name")] = ()
    """Other pools."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.rate) == has(self.budget)",
            holds=lambda it: (it.rate is None) == (it.budget is None),
            message="rate and budget are given together or not at all",
        ),
    )

    @property
    def key(self) -> str:
        """Names the Model within the gateway: <name>.<namespace>, which is also its host name."""
        return f"{self.name}.{self.namespace}"

    @property
    def limit_per_server(self) -> int:
        """Outstanding requests for each own server beyond which waiting would break the SLO.

        By Little's law a server with `limit` requests in it, which answers `rate` a second, answers the last of
        them after limit/rate seconds. `UNLIMITED` while neither is known.
        """
        if self.limit is not None:
            return self.limit
        if self.rate is None or self.budget is None:
            return UNLIMITED
        return min(max(1, math.floor(float(self.rate) * parse_duration(self.budget))), UNLIMITED)

    @property
    def most_per_server(self) -> int:
        """Outstanding requests for each own server beyond which a request is refused, wherever else it could go."""
        if self.overflow is Overflow.NEVER:
            return self.limit_per_server
        most = self.queue if self.queue is not None else 4 * self.limit_per_server
        return min(max(most, self.limit_per_server), UNLIMITED)


class GatewayConfig(ApiModel):
    """Desired state of one gateway: the content of `gateway.json`."""

    revision: str
    """Hash of the content, echoed in the status."""
    site: DnsLabel = "local"
    """Name of the site, which other gateways are told with what is sent to them."""
    domains: Annotated[tuple[ObjectName, ...], ListSet()] = ("svc", "svc.cluster.local")
    """Domains that clients may add to <model>.<namespace>."""
    buffer: Annotated[int, Field(ge=16384, le=16 << 20)] = 131072
    """Bytes of a request that are kept until it is answered: one that is larger, and that its server took before it
    died, is not sent again to another server."""
    slow_start: PositiveDuration = "10s"
    """Time in which the share of a new server grows to what it is due."""
    timeout: PositiveDuration = "5m"
    """Longest time without a byte from client or server while a request is under way."""
    models: Annotated[tuple[ModelRoute, ...], ListMap("namespace", "name")] = ()
    """The Models that are reached through this gateway."""
    server_sets: Annotated[tuple[ServerSet, ...], ListMap("name")] = ()
    """Servers that several Models share."""


class UpstreamState(StrEnum):
    """How HAProxy sees a server."""

    UP = "Up"
    DOWN = "Down"
    DRAINING = "Draining"
    UNKNOWN = "Unknown"


class UpstreamStatus(ApiModel):
    """One server of a Model, as HAProxy sees it; of HTTP and gRPC, the one that is worse."""

    name: str
    """Name of the Pod or gateway."""
    pool: str = ""
    """Pool that it belongs to; empty for the site's own servers."""
    state: UpstreamState = UpstreamState.UNKNOWN
    """Whether it gets requests."""
    outstanding: int = 0
    """Requests that it has now."""
    check_milliseconds: int | None = None
    """How long its last health check took: of another gateway, three round trips and what that adds."""


class Latency(ApiModel):
    """How long answers took, from the request's headers at the gateway to the answer's headers."""

    counts: tuple[int, ...] = (0,) * (len(BUCKETS) + 1)
    """Answers in each bucket of `BUCKETS`, and those beyond; not cumulative."""

    @property
    def count(self) -> int:
        """Answers in all."""
        return sum(self.counts)

    def quantile(self, share: float) -> float | None:
        """Milliseconds within which this share of the answers came, interpolated within its bucket; None without
        answers, and infinite beyond the last bucket.

        It is at most a bucket's width off: a third or so of the value.
        """
        if self.count == 0:
            return None
        wanted, seen, low = share * self.count, 0, 0.0
        for high, count in zip(BUCKETS, self.counts, strict=False):
            if count and seen + count >= wanted:
                return low + (high - low) * (wanted - seen) / count
            seen, low = seen + count, float(high)
        return math.inf


class Demand(ApiModel):
    """What was asked of a Model at this gateway: inference requests since the agent began to count."""

    arrived: int = 0
    """All that came, whatever became of them."""
    local: int = 0
    """Sent to the site's own servers."""
    spilled: int = 0
    """Sent to another pool."""
    refused: int = 0
    """Answered with 503, since there was no room or no server."""
    failed: int = 0
    """Answered with an error of a server or of the gateway (5xx, or such a gRPC status)."""
    received: int = 0
    """Sent here by gateways of other clusters, and in none of the others: they are counted at their site."""
    latency: Latency = Latency()
    """Of those that were answered and did not fail."""


class ModelDemand(ApiModel):
    """A Model at this gateway."""

    namespace: str
    """Namespace of the Model."""
    name: str
    """Name of the Model."""
    demand: Demand = Demand()
    """What was asked of it, ever: each number only grows, unless the node's disk is lost."""
    recent: Demand = Demand()
    """What was asked of it within the last minute or so."""
    recent_seconds: float = 0
    """Length of that time."""
    outstanding: int = 0
    """Inference requests that the site's own servers have now."""
    limit: int = 0
    """Outstanding requests beyond which a request leaves or is refused now, over all own servers that are up."""
    servers: tuple[UpstreamStatus, ...] = ()
    """The servers, own and other."""


class HaproxyStatus(ApiModel):
    """The HAProxy beside the agent."""

    ready: bool = False
    """Whether it answers and has all that is wanted."""
    version: str = ""
    """Its version; empty until it has answered."""
    pid: int = 0
    """Process that takes new connections."""
    workers: int = 0
    """Processes that have connections: more than one while old ones finish."""
    reloads: int = 0
    """Reloads that the agent has asked for."""


class GatewayStatus(ApiModel):
    """The agent's answer to `GET /v1/status`."""

    revision: str = ""
    """`GatewayConfig.revision` that is in force; empty before the first."""
    generation: int = 0
    """Counts changes of this status other than of counters; `?after=<generation>` waits for the next one."""
    message: str = ""
    """Why the mounted desired state is not followed; empty if it is."""
    haproxy: HaproxyStatus = HaproxyStatus()
    """The HAProxy beside the agent."""
    models: tuple[ModelDemand, ...] = ()
    """The Models that are routed, and those that were while there is something to tell."""
