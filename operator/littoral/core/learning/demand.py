"""Demand: from the rates that sites report to what a plan must be ready for, for each (Model, site)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any, Final

from littoral.api.quantity import parse_duration
from littoral.core.forecast import Series, decode, encode, forecast, update
from littoral.core.forecast.season import rise
from littoral.core.forecast.series import Moments
from littoral.core.learning.reports import Report
from littoral.core.learning.sticky import Sticky, upwards
from littoral.core.world import ModelKey, World, key_of

Pair = tuple[ModelKey, str | None]
"""A Model and a site; None for requests that arrive at no site."""

IDLE: Final = 0.001
"""Requests per second that an idle Model is taken to get: enough to be kept where it is, too little to cost more."""

_SELDOM: Final = 0.01
"""Requests per second below which nobody is there."""

_SHORTEST: Final = 0.5
"""Seconds below which two readings are one."""

_LONGEST: Final = 60.0
"""Seconds after which a reading says nothing of what was before it."""

_FIRST: Final = 5.0
"""Seconds that the first reading is taken to be about."""

_STARTING: Final = 10.0
"""Seconds until a Pod that is ordered now runs (measured in the lab: 4 s; images are there, nodes are busier)."""

_LOADING: Final = 10.0
"""Seconds that loading takes while it has not been measured."""


class Demand:
    """The memory of demand.

    Args:
        quantile: of the forecast: with this probability demand stays below it while capacity that is ordered starts.
        scale_to_zero_after: seconds without a request after which a Model with `minReplicas: 0` is let go; None to
            keep the last replica.
    """

    def __init__(self, *, quantile: float, scale_to_zero_after: float | None) -> None:
        self._quantile = quantile
        self._scale_to_zero_after = scale_to_zero_after
        self._series: dict[Pair, Series] = {}
        self._read_at: dict[Pair, float] = {}
        # Seconds that were watched, not a point in time: a clock that jumps lets nothing go.
        self._idle: dict[Pair, float] = {}
        self._sites: dict[ModelKey, set[str]] = defaultdict(set)
        self._sticky: Sticky[Pair] = Sticky(rise=0.0, fall=0.15)

    def observe(
        self,
        found: Iterable[Report],
        *,
        now: float,
        arrived: Mapping[Pair, float] | None = None,
        unheard: Set[str] = frozenset(),
        gated: Set[ModelKey] = frozenset(),
    ) -> None:
        """Take one reading.

        Args:
            arrived: requests/s that gateways have counted.
            now: seconds since the epoch.
            unheard: pools that are not heard of: nothing is learned of what they report, nor is it forgotten where
                Models are.
            gated: Models that gateways of those pools route.
        """
        for pair, rate in self._rates(found, arrived or {}, unheard, gated).items():
            before = self._read_at.get(pair)
            elapsed = _FIRST if before is None or not 0 <= now - before <= _LONGEST else now - before
            if elapsed < _SHORTEST:
                continue
            series = update(self._series.get(pair, Series()), count=rate * elapsed, start=now - elapsed, end=now)
            if not series.moments:
                continue
            self._read_at[pair] = now
            self._series[pair] = series
            if pair[1] is not None:
                self._sites[pair[0]].add(pair[1])
            if rate < _SELDOM:
                self._idle[pair] = self._idle.get(pair, 0.0) + elapsed
            else:
                self._idle.pop(pair, None)

    def ask(self, world: World, found: Iterable[Report], *, now: float) -> dict[Pair, float | None]:
        """What to be ready for: requests/s, as far ahead as starting takes. Pairs of which nothing is known are absent.

        Numbers are coarse and fall slowly (`Sticky`). Without a request for long, it is 0 for what may be let go.
        """
        horizons = _horizons(found)
        models = {key_of(model): model for model in world.models}
        sites = {pool.spec.site for pool in world.pools}
        self._retain({pair for pair in self._series if pair[0] in models and (pair[1] is None or pair[1] in sites)})
        asked: dict[Pair, float | None] = {}
        for pair, series in self._series.items():
            horizon = horizons.get(pair[0], _STARTING + _LOADING)
            expected = forecast(series, at=now, horizon=horizon, quantile=self._quantile)
            # What the last bursts have taught fades slowly; a Model that nobody asks does not wait for that.
            released = models[pair[0]].spec.scaling.min_replicas == 0 and self._is_idle(pair)
            if released and not _awakes(series, now=now, horizon=horizon):
                self._sticky.forget(pair)
                asked[pair] = 0.0
            elif expected < _SELDOM:
                self._sticky.forget(pair)
                asked[pair] = IDLE
            else:
                asked[pair] = self._sticky.settle(pair, upwards(expected))
        return asked

    def dump(self) -> dict[str, object]:
        """Everything that is worth keeping for the next process: by `namespace/name@site`, the series, or where nobody
        has asked for some time, the series and the seconds."""
        return {
            f"{pair[0]}@{pair[1] or ''}": [encode(series), round(self._idle[pair], 1)]
            if pair in self._idle
            else encode(series)
            for pair, series in self._series.items()
        }

    def load(self, saved: Mapping[str, Any]) -> None:
        """Take up what `dump` gave; what cannot be read is passed over."""
        for name, value in saved.items():
            key, _, site = name.partition("@")
            namespace, _, model = key.partition("/")
            text, idle = value if isinstance(value, list) and len(value) == 2 else (value, 0.0)
            try:
                series, idle = decode(text), float(idle)
            except (ValueError, TypeError, OverflowError, RecursionError):
                continue
            pair = ModelKey(namespace, model), site or None
            if not series.moments or pair in self._series:
                continue
            self._series[pair] = series
            if 0 < idle < math.inf:
                self._idle[pair] = idle
            if site:
                self._sites[pair[0]].add(site)

    def _rates(
        self, found: Iterable[Report], arrived: Mapping[Pair, float], unheard: Set[str], gated: Set[ModelKey]
    ) -> dict[Pair, float]:
        """Requests per second of each pair, as gateways count them, else as servers do.

        What a gateway has counted at a site is all that arrives there: its servers' counters have what other sites sent
        there, too. So have those of shared pools, which therefore say nothing of a Model that any gateway routes.

        Without a gateway nobody knows where a request to a shared pool came from. It is taken to come first from sites
        where the Model has no servers now, up to what arrived there lately; the rest, from all its sites in proportion
        to what arrives, or did; and from no site where nothing ever arrived at one. A site that gets servers for what
        was not its own soon shows so. Sites that nobody hears of are taken to serve themselves.
        """
        gated = gated | {key for key, _ in arrived}
        near: dict[ModelKey, dict[str, float]] = defaultdict(dict)
        far: dict[ModelKey, float] = {}
        there: set[Pair] = set()
        silent: set[str | None] = set()
        heard: set[str | None] = set()
        for report in found:
            there.add((report.place.model, report.site))
            (silent if report.place.pool in unheard else heard).add(report.site)
            if report.place.pool in unheard or (rate := report.rate) is None:
                continue
            key = report.place.model
            if (key, report.site) in arrived or (report.site is None and key in gated):
                continue
            if report.site is None:
                far[key] = far.get(key, 0.0) + rate
            else:
                near[key][report.site] = near[key].get(report.site, 0.0) + rate
        rates: dict[Pair, float] = {(key, site): rate for key, at in near.items() for site, rate in at.items()}
        for key, rate in far.items():
            here = near.get(key, {})
            gone = {
                site: self._recent(key, site)
                for site in self._sites.get(key, ())
                if site not in here and site not in silent - heard
            }
            lately = sum(gone.values())
            weights = gone | here
            total = sum(weights.values())
            if total > 0:
                first = min(1.0, rate / lately) if lately > 0 else 0.0
                rest = max(0.0, rate - lately) / total
                for site, weight in weights.items():
                    mine = (first if site in gone else 0.0) + rest
                    rates[key, site] = rates.get((key, site), 0.0) + weight * mine
            elif rate > 0 or (not weights and (key, None) not in self._series):
                rates[key, None] = rate
            if (key, None) in self._series:
                rates.setdefault((key, None), 0.0)
        rates |= self._counted(arrived, there)
        # What was taken to come from no site, before there was a gateway, was counted at a site since.
        rates |= {(key, None): 0.0 for key in gated if (key, None) in self._series and (key, None) not in rates}
        return rates

    def _counted(self, arrived: Mapping[Pair, float], there: Set[Pair]) -> Iterator[tuple[Pair, float]]:
        """What gateways have counted, without those that wait in vain: that a Model is routed somewhere, and nobody has
        ever asked there, is no reason to be ready there.

        Args:
            there: where Models are.
        """
        at_sites = {key for key, site in there if site is not None}
        for pair, rate in arrived.items():
            known = rate > 0 or pair in self._series
            if known or (pair in there and (pair[1] is not None or pair[0] not in at_sites)):
                yield pair, rate

    def _recent(self, key: ModelKey, site: str) -> float:
        """Requests per second that arrived there lately; 0 where nobody asks any more."""
        if (key, site) in self._idle:
            return 0.0
        return Moments.unpack(self._series[key, site].moments).means[1]

    def _is_idle(self, pair: Pair) -> bool:
        after = self._scale_to_zero_after
        return after is not None and pair in self._idle and self._idle[pair] >= after

    def _retain(self, pairs: set[Pair]) -> None:
        for gone in self._series.keys() - pairs:
            del self._series[gone]
            self._read_at.pop(gone, None)
            self._idle.pop(gone, None)
            if gone[1] is not None:
                self._sites[gone[0]].discard(gone[1])
        self._sticky.retain(pairs)


def _awakes(series: Series, *, now: float, horizon: float) -> bool:
    """Whether at this time of the day requests usually come again."""
    return series.season is not None and rise(series.season, start=now, end=now + horizon) >= _SELDOM


def _horizons(found: Iterable[Report]) -> dict[ModelKey, float]:
    """How far ahead to look for each Model: as long as its slowest variant takes to start, as measured."""
    loading: dict[ModelKey, float] = {}
    for report in found:
        if (load_time := report.measured.load_time) is not None:
            seconds = parse_duration(load_time)
            loading[report.place.model] = max(loading.get(report.place.model, 0.0), seconds)
    return {key: _STARTING + seconds for key, seconds in loading.items()}
