"""Models as routes of the Gateway API, for a gateway that is not Littoral's. Pure.

A Model becomes a Service for each pool that serves it, an HTTPRoute and a GRPCRoute that divide requests among those
Services. Source: https://gateway-api.sigs.k8s.io, v1.6.1, `apis/v1/httproute_types.go` and `grpcroute_types.go`.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from littoral.api.assignment import Assignment
from littoral.api.meta import DNS_LABEL_PATTERN
from littoral.api.quantity import parse_decimal
from littoral.render import names
from littoral.render.hostname_template import HostnameTemplate, may_meet
from littoral.render.server import Manifest
from littoral.render.service import render_service

API_VERSION: Final = "gateway.networking.k8s.io/v1"
HTTP_ROUTE: Final = "HTTPRoute"
GRPC_ROUTE: Final = "GRPCRoute"
PARENTS_MOST: Final = 32
"""Parents of one route, by the API."""
BACKENDS_MOST: Final = 16
"""Backends of one rule, by the API."""

_WHOLE: Final = 100
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME_LIMIT: Final = 63

# What a client of one Model needs of Triton, and nothing that changes the server or belongs to another Model: what is
# not listed (loading, shared memory, trace and log settings) is not routed at all.
_HTTP: Final = ("/v2", "/v2/health/live", "/v2/health/ready")
_HTTP_MODEL: Final = ("", "/config", "/generate", "/generate_stream", "/infer", "/ready", "/stats")
_GRPC: Final = {
    "grpc.health.v1.Health": ("Check",),
    "inference.GRPCInferenceService": (
        "ModelConfig",
        "ModelInfer",
        "ModelMetadata",
        "ModelReady",
        "ModelStatistics",
        "ModelStreamInfer",
        "ServerLive",
        "ServerMetadata",
        "ServerReady",
    ),
}

ModelKey = tuple[str, str]
"""Namespace and name of a Model."""

PoolKey = tuple[str, str, str]
"""Namespace and name of a Model, and the pool that serves it."""


@dataclass(frozen=True, kw_only=True, order=True)
class Parent:
    """A Gateway that routes attach to.

    Attributes:
        section: the Gateway's listener; empty for all that take the route.
    """

    namespace: str
    name: str
    section: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `NAMESPACE/NAME` or `NAMESPACE/NAME/LISTENER`.

        Raises:
            ValueError: it is neither; the message says what is wrong.
        """
        parts = text.split("/")
        if len(parts) not in (2, 3):
            raise ValueError(f"{text}: name a Gateway as NAMESPACE/NAME, or NAMESPACE/NAME/LISTENER")
        namespace, *named = parts
        if not re.fullmatch(DNS_LABEL_PATTERN, namespace) or len(namespace) > _NAME_LIMIT:
            raise ValueError(f"{text}: {namespace!r} is no name of a namespace")
        for name in named:
            if not _SUBDOMAIN.fullmatch(name) or len(name) > 253:
                raise ValueError(f"{text}: {name!r} is no name of a Gateway or of a listener")
        return cls(namespace=namespace, name=named[0], section=named[1] if len(named) > 1 else "")

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" + (f"/{self.section}" if self.section else "")


@dataclass(frozen=True, kw_only=True)
class GatewayApiSettings:
    """How Models are led to by Gateways.

    Attributes:
        parents: the Gateways, at least one.
        http: host name of each Model over HTTP.
        grpc: host name of each Model over gRPC; None for no GRPCRoutes. By the API, a listener takes only one of an
            HTTPRoute and a GRPCRoute that share a host name.
    """

    parents: tuple[Parent, ...]
    http: HostnameTemplate
    grpc: HostnameTemplate | None = None

    @classmethod
    def parse(cls, *, parents: Sequence[str], http: str, grpc: str = "") -> Self:
        """Read what people write.

        Raises:
            ValueError: it is not valid, or not together; the message says why.
        """
        read = tuple(sorted(Parent.parse(text) for text in parents))
        if not read:
            raise ValueError("name at least one Gateway")
        if len(read) > PARENTS_MOST:
            raise ValueError(f"a route can have {PARENTS_MOST} parents, and not {len(read)}")
        _check_parents(read)
        if not http:
            raise ValueError("the host names of Models are missing, such as {model}.{namespace}.example.com")
        templates = HostnameTemplate.parse(http), HostnameTemplate.parse(grpc) if grpc else None
        if templates[1] is not None and may_meet(templates[0], templates[1]):
            raise ValueError(
                f"{http} and {grpc} can be the same host name, for two Models if not for one: by the Gateway API only "
                "one of an HTTPRoute and a GRPCRoute with the same host name is accepted"
            )
        return cls(parents=read, http=templates[0], grpc=templates[1])


