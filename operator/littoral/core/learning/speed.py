"""Speed: from batch times and latencies that sites report to the rate at which a replica still keeps its SLO."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from littoral.api.latencyslo import LatencySLO
from littoral.api.measurement import LatencyQuantiles
from littoral.api.model import Variant
from littoral.api.nodepool import NodePool, Tier
from littoral.api.quantity import parse_duration
from littoral.core.capacity import BatchTime, Correction, Evidence, Measured, latency, max_rate
from littoral.core.capacity.correction import LARGEST
from littoral.core.capacity.sharing import Tenant, shared_latency
from littoral.core.learning.reports import Report
from littoral.core.learning.sticky import Sticky, downwards
from littoral.core.planner import RateKey, Speed
from littoral.core.planner.problem import Service
from littoral.core.world import ModelKey, World, key_of

UNBOUND: Final = 0.7
"""Share of its throughput that a Model without a LatencySLO is given: queues are short there, and bursts have room."""

_ENOUGH: Final = 20.0
"""Batches that must have run before they say more than what the Model states or other pools have seen."""

_NEAR: Final = 0.05
"""Share by which a batch time or a correction must differ from the last one to count."""

_COVERED: Final = 60.0
"""Seconds of requests that a site's quantiles are about."""

_SAME: Final = 0.2
"""Share by which the load of a replica may differ and still be the same load."""

_FARTHEST: Final = 1.01 * math.log(LARGEST)
"""How far the logarithm of a correction can be from 0, with what rounding adds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What an SLO asks of a pool's servers.

    Attributes:
        percentile: above 0 and below 100.
        budget: seconds, the round trip taken off; not above 0 where the way alone takes too long.
        trip: seconds of the way there and back.
    """

    percentile: float
    budget: float
    trip: float


class _Seen(NamedTuple):
    """What was measured of a variant on a class of device in one pool, or in all of them.

    Instances are not counted: they share a device, and batch times that were measured while one of them ran do not say
    how much slower they are together.
    """

    evidence: Evidence
    max_batch: int


class _Steady(NamedTuple):
    """Since when so many replicas have borne so much load each: replicas, requests/s, seconds since the epoch."""

    replicas: int
    load: float
    since: float


