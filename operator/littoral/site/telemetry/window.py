"""From what Triton has counted since its start to what happens now. Pure.

A window holds the readings of one Triton within the last minute, the time that its own latency quantiles cover. For
each model it finds the moment at which the rate last changed by more than chance, and measures from there: while
nothing changes the numbers get steadier, and when something does they follow at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from littoral.site.telemetry.exposition import NOTHING, Counts, Exposition, Memory, ModelVersion

LENGTH: Final = 60.0
"""Seconds that a window covers: Triton's quantiles are those of the last minute."""

GAP: Final = 30.0
"""Seconds without a reading after which what came before says nothing about now."""

# How many standard deviations two rates must differ by to be two. A change is looked for at some twenty places, of
# each model, every few seconds.
_CHANGE: Final = 4.0
# Requests more than were seen, in the variance: with a handful, a normal distribution is too sure of itself.
_CAUTION: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What happened between two readings.

    Attributes:
        at: when it ended, on the site's own clock.
        seconds: how long it was.
        counted: by version; those of which nothing was counted are left out.
        pending: requests that waited when it ended, by version; 0 is left out.
    """

    at: float
    seconds: float
    counted: Mapping[ModelVersion, Counts]
    pending: Mapping[ModelVersion, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The readings of one Triton. Begin with `Window()` and go on with `advance`.

    Attributes:
        read_at: when the last reading was made; None before the first.
        known: the last counts of every version that was ever seen since Triton started.
        steps: oldest first.
    """

    read_at: float | None = None
    latest: Exposition = field(default_factory=lambda: Exposition(versions={}))
    known: Mapping[ModelVersion, Counts] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """The latencies of some requests.

    Attributes:
        weight: how many they were, within the last minute.
        quantiles: level -> seconds, ascending.
    """

    weight: float
    quantiles: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a model does now: on one Triton, or on several (`merge`).

    Attributes:
        rates: counts per second.
        requests: how many requests that rests on, which says how far chance has a hand in it.
        pending: requests that wait, on average.
        distributions: latencies within the last minute, of each version and replica.
    """

    rates: Counts = NOTHING
    requests: float = 0.0
    pending: float = 0.0
    distributions: tuple[Distribution, ...] = ()


IDLE: Final = Estimate()


def advance(window: Window, exposition: Exposition, *, at: float) -> Window:
    """The window after one more reading.

    A counter that went back means that Triton was started anew: what it counts now was counted since. A version that is
    new was loaded since the last reading, and Triton counts from 0. The first reading, and one after a long silence,
    only says where counting begins; one that is no later than the last says nothing.

    Args:
        at: when the reading was made, in seconds on a clock that does not jump; it may stand still or go back.
    """
    counts = {key: metrics.counts for key, metrics in exposition.versions.items()}
    if window.read_at is None:
        return Window(read_at=at, latest=exposition, known=counts)
    seconds = at - window.read_at
    if seconds <= 0:
        return window
    before = window.known
    if any(_went_back(now, before.get(key, NOTHING)) for key, now in counts.items()):
        before = {}
    known = {**before, **counts}
    if seconds > GAP:
        return Window(read_at=at, latest=exposition, known=known)
    counted = {
        key: now.minus(before.get(key, NOTHING)) for key, now in counts.items() if now != before.get(key, NOTHING)
    }
    pending = {key: metrics.pending for key, metrics in exposition.versions.items() if metrics.pending}
    steps = (*window.steps, Step(at=at, seconds=seconds, counted=counted, pending=pending))
    recent = tuple(step for step in steps if step.at - step.seconds >= at - LENGTH) or steps[-1:]
    return Window(read_at=at, latest=exposition, known=known, steps=recent)


def estimates(window: Window) -> dict[str, Estimate]:
    """What each model does that Triton knows of; empty until there were two readings."""
    if not window.steps:
        return {}
    active = {key.model for step in window.steps for key in (*step.counted, *step.pending)}
    found: dict[str, list[ModelVersion]] = {}
    for key in window.latest.versions:
        found.setdefault(key.model, []).append(key)
    return {
        model: _estimate(window, versions) if model in active else IDLE for model, versions in sorted(found.items())
    }


def memory(window: Window) -> Memory | None:
    """The memory of the device, at the last reading."""
    return window.latest.memory


def last_change(counts: Sequence[float], seconds: Sequence[float]) -> int:
    """The index from which on the counts are those of one rate, as far as chance lets one tell.

    Args:
        counts: what was counted in each step.
        seconds: how long each was, more than 0.
    """
    begin = 0
    while True:
        total, duration = sum(counts[begin:]), sum(seconds[begin:])
        count = time = 0.0
        clearest, where = _CHANGE, None
        for index in range(len(counts) - 1, begin, -1):
            count += counts[index]
            time += seconds[index]
            contrast = _contrast(count, time, total - count, duration - time)
            if contrast > clearest:
                clearest, where = contrast, index
        if where is None:
            return begin
        begin = where


def _contrast(count: float, seconds: float, other_count: float, other_seconds: float) -> float:
    """By how many standard deviations two rates differ, if both counts are Poisson."""
    variance = (count + other_count + _CAUTION) * seconds * other_seconds
    return abs(count * other_seconds - other_count * seconds) / math.sqrt(variance) if variance > 0 else 0.0


def _went_back(now: Counts, before: Counts) -> bool:
    return any(counter < known for counter, known in zip(now, before, strict=True))


def _estimate(window: Window, versions: Sequence[ModelVersion]) -> Estimate:
    counts = [_sum([step.counted[key] for key in versions if key in step.counted]) for step in window.steps]
    begin = last_change([each.requests for each in counts], [step.seconds for step in window.steps])
    seconds = sum(step.seconds for step in window.steps[begin:])
    total = _sum(counts[begin:])
    pending = sum(step.seconds * step.pending.get(key, 0.0) for step in window.steps[begin:] for key in versions)
    return Estimate(
        rates=total.per(seconds),
        requests=total.requests,
        pending=pending / seconds,
        distributions=tuple(
            Distribution(weight=weight, quantiles=quantiles)
            for key in versions
            if (quantiles := window.latest.versions[key].quantiles)
            and (weight := sum(step.counted.get(key, NOTHING).answered for step in window.steps)) > 0
        ),
    )


def _sum(counts: Sequence[Counts]) -> Counts:
    if len(counts) <= 1:
        return counts[0] if counts else NOTHING
    return Counts(*map(sum, zip(*counts, strict=True)))