def _check_parents(parents: Collection[Parent]) -> None:
    sections: dict[tuple[str, str], list[str]] = defaultdict(list)
    for parent in parents:
        sections[parent.namespace, parent.name].append(parent.section)
    for (namespace, name), named in sections.items():
        if len(set(named)) < len(named):
            raise ValueError(f"{namespace}/{name}: named twice with the same listener")
        if len(named) > 1 and "" in named:
            raise ValueError(f"{namespace}/{name}: named more than once, so each needs its listener")


def pool_shares(
    assignments: Iterable[Assignment], *, serving: Mapping[PoolKey, int] | None = None
) -> dict[ModelKey, dict[str, int]]:
    """How requests for each Model are divided among the pools that are to serve it: weights, about a percentage each.

    A pool weighs what it can answer: its replicas, times the rate of a full one where the plan knows that of all pools.
    A weight is 0 only where nothing answers as yet, and some other pool does: its share would be refused. The numbers
    of a plan are coarse and stay while they are near enough, and so do these.

    Args:
        assignments: of one cluster.
        serving: Pods that answer for a Model now, as far as clients are led to them; None to go by the plan alone.
    """
    replicas: dict[ModelKey, dict[str, int]] = defaultdict(dict)
    rates: dict[PoolKey, float] = {}
    for assignment in assignments:
        pool = assignment.name
        for route in assignment.spec.routes:
            if route.rate is not None:
                rates[route.namespace, route.name, pool] = float(parse_decimal(route.rate))
        for server in assignment.spec.servers:
            for model in server.models if server.replicas else ():
                pools = replicas[server.namespace, model.name]
                pools[pool] = pools.get(pool, 0) + server.replicas
    return {
        (namespace, model): _shares(
            planned,
            rates={pool: rates.get((namespace, model, pool), 0.0) for pool in planned},
            serving=None if serving is None else {pool: serving.get((namespace, model, pool), 0) for pool in planned},
        )
        for (namespace, model), planned in sorted(replicas.items())
    }


def _shares(
    planned: Mapping[str, int], *, rates: Mapping[str, float], serving: Mapping[str, int] | None
) -> dict[str, int]:
    there = planned if serving is None else {pool: min(serving[pool], planned[pool]) for pool in planned}
    if not any(there.values()):
        there = planned
    known = all(rates[pool] > 0 for pool in planned)
    capacity = {pool: count * (rates[pool] if known else 1.0) for pool, count in there.items()}
    total = sum(capacity[pool] for pool in sorted(capacity))
    return {
        pool: max(1, round(_WHOLE * capacity[pool] / total)) if capacity[pool] > 0 else 0 for pool in sorted(capacity)
    }


def pool_service_name(*, model: str, pool: str) -> str:
    """Name of the Service that leads to what serves a Model in one pool.

    The hash keeps it apart from the Services of Models, which may have any name.
    """
    digest = hashlib.sha256(f"{model}/{pool}".encode()).hexdigest()[:8]
    return f"{f'{model}-{pool}'[: _NAME_LIMIT - 9].rstrip('-')}-{digest}"


def render_pool_service(*, namespace: str, model: str, pool: str, owners: Sequence[Manifest] = ()) -> Manifest:
    """A Service that selects exactly the Pods of one pool whose Triton answers requests for the Model."""
    service = render_service(namespace=namespace, model=model, owners=owners)
    service["metadata"]["name"] = pool_service_name(model=model, pool=pool)
    service["metadata"]["labels"] |= {names.APP: "model-pool", names.POOL: pool}
    service["spec"]["selector"][names.POOL] = pool
    return service


