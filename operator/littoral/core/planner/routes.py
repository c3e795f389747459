"""From a plan to the routes of its gateways: what each pool's gateway does with requests for each Model. Pure.

A gateway's settings should not change with every forecast, so numbers are coarse, and one that is near what the
Assignment has already stays as it is. What the Assignment has is part of the problem: the answer depends on nothing
else.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from littoral.api.latencyslo import Overflow
from littoral.api.quantity import format_decimal, format_duration, parse_decimal, parse_duration
from littoral.api.routes import LIMIT_MOST, RemoteGateway, Route, RouteTarget, gateway_tls_name
from littoral.core.capacity.batching import most_outstanding
from littoral.core.plan import Flow
from littoral.core.planner.assignments import Placed
from littoral.core.planner.demands import barred
from littoral.core.planner.facts import ModelFacts, PoolFacts, VariantFacts
from littoral.core.planner.problem import Problem
from littoral.core.world import ModelKey

ROUTES_MOST: Final = 1024
"""Routes of one pool, by the API."""
TARGETS_MOST: Final = 64
"""Other pools of one route, by the API."""

_SAME_RATE: Final = 0.15
"""Share by which a rate may differ from the one that is in force and still not be worth a change."""
_SAME_SHARE: Final = 0.1
"""The same for the share of a pool in what leaves, absolute."""
_LEAST_SHARE: Final = 0.01
_LEAST_SPARE: Final = 0.1
"""Share of a pool's capacity that counts as spare however much goes there: plans are made for more than comes."""
_FASTEST: Final = 1e9
_NEAR: Final = 0.005
"""Seconds of a round trip that make no difference."""


class _Seat(NamedTuple):
    """One Model on one server."""

    variant: VariantFacts
    replicas: int


def routes(problem: Problem, *, placed: Iterable[Placed], flows: Sequence[Flow]) -> dict[str, tuple[Route, ...]]:
    """The routes of every pool that has nodes.

    A pool routes each Model that is there, that is wanted there (so that it is known, and its requests are counted,
    while it is nowhere), or that other pools serve to which its requests may go.

    Args:
        placed: all servers of the plan.
        flows: what goes where by the plan.
    """
    router = _Router(problem, placed=placed, flows=flows)
    return {pool.name: router.of(pool) for pool in problem.pools.values() if pool.nodes}


