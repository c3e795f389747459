"""What pools that are heard of still do for sites that are not: take what those send on, as they did before. Pure.

A site whose member is away is taken to go on with the servers that it has. What it was expected to get beyond what
these can serve goes to other pools, as ever. And where a Model of such a site runs, there it stays: nobody can tell
that it is needed no more.
"""

from __future__ import annotations

from collections import defaultdict
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
    spills = _spills(problem)
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


def _spills(problem: Problem) -> dict[ModelKey, list[tuple[str, float]]]:
    """What each silent site is expected to send to other pools of each Model that is there, or may be asked for there.

    The servers that it has are filled in order of priority, as when they were planned.
    """
    silent = sorted(site for site in problem.silent if site is not None)
    at = {name: it.pool.site for name, it in problem.frozen.items() if not it.pool.shared}
    seats: dict[tuple[ModelKey, str | None], list[Seat]] = defaultdict(list)
    for key, found in problem.away.items():
        for seat in found:
            seats[key, at.get(seat.pool)].append(seat)
    coming = {(key, at.get(name)) for name, it in problem.frozen.items() for key in it.ways}
    free = {
        (name, server.namespace, server.name): float(server.replicas)
        for name, it in problem.frozen.items()
        for server in it.running.servers
    }
    spills: dict[ModelKey, list[tuple[str, float]]] = {}
    for model in sorted(problem.models.values(), key=lambda model: model.order):
        mine: list[tuple[str, float]] = []
        for site in silent:
            pair = (model.key, site)
            known, wanted = problem.demand.get(pair), model.wanted_at(site)
            left = max(known or 0.0, model.floor(site) if wanted else 0.0)
            if not (left > 0 or (wanted and known is None) or pair in seats or pair in coming):
                continue
            for seat in seats.get(pair, ()):
                server = (seat.pool, seat.server.namespace, seat.server.name)
                rate = _rate(problem, model, seat)
                taken = min(left / rate, free[server])
                free[server] -= taken
                left -= taken * rate
            mine.append((site, max(0.0, left)))
        if mine:
            spills[model.key] = mine
    return spills


def _rate(problem: Problem, model: ModelFacts, seat: Seat) -> float:
    """Requests/s of one replica, late ones if it cannot serve any in time."""
    return problem.takes(problem.speed(model.key, seat.variant, seat.server.accelerator, seat.pool))[0]