class Speeds:
    """The memory of speed: how far measured latencies lie from predicted ones."""

    def __init__(self) -> None:
        self._corrections: dict[RateKey, Correction] = {}
        self._quantiles: dict[tuple[RateKey, str], LatencyQuantiles] = {}
        self._steady: dict[tuple[RateKey, str], _Steady] = {}
        self._corrected_at: dict[RateKey, float] = {}
        self._loaded: set[RateKey] = set()
        self._times: dict[RateKey, BatchTime] = {}
        self._batches: dict[RateKey, int] = {}
        self._factors: Sticky[RateKey] = Sticky(rise=_NEAR, fall=_NEAR)
        self._known: dict[RateKey, tuple[object, Speed]] = {}

    def observe(self, world: World, found: Sequence[Report], *, now: float) -> None:
        """Compare the latencies that were measured since the last pass with what the model of capacity predicts.

        Args:
            now: seconds since the epoch.
        """
        models = {key_of(model): model for model in world.models}
        times = _batch_times(_seen(found))
        servers: dict[tuple[str, str, str], list[Report]] = defaultdict(list)
        for report in found:
            servers[report.place.pool, report.place.model.namespace, report.place.server].append(report)
        for sharing in servers.values():
            for report in sharing:
                key = _key(report)
                measured = report.measured.latency
                said = key, report.place.server
                steady = self._is_steady(said, report, now=now)
                if measured is None or measured == self._quantiles.get(said) or report.place.model not in models:
                    continue
                first = said not in self._quantiles
                self._quantiles[said] = measured
                if first and key in self._loaded:
                    # The process before this one has most likely counted it.
                    continue
                if not steady:
                    # Requests that waited before there were enough replicas do not say how fast a replica is.
                    continue
                self._correct(key, report, sharing, times=times, slos=world.slos_by_model, now=now)

    def ask(self, world: World, found: Sequence[Report]) -> dict[RateKey, Speed]:
        """The speeds of all variants of which anything is known, in the pools where they were measured, in shared pools
        (whose round trips differ), and, with `pool=None`, everywhere else."""
        seen = _seen(found)
        pools = {pool.name: pool for pool in world.pools}
        trips = _round_trips(world.pools)
        shared = [pool for pool in world.pools if pool.spec.tier == Tier.CLOUD]
        by_variant: dict[tuple[ModelKey, str], list[str]] = defaultdict(list)
        for key in seen:
            if key.pool is not None and key.pool in pools:
                by_variant[key.model, key.variant].append(key.pool)
        speeds: dict[RateKey, Speed] = {}
        for model in world.models:
            name = key_of(model)
            slos = world.slos_by_model.get(name, ())
            for variant in model.spec.variants:
                anywhere = RateKey(name, variant.name, variant.accelerator, None)
                if anywhere not in seen and variant.profile is None and anywhere not in self._times:
                    continue
                places: dict[str | None, NodePool | None] = {None: None}
                places |= {pool: pools[pool] for pool in by_variant.get((name, variant.name), ())}
                places |= {pool.name: pool for pool in shared}
                for place, pool in places.items():
                    key = anywhere._replace(pool=place)
                    speed = self._speed(key, variant, seen, bound=_bound(slos, pool, trips=trips))
                    if speed is not None:
                        speeds[key] = speed
        self._retain(world, speeds.keys())
        return speeds

    def dump(self) -> dict[str, list[float]]:
        """The corrections, by `namespace/model/variant/class/pool`."""
        return {
            f"{key.model}/{key.variant}/{key.accelerator}/{key.pool}": [
                float(f"{it.logarithm:.6g}"),
                float(f"{it.weight:.6g}"),
            ]
            for key, it in self._corrections.items()
        }

    def load(self, saved: Mapping[str, Sequence[float]]) -> None:
        """Take up what `dump` gave; what cannot be read is passed over."""
        for name, values in saved.items():
            try:
                namespace, model, variant, accelerator, pool = name.split("/")
                logarithm, weight = (float(value) for value in values)
            except (ValueError, TypeError, OverflowError):
                continue
            if 0 <= weight < math.inf and abs(logarithm) <= _FARTHEST * weight:
                key = RateKey(ModelKey(namespace, model), variant, accelerator, pool)
                if key not in self._corrections:
                    self._corrections[key] = Correction(logarithm=logarithm, weight=weight)
                    self._loaded.add(key)

    def _is_steady(self, said: tuple[RateKey, str], report: Report, *, now: float) -> bool:
        """Whether replicas and load have been as they are now for as long as quantiles cover, or since before they were
        first seen."""
        if (rate := report.rate) is None:
            return False
        replicas, load = report.replicas, rate / report.replicas
        before = self._steady.get(said)
        if before is None:
            before = _Steady(replicas, load, -math.inf)
        elif replicas != before.replicas or abs(load - before.load) > _SAME * max(load, before.load):
            before = _Steady(replicas, load, now)
        elif now < before.since:
            # A clock that was set back.
            before = before._replace(since=now)
        self._steady[said] = before
        return now - before.since >= _COVERED

    def _correct(
        self,
        key: RateKey,
        report: Report,
        sharing: Sequence[Report],
        *,
        times: Mapping[RateKey, tuple[BatchTime, int]],
        slos: Mapping[ModelKey, Sequence[LatencySLO]],
        now: float,
    ) -> None:
        quantiles = report.measured.latency
        known = times.get(key)
        if quantiles is None or known is None or not report.rate:
            return
        asked = max((float(slo.spec.percentile) for slo in slos.get(key.model, ())), default=99.0)
        percentile, value = _nearest(quantiles, asked)
        if value is None:
            return
        others = [
            Tenant(
                batch_time=times[_key(other)][0],
                max_batch=times[_key(other)][1],
                rate=other.rate / other.replicas,
                percentile=percentile,
                budget=math.inf,
            )
            for other in sharing
            if other is not report and other.rate and _key(other) in times
        ]
        mine = Tenant(
            batch_time=known[0],
            max_batch=known[1],
            rate=report.rate / report.replicas,
            percentile=percentile,
            budget=math.inf,
        )
        predicted = shared_latency([mine, *others])[0]
        before = self._corrected_at.get(key, now)
        self._corrected_at[key] = now
        self._corrections[key] = self._corrections.get(key, Correction()).observed(
            measured=parse_duration(value),
            predicted=predicted,
            percentile=percentile,
            requests=float(quantiles.requests),
            age=0.0,
            elapsed=now - before,
        )

    def _speed(
        self, key: RateKey, variant: Variant, seen: Mapping[RateKey, _Seen], *, bound: Bound | None
    ) -> Speed | None:
        anywhere = seen.get(key._replace(pool=None))
        here = seen.get(key, anywhere) if key.pool is not None else anywhere
        prior = _prior(variant)
        if here is not None and anywhere is not None and here.evidence.executions < _ENOUGH:
            # A pool that has hardly served yet goes by what others have seen.
            prior = anywhere.evidence.batch_time(max_batch=anywhere.max_batch, prior=prior)
        if here is None:
            # A new artifact of the variant is taken to be as fast as the last one was, until it has run.
            prior = self._times.get(key) or self._times.get(key._replace(pool=None)) or prior
        else:
            self._batches[key] = here.max_batch
        max_batch = self._batches.get(key) or self._batches.get(key._replace(pool=None)) or 1
        batch_time = here.evidence.batch_time(max_batch=max_batch, prior=prior) if here is not None else prior
        if batch_time is None:
            return None
        batch_time = self._settle(key, batch_time, max_batch=max_batch)
        factor = self._factors.settle(key, self._correction(key).factor)
        what = (batch_time, max_batch, factor, bound)
        known = self._known.get(key)
        if known is None or known[0] != what:
            speed = _calculate(batch_time, max_batch=max_batch, factor=factor, bound=bound)
            self._known[key] = known = (what, speed)
        return known[1]

    def _settle(self, key: RateKey, found: BatchTime, *, max_batch: int) -> BatchTime:
        """The batch time to go by: the kept one, where the new one is near it.

        They are compared by how long batches take, the smallest and the largest. A line's two parts are no measure:
        noise moves them far, the one up and the other down.
        """
        kept = self._times.get(key)
        if kept is not None and all(abs(found.of(n) - kept.of(n)) <= _NEAR * kept.of(n) for n in (1, max_batch)):
            return kept
        self._times[key] = found
        return found

    def _correction(self, key: RateKey) -> Correction:
        """The correction of the pool; of all pools together where nothing was compared in this one."""
        own = self._corrections.get(key)
        if own is not None:
            return own
        others = [it for other, it in self._corrections.items() if other._replace(pool=None) == key._replace(pool=None)]
        weight = sum(it.weight for it in others)
        # Several pools are several witnesses, but of the others only.
        shrink = 1 / len(others) if others else 1.0
        return Correction(logarithm=sum(it.logarithm for it in others) * shrink, weight=weight * shrink)

    def _retain(self, world: World, keys: Iterable[RateKey]) -> None:
        """Forget what nothing can ask for any more. What a pool has taught is kept while nothing runs there."""
        kept = set(keys)
        pools = {pool.name for pool in world.pools}
        variants = {(key_of(m), v.name, v.accelerator) for m in world.models for v in m.spec.variants}

        def possible(key: RateKey) -> bool:
            return key.pool in pools and key[:3] in variants

        self._corrections = {key: it for key, it in self._corrections.items() if possible(key)}
        self._corrected_at = {key: at for key, at in self._corrected_at.items() if possible(key)}
        self._loaded = {key for key in self._loaded if possible(key)}
        self._quantiles = {said: it for said, it in self._quantiles.items() if possible(said[0])}
        self._steady = {said: it for said, it in self._steady.items() if possible(said[0])}
        self._known = {key: it for key, it in self._known.items() if key in kept}
        self._times = {key: it for key, it in self._times.items() if key in kept}
        self._batches = {key: it for key, it in self._batches.items() if key in kept}
        self._factors.retain(kept)


