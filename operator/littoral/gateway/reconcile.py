"""From what HAProxy is to have and what it has to the next commands. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from littoral.render.gateway_haproxy import HaproxyServer, HaproxyState


class Admin(StrEnum):
    """What HAProxy was told of a server, whatever its health."""

    READY = "ready"
    DRAIN = "drain"
    MAINTENANCE = "maintenance"


@dataclass(frozen=True, kw_only=True)
class SeenServer:
    """A server that HAProxy has.

    Attributes:
        weight: as it was told, before any slow start.
        sessions: requests that it has now.
    """

    admin: Admin
    weight: int
    sessions: int


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What HAProxy has.

    Attributes:
        base: hash of the configuration without Models that it was started with.
        backends: their names.
        servers: by key.
        maps: file -> its entries.
    """

    base: str
    backends: frozenset[str]
    servers: Mapping[str, SeenServer]
    maps: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Reload:
    """Start new processes from the configuration on disk; the old ones finish what they have."""

    why: str


@dataclass(frozen=True)
class Command:
    """Lines for the worker's socket, which answers with `expected`, if that is given."""

    lines: tuple[str, ...]
    expected: str = ""


Action: TypeAlias = Reload | Command


def reconcile(wanted: HaproxyState, seen: Seen) -> list[Action]:
    """What to do now, in order; empty when all is as it is to be, or when there is only to wait.

    A server that is no longer wanted first gets no new requests, and goes when it has none left: in another pass.
    """
    if wanted.base != seen.base:
        return [Reload("settings have changed")]
    if missing := sorted(set(wanted.backends) - seen.backends):
        return [Reload(f"{missing[0].partition(':')[0]} is new")]
    if fixed := sorted(key for key, it in wanted.servers.items() if it.static and key not in seen.servers):
        return [Reload(f"{fixed[0]} is new")]
    return [*_map_actions(wanted, seen), *_server_actions(wanted, seen)]


def leftovers(wanted: HaproxyState, seen: Seen) -> bool:
    """Whether something has to be looked at again soon: servers that are to go."""
    return any(key not in wanted.servers for key in seen.servers)


def _map_actions(wanted: HaproxyState, seen: Seen) -> list[Action]:
    actions: list[Action] = []
    for file, entries in wanted.maps.items():
        there = seen.maps.get(file, {})
        for key, value in entries.items():
            if key not in there:
                actions.append(Command((f"add map {file} {key} {value}",)))
            elif there[key] != value:
                actions.append(Command((f"set map {file} {key} {value}",)))
        actions += [Command((f"del map {file} {key}",)) for key in there if key not in entries]
    return actions


def _server_actions(wanted: HaproxyState, seen: Seen) -> list[Action]:
    actions: list[Action] = []
    # New ones first: between them and the old ones there is always one that takes requests.
    for key, server in wanted.servers.items():
        if (there := seen.servers.get(key)) is None:
            actions.append(_add(server, slow_start=wanted.slow_start))
        else:
            actions += _adjust(server, there)
    for key, there in seen.servers.items():
        if key in wanted.servers:
            continue
        if there.admin is Admin.READY:
            actions.append(Command((f"set server {key} state drain",)))
        elif there.sessions == 0:
            actions.append(Command((f"set server {key} state maint", f"del server {key}"), expected="deleted"))
    return actions


def _add(server: HaproxyServer, *, slow_start: float) -> Command:
    state = "ready" if server.ready else "drain"
    return Command(
        (
            f"add server {server.key} {server.address} weight {server.weight} {server.options}"
            f" slowstart {round(1000 * slow_start)}ms",
            f"enable health {server.key}",
            f"set server {server.key} state {state}",
        ),
        expected="New server registered",
    )


def _adjust(server: HaproxyServer, there: SeenServer) -> list[Action]:
    if not server.ready:
        # Without a weight a server from the configuration gets no more requests than a draining one.
        quiet = there.admin is not Admin.READY or there.weight == 0
        return [] if quiet else [Command((f"set server {server.key} state drain",))]
    lines = []
    if there.weight != server.weight:
        lines.append(f"set server {server.key} weight {server.weight}")
    if there.admin is not Admin.READY:
        lines += [f"enable health {server.key}", f"set server {server.key} state ready"]
    return [Command(tuple(lines))] if lines else []
