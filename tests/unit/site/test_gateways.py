"""From routes and Pods to what gateways are to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from littoral.api.assignment import Assignment
from littoral.api.routing import GatewayConfig, GatewayStatus, HaproxyStatus, ModelDemand, ModelRoute
from littoral.render.gateway import GatewaySettings
from littoral.render.settings import ServerSettings
from littoral.site.desired import ChildKey, desired_children
from littoral.site.gateways import Gateways, gateway_config, gateway_endpoints, routed_models, serving_pods
from littoral.site.views import PodView
from tests.support.objects import assignment, server

DIGITS = ("shop", "digits")
SERVERS = ServerSettings(triton_image="triton:x", agent_image="littoral:x")
SETTINGS = GatewaySettings(haproxy_image="haproxy:x", agent_image="littoral:x")
NODES = {"edge-1": {"littoral.dev/pool": "edge"}, "edge-2": {"littoral.dev/pool": "edge"}, "cloud-1": {}}


def gateways(**changes: Any) -> Gateways:
    usual = {"settings": SETTINGS, "namespace": "littoral-system", "nodes": NODES}
    return Gateways(**usual | {"routed": {f"uid-of-{it}": [DIGITS] for it in ("g", "h")}} | changes)


def route(name: str = "digits", **fields: Any) -> dict[str, Any]:
    return {"namespace": "shop", "name": name} | fields


def pool(name: str, *routes: dict[str, Any], servers: Sequence[dict[str, Any]] = ()) -> Assignment:
    spec = {
        "tier": "edge",
        "site": "store-12",
        "nodeSelector": {"matchLabels": {"littoral.dev/pool": name}},
        "servers": list(servers),
        "routes": list(routes),
    }
    return assignment(name, spec=spec)


def pod(
    name: str = "a", *, serves: Sequence[str] = ("digits",), server: str = "triton-edge-cpu", **fields: Any
) -> PodView:
    usual: dict[str, Any] = {
        "namespace": "shop",
        "uid": f"uid-of-{name}",
        "address": "198.18.0.1",
        "node": "edge-1",
        "ready": True,
        "leaving": False,
        "config_revision": "",
        "trouble": "",
        "labels": {f"serves.littoral.dev/{model}": "true" for model in serves},
    }
    return PodView(**(usual | fields), name=name, server=server)


def front(name: str = "g", **fields: Any) -> PodView:
    return pod(name, serves=(), server="", **({"namespace": "littoral-system", "gateway": "gateway-edge"} | fields))


def config(it: Assignment, *others: Assignment, pods: Sequence[PodView] = (), **changes: Any) -> GatewayConfig:
    return gateway_config(it, places=serving_pods([it, *others], pods), gateways=gateways(**changes))


def only(it: GatewayConfig) -> ModelRoute:
    (model,) = it.models
    return model


EDGE = pool("edge", route(), servers=[server("digits")])


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        pytest.param([pod("a"), pod("b")], [("a", True), ("b", True)], id="ready"),
        pytest.param([pod("a"), pod("b", ready=False)], [("a", True), ("b", False)], id="one is not ready"),
        pytest.param([pod("a"), pod("b", leaving=True)], [("a", True), ("b", False)], id="one leaves"),
        pytest.param([pod("a", ready=False)], [("a", True)], id="none is ready: HAProxy's own checks tell"),
        pytest.param([pod("a", leaving=True)], [("a", False)], id="the only one leaves"),
        pytest.param([pod("a", serves=())], [], id="it does not serve the Model"),
        pytest.param([pod("a", address="")], [], id="it has no address yet"),
        pytest.param([pod("a", server="triton-cloud-cpu")], [], id="of another pool"),
        pytest.param([pod("a", namespace="other")], [], id="of another namespace"),
    ],
)
def test_own_servers_are_the_pods_that_serve_the_model(pods: list[PodView], expected: list[tuple[str, bool]]) -> None:
    assert [(it.name, it.ready) for it in only(config(EDGE, pods=pods)).servers] == expected


def test_what_does_not_fit_goes_to_the_pools_that_the_route_names() -> None:
    edge = pool(
        "edge",
        route(next=[{"pool": "cloud", "weight": "2"}, {"pool": "far"}, {"pool": "elsewhere"}, {"pool": "edge"}]),
        servers=[server("digits")],
    )
    cloud, far = (pool(it, servers=[server("digits", pool=it)]) for it in ("cloud", "far"))
    pods = [pod("a"), pod("c", server="triton-cloud-cpu", address="198.18.1.1")]
    # A pool without a Pod that serves it, or of another cluster, is nowhere to go to.
    (next_,) = only(config(edge, cloud, far, pods=pods)).next
    assert (next_.name, next_.weight, [it.address for it in next_.servers]) == ("cloud", "2", ["198.18.1.1"])


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("gateway.example:8443", "gateway.example", 8443),
        ("192.0.2.1:30443", "192.0.2.1", 30443),
        ("[2001:db8::1]:443", "2001:db8::1", 443),
    ],
)
def test_a_pool_of_another_cluster_is_its_gateway(address: str, host: str, port: int) -> None:
    gateway = {"address": address, "tlsName": "gateway-cloud.littoral.internal"}
    edge = pool("edge", route(next=[{"pool": "cloud", "gateway": gateway}]), servers=[server("digits")])
    got = config(edge)
    (next_,) = only(got).next
    (upstream,) = next_.servers
    assert (upstream.name, upstream.address) == ("gateway-cloud", host)
    assert (upstream.http_port, upstream.grpc_port) == (port, port)
    assert upstream.tls_name == "gateway-cloud.littoral.internal"
    assert GatewayConfig.parse(got.dump()) == got  # as the agent reads it


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
def test_a_port_that_is_none_is_nowhere_to_go_to(port: str) -> None:
    gateway = {"address": f"gateway.example:{port}", "tlsName": "x.example"}
    assert not only(config(pool("edge", route(next=[{"pool": "cloud", "gateway": gateway}])))).next


PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("spec", "secret", "services"),
    [
        pytest.param({}, False, {"gateway-edge"}, id="one cluster"),
        pytest.param({"gateway": {"address": "a:1"}}, False, {"gateway-edge"}, id="of a hub that signs nothing"),
        pytest.param({"certificate": {"authorities": PEM}}, True, {"gateway-edge"}, id="of a site"),
        pytest.param(
            {"certificate": {"authorities": PEM}, "gateway": {"address": "a:1"}},
            True,
            {"gateway-edge", "gateway-edge-members"},
            id="of the cloud",
        ),
    ],
)
def test_only_what_members_come_to_is_exposed(spec: dict[str, Any], secret: bool, services: set[str]) -> None:
    raw = EDGE.dump()
    edge = Assignment.parse({**raw, "spec": raw["spec"] | spec})
    children = desired_children([edge], settings=SERVERS, gateways=gateways())
    front = children[ChildKey("Deployment", "littoral-system", "gateway-edge")]
    volumes = front["spec"]["template"]["spec"]["volumes"]
    assert any("secret" in it for it in volumes) is secret
    assert {it.name for it in children if it.kind == "Service" and it.namespace == "littoral-system"} == services


@pytest.mark.parametrize("given", [{}, {"limit": 20}], ids=["by Little's law", "given"])
@pytest.mark.parametrize(("replicas", "limit"), [(1, 20), (2, 10), (3, 6), (16, 1)])
def test_each_pod_of_a_gateway_has_its_part_of_what_a_server_answers(
    replicas: int, limit: int, given: dict[str, int]
) -> None:
    rate = "500" if given else "200"
    routed = route(rate=rate, budget="100ms", priority=7, overflow="Never", **given)
    edge = pool("edge", routed, servers=[server("digits")])
    settings = GatewaySettings(haproxy_image="x", agent_image="x", replicas=replicas)
    model = only(config(edge, settings=settings))
    assert model.limit_per_server == limit
    assert (model.priority, model.overflow) == (7, "Never")


def test_models_that_share_servers_share_the_larger_limit() -> None:
    edge = pool(
        "edge",
        route("a", rate="100", budget="100ms"),
        route("b", rate="300", budget="100ms"),
        route("alone", rate="50", budget="1s"),
        servers=[server("a", "b", "unrouted"), server("alone", "unrouted", accelerator="nvidia-gpu")],
    )
    got = config(edge)
    assert [(it.name, it.limit) for it in got.server_sets] == [("shop.triton-edge-cpu", 30)]
    shared = "shop.triton-edge-cpu"
    assert {it.name: it.server_set for it in got.models} == {"a": shared, "b": shared, "alone": None}


def test_servers_that_have_a_model_in_common_are_one_set() -> None:
    edge = pool(
        "edge",
        *(route(it, rate="100", budget="100ms") for it in ("a", "b", "c")),
        servers=[server("a", "b"), server("b", "c", accelerator="nvidia-gpu")],
    )
    got = config(edge)
    assert {it.server_set for it in got.models} == {it.name for it in got.server_sets} == {"shop.triton-edge-cpu"}


def test_a_set_of_which_no_limit_is_known_is_none() -> None:
    got = config(pool("edge", route("a"), route("b"), servers=[server("a", "b")]))
    assert got.server_sets == ()
    assert {it.server_set for it in got.models} == {None}


def test_a_model_is_known_by_the_address_of_its_service() -> None:
    assert only(config(EDGE, addresses={("shop", "digits"): ("198.19.3.4",)})).hosts == ("198.19.3.4",)


def test_the_revision_is_that_of_the_content_in_whatever_order_it_comes() -> None:
    servers = [server("a", "b")]
    one = config(pool("edge", route("a"), route("b"), servers=servers), pods=[pod("x"), pod("y")])
    two = config(pool("edge", route("b"), route("a"), servers=servers), pods=[pod("y"), pod("x")])
    assert one == two
    assert one.revision != config(pool("edge", route("a"), servers=servers)).revision


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        pytest.param([front()], [("198.18.0.1", True, False)], id="ready"),
        pytest.param([front(ready=False)], [("198.18.0.1", False, False)], id="not yet"),
        pytest.param([front(leaving=True, ending=True)], [("198.18.0.1", False, True)], id="leaving, and still there"),
        pytest.param([front(leaving=True, ending=True, ready=False)], [], id="leaving, and no longer there"),
        pytest.param([front(leaving=True)], [], id="failed"),
        pytest.param([front(gateway="gateway-cloud")], [], id="of another pool"),
        pytest.param([front(namespace="shop")], [], id="of another namespace"),
        pytest.param([front(address="", node="")], [], id="without an address"),
        pytest.param([pod()], [], id="a server"),
    ],
)
def test_clients_are_led_to_the_pods_of_a_gateway(pods: list[PodView], expected: list[tuple[str, bool, bool]]) -> None:
    got = gateway_endpoints(EDGE, pods=pods, gateways=gateways())
    assert [(it.address, it.ready, it.ending) for it in got.get(DIGITS, [])] == expected


def test_clients_are_led_to_a_gateway_that_routes_their_model() -> None:
    of = pool("edge", route("digits"), route("new"))
    got = gateway_endpoints(of, pods=[front()], gateways=gateways())
    assert {key: [it.ready for it in endpoints] for key, endpoints in got.items()} == {
        ("shop", "digits"): [True],
        ("shop", "new"): [False],
    }


def says(*models: str, ready: bool = True) -> GatewayStatus:
    return GatewayStatus(
        haproxy=HaproxyStatus(ready=ready), models=tuple(ModelDemand(namespace="shop", name=it) for it in models)
    )


@pytest.mark.parametrize(
    ("said", "before", "led", "expected"),
    [
        pytest.param(says("a", "b"), ["a"], {}, {"a", "b"}, id="all that is wanted is in force"),
        pytest.param(says("a", "b", ready=False), ["a"], {}, {"a"}, id="b is still to come"),
        pytest.param(None, ["a"], {"b": "198.18.0.1"}, {"a"}, id="the agent is silent"),
        pytest.param(None, None, {"a": "198.18.0.1", "b": "198.18.9.9"}, {"a"}, id="the operator has just started"),
        pytest.param(None, None, {}, set(), id="the Pod has just started"),
        pytest.param(says("a"), ["a", "b"], {}, {"a"}, id="b is no longer routed"),
    ],
)
def test_a_pod_routes_what_its_agent_has_said_last(
    said: GatewayStatus | None, before: list[str] | None, led: dict[str, str], expected: set[str]
) -> None:
    got = routed_models(
        [front()],
        statuses={} if said is None else {"uid-of-g": said},
        before={} if before is None else {"uid-of-g": frozenset(("shop", it) for it in before)},
        led={("shop", model): {address} for model, address in led.items()},
    )
    assert got == {"uid-of-g": {("shop", it) for it in expected}}


@pytest.mark.parametrize(("nodes", "hinted"), [(1, 1), (8, 8), (9, 1)])
def test_clients_on_the_pools_nodes_come_to_its_gateway(nodes: int, hinted: int) -> None:
    many = {f"edge-{index}": {"littoral.dev/pool": "edge"} for index in range(1, nodes + 1)} | {"cloud-1": {}}
    (endpoint,) = gateway_endpoints(EDGE, pods=[front()], gateways=gateways(nodes=many))[DIGITS]
    assert "edge-1" in endpoint.for_nodes
    assert len(endpoint.for_nodes) == hinted


def children(*assignments: Assignment, pods: Sequence[PodView], on: bool = True) -> dict[ChildKey, Any]:
    servers = ServerSettings(triton_image="triton:x", agent_image="littoral:x")
    return desired_children(assignments, settings=servers, pods=pods, gateways=gateways() if on else None)


def test_without_the_switch_routes_change_nothing() -> None:
    plain = pool("edge", servers=[server("digits")])
    assert children(EDGE, pods=[front()], on=False) == children(plain, pods=[], on=False)


def test_without_routes_the_switch_changes_nothing() -> None:
    plain = pool("edge", servers=[server("digits")])
    assert children(plain, pods=[pod()]) == children(plain, pods=[pod()], on=False)


def test_a_pool_with_routes_has_a_gateway_in_the_operators_namespace() -> None:
    got = children(EDGE, pool("cloud", servers=[server("digits", pool="cloud")]), pods=[pod(), front()])
    mine = {key.kind for key in got if key.namespace == "littoral-system"}
    assert mine == {"ConfigMap", "Deployment", "Service"}
    assert got[ChildKey("ConfigMap", "littoral-system", "gateway-edge")]["metadata"]["ownerReferences"][0]["name"] == (
        "edge"
    )
    order = [key.kind for key in got if key.namespace == "shop" and key.name.startswith("digits")]
    assert order == ["EndpointSlice", "Service"]


def test_a_model_that_is_routed_and_nowhere_served_has_a_service() -> None:
    got = children(pool("edge", route()), pods=[front()])
    service = got[ChildKey("Service", "shop", "digits")]
    assert [it["name"] for it in service["metadata"]["ownerReferences"]] == ["edge"]
    assert service["spec"]["selector"] == {"serves.littoral.dev/digits": "gateway"}


def test_the_gateways_of_all_pools_that_route_a_model_are_its_endpoints() -> None:
    pods = [front(), front("h", gateway="gateway-cloud", address="198.18.1.1", node="cloud-1")]
    got = children(EDGE, pool("cloud", route()), pods=pods)
    slice_ = got[ChildKey("EndpointSlice", "shop", "digits-gateway")]
    hints = {it["addresses"][0]: [node["name"] for node in it["hints"]["forNodes"]] for it in slice_["endpoints"]}
    assert hints == {"198.18.0.1": ["edge-1", "edge-2"], "198.18.1.1": ["cloud-1"]}
