"""A discrete-event simulation of replicas that come and go: arrivals, batches, starts and a policy's decisions.

A replica batches as Triton's dynamic batcher does without a queue delay (`queueing` has the whole of it, for servers
that stay): whenever it is idle it takes what waits, up to its largest batch.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from littoral.sim.policies import Observation, PlaceState, Policy
from littoral.sim.scenario import Balancing, Place, Scenario
from littoral.sim.workload import Workload


class Routing(StrEnum):
    """How the requests of a site are divided between the places that may serve them."""

    WEIGHTED = "Weighted"
    """At random, in proportion to what the ready replicas of each place can take."""
    SPILL = "Spill"
    """To the nearest place, and to the next one whenever waiting would break the SLO: a gateway, which sends to the
    least busy replica."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """One replica, from its creation to its end, in seconds."""

    place: int
    created: float
    gone: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What became of a workload.

    Attributes:
        times: when each request came.
        latencies: seconds until its answer, network included; infinite where its client gave up.
        served: requests that each place answered.
        lifetimes: every replica that there was.
        seconds: how long the run lasted.
    """

    times: Sequence[float]
    latencies: Sequence[float]
    served: Sequence[int]
    lifetimes: Sequence[Lifetime]
    seconds: float


def simulate(
    scenario: Scenario,
    workload: Workload,
    policy: Policy,
    *,
    routing: Routing = Routing.SPILL,
    seed: int = 1,
) -> Run:
    """Serve a workload under a policy. The same arguments give the same run.

    Args:
        policy: a new one; it is asked at time 0 and then every `policy.period` seconds.
    """
    return _Cluster(scenario, workload, policy, routing=routing, seed=seed).run()


@dataclass(slots=True, eq=False)
class _Replica:
    place: _PlaceNow
    created: float
    ready: bool = False
    retired: bool = False
    busy_until: float = 0.0
    batch: list[int] = field(default_factory=list)
    waiting: deque[int] = field(default_factory=deque)

    @property
    def outstanding(self) -> int:
        return len(self.batch) + len(self.waiting)


@dataclass(slots=True, eq=False)
class _PlaceNow:
    """A place with its replicas, and what its telemetry has counted."""

    number: int
    facts: Place
    rate: float
    starting: list[_Replica] = field(default_factory=list)
    ready: list[_Replica] = field(default_factory=list)
    arrivals: int = 0
    inside: int = 0
    area: float = 0.0
    area_before: float = 0.0
    served: int = 0
    durations: Sequence[float] = ()

    def __post_init__(self) -> None:
        self.durations = [self.facts.batch_time.of(items) for items in range(self.facts.max_batch + 1)]

    @property
    def wanted(self) -> int:
        return len(self.starting) + len(self.ready)

    def least_busy(self) -> _Replica:
        best, least = self.ready[0], math.inf
        for replica in self.ready:
            outstanding = len(replica.batch) + len(replica.waiting)
            if outstanding < least:
                best, least = replica, outstanding
                if not outstanding:
                    break
        return best

    def estimate(self, replica: _Replica, now: float, *, times: Sequence[float]) -> float:
        """Seconds that the oldest of its batch would take with one more request: a larger batch takes longer."""
        if not replica.batch:
            return self.durations[1] + self.facts.round_trip
        batches, ahead = divmod(len(replica.waiting), self.facts.max_batch)
        since = times[replica.waiting[batches * self.facts.max_batch]] if ahead else now
        end = replica.busy_until + batches * self.durations[-1] + self.durations[ahead + 1]
        return end - since + self.facts.round_trip


