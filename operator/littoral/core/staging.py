"""From what runs to what is planned, without a gap: what serves stays until its replacement serves. Pure.

Several passes bring a plan about. Each writes what is planned, and beside it what must stay for now; once the site
reports that the replacement is ready, the next pass no longer finds a reason to keep the old one. Nothing waits for
a site that is not heard of.

What stays takes room. Where a site reports that it has none for what is planned, something lets go, one server with
each report: what has other replicas first; last what serves nowhere else, and only if waiting would change nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from littoral.api.assignment import Assignment, AssignmentSpec, Server, ServerReport
from littoral.api.serving import ServedModel
from littoral.core.plan import Decision, Plan, Reason
from littoral.core.rerouting import rerouted
from littoral.core.world import ModelKey

# Where a Model may not run, it stops at once: data that must not leave its site is not sent on for convenience.
_FORBIDDEN: Final = frozenset(
    {
        Reason.BELOW_MIN_ACCURACY,
        Reason.SITE_NOT_SELECTED,
        Reason.STAYS_AT_SITE,
    }
)

# What has no other place goes on where it serves (its node may be back in a moment); but not in the way of others.
_OUTRANKED: Final = frozenset(
    {
        Reason.DEVICES_TAKEN,
        Reason.INSUFFICIENT_CPU,
        Reason.MAX_REPLICAS_REACHED,
        Reason.NOT_NEEDED,
        Reason.POOL_FULL,
    }
)

_TOO_MUCH: Final = 3

_Seat = tuple[str, str, str, str]
"""(pool, namespace, server, Model)."""


def stage(planned: Plan, *, current: Mapping[str, Assignment]) -> dict[str, AssignmentSpec]:
    """What each pool's Assignment shall say now, on the way to the plan.

    Args:
        current: the Assignments as they are, by pool, with what their sites report.

    Returns:
        The planned assignments, each with the Models and the replicas that must go on serving there until as much
        serves elsewhere. Pools whose members are not heard of are not among them.
    """
    leaving = _leaving(planned, current=current)
    replicas = _replicas(planned, current=current)
    blocked = _blocked(current)
    for pool in sorted({place[0] for place in blocked} & planned.assignments.keys()):
        if pool in replicas:
            del replicas[pool]
        elif pool in leaving:
            serving = _serving(planned, leaving, current=current)
            leaving[pool] = _without_one(leaving[pool], planned, pool=pool, blocked=blocked, serving=serving)
    staged = {
        pool: _with(spec, leaving.get(pool, ()), replicas=replicas.get(pool, {}))
        if pool in leaving or pool in replicas
        else spec
        for pool, spec in planned.assignments.items()
    }
    if not planned.routed:
        return staged
    seats = {(pool, server.namespace, model.name) for pool, them in leaving.items() for server, model in them}
    # What a site serves that the hub does not hear of, its neighbours may still reach.
    seats |= {
        (pool, server.namespace, model.name)
        for pool in planned.frozen.keys() & current.keys()
        for server in current[pool].spec.servers
        for model in server.models
    }
    return rerouted(staged, seats=seats, current=current)


def _replicas(planned: Plan, *, current: Mapping[str, Assignment]) -> dict[str, dict[tuple[str, str], int]]:
    """Servers that are to shrink while what takes their load over has yet to serve: (namespace, name) -> replicas."""
    kept: dict[str, dict[tuple[str, str], int]] = {}
    for pool, spec in planned.assignments.items():
        if pool not in current:
            continue
        before = {(server.namespace, server.name): server.replicas for server in current[pool].spec.servers}
        for server in spec.servers:
            key = (server.namespace, server.name)
            if before.get(key, 0) > server.replicas and _awaited(planned, server, pool=pool, current=current):
                kept.setdefault(pool, {})[key] = before[key]
    return kept


def _awaited(planned: Plan, server: Server, *, pool: str, current: Mapping[str, Assignment]) -> bool:
    """Whether another server that a Model of this one is to have as well does not answer yet."""
    for model in server.models:
        decision = planned.decisions.get(ModelKey(server.namespace, model.name))
        for placement in decision.placements if decision is not None else ():
            if (placement.pool, placement.server) == (pool, server.name) or placement.pool in planned.frozen:
                continue
            assignment = current.get(placement.pool)
            ready = _ready(assignment.status.servers) if assignment is not None else frozenset()
            if (server.namespace, placement.server, model.name) not in ready:
                return True
    return False


def _leaving(planned: Plan, *, current: Mapping[str, Assignment]) -> dict[str, list[tuple[Server, ServedModel]]]:
    """Models that serve where the plan no longer has them, and have to go on doing so."""
    wanted = _wanted(planned)
    leaving: dict[str, list[tuple[Server, ServedModel]]] = {}
    for pool, assignment in current.items():
        if pool not in planned.assignments:
            continue
        ready = _ready(assignment.status.servers)
        for server in assignment.spec.servers:
            for model in server.models:
                decision = planned.decisions.get(ModelKey(server.namespace, model.name))
                if (
                    decision is not None
                    and (pool, server.namespace, server.name, model.name) not in wanted
                    and (server.namespace, server.name, model.name) in ready
                    and not _forbidden(decision, pool=pool, variant=model.variant)
                    and not _outranked(decision, pool=pool, variant=model.variant)
                    and not _replaced(
                        decision, key=ModelKey(server.namespace, model.name), current=current, frozen=planned.frozen
                    )
                ):
                    leaving.setdefault(pool, []).append((server, model))
    return leaving


def _blocked(current: Mapping[str, Assignment]) -> frozenset[tuple[str, str, str]]:
    """(pool, namespace, server) of what lacks Pods for want of room, as far as sites have seen what is assigned now."""
    return frozenset(
        (pool, report.namespace, report.name)
        for pool, assignment in current.items()
        if assignment.status.observed_generation >= assignment.metadata.generation
        for report in assignment.status.servers
        if report.unschedulable
    )


def _wanted(planned: Plan) -> set[_Seat]:
    return {
        (pool, server.namespace, server.name, model.name)
        for pool, spec in planned.assignments.items()
        for server in spec.servers
        for model in server.models
    }


def _serving(
    planned: Plan, leaving: Mapping[str, Sequence[tuple[Server, ServedModel]]], *, current: Mapping[str, Assignment]
) -> set[_Seat]:
    """Where Models answer now, and go on doing so."""
    staying = _wanted(planned) | {
        (pool, server.namespace, server.name, model.name)
        for pool, members in leaving.items()
        for server, model in members
    }
    ready = {(pool, *seat) for pool, assignment in current.items() for seat in _ready(assignment.status.servers)}
    return staying & ready


def _without_one(
    leaving: Sequence[tuple[Server, ServedModel]],
    planned: Plan,
    *,
    pool: str,
    blocked: Collection[tuple[str, str, str]],
    serving: Collection[_Seat],
) -> list[tuple[Server, ServedModel]]:
    """What stays but for one server, the one that is missed least."""
    # A server that the plan has anyway gives no room.
    planned_servers = {(server.namespace, server.name) for server in planned.assignments[pool].servers}
    harms: dict[tuple[str, str], list[int]] = {}
    for server, model in leaving:
        key = (server.namespace, server.name)
        if key not in planned_servers:
            harm = _harm(planned, server, model, pool=pool, blocked=blocked, serving=serving)
            harms.setdefault(key, []).append(harm)
    least = min(harms, key=lambda key: (max(harms[key]), len(harms[key]), key), default=None)
    if least is None or max(harms[least]) >= _TOO_MUCH:
        return list(leaving)
    return [(server, model) for server, model in leaving if (server.namespace, server.name) != least]


def _harm(
    planned: Plan,
    server: Server,
    model: ServedModel,
    *,
    pool: str,
    blocked: Collection[tuple[str, str, str]],
    serving: Collection[_Seat],
) -> int:
    """How bad it is that a Model stops here before it serves where it shall."""
    mine = (pool, server.namespace, server.name, model.name)
    if any(seat != mine and (seat[1], seat[3]) == (server.namespace, model.name) for seat in serving):
        return 0
    placements = planned.decisions[ModelKey(server.namespace, model.name)].placements
    if not placements:
        return 1
    # If its replacement is on its way, that it is there is only a matter of time; and then this one goes by itself.
    stuck = all((placement.pool, server.namespace, placement.server) in blocked for placement in placements)
    return 2 if stuck else _TOO_MUCH


def _forbidden(decision: Decision, *, pool: str, variant: str) -> bool:
    return any(
        rejection.pool == pool and rejection.variant in (None, variant) and rejection.reason in _FORBIDDEN
        for rejection in decision.rejections
    )


def _outranked(decision: Decision, *, pool: str, variant: str) -> bool:
    """Whether the Model has no place at all because others need the room that it takes, or because nobody needs it."""
    return not decision.placements and any(
        rejection.pool == pool and rejection.variant in (None, variant) and rejection.reason in _OUTRANKED
        for rejection in decision.rejections
    )


def _replaced(decision: Decision, *, key: ModelKey, current: Mapping[str, Assignment], frozen: Collection[str]) -> bool:
    """Whether the Model answers in every place that the plan has for it, as far as sites are heard of. No place is no
    replacement."""
    heard = [placement for placement in decision.placements if placement.pool not in frozen]
    for placement in heard or decision.placements:
        assignment = current.get(placement.pool)
        if assignment is None:
            return False
        if (key.namespace, placement.server, key.name) not in _ready(assignment.status.servers):
            return False
    return bool(decision.placements)


def _ready(reports: Iterable[ServerReport]) -> frozenset[tuple[str, str, str]]:
    """(namespace, server, model) of what answers in at least one replica."""
    return frozenset(
        (report.namespace, report.name, model.name)
        for report in reports
        for model in report.models
        if model.ready_replicas > 0
    )


def _with(
    spec: AssignmentSpec,
    leaving: Iterable[tuple[Server, ServedModel]],
    *,
    replicas: Mapping[tuple[str, str], int],
) -> AssignmentSpec:
    servers = {(server.namespace, server.name): server for server in spec.servers}
    for key, count in replicas.items():
        servers[key] = servers[key].model_copy(update={"replicas": count})
    for old, model in leaving:
        key = (old.namespace, old.name)
        # A server that the plan keeps for other Models only gets this one back; another stays with what must stay.
        server = servers.get(key) or old.model_copy(update={"models": ()})
        models = tuple(sorted((*server.models, model), key=lambda served: served.name))
        servers[key] = server.model_copy(update={"models": models})
    return spec.model_copy(update={"servers": tuple(servers[key] for key in sorted(servers))})
