"""Whether Models on one server keep their budgets beside each other, fast enough to be asked thousands of times.

The rule is `core.capacity.sharing.fits`, whose fixed points have closed forms: a model is slowed by those that have a
batch running, and forms larger batches only when it always has one running itself. What keeps its budget here keeps it
there too (a property test holds this module to that).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Final, NamedTuple

from littoral.core.capacity.knots import HIGHEST_UTILISATION
from littoral.core.capacity.table import Curve, curve
from littoral.core.planner.problem import Service

_ROUNDING: Final = 1e-9
_HALVINGS: Final = 10
_KNOWN_MOST: Final = 4096
"""Each takes about 1 KiB once it is asked for."""


class Habit:
    """A Service with what follows from it, worked out once."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.budget = service.budget
        self.max_batch = service.max_batch
        self.base = service.batch_time.base
        self.per_item = service.batch_time.per_item
        self.single = service.batch_time.of(1)
        self.throughput = service.batch_time.throughput(service.max_batch)
        self.tail = 1 - (service.percentile or 0.0) / 100

    @cached_property
    def alone(self) -> Curve:
        """The percentile's latency over the rate, on a server of its own."""
        return curve(self.service.batch_time, max_batch=self.max_batch, percentile=self.service.percentile)

    def footing(self, rate: float) -> float:
        """The least part of a server that so many requests/s block, among models like this one: an estimate.

        As many fit as have their batches, at half the speed, in what a batch of its own leaves of the budget.
        """
        met = min(1.0, rate * (self.budget + 2 * self.single) / self.tail) * 2 * self.single
        left = self.budget - 2 * self.single
        return met / (met + left) if left > 0 else 1.0

    def batch(self, rate: float, slowdown: float) -> float:
        """Seconds of a batch of a model that always has one running."""
        grows = rate * slowdown * self.per_item
        items = rate * slowdown * self.base / (1 - grows) if grows < 1 else math.inf
        return slowdown * (self.base + self.per_item * min(max(items, 1.0), self.max_batch))


@lru_cache(maxsize=_KNOWN_MOST)
def habit(service: Service) -> Habit | None:
    """What is known of a Service; None where its numbers make no sense."""
    percentile = service.percentile
    sensible = service.max_batch >= 1 and (percentile is None or 0 < percentile < 100)
    return Habit(service) if sensible and not math.isnan(service.budget) else None


class Guest(NamedTuple):
    """A Model on a server: its requests/s there, and whether it is held to its budget."""

    habit: Habit
    rate: float
    held: bool


def together(guests: Sequence[Guest]) -> bool:
    """Whether all that are held to their budgets keep them on one server, on which each has some load."""
    if sum(guest.rate / guest.habit.throughput for guest in guests) > HIGHEST_UTILISATION:
        return False
    # The part of the time in which each would have a batch running, on a server of its own.
    busy = [guest.rate * guest.habit.single for guest in guests]
    order = sorted(range(len(guests)), key=lambda each: -busy[each])
    return all(_keeps(each, guests, busy, order) for each, guest in enumerate(guests) if guest.held)


def _keeps(mine: int, guests: Sequence[Guest], alone: Sequence[float], order: Sequence[int]) -> bool:
    # While this one has a batch running, another's runs for the part b of the time: b = a (2 + B - b) at most 1, where
    # a is its part alone and B the sum of all b. Whoever is at 1 is so at any larger B: the busiest are tried first.
    damped = sum(a / (1 + a) for each, a in enumerate(alone) if each != mine)
    always: set[int] = set()
    running = 2 * damped / (1 - damped) if damped < 1 else math.inf
    for each in order:
        if each == mine:
            continue
        if alone[each] * (1 + running) < 1:
            break
        always.add(each)
        damped -= alone[each] / (1 + alone[each])
        running = (len(always) + 2 * damped) / (1 - damped) if damped < 1 else math.inf

    habit, rate, _ = guests[mine]
    slowdown = 1 + running
    usual = slowdown * habit.alone.latency(rate * slowdown)
    left = habit.budget * (1 - _ROUNDING) - usual
    if not left >= 0:
        return False
    # What meets those in the tail: a batch of each of the others, as far as it happens often enough.
    met: list[tuple[float, float, float]] = []
    for each, guest in enumerate(guests):
        if each == mine:
            continue
        if each in always:
            part, duration = 1.0, guest.habit.batch(guest.rate, 1 + running)
        else:
            part = alone[each] * (2 + running) / (1 + alone[each])
            duration = (2 + running - part) * guest.habit.single
        met.append((min(1.0, guest.rate * (usual + duration) / habit.tail), duration, part))
    if sum(weight * duration for weight, duration, _ in met) <= left:
        return True
    for weight, duration, part in met:
        slower = slowdown + 1 - part
        left -= weight * min(duration, slower * habit.alone.latency(rate * slower) - usual)
        if left < 0:
            return False
    return True


def room(others: Sequence[Guest], *, habit: Habit, present: float, wanted: float, held: bool, replicas: int) -> float:
    """How many more requests/s of a Model a server can take beside others.

    Args:
        others: the rest of its Models with load, with their rates over all replicas.
        present: requests/s of the Model that the server has already.
        wanted: requests/s; no more is looked for.
    """

    def fit(amount: float) -> bool:
        guests = [Guest(other.habit, other.rate / replicas, other.held) for other in others]
        return together([*guests, Guest(habit, (present + amount) / replicas, held)])

    if fit(wanted):
        return wanted
    if not fit(wanted / 2**_HALVINGS):
        return 0.0
    low, high = 0.0, wanted
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if fit(middle) else (low, middle)
    return low
