"""What sites would report: Assignments with the statuses that make a case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from littoral.api.assignment import Assignment
from littoral.api.quantity import format_decimal
from tests.support.objects import DIGEST, assignment, server


def said(name: str = "digits", **fields: Any) -> dict[str, Any]:
    """What a site says of one Model, which is ready in one replica unless `fields` say otherwise."""
    return {"name": name, "variant": "onnx-cpu", "digest": DIGEST, "state": "Ready", "readyReplicas": 1} | fields


def reporting(
    pool: str = "edge", /, *models: Mapping[str, Any], tier: str = "edge", name: str = "", **fields: Any
) -> Assignment:
    """The Assignment of a pool with one server for the CPU, of which the site says something of each Model.

    Args:
        name: of the server, where the pool has several.
        fields: of the server.
    """
    servers = [server(*(model["name"] for model in models), pool=pool, **({"name": name} if name else {}) | fields)]
    for served, model in zip(servers[0]["models"], models, strict=True):
        served["variant"] = model["variant"]
    return with_servers(pool, servers, {servers[0]["name"]: models}, tier=tier)


def with_servers(
    pool: str,
    servers: list[dict[str, Any]],
    statuses: Mapping[str, Any],
    *,
    tier: str = "edge",
) -> Assignment:
    """The Assignment of a pool: its servers, and by their names what the site says of their Models."""
    reports = [
        {"name": each["name"], "namespace": each["namespace"], "models": list(statuses[each["name"]])}
        for each in servers
        if each["name"] in statuses
    ]
    spec = {
        "tier": tier,
        "nodeSelector": {"matchLabels": {"littoral.dev/pool": pool}},
        "servers": servers,
    } | ({"site": pool} if tier == "edge" else {})
    return assignment(pool, spec=spec, status={"observedGeneration": 3, "servers": reports})


def with_gateway(
    it: Assignment, *, routed: Sequence[str] = ("digits",), round_trips: Mapping[str, str] | None = None, **report: Any
) -> Assignment:
    """The Assignment of a pool with a gateway that is Ready.

    Args:
        routed: names of the Models that it routes.
        round_trips: by pool.
        report: requests/s that were counted, by Model; or other fields of the report.
    """
    routes = [{"namespace": "shop", "name": name} for name in routed]
    counted = [{"namespace": "shop", "name": n, **c} for n, c in report.items() if isinstance(c, Mapping)]
    trips = [{"pool": pool, "time": time} for pool, time in (round_trips or {}).items()]
    gateway = {"replicas": 1, "readyReplicas": 1, "routes": counted, "roundTrips": trips}
    gateway |= {name: value for name, value in report.items() if not isinstance(value, Mapping)}
    body = it.dump()
    return Assignment.parse(
        body | {"spec": body["spec"] | {"routes": routes}, "status": body.get("status", {}) | {"gateway": gateway}}
    )


def rate(value: float, **fields: Any) -> dict[str, Any]:
    """A measurement of arrivals, in requests/s."""
    return {"rate": format_decimal(value)} | fields
