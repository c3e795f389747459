"""Models as routes of the Gateway API: host names, weights, and what is and is not routed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest

from littoral.api.assignment import Assignment
from littoral.render.gateway_api import (
    GatewayApiSettings,
    Parent,
    pool_service_name,
    pool_shares,
    render_export,
    render_pool_service,
    render_routes,
)
from littoral.render.hostname_template import HostnameTemplate, may_meet
from tests.support.objects import assignment, server

HTTP = "{model}.{namespace}.example.com"
GRPC = "{model}.{namespace}.grpc.example.com"
SETTINGS = GatewayApiSettings.parse(parents=["infra/web"], http=HTTP, grpc=GRPC)


@pytest.mark.parametrize(
    ("template", "hostname"),
    [
        (HTTP, "digits.shop.example.com"),
        ("{namespace}.{model}.ai", "shop.digits.ai"),
        ("grpc-{model}.{namespace}-x.example.com", "grpc-digits.shop-x.example.com"),
        ("{model}.{namespace}", "digits.shop"),
    ],
)
def test_a_template_gives_host_names(template: str, hostname: str) -> None:
    assert HostnameTemplate.parse(template).hostname(namespace="shop", model="digits") == hostname


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("", "1 to 63 characters"),
        ("models.example.com", "{model} must stand in it once"),
        ("{model}.example.com", "{namespace} must stand in it once"),
        ("{model}.{model}.{namespace}.com", "{model} must stand in it once"),
        ("{model}-{namespace}.example.com", "at most one of {model} and {namespace}"),
        ("*.{model}.{namespace}.com", "'*' is no label"),
        ("{model}.{namespace}.Example.com", "'Example' is no label"),
        ("{model}.{namespace}..com", "'' is no label"),
        ("{model}.{namespace}.example.com.", "'' is no label"),
        ("-{model}.{namespace}.com", "no hyphen first or last"),
        ("{model}-.{namespace}.com", "no hyphen first or last"),
        ("{name}.{namespace}.com", "'{name}' is no label"),
        ("{model}.{namespace}.com:443", "is no label"),
        ("{model}.{namespace}.com/x", "is no label"),
        ("{model}.{namespace}." + "a" * 64, "1 to 63 characters"),
        ("{model}.{namespace}." + "aaaa." * 60 + "com", "longer than 253"),
    ],
)
def test_a_template_that_is_wrong_says_why(template: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        HostnameTemplate.parse(template)


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        (HTTP, HTTP, True),
        (HTTP, GRPC, False),
        (HTTP, "{namespace}.{model}.example.com", True),
        # A Model may be called grpc-digits.
        (HTTP, "grpc-{model}.{namespace}.example.com", True),
        ("http-{model}.{namespace}.example.com", "grpc-{model}.{namespace}.example.com", False),
        ("{model}-a.{namespace}.com", "{model}-b.{namespace}.com", False),
        ("{model}-a.{namespace}.com", "{model}-b-a.{namespace}.com", True),
        # A namespace may be called grpc.
        ("{model}.{namespace}.x.com", "{model}.grpc.{namespace}.com", True),
        ("{model}.{namespace}.x.com", "{model}.y.{namespace}.com", True),
        ("{model}.ns-{namespace}.x.com", "{model}.grpc.{namespace}.com", False),
        ("{model}.{namespace}.a.com", "{model}.{namespace}.b.com", False),
    ],
)
def test_templates_that_can_give_the_same_host_name(one: str, other: str, meet: bool) -> None:
    templates = HostnameTemplate.parse(one), HostnameTemplate.parse(other)
    assert may_meet(*templates) == may_meet(*reversed(templates)) == meet
    if meet:
        with pytest.raises(ValueError, match="only one of an HTTPRoute and a GRPCRoute"):
            GatewayApiSettings.parse(parents=["infra/web"], http=one, grpc=other)


@pytest.mark.parametrize(
    ("parents", "why"),
    [
        ([], "at least one"),
        (["web"], "NAMESPACE/NAME"),
        (["a/b/c/d"], "NAMESPACE/NAME"),
        (["Infra/web"], "no name of a namespace"),
        (["infra/"], "no name of a Gateway"),
        (["infra/web/"], "no name of a Gateway"),
        (["infra/web", "infra/web"], "named twice"),
        (["infra/web", "infra/web/https"], "each needs its listener"),
        ([f"infra/web-{number}" for number in range(33)], "32 parents, and not 33"),
    ],
)
def test_parents_that_are_wrong(parents: Sequence[str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        GatewayApiSettings.parse(parents=parents, http=HTTP)


def test_parents_are_read() -> None:
    found = GatewayApiSettings.parse(parents=["infra/web/https", "infra/web/http", "edge/gw.x"], http=HTTP)
    assert [str(parent) for parent in found.parents] == ["edge/gw.x", "infra/web/http", "infra/web/https"]
    assert found.grpc is None


def test_a_host_name_is_needed() -> None:
    with pytest.raises(ValueError, match="the host names of Models are missing"):
        GatewayApiSettings.parse(parents=["infra/web"], http="")


def pool(name: str, *, replicas: int = 1, rate: str | None = None, **more: Any) -> Assignment:
    """A pool that serves shop/digits."""
    route = {"namespace": "shop", "name": "digits"} | ({"rate": rate, "budget": "1s"} if rate else {})
    servers = [server("digits", pool=name, replicas=replicas), *more.pop("servers", ())]
    spec = {"tier": "edge", "nodeSelector": {"matchLabels": {"p": name}}, "servers": servers, "routes": [route]}
    return assignment(name, spec=spec | more)


def digits(*assignments: Assignment, serving: Mapping[str, int] | None = None) -> Mapping[str, int]:
    there = None if serving is None else {("shop", "digits", name): count for name, count in serving.items()}
    return pool_shares(assignments, serving=there)["shop", "digits"]


@pytest.mark.parametrize(
    ("pools", "serving", "shares"),
    [
        ([pool("a")], None, {"a": 100}),
        ([pool("a", replicas=7)], None, {"a": 100}),
        ([pool("a"), pool("b", replicas=3)], None, {"a": 25, "b": 75}),
        # A GPU that answers ten times as much gets ten times as much.
        ([pool("a", rate="100"), pool("b", replicas=2, rate="10")], None, {"a": 83, "b": 17}),
        # A rate that is not known of all says nothing.
        ([pool("a", rate="100"), pool("b")], None, {"a": 50, "b": 50}),
        ([pool("a", rate="100000"), pool("b", rate="0.1")], None, {"a": 100, "b": 1}),
        # What has no replicas does not serve.
        ([pool("a"), pool("b", replicas=0)], None, {"a": 100}),
        # What does not answer yet gets nothing, unless nobody answers.
        ([pool("a"), pool("b")], {"a": 1}, {"a": 100, "b": 0}),
        ([pool("a", replicas=4), pool("b", replicas=4)], {"a": 4, "b": 1}, {"a": 80, "b": 20}),
        ([pool("a"), pool("b", replicas=3)], {}, {"a": 25, "b": 75}),
        # A Pod that is to leave answers for some seconds more, and is not counted.
        ([pool("a"), pool("b")], {"a": 3, "b": 1}, {"a": 50, "b": 50}),
        # Servers of two kinds in one pool.
        (
            [pool("a", servers=[server("digits", pool="a", accelerator="nvidia-gpu", replicas=2)]), pool("b")],
            None,
            {"a": 75, "b": 25},
        ),
    ],
)
def test_requests_are_divided_by_what_pools_can_answer(
    pools: list[Assignment], serving: Mapping[str, int] | None, shares: Mapping[str, int]
) -> None:
    assert digits(*pools, serving=serving) == shares
    assert digits(*reversed(pools), serving=serving) == shares


def test_a_model_that_nobody_serves_has_no_shares() -> None:
    assert pool_shares([pool("a", replicas=0)]) == {}


def test_namespaces_are_apart() -> None:
    other = pool("b", servers=[server("digits", pool="b", namespace="bank", replicas=5)])
    assert pool_shares([pool("a"), other]) == {("bank", "digits"): {"b": 100}, ("shop", "digits"): {"a": 50, "b": 50}}


def test_names_of_services_are_valid_and_apart() -> None:
    pairs = [("digits", "edge"), ("digits-edge", "x"), ("digits", "edge-x"), ("m" * 63, "p" * 35), ("m" * 63, "q" * 35)]
    names = [pool_service_name(model=model, pool=name) for model, name in pairs]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) == 63
    assert names[0].startswith("digits-edge-")
    # Cut behind a hyphen, or before it.
    for length in range(45, 60):
        assert "--" not in pool_service_name(model="m" * length, pool="p")


def test_a_service_selects_the_pods_of_one_pool_that_answer() -> None:
    service = render_pool_service(namespace="shop", model="digits", pool="edge")
    assert service["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "littoral"
    assert service["spec"]["selector"] == {"serves.littoral.dev/digits": "true", "littoral.dev/pool": "edge"}
    assert [(it["port"], it["appProtocol"]) for it in service["spec"]["ports"]] == [
        (80, "http"),
        (8001, "kubernetes.io/h2c"),
    ]


def test_a_model_has_a_route_for_http_and_one_for_grpc() -> None:
    routes, troubles = render_routes(namespace="shop", model="digits", shares={"b": 75, "a": 25}, settings=SETTINGS)
    assert troubles == []
    http, grpc = routes
    assert (http["kind"], grpc["kind"]) == ("HTTPRoute", "GRPCRoute")
    assert http["spec"]["hostnames"] == ["digits.shop.example.com"]
    assert grpc["spec"]["hostnames"] == ["digits.shop.grpc.example.com"]
    for route, port in ((http, 80), (grpc, 8001)):
        (rule,) = route["spec"]["rules"]
        assert [(it["name"], it["port"], it["weight"]) for it in rule["backendRefs"]] == [
            (pool_service_name(model="digits", pool="a"), port, 25),
            (pool_service_name(model="digits", pool="b"), port, 75),
        ]
        (parent,) = route["spec"]["parentRefs"]
        assert (parent["namespace"], parent["name"], "sectionName" in parent) == ("infra", "web", False)


def test_a_listener_is_named_where_it_was_asked_for() -> None:
    settings = GatewayApiSettings.parse(parents=["infra/web/https"], http=HTTP)
    ((route,), _) = render_routes(namespace="shop", model="digits", shares={"a": 1}, settings=settings)
    assert route["spec"]["parentRefs"][0]["sectionName"] == "https"


def routed(path: str, *, model: str = "digits") -> bool:
    """Whether the HTTPRoute takes a path, as the Gateway API defines its matches."""
    ((route, _), _) = render_routes(namespace="shop", model=model, shares={"a": 1}, settings=SETTINGS)
    matches = [match["path"] for match in route["spec"]["rules"][0]["matches"]]
    return any(
        path == it["value"] or (it["type"] == "PathPrefix" and path.startswith(it["value"] + "/")) for it in matches
    )


@pytest.mark.parametrize(
    ("path", "taken"),
    [
        ("/v2", True),
        ("/v2/health/ready", True),
        ("/v2/models/digits", True),
        ("/v2/models/digits/infer", True),
        ("/v2/models/digits/versions/3/infer", True),
        ("/v2/models/digits/generate_stream", True),
        ("/v2/models/digits/stats", True),
        ("/", False),
        ("/v2/models/other/infer", False),
        ("/v2/models/digits-2/infer", False),
        ("/v2/models/stats", False),
        ("/v2/models/digits/trace/setting", False),
        ("/v2/models/digits/infer/..%2f..%2f..%2frepository/index", False),
        ("/v2/models/digits/infer/", False),
        ("/v2/health", False),
        ("/v2/trace/setting", False),
        ("/v2/logging", False),
        ("/v2/repository/index", False),
        ("/v2/repository/models/digits/unload", False),
        ("/v2/systemsharedmemory/region/x/register", False),
        ("/metrics", False),
    ],
)
def test_only_what_clients_of_the_model_need_is_routed(path: str, taken: bool) -> None:
    assert routed(path) == taken


def test_grpc_that_changes_a_server_is_not_routed() -> None:
    (_, route), _ = render_routes(namespace="shop", model="digits", shares={"a": 1}, settings=SETTINGS)
    methods = {match["method"]["method"] for match in route["spec"]["rules"][0]["matches"]}
    assert {"ModelInfer", "ModelStreamInfer", "ServerReady", "Check"} <= methods
    assert not {it for it in methods if it.startswith(("Repository", "Trace", "Log")) or "SharedMemory" in it}


def test_a_host_name_that_is_too_long_costs_that_route_alone() -> None:
    settings = GatewayApiSettings.parse(
        parents=["infra/web"], http=HTTP, grpc="grpc-{model}.{namespace}.grpc.example.com"
    )
    routes, troubles = render_routes(namespace="shop", model="m" * 60, shares={"a": 1}, settings=settings)
    assert [route["kind"] for route in routes] == ["HTTPRoute"]
    (trouble,) = troubles
    assert trouble.startswith("no GRPCRoute: grpc-mmm")


def test_a_route_leads_to_16_pools_at_most() -> None:
    shares = {f"pool-{number:02}": number for number in range(1, 21)}
    (http, grpc), troubles = render_routes(namespace="shop", model="digits", shares=shares, settings=SETTINGS)
    assert troubles == ["20 pools serve it, and a route leads to 16: the largest"]
    for route in (http, grpc):
        weights = [it["weight"] for it in route["spec"]["rules"][0]["backendRefs"]]
        assert weights == list(range(5, 21))


def test_an_export_is_for_people_to_keep() -> None:
    two = [pool("a"), pool("b", servers=[server("faces", pool="b", accelerator="nvidia-gpu")])]
    manifests, troubles = render_export(two, settings=SETTINGS, namespace="shop")
    assert troubles == []
    assert [(it["kind"], it["metadata"]["name"].rsplit("-", 1)[0]) for it in manifests] == [
        ("Service", "digits-a"),
        ("Service", "digits-b"),
        ("HTTPRoute", "digits"),
        ("GRPCRoute", "digits"),
        ("Service", "faces-b"),
        ("HTTPRoute", "faces"),
        ("GRPCRoute", "faces"),
    ]
    for manifest in manifests:
        assert "ownerReferences" not in manifest["metadata"]
        assert "app.kubernetes.io/managed-by" not in manifest["metadata"]["labels"]
    one, _ = render_export(two, settings=SETTINGS, namespace="shop", model="faces")
    assert one == manifests[4:]
    assert render_export(two, settings=SETTINGS, namespace="bank").manifests == []


def test_steady_load_gives_the_same_routes_to_the_byte() -> None:
    def rendered(seed: int) -> str:
        pools = [pool(name, replicas=3, rate="33.3") for name in ("a", "b", "c")]
        return json.dumps(render_export(pools[seed:] + pools[:seed], settings=SETTINGS, namespace="shop").manifests)

    assert all(one == other for one, other in pairwise(rendered(seed) for seed in range(3)))


def test_a_parent_prints_as_it_is_written() -> None:
    assert [str(Parent.parse(text)) for text in ("a/b", "a/b/c")] == ["a/b", "a/b/c"]
