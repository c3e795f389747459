"""What pools that are heard of still do for sites that are not: take what those send on, as they did before. Pure.

A site whose member is away is taken to go on with the servers that it has. What it was expected to get beyond what
these can serve goes to other pools, as ever. And where a Model of such a site runs, there it stays: nobody can tell
that it is needed no more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from littoral.core.planner.facts import ModelFacts
from littoral.core.planner.problem import Problem, Seat
from littoral.core.world import ModelKey


class Silence(NamedTuple):
    """What matters of one Model at sites that are not heard of. Equal where the same is to be planned.

    Attributes:
        seats: how many servers it has there.
        spills: requests/s that each of these sites is expected to send to other pools.
        there: the pools of others in which it runs now, with its variants.
    """

    seats: int
    spills: tuple[tuple[str, float], ...]
    there: tuple[tuple[str, tuple[str, ...]], ...]


def silences(problem: Problem) -> dict[ModelKey, Silence]:
    """Every Model that is at a site that is not heard of, or may be asked for there."""
    if not problem.frozen:
        return {}
    spills: dict[ModelKey, list[tuple[str, float]]] = defaultdict(list)
    for site in sorted(site for site in problem.silent if site is not None):
        for key, amount in _spills(problem, site):
            spills[key].append((site, amount))
    there: dict[ModelKey, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name, running in problem.current.items():
        for server in running.servers if name in problem.pools else ():
            for model, variant in server.models.items():
                there[ModelKey(server.namespace, model)][name].add(variant)
    return {
        key: Silence(
            len(problem.away.get(key, ())),
            tuple(spills.get(key, ())),
            tuple((pool, tuple(sorted(variants))) for pool, variants in sorted(there[key].items())),
        )
        for key in (problem.away.keys() | spills.keys()) & problem.models.keys()
    }


def _spills(problem: Problem, site: str) -> Iterator[tuple[ModelKey, float]]:
    """What a site is expected to send to other pools of each Model that is there, or that may be asked for there.

    The servers that it has are filled in order of priority, as when they were planned.
    """
    here = {name: it for name, it in problem.frozen.items() if it.pool.site == site and not it.pool.shared}
    free = {
        (name, server.namespace, server.name): float(server.replicas)
        for name, it in here.items()
        for server in it.running.servers
    }
    for model in sorted(problem.models.values(), key=lambda model: model.order):
        seats = [seat for seat in problem.away.get(model.key, ()) if seat.pool in here]
        known = problem.demand.get((model.key, site))
        left = max(known or 0.0, model.floor(site))
        asked = left > 0 or (known is None and model.wanted_at(site))
        if not (asked or seats or any(model.key in it.ways for it in here.values())):
            continue
        for seat in seats:
            server = (seat.pool, seat.server.namespace, seat.server.name)
            rate = _rate(problem, model, seat)
            taken = min(left / rate, free[server])
            free[server] -= taken
            left -= taken * rate
        yield model.key, max(0.0, left)


def _rate(problem: Problem, model: ModelFacts, seat: Seat) -> float:
    """Requests/s of one replica, late ones if it cannot serve any in time."""
    return problem.takes(problem.speed(model.key, seat.variant, seat.server.accelerator, seat.pool))[0]
