"""What an Assignment's status says of its gateway."""

from __future__ import annotations

from typing import Any

import pytest

from littoral.api.assignment import Assignment
from littoral.api.routes import GatewayReport
from littoral.api.routing import BUCKETS, GatewayStatus
from littoral.site.desired import ChildKey
from littoral.site.gateway_report import gateway_report
from littoral.site.views import PodView
from tests.unit.site.test_gateways import EDGE, front, gateways, pool, route


def counts(**answers: int) -> dict[str, Any]:
    """Latencies: `ms5=3` says that 3 answers took up to 5 ms."""
    found = [0] * (len(BUCKETS) + 1)
    for bound, count in answers.items():
        found[BUCKETS.index(int(bound.removeprefix("ms")))] = count
    return {"counts": found}


def said(*, seconds: float = 60, servers: Any = (), outstanding: int = 0, **recent: Any) -> GatewayStatus:
    model = {
        "namespace": "shop",
        "name": "digits",
        "recent": recent,
        "recentSeconds": seconds,
        "outstanding": outstanding,
        "servers": list(servers),
    }
    return GatewayStatus.parse({"revision": "r", "models": [model]})


def report(
    *pods: PodView, statuses: dict[str, GatewayStatus] | None = None, of: Assignment = EDGE, **troubles: str
) -> GatewayReport:
    got = gateway_report(
        of,
        gateways=gateways(),
        pods=pods,
        statuses=statuses or {},
        troubles={ChildKey(kind, "littoral-system", "gateway-edge"): text for kind, text in troubles.items()},
    )
    assert got is not None
    return got


def test_a_pool_without_routes_has_none() -> None:
    assert gateway_report(pool("edge"), gateways=gateways(), pods=[], statuses={}, troubles={}) is None


def test_what_its_pods_counted_is_added_up() -> None:
    got = report(
        front("g"),
        front("h"),
        front("other", gateway="gateway-cloud"),
        statuses={
            "uid-of-g": said(arrived=600, spilled=60, latency=counts(ms5=99), outstanding=2),
            "uid-of-h": said(arrived=1, failed=1, seconds=30, latency=counts(ms300=1), outstanding=1),
            "uid-of-other": said(arrived=6000),
        },
    )
    assert (got.replicas, got.ready_replicas, got.message) == (2, 2, None)
    (model,) = got.routes
    assert (model.arrived, model.spilled, model.failed, model.refused) == ("10", "1", "0.0333", "0")
    assert (model.outstanding, model.p50, model.p99) == (3, "4ms", "5ms")


def test_a_check_of_another_clusters_gateway_goes_there_and_back_three_times() -> None:
    gateway = {"address": "gateway.example:8443", "tlsName": "gateway-cloud.littoral.internal"}
    of = pool("edge", route(next=[{"pool": "cloud", "gateway": gateway}, {"pool": "near"}]))
    servers = [
        {"name": "gateway-cloud", "pool": "cloud", "state": "Up", "checkMilliseconds": 100},
        {"name": "n", "pool": "near", "state": "Up", "checkMilliseconds": 3},
    ]
    got = report(front(), statuses={"uid-of-g": said(servers=servers)}, of=of)
    assert [(it.pool, it.time) for it in got.round_trips] == [("cloud", "33.3ms"), ("near", "3ms")]


@pytest.mark.parametrize("name", ["gateway-edge", "gateway-edge-members"])
def test_what_is_wrong_with_its_other_objects_is_told(name: str) -> None:
    key = ChildKey("Service", "littoral-system", name)
    got = gateway_report(EDGE, gateways=gateways(), pods=[], statuses={}, troubles={key: "quota"})
    assert got is not None
    assert got.message == "quota"


def test_the_request_for_its_certificate_is_reported() -> None:
    pem = "-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n"
    got = gateway_report(EDGE, gateways=gateways(), pods=[], statuses={}, troubles={}, certificate_request=pem)
    assert got is not None
    assert got.certificate_request == pem
    assert report().certificate_request is None
    assert report(Secret="refused").message == "refused"


def test_a_rate_is_not_told_from_a_moment() -> None:
    (model,) = report(front(), statuses={"uid-of-g": said(arrived=10, seconds=0.1)}).routes
    assert model.arrived == "2"


def test_what_nobody_asked_for_is_left_out() -> None:
    assert report(front(), statuses={"uid-of-g": said()}).routes == ()


@pytest.mark.parametrize(
    ("pods", "troubles", "message"),
    [
        pytest.param([front(ready=False)], {}, None, id="it starts"),
        pytest.param([front()], {}, "the agent in Pod g cannot be reached", id="its agent is silent"),
        pytest.param([front(ready=False, trouble="cannot be scheduled: no")], {}, "Pod g cannot be scheduled: no",
                     id="no node has room"),
        pytest.param([], {"Deployment": "refused"}, "refused", id="the API server refused it"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(pods: list[PodView], troubles: dict[str, str], message: str | None) -> None:
    assert report(*pods, **troubles).message == message


def test_routes_that_are_not_followed_are_told() -> None:
    status = GatewayStatus.parse({"message": "gateway.json: models: too many"})
    assert report(front(), statuses={"uid-of-g": status}).message == (
        "the agent in Pod g: gateway.json: models: too many"
    )


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        pytest.param(None, 20, "20ms", id="the first time"),
        pytest.param("20ms", 24, "20ms", id="about the same"),
        pytest.param("20ms", 40, "40ms", id="further"),
        pytest.param("0s", 1, "0s", id="a check's own time"),
    ],
)
def test_a_round_trip_is_that_to_the_nearest_server_and_steady(before: str | None, now: int, told: str) -> None:
    trips = [{"pool": "cloud", "time": before}] if before else []
    of = EDGE.with_status(EDGE.status.parse({"gateway": {"roundTrips": trips}}))
    servers = [
        {"name": "c", "pool": "cloud", "state": "Up", "checkMilliseconds": now},
        {"name": "d", "pool": "cloud", "state": "Up", "checkMilliseconds": now + 50},
        {"name": "e", "pool": "cloud", "state": "Down", "checkMilliseconds": 0},
        {"name": "a", "state": "Up", "checkMilliseconds": 0},
    ]
    got = report(front(), statuses={"uid-of-g": said(servers=servers)}, of=of)
    assert [(it.pool, it.time) for it in got.round_trips] == [("cloud", told)]