class _Cluster:
    def __init__(self, scenario: Scenario, workload: Workload, policy: Policy, *, routing: Routing, seed: int) -> None:
        self._scenario = scenario
        self._policy = policy
        self._seconds = workload.seconds
        self._spill = routing is Routing.SPILL
        self._least = scenario.balancing is Balancing.LEAST
        self._draw = random.Random(seed)  # noqa: S311 - no secret
        requests = workload.merged()
        self._times = [time for time, _ in requests]
        self._sites = [site for _, site in requests]
        self._latencies = [math.inf] * len(requests)
        self._places = [
            _PlaceNow(number=number, facts=place, rate=rate)
            for number, (place, rate) in enumerate(zip(scenario.places, scenario.rates, strict=True))
        ]
        self._reach: Mapping[str, list[_PlaceNow]] = {
            site: [place for place in self._places if place.facts.site in (site, None)] for site in workload.arrivals
        }
        self._homeless: list[int] = []
        self._events: list[tuple[float, int, _Replica]] = []
        self._count = 0
        self._lifetimes: list[Lifetime] = []
        self._seen = 0
        self._begin(workload)

    def run(self) -> Run:
        tick, following = 0.0, 0
        count, times = len(self._times), self._times
        while True:
            arrival = times[following] if following < count else math.inf
            due = self._events[0][0] if self._events else math.inf
            if tick <= arrival and tick <= due and tick < self._seconds:
                self._tick(tick, arrived=following)
                tick += self._policy.period
            elif due <= arrival:
                if due == math.inf:
                    break
                now, _, replica = heapq.heappop(self._events)
                if replica.ready:
                    self._complete(replica, now)
                else:
                    self._become_ready(replica, now)
            else:
                self._route(following, arrival)
                following += 1
        for place in self._places:
            for replica in (*place.starting, *place.ready):
                self._end(replica, self._seconds)
        return Run(
            times=times,
            latencies=self._latencies,
            served=[place.served for place in self._places],
            lifetimes=self._lifetimes,
            seconds=self._seconds,
        )

    def _begin(self, workload: Workload) -> None:
        """Start with what the first minute needs, ready: how a policy comes up is not what is compared."""
        for site, times in workload.arrivals.items():
            rate = sum(time < 60 for time in times) / 60
            for place in self._reach[site]:
                while place.wanted < place.facts.devices and rate > 0:
                    place.ready.append(_Replica(place=place, created=0.0, ready=True))
                    rate -= place.rate

    def _tick(self, now: float, *, arrived: int) -> None:
        counts = dict.fromkeys(self._reach, 0)
        for site in self._sites[self._seen : arrived]:
            counts[site] += 1
        self._seen = arrived
        states = []
        for place in self._places:
            area = place.area + place.inside * now
            states.append(
                PlaceState(
                    ready=len(place.ready),
                    starting=len(place.starting),
                    arrivals=place.arrivals,
                    in_flight=(area - place.area_before) / self._policy.period if now > 0 else 0.0,
                )
            )
            place.area_before = area
            place.arrivals = 0
        wanted = self._policy.decide(Observation(now=now, arrivals=counts, places=tuple(states)))
        for place, replicas in zip(self._places, wanted, strict=True):
            self._scale(place, min(max(replicas, 0), place.facts.devices), now)

    def _scale(self, place: _PlaceNow, replicas: int, now: float) -> None:
        while place.wanted < replicas:
            replica = _Replica(place=place, created=now)
            place.starting.append(replica)
            self._schedule(now + place.facts.start, replica)
        while place.wanted > replicas and place.starting:
            # As a ReplicaSet does it: what does not serve yet goes first, and of that the newest.
            replica = place.starting.pop()
            replica.retired = True
            self._end(replica, now)
        while place.wanted > replicas:
            replica = min(place.ready, key=lambda each: each.outstanding)
            place.ready.remove(replica)
            replica.retired = True
            if not replica.outstanding:
                self._end(replica, now)

    def _become_ready(self, replica: _Replica, now: float) -> None:
        if replica.retired:
            return
        replica.ready = True
        replica.place.starting.remove(replica)
        replica.place.ready.append(replica)
        homeless, self._homeless = self._homeless, []
        for request in homeless:
            self._route(request, now)

    def _route(self, request: int, now: float) -> None:
        candidates = [place for place in self._reach[self._sites[request]] if place.ready]
        if not candidates:
            self._homeless.append(request)
            return
        place = candidates[0] if len(candidates) == 1 else self._choose(candidates, now)
        # What can spill is sent by a gateway, which knows who is least busy.
        gateway = self._least or (self._spill and len(self._places) > 1)
        replica = place.least_busy() if gateway else self._draw.choice(place.ready)
        place.arrivals += 1
        place.inside += 1
        place.area -= now
        replica.waiting.append(request)
        if not replica.batch:
            self._serve(replica, now)

    def _choose(self, candidates: Sequence[_PlaceNow], now: float) -> _PlaceNow:
        if not self._spill:
            weights = [place.rate * len(place.ready) for place in candidates]
            return self._draw.choices(candidates, weights)[0]
        best, least = candidates[0], math.inf
        for place in candidates:
            estimate = place.estimate(place.least_busy(), now, times=self._times)
            if estimate <= self._scenario.latency:
                return place
            if estimate < least:
                best, least = place, estimate
        return best

    def _serve(self, replica: _Replica, now: float) -> None:
        place, waiting, batch = replica.place, replica.waiting, replica.batch
        oldest = now - self._scenario.patience
        while waiting and len(batch) < place.facts.max_batch:
            request = waiting.popleft()
            if self._times[request] < oldest:
                place.inside -= 1
                place.area += now
            else:
                batch.append(request)
        if batch:
            replica.busy_until = now + place.durations[len(batch)]
            self._schedule(replica.busy_until, replica)

    def _complete(self, replica: _Replica, now: float) -> None:
        place, batch = replica.place, replica.batch
        place.inside -= len(batch)
        place.area += now * len(batch)
        place.served += len(batch)
        answered = now + place.facts.round_trip
        for request in batch:
            self._latencies[request] = answered - self._times[request]
        batch.clear()
        if replica.waiting:
            self._serve(replica, now)
        if replica.retired and not replica.outstanding:
            self._end(replica, now)

    def _schedule(self, when: float, replica: _Replica) -> None:
        # The count keeps simultaneous events in order, and replicas from being compared.
        self._count += 1
        heapq.heappush(self._events, (when, self._count, replica))

    def _end(self, replica: _Replica, now: float) -> None:
        self._lifetimes.append(Lifetime(place=replica.place.number, created=replica.created, gone=now))
