"""What must be served, and where it could be: demands with their options, gathered into parts that share nothing."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from zlib import crc32

from littoral.core.plan import Reason
from littoral.core.planner.company import Habit, habit
from littoral.core.planner.facts import ModelFacts, PoolFacts, VariantFacts
from littoral.core.planner.problem import FASTEST, SLOWEST, Problem
from littoral.core.planner.silence import Silence, silences
from littoral.core.world import ModelKey


@dataclass(frozen=True, eq=False, slots=True)
class Option:
    """One way to serve a demand: a variant in a pool.

    Attributes:
        rate: requests/s that one replica can take of it.
        price: of one replica for an hour.
        loading: what it costs to have the Model there at all, in the currency of prices.
        late: whether the SLO is not kept even so: best effort.
        habit: how the Model behaves beside others on a server; None where that is unknown.
    """

    pool: str
    variant: VariantFacts
    rate: float
    price: float
    loading: float
    shared: bool
    late: bool
    habit: Habit | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Demand:
    """Requests for one Model that arrive at one site. Compared by identity, as facts are.

    Attributes:
        amount: requests/s; 0 where the Model is only to be present, since its load is unknown.
        total: requests/s that arrive; more than `amount` where the rest is planned elsewhere.
        presence: whether one replica must be there whatever the amount, and by preference rather than by cost: its load
            is unknown, or too small to be a reason for anything.
        least: its part of the Model's `minReplicas`: all demands of a Model in one part together need as many replicas.
        options: by preference where cost ties: the near ones first, then in the Model's order of variants.
        far: the ways through shared pools among all that there are.
        homes: the pools of sites among all that there are.
        order: sorts by priority; total, so that the order of listing does not matter.
    """

    model: ModelFacts
    site: str | None
    amount: float
    total: float
    presence: bool
    options: tuple[Option, ...]
    far: tuple[Option, ...]
    homes: tuple[str, ...]
    order: tuple[object, ...]
    least: int = 0

    @property
    def near(self) -> tuple[Option, ...]:
        """The ways through pools of sites."""
        return tuple(option for option in self.options if not option.shared)

    def at_its_cheapest(self) -> Demand:
        """The same with the cheapest of the shared pools for all of them: a fluid part needs no more."""
        if len(self.far) <= 1:
            return self

        def cost(option: Option) -> float:
            return option.loading + option.price * self.amount / option.rate

        return self.through((*self.near, min(self.far, key=cost)), self.amount)

    def at(self, site: str | None, problem: Problem) -> Demand:
        """The same with the pools of one site only, of all that it could be present at: so sites stay apart."""
        options = tuple(option for option in self.options if option.shared or problem.pools[option.pool].site == site)
        homes = tuple(name for name in self.homes if problem.pools[name].site == site)
        return replace(self, options=options, homes=homes)

    def through(self, options: tuple[Option, ...], amount: float, *, least: int | None = None) -> Demand:
        """A part of the demand with some of its options."""
        return Demand(
            self.model,
            self.site,
            amount,
            self.total,
            self.presence,
            options,
            self.far,
            self.homes,
            self.order,
            self.least if least is None else least,
        )


def _demand(
    model: ModelFacts,
    site: str | None,
    amount: float,
    *,
    near: Sequence[Option],
    far: tuple[Option, ...],
    presence: bool,
) -> Demand:
    homes = tuple(dict.fromkeys(option.pool for option in near))
    # What must be present comes first among equals: then what has load can use the servers that are there anyway.
    order = (-model.priority, not presence, model.key, site or "", homes)
    return Demand(model, site, amount, amount, presence, (*near, *far), far, homes, order)


def _spread(found: Sequence[Demand], least: int) -> list[Demand]:
    """Part the least replicas of a Model among its demands: so each site can be planned alone, and none waits for what
    others have. The order is one that forecasts do not change, so that nothing moves with them."""
    able = sorted((demand for demand in found if demand.options), key=lambda demand: (demand.site or "", demand.homes))
    shares = {id(demand): (least + len(able) - 1 - rank) // len(able) for rank, demand in enumerate(able)}
    return [demand.through(demand.options, demand.amount, least=shares.get(id(demand), 0)) for demand in found]


@dataclass(kw_only=True)
class Read:
    """The demands of the last problem, by Model, so that those that did not change are the same objects again."""

    problem: Problem | None = None
    by_model: dict[ModelKey, tuple[Demand, ...]] = field(default_factory=dict)
    silences: Mapping[ModelKey, Silence] = field(default_factory=dict)


def demands(problem: Problem, *, last: Read | None = None) -> list[Demand]:
    """Every demand of a problem. `last` is brought up to date."""
    last = Read() if last is None else last
    unheard = silences(problem)
    reader = _Reader(problem, unheard)
    touched = None if last.problem is None else _touched(last.problem, problem)
    if touched is not None:
        touched |= {key for key, _ in last.silences.items() ^ unheard.items()}
    last.by_model = {
        key: last.by_model[key]
        if touched is not None and key not in touched and key in last.by_model
        else tuple(reader.of(model))
        for key, model in problem.models.items()
    }
    last.problem, last.silences = problem, unheard
    return [demand for found in last.by_model.values() for demand in found]


def _touched(old: Problem, new: Problem) -> set[ModelKey] | None:
    """The Models whose demands or options may differ; None for all."""
    if old.tuning != new.tuning or old.broken != new.broken or (None in old.silent) != (None in new.silent):
        return None
    touched = {key for key, model in new.models.items() if old.models.get(key) is not model}
    if old.rates is not new.rates:
        touched |= {key.model for key, _ in old.rates.items() ^ new.rates.items()}
    touched |= {pair[0] for pair, _ in old.demand.items() ^ new.demand.items()}
    changed = [*_changed(old.pools, new.pools), *_changed(_unheard(old), _unheard(new))]
    if changed:
        if any(pool.shared for pool in changed):
            return None
        names = {pool.name for pool in changed}
        everyone = (old.pools, new.pools, _unheard(old), _unheard(new))
        if any(names & pool.round_trips.keys() for pools in everyone for pool in pools.values()):
            return None
        sites = {pool.site for pool in changed}
        touched |= {pair[0] for pair in new.demand if pair[1] is None or pair[1] in sites}
        touched |= {key for key, model in new.models.items() if any(model.wanted_at(site) for site in sites)}
    return touched


def _changed(old: Mapping[str, PoolFacts], new: Mapping[str, PoolFacts]) -> list[PoolFacts]:
    """The pools that are not what they were, as they were and as they are."""
    if old is new:
        return []
    names = [name for name in old.keys() | new.keys() if old.get(name) is not new.get(name)]
    return [pools[name] for name in names for pools in (old, new) if name in pools]


def _unheard(problem: Problem) -> dict[str, PoolFacts]:
    return {name: it.pool for name, it in problem.frozen.items()}


class _Reader:
    """Turns Models, forecasts and floors into demands."""

    def __init__(self, problem: Problem, unheard: Mapping[ModelKey, Silence]) -> None:
        self._problem = problem
        self._unheard = unheard
        self._shared = [pool for pool in problem.pools.values() if pool.shared]
        self._at: dict[str, list[PoolFacts]] = defaultdict(list)
        for pool in problem.pools.values():
            if pool.site is not None and not pool.shared:
                self._at[pool.site].append(pool)
        self._frozen_at: dict[str | None, list[PoolFacts]] = defaultdict(list)
        for it in problem.frozen.values():
            if not it.pool.shared:
                self._frozen_at[it.pool.site].append(it.pool)
        self._known: dict[ModelKey, dict[str | None, float | None]] = defaultdict(dict)
        for (key, site), amount in problem.demand.items():
            self._known[key][site] = amount
        self._reach: dict[str | None, list[tuple[PoolFacts, float]]] = {}
        self._through_shared: dict[object, tuple[Option, ...]] = {}

    def of(self, model: ModelFacts) -> list[Demand]:
        """The demands of one Model."""
        found = list(self._of(model, self._known.get(model.key, {})))
        if model.least > 0 and not found:
            places = [pool for pool in self._problem.pools.values() if not pool.shared]
            found = [self._presence(model, None, places, self._shared)]
        spread = _spread(found, model.least) if model.least > 1 else found
        unheard = self._unheard.get(model.key)
        if unheard is not None:
            spread = [*spread, *self._spilled(model, unheard)]
        wanted = bool(spread) or (unheard is not None and unheard.seats > 0)
        return [*spread, *self._standby(model)] if wanted and self._problem.tuning.standby else spread

    def _spilled(self, model: ModelFacts, unheard: Silence) -> Iterator[Demand]:
        """What comes from sites that are not heard of, and that the Model stays where it could come to."""
        ways: dict[str, list[Option]] = {}
        for site, amount in unheard.spills:
            if model.stays(site):
                continue
            near, far = self._options(model, site)
            if amount > SLOWEST:
                presence = amount <= self._problem.tuning.small
                yield _demand(model, site, min(amount, FASTEST), near=near, far=far, presence=presence)
            by_pool: dict[str, list[Option]] = defaultdict(list)
            for option in (*near, *far):
                by_pool[option.pool].append(option)
            ways = by_pool | ways
        for pool, variants in unheard.there:
            if options := tuple(sorted(ways.get(pool, ()), key=lambda option: option.variant.name not in variants)):
                shared = options[0].shared
                # After everything that is asked for, as what is only in case.
                order = (1, False, model.key, "", (pool,))
                far, homes = (options, ()) if shared else ((), (pool,))
                yield Demand(model, None, 0.0, 0.0, True, options, far, homes, order)

    def _standby(self, model: ModelFacts) -> Iterator[Demand]:
        """One replica in a shared pool for what sites cannot serve in time: it must be there when the burst comes."""
        if not any(not slo.stays for slo in model.slos):
            return
        far = [option for pool in self._shared for option in self._variants(model, pool, site=None, trip=0.0)]
        quick = tuple(option for option in far if not option.late) or tuple(far)
        if quick:
            # After everything that is asked for: what is only in case takes no room from what is.
            order = (1, False, model.key, "", ())
            yield Demand(model, None, 0.0, 0.0, True, quick, quick, (), order)

    def _of(self, model: ModelFacts, known: Mapping[str | None, float | None]) -> Iterator[Demand]:
        unknown: list[PoolFacts] = []
        loaded = False
        sites = self._sites(model)
        heard = {*known, *sites} - self._problem.silent
        for site in sorted(heard, key=lambda site: (site is not None, site or "")):
            amount = known.get(site)
            floor = model.floor(site) if site in sites else 0.0
            if amount is None and not floor:
                local = () if site is None else self._at.get(site, ())
                unknown += [pool for pool in local if self._usable(model, pool)]
            elif (amount := min(max(amount or 0.0, floor), FASTEST)) > SLOWEST:
                near, far = self._options(model, site)
                loaded = True
                yield _demand(model, site, amount, near=near, far=far, presence=amount <= self._problem.tuning.small)
        for pool in unknown[: model.most]:
            yield self._presence(model, pool.site, [pool], () if model.stays(pool.site) else self._shared)
        told = loaded or any(site is not None or amount is not None for site, amount in known.items())
        told = told or model.key in self._problem.away
        if not told and not unknown and not (model.slos and all(slo.stays for slo in model.slos)):
            yield self._presence(model, None, (), self._shared)

    def _sites(self, model: ModelFacts) -> Collection[str | None]:
        """The sites where the Model is to run, whatever is known of its load there."""
        if not model.slos or any(slo.sites is None for slo in model.slos):
            # Where there are no sites, all that comes arrives at none: so do the floors.
            return self._at.keys() or self._frozen_at.keys() or (None,)
        return {site for slo in model.slos for site in slo.sites or ()}

    def _options(self, model: ModelFacts, site: str | None) -> tuple[tuple[Option, ...], tuple[Option, ...]]:
        """The ways to serve requests of the site: through pools of sites, and through shared ones."""
        reach = self._reach.get(site)
        if reach is None:
            self._reach[site] = reach = list(self._reachable(site))
        if site is None:
            return self._from_nowhere(model, reach)
        stays = model.stays(site)
        near = tuple(
            option
            for pool, trip in reach
            if not pool.shared and (pool.site == site or not stays)
            for option in self._variants(model, pool, site=site, trip=trip)
        )
        far = () if stays else self._far(model, site, [pair for pair in reach if pair[0].shared])
        if any(not option.late for option in (*near, *far)):
            near = tuple(option for option in near if not option.late)
            if any(option.late for option in far):
                far = tuple(option for option in far if not option.late)
        return near, far

    def _from_nowhere(
        self, model: ModelFacts, reach: Sequence[tuple[PoolFacts, float]]
    ) -> tuple[tuple[Option, ...], tuple[Option, ...]]:
        """The ways for requests that arrive at no site: they leave none either, so nothing keeps them at one."""
        far = self._far(model, None, reach)
        if far:
            return (), tuple(option for option in far if not option.late) or far
        near = [
            option
            for pool in self._problem.pools.values()
            if not pool.shared
            for option in self._variants(model, pool, site=None, trip=0.0)
        ]
        return tuple(option for option in near if not option.late) or tuple(near), ()

    def _far(self, model: ModelFacts, site: str | None, reach: Sequence[tuple[PoolFacts, float]]) -> tuple[Option, ...]:
        """The ways through shared pools: the same objects for all sites from which they look the same."""
        late = any(trip > 0 and self._too_far(model, site, trip) for _, trip in reach)
        key = (model.key, late, site if late else None, tuple((pool.name, trip) for pool, trip in reach))
        found = self._through_shared.get(key)
        if found is None:
            # Among equals each namespace has its own favourite, so that they do not all crowd into the first.
            favourites = sorted(
                reach, key=lambda pair: (pair[1], crc32(f"{model.key.namespace}/{pair[0].name}".encode()))
            )
            self._through_shared[key] = found = tuple(
                option for pool, trip in favourites for option in self._variants(model, pool, site=site, trip=trip)
            )
        return found

    def _reachable(self, site: str | None) -> Iterator[tuple[PoolFacts, float]]:
        """The pools that requests of a site can come to, with the seconds of the way there and back."""
        local = [] if site is None else self._at.get(site, [])
        named: dict[str, float] = {}
        senders = [*local, *self._frozen_at.get(site, ())]
        for pool in senders:
            for name, trip in pool.round_trips.items():
                named[name] = min(trip, named.get(name, math.inf))
        yield from ((pool, 0.0) for pool in local)
        # Another edge is a way out only where the NodePool names it.
        others = [pool for name, pool in self._problem.pools.items() if name in named and not pool.shared]
        away = [
            (pool, named.get(pool.name, 0.0))
            for pool in (*others, *self._shared)
            if pool not in local and (not senders or any(it.reaches(pool) for it in senders))
        ]
        yield from sorted(away, key=lambda pair: (pair[0].shared, pair[1], pair[0].name))

    def _presence(
        self, model: ModelFacts, site: str | None, pools: Iterable[PoolFacts], shared: Iterable[PoolFacts]
    ) -> Demand:
        near = [option for pool in pools for option in self._variants(model, pool, site=site, trip=0.0)]
        far = [option for pool in shared for option in self._variants(model, pool, site=site, trip=0.0)]
        return _demand(model, site, 0.0, near=near, far=tuple(far), presence=True)

    def _usable(self, model: ModelFacts, pool: PoolFacts) -> bool:
        return any(True for _ in self._variants(model, pool, site=pool.site, trip=0.0))

    def _variants(self, model: ModelFacts, pool: PoolFacts, *, site: str | None, trip: float) -> Iterator[Option]:
        if barred(model, pool) is not None:
            return
        for variant in model.variants:
            if unfit(self._problem, model, variant, pool, site=site) is None:
                yield self._option(model, variant, pool, late=trip > 0 and self._too_far(model, site, trip))

    @staticmethod
    def _too_far(model: ModelFacts, site: str | None, trip: float) -> bool:
        return any(slo.latency <= trip for slo in model.slos if slo.covers(site))

    def _option(self, model: ModelFacts, variant: VariantFacts, pool: PoolFacts, *, late: bool) -> Option:
        problem = self._problem
        speed = problem.speed(model.key, variant.name, variant.accelerator, pool.name)
        rate, late = problem.takes(speed, late=late)
        price = problem.price(pool, variant.accelerator)
        known = None if speed is None or speed.service is None else habit(speed.service)
        tuning = problem.tuning
        loading = tuning.loading_cost * price + tuning.preference * variant.rank
        return Option(pool.name, variant, rate, price, loading, pool.shared, late, known)


def barred(model: ModelFacts, pool: PoolFacts) -> tuple[Reason, str] | None:
    """Why the Model may not run in the pool at all, whatever the variant."""
    if pool.shared:
        if model.slos and all(slo.stays for slo in model.slos):
            return (
                Reason.STAYS_AT_SITE,
                f"LatencySLO {model.slos[0].name} has overflow: Never, so the data must not leave its site",
            )
    elif not model.wanted_at(pool.site):
        names = ", ".join(slo.name for slo in model.slos)
        return Reason.SITE_NOT_SELECTED, f"site {pool.site} is not among the sites of LatencySLO {names}"
    return None


def unfit(
    problem: Problem, model: ModelFacts, variant: VariantFacts, pool: PoolFacts, *, site: str | None
) -> tuple[Reason, str] | None:
    """Why a variant cannot serve requests of the site in the pool, however much room there is."""
    if not variant.supported:
        return (
            Reason.UNSUPPORTED_BACKEND,
            f"backend {variant.backend} does not run on {variant.accelerator}: choose another backend or accelerator",
        )
    if variant.accelerator not in pool.classes:
        if not pool.nodes:
            member = pool.pool.spec.member
            where = f"member cluster {member} has not reported any" if member else "it selects none"
            return Reason.NO_NODE, f"pool {pool.name} has no node: {where}"
        return Reason.NO_DEVICE, f"no node of pool {pool.name} has {variant.accelerator}"
    if variant.selector is not None and not pool.hosts(variant.accelerator, (variant.selector,)):
        return (
            Reason.NO_DEVICE,
            f"no node of pool {pool.name} has {variant.accelerator} that the variant's nodeSelector selects",
        )
    if not model.plain:
        # Clients reach a pool by the Model's name, not by the variant's: shared pools go by the strictest SLO.
        strict = model.slos if pool.shared else [slo for slo in model.slos if slo.covers(site) or slo.covers(pool.site)]
        for slo in strict:
            if slo.min_accuracy is not None and (variant.accuracy is None or variant.accuracy < slo.min_accuracy):
                stated = "states no accuracy" if variant.accuracy is None else f"has accuracy {variant.accuracy:g}"
                return (
                    Reason.BELOW_MIN_ACCURACY,
                    f"{stated}, and LatencySLO {slo.name} asks for at least {slo.min_accuracy:g}",
                )
    if (model.key, variant.name, pool.name) in problem.broken:
        return Reason.LOAD_FAILED, f"it failed to load in pool {pool.name}"
    return None


@dataclass(frozen=True, eq=False, slots=True)
class Part:
    """Demands and pools that share nothing with any other part.

    Attributes:
        fluid: whether shared pools are outside of it: their capacity is then taken to be there at its price, in any
            fraction of a replica, and what goes to them is planned afterwards.
    """

    demands: tuple[Demand, ...]
    pools: tuple[PoolFacts, ...]
    fluid: bool


def split(found: Sequence[Demand], problem: Problem) -> list[Part]:
    """Part the demands by the pools of sites that they could use: pools of one part can trade load."""
    parents: dict[str, str] = {name: name for name, pool in problem.pools.items() if not pool.shared}

    def root(name: str) -> str:
        while parents[name] != name:
            parents[name] = name = parents[parents[name]]
        return name

    for demand in found:
        for other in demand.homes[1:]:
            low, high = sorted((root(demand.homes[0]), root(other)))
            parents[high] = low
    pools: dict[str, list[PoolFacts]] = defaultdict(list)
    for name in parents:
        pools[root(name)].append(problem.pools[name])
    gathered: dict[str | None, list[Demand]] = defaultdict(list)
    for demand in found:
        gathered[root(demand.homes[0]) if demand.homes else None].append(demand)
    parts = [Part(in_order(gathered.get(name, ())), tuple(pools[name]), True) for name in sorted(pools)]
    if None in gathered:
        parts.append(Part(in_order(gathered[None]), (), True))
    return parts


def in_order(found: Iterable[Demand]) -> tuple[Demand, ...]:
    """The demands, the most important first."""
    return tuple(sorted(found, key=lambda demand: demand.order))
