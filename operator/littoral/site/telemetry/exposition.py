"""Triton's metrics page, read fast: it is long, most of it is of no use here, and it is read all the time.

The page is a list of families. Those that are wanted are found by searching the text, the others are never looked at;
and what stands before a value is the same in every reading, so it is taken apart once and remembered.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

# Families with one number for each version of a model (and GPU), by the field of `Counts` that they add up to.
_COUNTERS: Final = {
    "nv_inference_request_success": "answered",
    "nv_inference_request_failure": "failures",
    "nv_inference_count": "items",
    "nv_inference_exec_count": "executions",
    "nv_inference_request_duration_us": "seconds",
    "nv_inference_queue_duration_us": "queued",
}
_PENDING: Final = "nv_inference_pending_request_count"
_LATENCIES: Final = "nv_inference_request_summary_us"
_MEMORY_USED: Final = "nv_gpu_memory_used_bytes"
_MEMORY_TOTAL: Final = "nv_gpu_memory_total_bytes"

# A client that went away is no failure of the server's, but it did ask.
_CANCELED: Final = "CANCELED"

_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPE: Final = re.compile(r"\\(.)")
_REMEMBERED: Final = 200_000


class ModelVersion(NamedTuple):
    """A version of a model in one Triton."""

    model: str
    version: str


class Counts(NamedTuple):
    """What Triton counts of a model: since it was started, within a time, or per second.

    Attributes:
        answered: requests that were answered.
        failures: requests that failed or were refused.
        canceled: requests whose client went away.
        items: items of all requests that were executed.
        executions: batches.
        seconds: the time that the answered requests took, together.
        queued: the part of it that they waited for their batch.
    """

    answered: float = 0.0
    failures: float = 0.0
    canceled: float = 0.0
    items: float = 0.0
    executions: float = 0.0
    seconds: float = 0.0
    queued: float = 0.0

    @property
    def requests(self) -> float:
        """Requests that came, whatever became of them."""
        return self.answered + self.failures + self.canceled

    def plus(self, other: Counts) -> Counts:
        """Both together."""
        return Counts(*[mine + its for mine, its in zip(self, other, strict=True)])

    def minus(self, other: Counts) -> Counts:
        """What was counted since `other`."""
        return Counts(*[mine - its for mine, its in zip(self, other, strict=True)])

    def per(self, seconds: float) -> Counts:
        """What was counted within so many seconds, for each of them."""
        return Counts(*[mine / seconds for mine in self])


NOTHING: Final = Counts()


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionMetrics:
    """One version of a model.

    Attributes:
        counts: since Triton was started; a version keeps them when it is unloaded and loaded again.
        pending: requests that wait for a batch, now.
        quantiles: level -> seconds of the latencies of the last minute, ascending; empty when there were none.
    """

    counts: Counts
    pending: float = 0.0
    quantiles: tuple[tuple[float, float], ...] = ()


class Memory(NamedTuple):
    """The memory of a device, or of several together, in bytes."""

    used: float
    total: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposition:
    """What one reading of the page says. `memory` is None where Triton sees no GPU."""

    versions: Mapping[ModelVersion, VersionMetrics]
    memory: Memory | None = None


class ExpositionParser:
    """Parses pages, the faster the more alike they are."""

    def __init__(self) -> None:
        self._heads: dict[str, _Head] = {}

    def parse(self, text: str) -> Exposition:
        """Read a page.

        Families that are missing count as empty: an idle Triton has none, one without `summary_latencies` no quantiles.

        Raises:
            ValueError: a line cannot be read, or a counter is negative, infinite or no number. Nothing else of such a
                page can be relied on.
        """
        if len(self._heads) > _REMEMBERED:
            self._heads.clear()
        counters: dict[ModelVersion, dict[str, float]] = {}
        for family, field in _COUNTERS.items():
            for head, value in self._lines(text, family):
                if not 0 <= value < math.inf:
                    raise ValueError(f"not a count: {family} of {head.key.model} is {value}")
                counts = counters.setdefault(head.key, {})
                target = "canceled" if head.canceled else field
                counts[target] = counts.get(target, 0.0) + value
        pending: dict[ModelVersion, float] = {}
        for head, value in self._lines(text, _PENDING):
            if math.isfinite(value):
                pending[head.key] = pending.get(head.key, 0.0) + max(value, 0.0)
        quantiles: dict[ModelVersion, dict[float, float]] = {}
        for head, value in self._lines(text, _LATENCIES):
            if head.level is not None and 0 <= value < math.inf:
                levels = quantiles.setdefault(head.key, {})
                # A model on several GPUs has a summary for each.
                levels[head.level] = max(levels.get(head.level, 0.0), value / 1e6)
        return Exposition(
            versions={
                key: VersionMetrics(
                    counts=_counts(counts),
                    pending=pending.get(key, 0.0),
                    quantiles=tuple(sorted(quantiles.get(key, {}).items())),
                )
                for key, counts in counters.items()
            },
            memory=self._memory(text),
        )

    def _memory(self, text: str) -> Memory | None:
        used = [value for _, value in self._lines(text, _MEMORY_USED) if 0 <= value < math.inf]
        total = [value for _, value in self._lines(text, _MEMORY_TOTAL) if 0 < value < math.inf]
        return Memory(used=sum(used), total=sum(total)) if used and total else None

    def _lines(self, text: str, family: str) -> Iterator[tuple[_Head, float]]:
        title = text.find(f"# TYPE {family} ")
        start = text.find("\n", title) if title >= 0 else -1
        if start < 0:
            return
        end = text.find("\n#", start)
        for line in text[start + 1 : end if end >= 0 else len(text)].split("\n"):
            before, _, value = line.rpartition(" ")
            if not before:
                continue
            head = self._heads.get(before)
            if head is None:
                head = self._heads[before] = _head(before)
            yield head, float(value)


class _Head(NamedTuple):
    """What stands before a value."""

    key: ModelVersion
    level: float | None
    canceled: bool


def _head(text: str) -> _Head:
    labels = {name: _ESCAPE.sub(r"\1", value) for name, value in _LABEL.findall(text)}
    level = labels.get("quantile")
    return _Head(
        key=ModelVersion(labels.get("model", ""), labels.get("version", "")),
        level=float(level) if level is not None else None,
        canceled=labels.get("reason") == _CANCELED,
    )


def _counts(fields: Mapping[str, float]) -> Counts:
    counts = Counts(**fields)
    return counts._replace(seconds=counts.seconds / 1e6, queued=counts.queued / 1e6)
