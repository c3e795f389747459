"""Batch times as Triton counts them: `batch_stats` of `/v2/models/<model>/stats`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# Preparing the inputs and taking the outputs apart also keeps the instance busy.
_PHASES = ("compute_input", "compute_infer", "compute_output")
_SHORTEST, _LONGEST = 1e-9, 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCounter:
    """Batches of one size since the model was loaded.

    Attributes:
        executions: how many.
        seconds: how long they took together.
    """

    executions: float
    seconds: float

    @property
    def usable(self) -> bool:
        """Whether there is a mean to be had, between a nanosecond and a day."""
        return self.executions >= 1 and _SHORTEST <= self.seconds / self.executions <= _LONGEST


BatchCounters = Mapping[int, BatchCounter]
"""The counters of one model version, by batch size."""


def read_batch_stats(model_stat: Mapping[str, Any]) -> BatchCounters:
    """The counters of one entry of `model_stats`. What cannot be read counts as absent: it never breaks a reading."""
    counters: dict[int, BatchCounter] = {}
    entries = model_stat.get("batch_stats")
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, Mapping):
            continue
        size = _number(entry.get("batch_size"))
        executions = _number(_phase(entry, "compute_infer").get("count"))
        nanoseconds = [_number(_phase(entry, phase).get("ns")) for phase in _PHASES]
        # Inputs and outputs may be missing, as other servers than Triton leave them out; the inference may not.
        if size >= 1 and size.is_integer() and executions >= 0 and nanoseconds[1] >= 0:
            seconds = sum(value for value in nanoseconds if value >= 0) / 1e9
            counters[int(size)] = BatchCounter(executions=executions, seconds=seconds)
    return counters


def batches_between(before: BatchCounters, after: BatchCounters) -> BatchCounters:
    """What was counted between two readings of the same model version, of the same server.

    A counter that went back means that all began anew, by a reload or a restart: then `after` is what was counted.
    Sizes of which no batch ran are left out.
    """
    if not _continues(before, after):
        before = {}
    differences = {
        size: BatchCounter(
            executions=counter.executions - before[size].executions, seconds=counter.seconds - before[size].seconds
        )
        if size in before
        else counter
        for size, counter in after.items()
    }
    return {size: counter for size, counter in differences.items() if counter.usable}


def merged(readings: Iterable[BatchCounters]) -> BatchCounters:
    """The sum of what several servers counted."""
    total: dict[int, BatchCounter] = {}
    for reading in readings:
        for size, counter in reading.items():
            known = total.get(size, BatchCounter(executions=0.0, seconds=0.0))
            total[size] = BatchCounter(
                executions=known.executions + counter.executions, seconds=known.seconds + counter.seconds
            )
    return total


def _continues(before: BatchCounters, after: BatchCounters) -> bool:
    return all(
        size in after and after[size].executions >= counter.executions and after[size].seconds >= counter.seconds
        for size, counter in before.items()
    )


def _phase(entry: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    phase = entry.get(name)
    return phase if isinstance(phase, Mapping) else {}


def _number(value: object) -> float:
    """A finite number, or -1. 64-bit numbers are strings in the JSON form of protocol buffers."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return -1.0
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return -1.0
    return number if math.isfinite(number) else -1.0
