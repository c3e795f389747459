"""From what is wanted and what is to commands: always in a few passes, and never against what is wanted."""

from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from littoral.api.routing import GatewayConfig, ModelRoute, NextPool, Upstream
from littoral.gateway.reconcile import Admin, Command, Reload, Seen, SeenServer, leftovers, reconcile
from littoral.render.gateway_haproxy import HaproxySettings, HaproxyState, render_haproxy

SETTINGS = HaproxySettings(directory="/run/littoral")

upstreams = st.lists(
    st.builds(
        Upstream,
        name=st.sampled_from(["a", "b", "c"]),
        address=st.sampled_from(["10.0.0.1", "10.0.0.2"]),
        weight=st.integers(0, 3),
        ready=st.booleans(),
    ),
    unique_by=lambda it: it.name,
    max_size=3,
).map(tuple)
limits = st.one_of(st.none(), st.integers(1, 9))


@st.composite
def configs(draw: st.DrawFn) -> HaproxyState:
    model = ModelRoute(namespace="shop", name="digits", servers=draw(upstreams), limit=draw(limits))
    return render_haproxy(GatewayConfig(revision="1", models=(model,)), settings=SETTINGS)


def loaded(state: HaproxyState) -> Seen:
    """What HAProxy has after it has read the configuration."""
    return Seen(
        base=state.base,
        backends=frozenset(state.backends),
        servers={
            key: SeenServer(admin=Admin.READY, weight=it.weight if it.ready else 0, sessions=0)
            for key, it in state.servers.items()
        },
        maps=state.maps,
    )


def run(seen: Seen, command: Command) -> Seen:
    """What HAProxy makes of a command."""
    servers = dict(seen.servers)
    maps = {file: dict(entries) for file, entries in seen.maps.items()}
    for line in command.lines:
        words = line.split()
        key = words[2]
        match words[:2]:
            case ["add", "server"]:
                assert key not in servers
                weight = int(re.search(r" weight (\d+)", line)[1])  # type: ignore[index]
                servers[key] = SeenServer(admin=Admin.MAINTENANCE, weight=weight, sessions=0)
            case ["set", "server"] if words[3] == "weight":
                servers[key] = replace(servers[key], weight=int(words[4]))
            case ["set", "server"]:
                admin = {"ready": Admin.READY, "drain": Admin.DRAIN, "maint": Admin.MAINTENANCE}[words[4]]
                servers[key] = replace(servers[key], admin=admin)
            case ["del", "server"]:
                assert servers[key].admin is Admin.MAINTENANCE
                assert servers[key].sessions == 0
                del servers[key]
            case ["add" | "set", "map"]:
                assert (words[3] in maps[key]) == (words[0] == "set")
                maps[key][words[3]] = words[4]
            case ["del", "map"]:
                del maps[key][words[3]]
            case ["enable", "health"]:
                pass
            case _:
                raise AssertionError(line)
    return replace(seen, servers=servers, maps=maps)


def settle(wanted: HaproxyState, seen: Seen) -> Seen:
    for _ in range(4):
        for action in reconcile(wanted, seen):
            assert isinstance(action, Command)
            seen = run(seen, action)
    return seen


@given(configs(), configs())
def test_it_arrives_and_then_rests(before: HaproxyState, wanted: HaproxyState) -> None:
    seen = settle(wanted, loaded(before))
    assert reconcile(wanted, seen) == []
    assert not leftovers(wanted, seen)
    assert seen.maps == wanted.maps
    assert set(seen.servers) == set(wanted.servers)
    for key, server in wanted.servers.items():
        there = seen.servers[key]
        takes = there.admin is Admin.READY and there.weight > 0
        assert takes == server.ready
        assert not server.ready or there.weight == server.weight


@given(configs(), configs())
def test_what_has_requests_is_not_removed(before: HaproxyState, wanted: HaproxyState) -> None:
    busy = loaded(before)
    busy = replace(busy, servers={key: replace(it, sessions=1) for key, it in busy.servers.items()})
    seen = settle(wanted, busy)
    assert set(seen.servers) >= set(before.servers)
    assert leftovers(wanted, seen) == bool(set(before.servers) - set(wanted.servers))
    assert all(seen.servers[key].admin is Admin.DRAIN for key in set(before.servers) - set(wanted.servers))


@given(configs(), configs())
def test_new_servers_come_before_old_ones_go(before: HaproxyState, wanted: HaproxyState) -> None:
    lines = [it.lines[0] for it in reconcile(wanted, loaded(before)) if isinstance(it, Command)]
    adding = [index for index, line in enumerate(lines) if line.startswith("add server")]
    gone = [
        index
        for index, line in enumerate(lines)
        if line.endswith("state drain") and line.split()[2] not in wanted.servers
    ]
    assert not adding or not gone or max(adding) < min(gone)


def test_reloads_are_for_structure() -> None:
    one = ModelRoute(namespace="shop", name="digits")
    two = ModelRoute(namespace="shop", name="letters")
    small = render_haproxy(GatewayConfig(revision="1", models=(one,)), settings=SETTINGS)
    large = render_haproxy(GatewayConfig(revision="2", models=(one, two)), settings=SETTINGS)
    assert reconcile(large, loaded(small)) == [Reload("letters.shop is new")]
    assert reconcile(small, replace(loaded(small), base="else")) == [Reload("settings have changed")]
    # A Model that is gone keeps its backends until there is another reason; nobody reaches them.
    assert not any(isinstance(it, Reload) for it in reconcile(small, loaded(large)))
    assert settle(small, loaded(large)).maps == small.maps


def test_a_gateway_of_another_cluster_comes_by_a_reload_and_goes_without() -> None:
    secure = HaproxySettings(directory="/run/littoral", certificate="/c.pem", peers_ca="/ca.pem")

    def state(*addresses: str) -> HaproxyState:
        servers = tuple(Upstream(name="gateway-cloud", address=address, tls_name="x.example") for address in addresses)
        model = ModelRoute(namespace="shop", name="digits", next=(NextPool(name="cloud", servers=servers),))
        return render_haproxy(GatewayConfig(revision="1", models=(model,)), settings=secure)

    without, one, other = state(), state("192.0.2.1"), state("192.0.2.2")
    assert [type(it) for it in reconcile(one, loaded(without))] == [Reload]
    assert [type(it) for it in reconcile(other, loaded(one))] == [Reload]
    assert reconcile(one, loaded(one)) == []
    assert all(isinstance(it, Command) for it in reconcile(without, loaded(one)))
