"""What is reported of one model, as numbers; when it is worth a write; and how it is written. Pure.

An Assignment's status is stored, copied and sent to everybody who watches. So numbers are rounded, and a model's are
written anew only when one of them differs by more than people care about and by more than chance explains.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from littoral.api.measurement import BATCH_SAMPLES, BatchSample, LatencyQuantiles, ModelMeasurement
from littoral.api.quantity import (
    format_decimal,
    format_duration,
    format_quantity,
    parse_decimal,
    parse_duration,
    parse_quantity,
)
from littoral.core.capacity import Measured
from littoral.site.telemetry.merging import quantile
from littoral.site.telemetry.window import Estimate

AT_ONCE: Final = 0.0
SOON: Final = 10.0
AT_LEISURE: Final = 60.0
"""How long news may wait, in seconds since the last write."""

_CARE: Final = 0.05  # Relative differences below this interest nobody.
# How many standard deviations are chance, in units of 1 / sqrt(requests). The 99th percentile of an exponential
# distribution spreads twice as far as its mean.
_CHANCE: Final = 3.0
_CHANCE_OF_P99: Final = 6.0
_NO_CHANCE: Final = 4.0
_MORE_CERTAIN: Final = 4.0  # With so many times the requests, a number is worth saying again, more exactly.
_LEAST_TIME: Final = 50e-6  # Seconds. Of shorter ones the scheduler makes what it likes.
_LEAST_PENDING: Final = 1.0
_LEAST_BATCHES: Final = 10.0  # Executions of one size, before its time can be news.
_ALMOST_ALL: Final = 0.9  # To fall to nothing is never chance.
_SELDOM: Final = 0.1  # Requests per second.
_RISE: Final = 1.5
_MEBIBYTE: Final = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The numbers behind a `ModelMeasurement`: its fields, in requests per second, seconds and bytes.

    Attributes:
        seen: requests that the rate rests on; infinite where that is not known any more.
        answered: requests that the quantiles are of.
    """

    seen: float = math.inf
    rate: float | None = None
    failures: float | None = None
    answered: float = 0.0
    mean: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    queue: float | None = None
    pending: float | None = None
    batch: float | None = None
    batches: Mapping[int, Measured] = field(default_factory=dict)
    memory: float | None = None
    load_time: float | None = None
    max_batch: int | None = None
    instances: int | None = None

    def at(self, estimate: Estimate) -> Figures:
        """These figures with an estimate's for what belongs to the moment."""
        rates = estimate.rates
        answered = rates.answered > 0
        return replace(
            self.learned(),
            seen=estimate.requests,
            rate=rates.requests,
            failures=rates.failures or None,
            answered=sum(distribution.weight for distribution in estimate.distributions),
            mean=rates.seconds / rates.answered if answered else None,
            p50=quantile(estimate.distributions, 0.50) if answered else None,
            p95=quantile(estimate.distributions, 0.95) if answered else None,
            p99=quantile(estimate.distributions, 0.99) if answered else None,
            queue=rates.queued / rates.answered if answered else None,
            pending=estimate.pending or None,
            batch=rates.items / rates.executions if rates.executions > 0 else None,
        )

    def learned(self) -> Figures:
        """What is still true when nobody can be asked."""
        return Figures(
            batches=self.batches,
            memory=self.memory,
            load_time=self.load_time,
            max_batch=self.max_batch,
            instances=self.instances,
        )


def patience(before: Figures, now: Figures) -> float | None:
    """How long the difference between what was reported and what is measured may wait, in seconds; None when it is not
    worth a write.

    It is urgent when a capacity that is planned for what was reported may be too small by now, or requests fail. What
    happens to a model that hardly anybody asks can wait, since there may be many of those.
    """
    if not _is_news(before, now):
        return None
    rate, known = now.rate or 0.0, before.rate or 0.0
    rises = rate > max(_RISE * known, known + 1.0) and (rate - known) * math.sqrt(now.seen) > _NO_CHANCE * rate
    if rises or (now.failures is not None and before.failures is None):
        return AT_ONCE
    return SOON if max(rate, known) >= _SELDOM else AT_LEISURE


def _is_news(before: Figures, now: Figures) -> bool:
    if (before.rate is None) != (now.rate is None) or (before.mean is None) != (now.mean is None):
        return True
    certain = now.seen >= _MORE_CERTAIN * before.seen
    usual, rare = (_CARE if certain else _chance(each, now.seen) for each in (_CHANCE, _CHANCE_OF_P99))
    return (
        _moved(before.rate, now.rate, by=usual)
        or _moved(before.failures, now.failures, by=max(usual, 0.5))
        # A quantile that appears is news; one for which there are too few requests by now is not: at the boundary it
        # would come and go for ever.
        or any(
            measured is not None and _moved(reported, measured, by=tolerance, least=_LEAST_TIME)
            for reported, measured, tolerance in (
                (before.mean, now.mean, usual),
                (before.p50, now.p50, usual),
                (before.p95, now.p95, usual),
                (before.p99, now.p99, rare),
                (before.queue, now.queue, usual),
                (before.batch, now.batch, usual),
            )
        )
        or _moved(before.pending or 0.0, now.pending or 0.0, by=0.5, least=_LEAST_PENDING)
        or _moved(before.memory, now.memory, by=_CARE)
        or _moved(before.load_time, now.load_time, by=0.2)
        or (before.max_batch, before.instances) != (now.max_batch, now.instances)
        or _learned_more(before.batches, now.batches)
    )