class _Router:
    """The routes of one plan."""

    def __init__(self, problem: Problem, *, placed: Iterable[Placed], flows: Sequence[Flow]) -> None:
        self._problem = problem
        # A Model that is not wanted everywhere concerns few pools: they do not look at all others.
        self._everywhere: list[ModelKey] = []
        self._wanted: dict[str, list[ModelKey]] = defaultdict(list)
        for key, model in problem.models.items():
            if not model.slos or any(slo.sites is None for slo in model.slos):
                self._everywhere.append(key)
            else:
                for site in {site for slo in model.slos for site in slo.sites or ()}:
                    self._wanted[site].append(key)
        self._there: dict[str, set[ModelKey]] = defaultdict(set)
        self._seats: dict[ModelKey, dict[str, list[_Seat]]] = defaultdict(lambda: defaultdict(list))
        for draft, server in placed:
            for key, (_, variant) in draft.members.items():
                self._seats[key][draft.pool].append(_Seat(variant, server.replicas))
                self._there[draft.pool].add(key)
        sent: dict[tuple[ModelKey, str | None], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        coming: dict[tuple[ModelKey, str], list[float]] = defaultdict(list)
        for flow in flows:
            if flow.rate > 0:
                sent[flow.model, flow.site][flow.pool].append(flow.rate)
                coming[flow.model, flow.pool].append(flow.rate)
        # Exact sums, so that the order of what is added does not matter.
        self._sent = {pair: {pool: math.fsum(rates) for pool, rates in to.items()} for pair, to in sent.items()}
        self._asked: dict[str | None, set[ModelKey]] = defaultdict(set)
        for key, asking in self._sent:
            self._asked[asking].add(key)
        self._coming = {pair: math.fsum(rates) for pair, rates in coming.items()}
        # Thousands of pools have the same few routes to the cloud.
        self._made: dict[object, Route] = {}
        self._remotes: dict[str, RemoteGateway] = {}

    def of(self, pool: PoolFacts) -> tuple[Route, ...]:
        """The routes of a pool's gateway, by namespace and name; the most important ones, if there are too many."""
        source = self._problem.sources.assignments.get(pool.name)
        before = {(it.namespace, it.name): it for it in source[0].routes} if source is not None else {}
        trips = dict(self._trips(pool))
        found = [
            (model, route)
            for model in self._concerned(pool, trips)
            if (route := self._route(model, pool, trips=trips, before=before.get(model.key))) is not None
        ]
        if len(found) > ROUTES_MOST:

            def importance(pair: tuple[ModelFacts, Route]) -> tuple[object, ...]:
                model, route = pair
                return (pool.name not in self._seats[model.key], not route.next, model.order)

            found = sorted(sorted(found, key=importance)[:ROUTES_MOST], key=lambda pair: pair[0].key)
        return tuple(route for _, route in found)

    def _concerned(self, pool: PoolFacts, others: Iterable[str]) -> list[ModelFacts]:
        """The Models that a pool could have routes for, by their keys."""
        asked = self._asked[None if pool.shared else pool.site]
        keys = self._there[pool.name].union(asked, *(self._there[name] for name in others))
        if pool.shared:
            keys.update(self._problem.models)
        else:
            keys.update(self._everywhere, self._wanted[pool.site or ""])
        return [self._problem.models[key] for key in sorted(keys)]

    def _trips(self, pool: PoolFacts) -> Iterator[tuple[str, float]]:
        """The other pools that requests can go to from a pool, with the seconds of the way there and back."""
        pools = self._problem.pools.values()
        beside = [it for it in pools if not (it.shared or pool.shared) and it.site == pool.site] or [pool]
        for other in pools:
            if not pool.reaches(other):
                continue
            named = [it.round_trips[other.name] for it in beside if other.name in it.round_trips]
            if other in beside:
                yield other.name, 0.0
            elif named or other.shared:
                # Another edge is a way out only where the NodePool names it.
                yield other.name, min(named, default=0.0)

    def _route(
        self, model: ModelFacts, pool: PoolFacts, *, trips: Mapping[str, float], before: Route | None
    ) -> Route | None:
        stays = model.stays(pool.site)
        here = self._seats[model.key].get(pool.name, ())
        targets = () if stays else self._next(model, pool, trips=trips, before=before)
        if not here and not targets and barred(model, pool) is not None:
            return None
        rate, budget = self._rate(model, pool, here, before=before), _budget(model, pool)
        if rate is None or budget is None:
            rate = budget = None
        limit = None if budget is None else self._limit(model, pool, here, budget=budget, before=before)
        gateways = tuple(self._gateway(pool, name) for name, _ in targets)
        content = (model.key, model.priority, stays, rate, budget, limit, targets, gateways)
        if content not in self._made:
            self._made[content] = Route(
                namespace=model.key.namespace,
                name=model.key.name,
                priority=model.priority,
                overflow=Overflow.NEVER if stays else Overflow.ALLOW,
                rate=rate,
                budget=budget,
                limit=limit,
                next=tuple(
                    RouteTarget(pool=name, weight=weight, gateway=gateway)
                    for (name, weight), gateway in zip(targets, gateways, strict=True)
                ),
            )
        return self._made[content]

    def _gateway(self, pool: PoolFacts, name: str) -> RemoteGateway | None:
        """Where the gateway of another pool is; None for one of the same cluster, whose Pods are reached directly."""
        other = self._problem.pools[name].pool.spec
        if other.member == pool.pool.spec.member or other.gateway is None:
            return None
        return self._remote(name, other.gateway.address)

    def _remote(self, name: str, address: str) -> RemoteGateway:
        # Compared by what it holds in `_made`, so one object for each pool is only the cheaper way.
        if name not in self._remotes:
            self._remotes[name] = RemoteGateway(address=address, tls_name=gateway_tls_name(name))
        return self._remotes[name]

    def _rate(self, model: ModelFacts, pool: PoolFacts, here: Sequence[_Seat], *, before: Route | None) -> str | None:
        """Requests/s of a full replica: the mean of all replicas, where a pool has several variants."""
        replicas = sum(seat.replicas for seat in here)
        if not replicas:
            return None
        total = 0.0
        for seat in sorted(here, key=lambda it: (it.variant.rank, it.replicas)):
            speed = self._problem.speed(model.key, seat.variant.name, seat.variant.accelerator, pool.name)
            full = None if speed is None else speed.full or speed.saturation
            if full is None or not 0 < full < math.inf:
                return None
            total += full * seat.replicas
        rate = min(total / replicas, _FASTEST)
        if before is not None and before.rate is not None:
            kept = float(parse_decimal(before.rate))
            if abs(rate - kept) <= _SAME_RATE * kept:
                return before.rate
        return format_decimal(max(float(f"{rate:.2g}"), 1e-6))

    def _limit(
        self, model: ModelFacts, pool: PoolFacts, here: Sequence[_Seat], *, budget: str, before: Route | None
    ) -> int | None:
        """Requests that a replica may have: of the variant that can have the fewest, where a pool has several."""
        limits = []
        for seat in here:
            speed = self._problem.speed(model.key, seat.variant.name, seat.variant.accelerator, pool.name)
            service = None if speed is None else speed.service
            if service is None:
                return None
            within = min(parse_duration(budget), service.budget)
            limits.append(most_outstanding(service.batch_time, max_batch=service.max_batch, budget=within))
        limit = min(limits, default=None)
        if limit is None:
            return None
        limit = min(limit, LIMIT_MOST)
        kept = before.limit if before is not None else None
        return kept if kept is not None and abs(limit - kept) <= max(1, _SAME_RATE * kept) else limit

    def _next(
        self, model: ModelFacts, pool: PoolFacts, *, trips: Mapping[str, float], before: Route | None
    ) -> tuple[tuple[str, str], ...]:
        """The other pools with their shares in what leaves: as the plan sends it, else by room and nearness."""
        seats = self._seats[model.key]
        planned = self._sent.get((model.key, None if pool.shared else pool.site), {})
        # Of a site with pools in several clusters, not every pool reaches what the plan sends the site's requests to.
        pools = self._problem.pools
        weights = {
            name: rate
            for name, rate in planned.items()
            if name != pool.name and name in seats and pool.reaches(pools[name])
        }
        if not weights:
            weights = self._likely(model, pool, trips=trips)
        total = math.fsum(weights.values())
        if total <= 0:
            return ()
        largest = sorted(weights, key=lambda name: (-weights[name], name))[:TARGETS_MOST]
        shares = {name: weights[name] / total for name in sorted(largest)}
        kept = {target.pool: target.weight for target in before.next} if before is not None else {}
        if kept.keys() == shares.keys() and all(
            abs(share - float(parse_decimal(kept[name]))) <= _SAME_SHARE for name, share in shares.items()
        ):
            return tuple((name, kept[name]) for name in shares)
        return tuple((name, format_decimal(max(_LEAST_SHARE, share), places=2)) for name, share in shares.items())

    def _likely(self, model: ModelFacts, pool: PoolFacts, *, trips: Mapping[str, float]) -> dict[str, float]:
        """Where to send what is too much here, though the plan expects nothing of the kind."""
        seats = self._seats[model.key]
        ways = {name: trips[name] for name in seats if name != pool.name and name in trips}
        bounds = [slo.latency for slo in model.slos if slo.covers(pool.site)]
        in_time = {name: trip for name, trip in ways.items() if all(trip < bound for bound in bounds)}
        if in_time or pool.name in seats:
            # What would come back too late had better wait where it is.
            ways = in_time
        return {name: self._spare(model, name) / (trip + _NEAR) for name, trip in ways.items()}

    def _spare(self, model: ModelFacts, pool: str) -> float:
        """Requests/s that a pool could still take of a Model."""
        capacity = 0.0
        for seat in self._seats[model.key][pool]:
            speed = self._problem.speed(model.key, seat.variant.name, seat.variant.accelerator, pool)
            rate = 0.0 if speed is None else speed.rate or speed.saturation
            capacity += seat.replicas * (rate if 0 < rate < math.inf else self._problem.tuning.default_rate)
        return max(capacity - self._coming.get((model.key, pool), 0.0), _LEAST_SPARE * capacity)


def _budget(model: ModelFacts, pool: PoolFacts) -> str | None:
    """The strictest latency that is asked for there; shared pools go by the strictest of all, as elsewhere."""
    latencies = [slo.latency for slo in model.slos if pool.shared or slo.covers(pool.site)]
    return format_duration(min(latencies)) if latencies else None
