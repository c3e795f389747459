"""The forecast of demand against simpler ones: what it misses, how often it suffices, what it costs.

Run it with `python -m bench.forecast`; `--detail` prints every horizon and quantile.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, Final, NamedTuple

import click

from bench.arrivals import SHAPES, TRACES, counts, generated, shop_day, trace
from bench.forecasters import CANDIDATES, QUANTILES, Forecaster, Littoral, pinball
from bench.report import machine
from littoral.core.forecast import Series, encode, forecast, update
from littoral.core.forecast.season import UNKNOWN

HORIZONS: Final = (5.0, 30.0, 120.0)
INTERVAL: Final = 5.0
_WARM_UP: Final = 60  # readings that are seen, not judged
_DAY: Final = 86400.0


class Score(NamedTuple):
    """What came of one forecaster at one horizon and quantile."""

    loss: float
    """Mean pinball loss over mean demand."""
    coverage: float
    """Share of the readings that were at most what had been forecast."""
    cost: float
    """Mean forecast over mean demand."""


def score(
    make: Callable[[], Forecaster],
    readings: Sequence[int],
    *,
    horizon: float,
    quantile: float,
    judged: slice,
    interval: float = INTERVAL,
) -> Score:
    """Judge the forecasts that are made at the readings of a slice, each by the reading that ends after the horizon."""
    forecaster, ahead = make(), round(horizon / interval)
    forecasts = []
    for reading in readings:
        forecaster.observe(reading / interval, seconds=interval)
        forecasts.append(forecaster.forecast(horizon=horizon, quantile=quantile))
    pairs = [
        (forecasts[index], readings[index + ahead] / interval)
        for index in range(*judged.indices(len(readings)))
        if index + ahead < len(readings)
    ]
    demand = sum(truth for _, truth in pairs)
    return Score(
        loss=sum(pinball(said, truth, quantile=quantile) for said, truth in pairs) / demand,
        coverage=sum(truth <= said for said, truth in pairs) / len(pairs),
        cost=sum(said for said, _ in pairs) / demand,
    )


@click.command()
@click.option("--detail", is_flag=True, help="Print every horizon and quantile.")
def main(*, detail: bool) -> None:
    """Compare the forecasters."""
    print(machine())
    workloads = {name: counts(trace(name), interval=INTERVAL) for name in TRACES}
    for seed, (name, shape) in enumerate(SHAPES.items()):
        workloads[name] = generated(shape, seconds=3600, interval=INTERVAL, seed=seed)
    scores = _compare(workloads)
    _print_summary(scores, tuple(workloads))
    if detail:
        _print_detail(scores, tuple(workloads))
    _print_season()
    _print_costs(workloads["conv"])


_Scores = Mapping[tuple[str, str, float, float], Score]


def _compare(workloads: Mapping[str, Sequence[int]]) -> _Scores:
    scores = {}
    for workload, readings in workloads.items():
        # The constants were chosen on the first half of the traces, so that half is only warmed up on.
        first = len(readings) // 2 if workload in TRACES else _WARM_UP
        for name, make in CANDIDATES.items():
            for horizon in HORIZONS:
                for quantile in QUANTILES:
                    scores[name, workload, horizon, quantile] = score(
                        make, readings, horizon=horizon, quantile=quantile, judged=slice(first, None)
                    )
    return scores


def _print_summary(scores: _Scores, workloads: Sequence[str]) -> None:
    print("\nPinball loss over that of EWMA, geometric mean over horizons and quantiles;")
    print("in brackets how far coverage is from the quantile on average, and mean forecast over mean demand\n")
    print(f"{'':16}{'all':>6}" + "".join(f"{workload:>20}" for workload in workloads))
    points = [(horizon, quantile) for horizon in HORIZONS for quantile in QUANTILES]
    for name in CANDIDATES:
        cells, ratios = [], []
        for workload in workloads:
            mine = [scores[name, workload, *point] for point in points]
            ratio = _mean(
                [math.log(it.loss / scores["ewma", workload, *p].loss) for it, p in zip(mine, points, strict=True)]
            )
            ratios.append(ratio)
            gap = _mean([it.coverage - quantile for it, (_, quantile) in zip(mine, points, strict=True)])
            cost = _mean([it.cost for it in mine])
            cells.append(f"{math.exp(ratio):.2f} ({gap:+.2f}, {cost:.2f})")
        print(f"{name:16}{math.exp(_mean(ratios)):>6.2f}" + "".join(f"{cell:>20}" for cell in cells))


def _print_detail(scores: _Scores, workloads: Sequence[str]) -> None:
    print(
        "\n| workload | horizon | quantile | loss: naive | ewma | littoral | coverage: naive | ewma | littoral | cost |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for workload in workloads:
        for horizon in HORIZONS:
            for quantile in QUANTILES:
                naive, ewma, mine = (scores[it, workload, horizon, quantile] for it in ("naive", "ewma", "littoral"))
                print(
                    f"| {workload} | {horizon:.0f} s | {quantile} | {naive.loss:.3f} | {ewma.loss:.3f} | "
                    f"**{mine.loss:.3f}** | {naive.coverage:.2f} | {ewma.coverage:.2f} | **{mine.coverage:.2f}** | "
                    f"{mine.cost:.2f} |"
                )


class _WithoutSeason(Littoral):
    """Littoral, were every day the first."""

    def observe(self, rate: float, *, seconds: float) -> None:
        super().observe(rate, seconds=seconds)
        self.series = replace(self.series, season=None)


def _print_season() -> None:
    """Five days of a shop; the fifth is judged, and around its opening once more."""
    interval = 10.0
    readings = generated(shop_day, seconds=5 * _DAY, interval=interval, seed=1)
    day, opening = int(4 * _DAY / interval), int((4 * _DAY + 8 * 3600) / interval)
    print(
        "\nFifth day of a shop that opens at 8 (quantile 0.95): loss, coverage, cost; and from 10 min before to 10 min"
    )
    print("after it opens\n")
    for horizon in (120.0, 600.0):
        for name, make in {"without the day's profile": _WithoutSeason, "with it": Littoral}.items():
            cells = []
            for judged in (slice(day, None), slice(opening - 60, opening + 60)):
                loss, coverage, cost = score(
                    make, readings, horizon=horizon, quantile=0.95, judged=judged, interval=interval
                )
                cells.append(f"{loss:.4f} {coverage:.3f} {cost:.2f}")
            print(f"{horizon:5.0f} s  {name:26}{cells[0]:>22}{cells[1]:>22}")


def _print_costs(readings: Sequence[int]) -> None:
    rounds, series, now = 20, Series(), 0.0
    start = time.perf_counter()
    for _ in range(rounds):
        for reading in readings:
            series = update(series, count=reading, start=now, end=now + INTERVAL)
            now += INTERVAL
    per_update = (time.perf_counter() - start) / rounds / len(readings)
    start = time.perf_counter()
    for _ in range(rounds * len(readings)):
        forecast(series, at=now, horizon=30, quantile=0.95)
    per_forecast = (time.perf_counter() - start) / rounds / len(readings)
    print(f"\nper update   {per_update * 1e6:.1f} us\nper forecast {per_forecast * 1e6:.1f} us")
    young = update(Series(), count=5, start=0, end=INTERVAL)
    for age, it in {"a series": series, "in its first quarter of an hour": young}.items():
        print(f"{age}: {_bytes(it)} bytes in memory, {len(encode(it))} characters of JSON")


def _bytes(value: Any) -> int:
    """The memory of a value and all that it holds, without what all series share."""
    if value is None or value is UNKNOWN:
        return 0
    size = sys.getsizeof(value)
    if is_dataclass(value):
        return size + sum(_bytes(getattr(value, field.name)) for field in fields(value))
    return size + sum(_bytes(item) for item in value) if isinstance(value, tuple) else size


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


if __name__ == "__main__":
    main()
