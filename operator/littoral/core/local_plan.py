"""What a member site may make of a plan of its own while its hub is away: more, never less than the hub gave. Pure.

The plan sees the site and nothing else. What looks useless from there may be just what the hub needs, so a server that
came from the hub keeps its Models and at least its replicas, and what the site has added goes again as plans say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from littoral.api.assignment import Assignment, AssignmentSpec, Server
from littoral.core.plan import Decision, Plan
from littoral.core.staging import stage
from littoral.core.world import ModelKey

ServerKey = tuple[str, str]
"""(namespace, name)."""


def local_servers(
    planned: Plan, *, current: Mapping[str, Assignment], floors: Mapping[str, Mapping[ServerKey, int]]
) -> dict[str, tuple[Server, ...]]:
    """The servers of each pool that was planned, on the way to the plan.

    Args:
        current: the Assignments as they are at the site, by pool.
        floors: replicas of each server that came from the hub, by pool.
    """
    staged = stage(_careful(planned, current.values()), current=current)
    return {
        pool: grown(
            current[pool].spec, planned=planned.assignments[pool], staged=staged[pool], floor=floors.get(pool, {})
        )
        for pool in sorted(planned.assignments.keys() & current.keys())
    }


def grown(
    current: AssignmentSpec, *, planned: AssignmentSpec, staged: AssignmentSpec, floor: Mapping[ServerKey, int]
) -> tuple[Server, ...]:
    """The servers of one pool: those that are there, as the plan lets them grow, and what the plan adds.

    Args:
        planned: what the plan wants in the end.
        staged: what it wants now, since something has to go on for a while.
        floor: replicas of the servers that came from the hub.
    """
    wanted, now = _by_key(planned), _by_key(staged)
    servers: dict[ServerKey, Server] = {}
    for key, server in _by_key(current).items():
        if key in wanted:
            replicas = (now.get(key) or wanted[key]).replicas
            grown = _with(server, wanted[key])
            servers[key] = grown.model_copy(update={"replicas": max(replicas, floor.get(key, 0))})
        elif key in floor:
            replicas = server.replicas if key in now else floor[key]
            servers[key] = server.model_copy(update={"replicas": max(replicas, floor[key])})
        elif key in now:
            servers[key] = server
    return tuple(servers[key] if key in servers else wanted[key] for key in sorted(servers.keys() | wanted.keys()))


def _with(server: Server, wanted: Server) -> Server:
    """The server with the Models that the plan adds to it: only where it also keeps all the others, since nobody has
    planned for both to fit otherwise."""
    there = _names(server)
    if not there < _names(wanted):
        return server
    added = tuple(model for model in wanted.models if model.name not in there)
    models = tuple(sorted((*server.models, *added), key=lambda model: model.name))
    return wanted.model_copy(update={"models": models})


def _careful(planned: Plan, current: Iterable[Assignment]) -> Plan:
    """The plan without the reasons for which something that serves might stop, such as that others need its room."""
    decisions = {
        ModelKey(server.namespace, model.name): Decision()
        for assignment in current
        for server in assignment.spec.servers
        for model in server.models
    }
    for key, decision in planned.decisions.items():
        decisions[key] = Decision(placements=decision.placements)
    return replace(planned, decisions=decisions, routed=False)


def _by_key(spec: AssignmentSpec) -> dict[ServerKey, Server]:
    return {(server.namespace, server.name): server for server in spec.servers}


def _names(server: Server) -> frozenset[str]:
    return frozenset(model.name for model in server.models)
