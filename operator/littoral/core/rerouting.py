"""Routes on the way to a plan: where a Model goes on serving for now, gateways go on sending requests. Pure.

The routes of the plan hold at once otherwise: a gateway uses only servers that answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from littoral.api.assignment import Assignment, AssignmentSpec
from littoral.api.latencyslo import Overflow
from littoral.api.routes import Route

_TARGETS_MOST = 64


def rerouted(
    staged: Mapping[str, AssignmentSpec],
    *,
    seats: Collection[tuple[str, str, str]],
    current: Mapping[str, Assignment],
) -> dict[str, AssignmentSpec]:
    """The specs of pools with the ways to what stays for now, as far as they are ways today and may go on to be.

    Args:
        staged: what is written next, with the routes of the plan.
        seats: (pool, namespace, Model) of what the plan no longer has there, and that goes on serving.
        current: the Assignments as they are.
    """
    staying: dict[tuple[str, str], set[str]] = defaultdict(set)
    for pool, namespace, model in seats:
        staying[namespace, model].add(pool)
    return {
        pool: _rerouted(spec, current[pool].spec.routes, pool=pool, staying=staying)
        if staying and pool in current
        else spec
        for pool, spec in staged.items()
    }


def _rerouted(
    spec: AssignmentSpec, before: Collection[Route], *, pool: str, staying: Mapping[tuple[str, str], set[str]]
) -> AssignmentSpec:
    routes = {(route.namespace, route.name): route for route in spec.routes}
    for old in before:
        key = (old.namespace, old.name)
        pools = staying.get(key, set())
        route = routes.get(key)
        if route is None:
            # The plan sends nothing from here, and so no more does the gateway; what serves here has its name.
            if pool in pools:
                routes[key] = old.model_copy(update={"next": ()})
            continue
        known = {target.pool for target in route.next}
        more = tuple(target for target in old.next if target.pool in pools - known)
        if more and route.overflow != Overflow.NEVER:
            targets = sorted((*route.next, *more[: _TARGETS_MOST - len(known)]), key=lambda target: target.pool)
            routes[key] = route.model_copy(update={"next": tuple(targets)})
    if tuple(routes.values()) == spec.routes:
        return spec
    return spec.model_copy(update={"routes": tuple(routes[key] for key in sorted(routes))})