class Routes(NamedTuple):
    """The routes of a Model, and why one is missing; nothing where none is."""

    manifests: list[Manifest]
    troubles: list[str]


def render_routes(
    *,
    namespace: str,
    model: str,
    shares: Mapping[str, int],
    settings: GatewayApiSettings,
    owners: Sequence[Manifest] = (),
) -> Routes:
    """The HTTPRoute and, where it has a host name, the GRPCRoute of a Model.

    Args:
        shares: weights of the pools, as `pool_shares` gives them; the `BACKENDS_MOST` largest are taken.
    """
    found = Routes([], [])
    if len(shares) > BACKENDS_MOST:
        found.troubles.append(f"{len(shares)} pools serve it, and a route leads to {BACKENDS_MOST}: the largest")
    for kind, template, matches, port in (
        (HTTP_ROUTE, settings.http, _http_matches(model), 80),
        (GRPC_ROUTE, settings.grpc, _grpc_matches(), 8001),
    ):
        if template is None:
            continue
        try:
            hostname = template.hostname(namespace=namespace, model=model)
        except ValueError as error:
            found.troubles.append(f"no {kind}: {error}")
            continue
        route = _route(kind, namespace=namespace, model=model, parents=settings.parents, owners=owners)
        route["spec"]["hostnames"] = [hostname]
        route["spec"]["rules"] = [{"matches": matches, "backendRefs": _backends(shares, model=model, port=port)}]
        found.manifests.append(route)
    return found


def render_export(
    assignments: Sequence[Assignment], *, settings: GatewayApiSettings, namespace: str, model: str | None = None
) -> Routes:
    """The Services and routes of one Model, or of all of a namespace, by the plan alone: for a repository.

    They have no owners, and not the label of what the operator manages: it leaves them alone.

    Args:
        assignments: of one cluster.
    """
    found = Routes([], [])
    for (where, name), shares in pool_shares(assignments).items():
        if where != namespace or model not in (None, name):
            continue
        routes = render_routes(namespace=namespace, model=name, shares=shares, settings=settings)
        found.manifests.extend(render_pool_service(namespace=namespace, model=name, pool=pool) for pool in shares)
        found.manifests.extend(routes.manifests)
        found.troubles.extend(f"{namespace}/{name}: {trouble}" for trouble in routes.troubles)
    for manifest in found.manifests:
        del manifest["metadata"]["ownerReferences"], manifest["metadata"]["labels"][names.MANAGED_BY]
    return found


def _route(kind: str, *, namespace: str, model: str, parents: Iterable[Parent], owners: Sequence[Manifest]) -> Manifest:
    # What the API server would fill in stands in a route, too, so that a comparison finds no difference.
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {
            "name": model,
            "namespace": namespace,
            "labels": names.ours() | {names.APP: "model"},
            "ownerReferences": list(owners),
        },
        "spec": {
            "parentRefs": [
                {
                    "group": "gateway.networking.k8s.io",
                    "kind": "Gateway",
                    "namespace": parent.namespace,
                    "name": parent.name,
                }
                | ({"sectionName": parent.section} if parent.section else {})
                for parent in parents
            ],
        },
    }


def _grpc_matches() -> list[Manifest]:
    return [
        {"method": {"type": "Exact", "service": service, "method": method}}
        for service, methods in _GRPC.items()
        for method in methods
    ]


def _http_matches(model: str) -> list[Manifest]:
    own = f"/v2/models/{model}"
    exact = (*_HTTP, *(own + part for part in _HTTP_MODEL))
    versions = {"path": {"type": "PathPrefix", "value": f"{own}/versions"}}
    return [*({"path": {"type": "Exact", "value": path}} for path in exact), versions]


def _backends(shares: Mapping[str, int], *, model: str, port: int) -> list[Manifest]:
    largest = sorted(shares, key=lambda pool: (-shares[pool], pool))[:BACKENDS_MOST]
    return [
        {
            "group": "",
            "kind": "Service",
            "name": pool_service_name(model=model, pool=pool),
            "port": port,
            "weight": shares[pool],
        }
        for pool in sorted(largest)
    ]