def _chance(deviations: float, requests: float) -> float:
    return min(max(_CARE, deviations / math.sqrt(max(requests, 1.0))), _ALMOST_ALL)


def write(figures: Figures) -> ModelMeasurement | None:
    """The measurement as it stands in a status: rounded to three digits; None when there is nothing to say."""
    measurement = ModelMeasurement(
        rate=_decimal(figures.rate),
        failures=_decimal(figures.failures),
        latency=None
        if figures.mean is None
        else LatencyQuantiles(
            requests=max(1, round(figures.answered)),
            mean=_duration(figures.mean),
            p50=_duration(figures.p50) if figures.p50 is not None else None,
            p95=_duration(figures.p95) if figures.p95 is not None else None,
            p99=_duration(figures.p99) if figures.p99 is not None else None,
        ),
        queue=_duration(figures.queue) if figures.queue is not None else None,
        pending=_decimal(figures.pending),
        batch=_decimal(figures.batch),
        batches=tuple(
            BatchSample(size=size, count=max(1, round(figures.batches[size].executions)), time=_duration(seconds))
            for size in telling_sizes(figures.batches)
            if (seconds := figures.batches[size].seconds) > 0
        ),
        memory=mebibytes(figures.memory) if figures.memory is not None else None,
        load_time=_duration(figures.load_time) if figures.load_time is not None else None,
        max_batch=figures.max_batch,
        instances=figures.instances,
    )
    return measurement if measurement != ModelMeasurement() else None


def read(measurement: ModelMeasurement) -> Figures:
    """The figures of a measurement that was written by somebody else, or before a restart."""
    latency = measurement.latency
    return Figures(
        rate=_number(measurement.rate),
        failures=_number(measurement.failures),
        answered=float(latency.requests) if latency else 0.0,
        mean=parse_duration(latency.mean) if latency else None,
        p50=_seconds(latency.p50) if latency else None,
        p95=_seconds(latency.p95) if latency else None,
        p99=_seconds(latency.p99) if latency else None,
        queue=_seconds(measurement.queue),
        pending=_number(measurement.pending),
        batch=_number(measurement.batch),
        batches={
            sample.size: Measured(executions=float(sample.count), seconds=parse_duration(sample.time))
            for sample in measurement.batches
        },
        memory=float(parse_quantity(measurement.memory)) if measurement.memory is not None else None,
        load_time=_seconds(measurement.load_time),
        max_batch=measurement.max_batch,
        instances=measurement.instances,
    )


def telling_sizes(batches: Mapping[int, Measured]) -> list[int]:
    """The batch sizes that are reported: the smallest and the largest, which say most about the slope, and those that
    were executed most."""
    ends = {min(batches), max(batches)} if batches else set()
    most = sorted(batches.keys() - ends, key=lambda size: (-batches[size].executions, size))
    return sorted([*ends, *most[: BATCH_SAMPLES - len(ends)]])


def mebibytes(count: float) -> str:
    """A number of bytes as a quantity, to four digits and no finer than a mebibyte."""
    return format_quantity(round(float(f"{max(count, 0.0) / _MEBIBYTE:.4g}")) * _MEBIBYTE, binary=True)


def _learned_more(before: Mapping[int, Measured], now: Mapping[int, Measured]) -> bool:
    reported = telling_sizes(now)
    if any(size not in before and now[size].executions >= _LEAST_BATCHES for size in reported):
        return True
    if any(
        size in before
        and now[size].executions >= _LEAST_BATCHES
        and _moved(before[size].seconds, now[size].seconds, by=2 * _CARE, least=_LEAST_TIME / 2)
        for size in reported
    ):
        return True
    executions, known = (sum(measured.executions for measured in each.values()) for each in (now, before))
    return executions >= max(_MORE_CERTAIN * known, _LEAST_BATCHES) > known


def _moved(before: float | None, now: float | None, *, by: float, least: float = 0.0) -> bool:
    """Whether one appeared or vanished, or they differ by more than a part of the larger one, and than `least`."""
    if before is None or now is None:
        return before is not now
    return abs(now - before) > max(by * max(before, now), least)


def _three_digits(number: float) -> float:
    return float(f"{number:.3g}")


def _decimal(number: float | None) -> str | None:
    return format_decimal(_three_digits(number)) if number is not None else None


def _duration(seconds: float) -> str:
    return format_duration(_three_digits(seconds))


def _number(text: str | None) -> float | None:
    return float(parse_decimal(text)) if text is not None else None


def _seconds(text: str | None) -> float | None:
    return parse_duration(text) if text is not None else None