def _calculate(batch_time: BatchTime, *, max_batch: int, factor: float, bound: Bound | None) -> Speed:
    saturation = batch_time.throughput(max_batch)
    # Batch times were measured, so no replica does more; where requests take longer than they say, it does less.
    full = saturation / max(1.0, factor)
    if bound is None:
        return Speed(rate=downwards(UNBOUND * saturation), saturation=saturation, full=full)
    least = factor * latency(batch_time=batch_time, max_batch=max_batch, rate=0.0, percentile=bound.percentile)
    if bound.budget <= 0:
        return Speed(rate=0.0, saturation=saturation, latency=least + bound.trip, full=full)
    budget = bound.budget / factor
    rate = max_rate(batch_time=batch_time, max_batch=max_batch, percentile=bound.percentile, budget=budget)
    return Speed(
        rate=downwards(rate),
        saturation=saturation,
        latency=least + bound.trip,
        service=Service(batch_time=batch_time, max_batch=max_batch, percentile=bound.percentile, budget=budget),
        full=full,
    )


def _key(report: Report) -> RateKey:
    return RateKey(report.place.model, report.variant, report.server.accelerator, report.place.pool)


def _seen(found: Iterable[Report]) -> dict[RateKey, _Seen]:
    """What was measured in each pool, and, under `pool=None`, in all of them."""
    seen: dict[RateKey, _Seen] = {}
    for report in found:
        measured = report.measured
        if not measured.batches:
            continue
        evidence = Evidence(
            {
                sample.size: Measured(executions=float(sample.count), seconds=seconds)
                for sample in measured.batches
                if (seconds := parse_duration(sample.time)) > 0
            }
        )
        if not evidence.sizes:
            continue
        mine = _Seen(evidence, measured.max_batch or max(evidence.sizes))
        key = _key(report)
        for each in (key, key._replace(pool=None)):
            before = seen.get(each)
            seen[each] = mine if before is None else _merged(before, mine)
    return seen


