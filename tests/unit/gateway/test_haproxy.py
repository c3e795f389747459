"""What HAProxy is to have for a desired state."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from littoral.api.base import InvalidObject
from littoral.api.routing import UNLIMITED, GatewayConfig, ModelRoute, NextPool, ServerSet, Upstream
from littoral.render.gateway_haproxy import HaproxySettings, HaproxyState, map_file, render_haproxy, upstream_of

SETTINGS = HaproxySettings(directory="/run/littoral")
SECURE = HaproxySettings(directory="/run/littoral", secure_listen=(":8443",), certificate="/c.pem", peers_ca="/ca.pem")
A = Upstream(name="a", address="10.0.0.1")


def route(**fields: Any) -> ModelRoute:
    return ModelRoute(**{"namespace": "shop", "name": "digits", "servers": (A,)} | fields)


def render(*models: ModelRoute, settings: HaproxySettings = SETTINGS, **fields: Any) -> HaproxyState:
    return render_haproxy(GatewayConfig(revision="1", models=models, **fields), settings=settings)


def weights(state: HaproxyState, place: str = "next") -> dict[str, int]:
    """Weight by upstream, of the HTTP backend."""
    return {
        "/".join(upstream_of(it.name)): it.weight
        for it in state.servers.values()
        if it.backend == f"digits.shop:{place}:http"
    }


def figures(state: HaproxyState, model: str = "digits.shop") -> list[str]:
    return state.maps[SETTINGS.routes_map][model].split("|")


@pytest.mark.parametrize(
    ("fields", "limit", "most"),
    [
        ({}, UNLIMITED, UNLIMITED),
        ({"limit": 3}, 3, 12),
        ({"limit": 3, "queue": 5}, 3, 5),
        ({"limit": 3, "queue": 1}, 3, 3),
        ({"rate": "100", "budget": "50ms"}, 5, 20),
        ({"rate": "1", "budget": "1ms"}, 1, 4),
        ({"rate": "100", "budget": "50ms", "limit": 2}, 2, 8),
        ({"limit": 3, "queue": 9, "overflow": "Never"}, 3, 0),
    ],
)
def test_limits(fields: dict[str, Any], limit: int, most: int) -> None:
    assert figures(render(route(**fields)))[:2] == [str(limit), str(most)]


def test_a_rate_needs_a_budget() -> None:
    with pytest.raises(InvalidObject, match="together"):
        ModelRoute.parse({"namespace": "shop", "name": "digits", "rate": "5"})


def test_priorities_share_a_set() -> None:
    models = [
        route(name=name, priority=priority, server_set="shop.triton")
        for name, priority in (("high", 9), ("middle", 5), ("low", 0))
    ]
    state = render(*models, server_sets=(ServerSet(name="shop.triton", limit=8),))
    assert {it.name: figures(state, it.key)[2:4] for it in models} == {
        "high": ["shop.triton", "8"],
        "middle": ["shop.triton", "6"],
        "low": ["shop.triton", "4"],
    }
    # A Model that shares with nobody is limited by its own limit only.
    assert figures(render(route()))[2:4] == ["digits.shop", str(UNLIMITED)]


def test_servers_that_may_be_asked_are_counted_for_a_process_that_ends() -> None:
    resting = Upstream(name="b", address="10.0.0.2", ready=False)
    pool = NextPool(name="cloud", servers=(A, resting))
    assert figures(render(route(servers=(A, resting), next=(pool,))))[4:] == ["1", "1"]
    assert figures(render(route(next=(pool,), overflow="Never")))[4:] == ["1", "0"]


def test_pools_are_weighed_whatever_their_size() -> None:
    pools = (
        NextPool(name="near", weight="3", servers=tuple(Upstream(name=f"n{i}", address=f"10.1.0.{i}") for i in "123")),
        NextPool(name="far", weight="0.5", servers=(Upstream(name="f", address="10.2.0.1"),)),
        NextPool(name="off", weight="0", servers=(Upstream(name="o", address="10.3.0.1"),)),
    )
    state = render(route(next=pools))
    assert weights(state) == {"near/n1": 256, "near/n2": 256, "near/n3": 256, "far/f": 128, "off/o": 1}
    assert not any(it.ready for it in state.servers.values() if upstream_of(it.name)[0] == "off")


def test_other_pools_stand_by_for_own_servers_but_other_gateways_do_not() -> None:
    far = Upstream(name="f", address="10.2.0.1", tls_name="gateway-far.littoral.internal")
    pools = (NextPool(name="near", servers=(A,)), NextPool(name="far", servers=(far,)))
    state = render(route(next=pools))
    local = {it.name.partition(":")[0]: it.options for key, it in state.servers.items() if ":local:http/" in key}
    assert sorted(local) == ["", "near"]
    assert local["near"].endswith(" backup")
    assert not local[""].endswith(" backup")
    # Where there are no own servers, there is nothing to stand by for.
    assert weights(render(route(servers=(), next=pools)), "local") == {}


def test_never_has_nowhere_to_go() -> None:
    state = render(route(next=(NextPool(name="cloud", servers=(A,)),), overflow="Never"))
    assert weights(state) == {}
    assert weights(state, "local") == {"/a": 1}


def test_hosts() -> None:
    state = render(route(hosts=("digits.example.com",)), route(namespace="else"))
    assert state.maps[SETTINGS.hosts_map] == {
        "digits.shop": "digits.shop",
        "digits.shop.svc": "digits.shop",
        "digits.shop.svc.cluster.local": "digits.shop",
        "digits.example.com": "digits.shop",
        "digits.else": "digits.else",
        "digits.else.svc": "digits.else",
        "digits.else.svc.cluster.local": "digits.else",
    }


def test_the_names_that_are_told_are_few_and_fit_a_command() -> None:
    state = render(*(route(name=f"m{number}") for number in range(60)))
    told = state.maps[SETTINGS.known_map]["known"]
    assert " " not in told
    assert json.loads(told)[-1] == "and 10 more"
    assert len(json.loads(told)) == 51


def test_what_changes_without_a_reload() -> None:
    """Another base or another backend is a reload; all else must leave both as they are."""
    before = render(route())
    for changed in (
        render(route(limit=7)),
        render(route(servers=(A, Upstream(name="b", address="::1")))),
        render(route(overflow="Never", priority=3, hosts=("x.example",))),
        render(route(next=(NextPool(name="cloud", servers=(A,)),))),
    ):
        assert (changed.base, changed.backends) == (before.base, before.backends)
    assert render(route(), timeout="1m").base != before.base
    assert render(route(), route(name="other")).backends != before.backends
    assert render(route(), route(name="other")).base == before.base


def test_another_address_or_certificate_is_another_server() -> None:
    keys = [
        set(render(route(servers=(it,)), settings=SECURE).servers)
        for it in (
            A,
            Upstream(name="a", address="10.0.0.2"),
            Upstream(name="a", address="10.0.0.1", http_port=9000, grpc_port=9001),
            Upstream(name="a", address="10.0.0.1", tls_name="x.example"),
        )
    ]
    assert all(keys)
    assert not any(one & other for one in keys for other in keys if one is not other)


def test_without_a_certificate_other_clusters_are_out_of_reach() -> None:
    pools = (
        NextPool(name="cloud", servers=(Upstream(name="gateway-cloud", address="192.0.2.1", tls_name="x.example"),)),
        NextPool(name="near", servers=(A,)),
    )
    assert weights(render(route(next=pools), settings=SECURE)) == {"cloud/gateway-cloud": 256, "near/a": 256}
    bare = render(route(next=pools), settings=SECURE.plain)
    assert weights(bare) == {"near/a": 256}
    assert figures(bare)[5] == "1"
    assert "ssl" not in bare.configuration.replace("ssl_fc", "")
    # The first certificate is a reload.
    assert bare.base != render(route(next=pools), settings=SECURE).base


@pytest.mark.parametrize(("models", "interval"), [(1, "2s"), (5, "2s"), (10, "4s"), (1000, "30s")])
def test_checks_leave_the_uplink_to_requests(models: int, interval: str) -> None:
    far = NextPool(name="cloud", servers=(Upstream(name="g", address="192.0.2.1", tls_name="x.example"),))
    state = render(*(route(name=f"m{number}", next=(far,)) for number in range(models)), settings=SECURE)
    intervals = {upstream_of(it.name)[0]: it.options.split("inter ")[1].split()[0] for it in state.servers.values()}
    assert intervals == {"": "2s", "cloud": interval}
    # On an uplink that has fallen silent nothing waits for minutes.
    assert {upstream_of(it.name)[0] for it in state.servers.values() if "tcp-ut" in it.options} == {"cloud"}


def test_only_bodies_over_http_that_leave_the_cluster_are_compressed() -> None:
    far = NextPool(name="far", servers=(Upstream(name="g", address="192.0.2.1", tls_name="x.example"),))
    near = NextPool(name="near", servers=(A,))
    models = (
        route(name="leaves", next=(far,)),
        route(name="stays", next=(near,)),
        route(name="both", next=(far, near)),
    )

    def compressing(settings: HaproxySettings) -> list[str]:
        backends = render(*models, settings=settings).configuration.split("\nbackend ")[1:]
        return [it.split()[0] for it in backends if "compression direction request" in it]

    assert compressing(SECURE) == []
    assert compressing(replace(SECURE, compress_uplink=True)) == ["leaves.shop:next:http"]


@pytest.mark.parametrize("address", ["1.2.3.4 weight 0", "a;b", "x\ny", "", "a b"])
def test_nothing_is_slipped_into_the_configuration(address: str) -> None:
    with pytest.raises(InvalidObject):
        Upstream.parse({"name": "a", "address": address})


def test_map_file() -> None:
    assert map_file({"b": "2", "a": "1"}) == "a 1\nb 2\n"
