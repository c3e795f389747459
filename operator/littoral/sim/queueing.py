"""A discrete-event simulation of Triton's dynamic batcher, of several models on one accelerator.

Triton puts what waits into one batch as soon as an instance of the model is free, up to the largest batch. With a
`max_queue_delay` it lets a batch that is neither full nor of a preferred size wait that long for more requests.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from littoral.core.capacity.batch_time import BatchTime


class Sharing(StrEnum):
    """How batches that could run at the same time divide the accelerator."""

    NONE = "None"
    """They do not: every instance has a device of its own."""
    EQUAL = "Equal"
    """All that are started run at once, each with an equal part of its speed."""
    TURNS = "Turns"
    """One runs at a time, next the one whose first request has waited longest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedModel:
    """A model as its config.pbtxt describes it.

    Attributes:
        batch_time: of an instance that has the accelerator to itself.
        max_batch: `max_batch_size`.
        instances: `instance_group.count`.
        preferred: `dynamic_batching.preferred_batch_size`; the largest one limits the batch.
        max_queue_delay: `dynamic_batching.max_queue_delay_microseconds`, in seconds.
    """

    batch_time: BatchTime
    max_batch: int
    instances: int = 1
    preferred: tuple[int, ...] = ()
    max_queue_delay: float = 0.0

    @property
    def largest_batch(self) -> int:
        """The most items that Triton puts together."""
        return max(self.preferred, default=self.max_batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What became of one model's requests.

    Attributes:
        latencies: seconds from arrival to answer, in order of arrival.
        batches: the size of every batch, in order of completion.
        busy: seconds of instances in use, summed over the instances.
        area: request-seconds in the system, counted event by event: by Little's law the sum of the latencies.
    """

    latencies: Sequence[float]
    batches: Sequence[int]
    busy: float
    area: float

    def mean(self, *, warm_up: float = 0.0) -> float:
        """Mean latency in seconds, without the first part `warm_up` (0 to 1) of the requests."""
        kept = self.latencies[int(warm_up * len(self.latencies)) :]
        return math.fsum(kept) / len(kept)

    def percentile(self, percentile: float, *, warm_up: float = 0.0) -> float:
        """The latency in seconds that `percentile` % of the requests stay within."""
        kept = sorted(self.latencies[int(warm_up * len(self.latencies)) :])
        return kept[min(len(kept) - 1, math.ceil(percentile / 100 * len(kept)) - 1)]


def poisson_arrivals(*, rate: float, count: int, seed: int) -> list[float]:
    """The times in seconds of `count` arrivals that come at `rate` per second, independently of each other."""
    generator = random.Random(seed)  # noqa: S311 - no secret
    times = []
    now = 0.0
    for _ in range(count):
        now += generator.expovariate(rate)
        times.append(now)
    return times


def simulate(
    models: Sequence[SimulatedModel], arrivals: Sequence[Sequence[float]], *, sharing: Sharing = Sharing.NONE
) -> list[Served]:
    """Serve every arrival.

    Args:
        models: the models of one server.
        arrivals: for each model the times in seconds, ascending, at which its requests come.
        sharing: what the models' instances do to each other.

    Returns:
        For each model what became of its requests, all of which were served.

    Raises:
        ValueError: there are not as many lists of arrivals as models.
    """
    queues = [_Queue(model, number) for number, model in enumerate(models)]
    device = _Device(sharing)
    coming = heapq.merge(
        *(_numbered(times, number) for number, times in zip(range(len(queues)), arrivals, strict=True))
    )
    next_arrival = next(coming, None)
    while True:
        due = min((queue.deadline for queue in queues), default=math.inf)
        arrival = math.inf if next_arrival is None else next_arrival[0]
        now = min(arrival, due, device.next_completion)
        if now == math.inf:
            return [queue.served() for queue in queues]
        if now == device.next_completion:
            batch = device.complete(now)
            batch.queue.complete(batch, now)
        elif next_arrival is not None and now == arrival:
            queues[next_arrival[1]].arrive(now)
            next_arrival = next(coming, None)
        for queue in sorted(queues, key=lambda queue: queue.oldest) if len(queues) > 1 else queues:
            while device.has_room and (size := queue.ready(now)):
                device.start(queue.take(size, now), now)
            queue.wait(now, device_has_room=device.has_room)


def _numbered(times: Sequence[float], number: int) -> Iterator[tuple[float, int]]:
    return ((time, number) for time in times)


@dataclass(slots=True, eq=False)
class _Batch:
    queue: _Queue
    arrivals: list[float]
    started: float
    work: float


@dataclass(slots=True, eq=False)
class _Queue:
    """One model: its waiting requests and its instances."""

    model: SimulatedModel
    number: int
    deadline: float = math.inf
    _waiting: deque[float] = field(default_factory=deque)
    _free: int = 0
    _answers: list[tuple[float, float]] = field(default_factory=list)
    _batches: list[int] = field(default_factory=list)
    _busy: float = 0.0
    _inside: int = 0
    _area: float = 0.0
    _changed: float = 0.0

    def __post_init__(self) -> None:
        self._free = self.model.instances

    @property
    def oldest(self) -> float:
        return self._waiting[0] if self._waiting else math.inf

    def arrive(self, now: float) -> None:
        self._count(now, 1)
        self._waiting.append(now)

    def ready(self, now: float) -> int:
        """The size of the batch that Triton would start now; 0 for none."""
        most = self.model.largest_batch
        if not self._free or not self._waiting:
            return 0
        size = min(len(self._waiting), most)
        # As a sum, like the deadline: a difference could round to just less than the delay for ever.
        if size == most or now >= self._waiting[0] + self.model.max_queue_delay:
            return size
        return max((size_ for size_ in self.model.preferred if size_ <= size), default=0)

    def take(self, size: int, now: float) -> _Batch:
        self._free -= 1
        taken = [self._waiting.popleft() for _ in range(size)]
        return _Batch(queue=self, arrivals=taken, started=now, work=self.model.batch_time.of(size))

    def wait(self, now: float, *, device_has_room: bool) -> None:
        """Wake up when the oldest request has waited long enough, if it is the delay that it waits for."""
        delayed = bool(self._waiting) and self._free > 0 and device_has_room
        self.deadline = self._waiting[0] + self.model.max_queue_delay if delayed else math.inf

    def complete(self, batch: _Batch, now: float) -> None:
        self._free += 1
        self._count(now, -len(batch.arrivals))
        self._batches.append(len(batch.arrivals))
        self._busy += now - batch.started
        self._answers += [(arrival, now - arrival) for arrival in batch.arrivals]

    def served(self) -> Served:
        # Several instances may answer out of order.
        latencies = [latency for _, latency in sorted(self._answers)]
        return Served(latencies=latencies, batches=self._batches, busy=self._busy, area=self._area)

    def _count(self, now: float, change: int) -> None:
        self._area += self._inside * (now - self._changed)
        self._inside += change
        self._changed = now


class _Device:
    """What the started batches run on."""

    def __init__(self, sharing: Sharing) -> None:
        self._sharing = sharing
        self._running: list[_Batch] = []
        self._now = 0.0
        self.next_completion = math.inf

    @property
    def has_room(self) -> bool:
        return self._sharing is not Sharing.TURNS or not self._running

    def start(self, batch: _Batch, now: float) -> None:
        self._advance(now)
        self._running.append(batch)
        self._schedule()

    def complete(self, now: float) -> _Batch:
        self._advance(now)
        done = min(self._running, key=lambda batch: batch.work)
        self._running.remove(done)
        self._schedule()
        return done

    def _advance(self, now: float) -> None:
        done = (now - self._now) / self._slowdown
        for batch in self._running:
            batch.work -= done
        self._now = now

    def _schedule(self) -> None:
        least = min((batch.work for batch in self._running), default=math.inf)
        self.next_completion = self._now + max(least, 0.0) * self._slowdown

    @property
    def _slowdown(self) -> float:
        return max(len(self._running), 1) if self._sharing is Sharing.EQUAL else 1.0