def _merged(one: _Seen, other: _Seen) -> _Seen:
    sizes: dict[int, Measured] = dict(one.evidence.sizes)
    for size, measured in other.evidence.sizes.items():
        known = sizes.get(size)
        if known is None:
            sizes[size] = measured
            continue
        executions = known.executions + measured.executions
        seconds = known.seconds * known.executions + measured.seconds * measured.executions
        sizes[size] = Measured(executions=executions, seconds=seconds / executions)
    return _Seen(Evidence(sizes), min(one.max_batch, other.max_batch))


def _batch_times(seen: Mapping[RateKey, _Seen]) -> dict[RateKey, tuple[BatchTime, int]]:
    found = {key: (it.evidence.batch_time(max_batch=it.max_batch), it) for key, it in seen.items()}
    return {key: (batch_time, it.max_batch) for key, (batch_time, it) in found.items() if batch_time is not None}


def _prior(variant: Variant) -> BatchTime | None:
    if variant.profile is None:
        return None
    try:
        return BatchTime(base=parse_duration(variant.profile.base), per_item=parse_duration(variant.profile.per_item))
    except ValueError:
        return None


def _nearest(quantiles: LatencyQuantiles, asked: float) -> tuple[float, str | None]:
    """The measured percentile that says most about the one that is asked for."""
    if asked >= 97:
        return 99.0, quantiles.p99
    return (95.0, quantiles.p95) if asked >= 80 else (50.0, quantiles.p50)


def _round_trips(pools: Iterable[NodePool]) -> dict[str, float]:
    """The longest way, there and back, to each pool that another one names, in seconds."""
    trips: dict[str, float] = {}
    for pool in pools:
        for name, text in pool.spec.network.round_trip.items():
            trips[name] = max(trips.get(name, 0.0), parse_duration(text))
    return trips


def _bound(slos: Sequence[LatencySLO], pool: NodePool | None, *, trips: Mapping[str, float]) -> Bound | None:
    """The strictest of the SLOs that are about requests that a pool serves; None where there is none."""
    site = pool.spec.site if pool is not None and pool.spec.tier != Tier.CLOUD else None
    mine = [slo for slo in slos if site is None or slo.spec.sites is None or site in slo.spec.sites.match_names]
    if not mine:
        return None
    strictest = min(mine, key=lambda slo: (parse_duration(slo.spec.latency), -float(slo.spec.percentile)))
    bound = parse_duration(strictest.spec.latency)
    # Where one site is too far away for its SLO, the others' way counts: its own requests do not come.
    trip = trips.get(pool.name, 0.0) if pool is not None and pool.spec.tier == Tier.CLOUD else 0.0
    return Bound(percentile=float(strictest.spec.percentile), budget=bound - trip, trip=trip)
