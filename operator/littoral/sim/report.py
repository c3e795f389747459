"""A comparison as a table and as a plot."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final
from xml.sax.saxutils import escape

from littoral.sim.compare import LITTORAL, Comparison

HEADERS: Final = (
    "workload",
    "policy",
    "setting",
    "within SLO",
    "windows kept",
    "replica hours",
    "cost",
    "of clairvoyant",
    "loads",
    "late at equal cost",
)
"""Columns of `rows`. The last one: times as many late requests as Littoral, for the same money."""


def rows(comparisons: Iterable[Comparison]) -> Iterator[tuple[str, ...]]:
    """The cells of the table, as text: one row for each policy and workload, judged on the second half."""
    for comparison in comparisons:
        for name, line in comparison.lines.items():
            score = line.chosen.test
            relative = comparison.cost(name)
            yield (
                comparison.workload,
                name,
                f"{line.chosen.value:g}",
                f"{score.attainment:.3%}",
                f"{score.windows:.0%}",
                f"{score.replica_hours:.2f}",
                f"{score.cost:.2f}",
                "-" if relative is None else f"{relative:.2f}",
                str(score.loads),
                "1" if name == LITTORAL else ratio(comparison, name),
            )


def ratio(comparison: Comparison, name: str) -> str:
    """How many times as many requests are late as with Littoral, for the same money, as text."""
    if LITTORAL not in comparison.lines:
        return "-"
    found = comparison.ratio(name)
    if found is None:
        return "costs more"
    times, exact = found
    text = f"{times:.0f}" if times >= 10 else f"{times:.2g}"
    return text if exact else f"{text} at its dearest"


def markdown(comparisons: Iterable[Comparison]) -> str:
    """The table in Markdown."""
    lines = ["| " + " | ".join(HEADERS) + " |", "|" + "---|" * len(HEADERS)]
    lines += ["| " + " | ".join(row) + " |" for row in rows(comparisons)]
    return "\n".join(lines)


def document(comparisons: Iterable[Comparison]) -> list[dict[str, Any]]:
    """Every setting of every policy, for programs."""
    return [
        {
            "workload": comparison.workload,
            "scenario": comparison.scenario,
            "policies": [
                {
                    "name": line.name,
                    "setting": line.setting,
                    "chosen": line.chosen.value,
                    "trials": [
                        {
                            "value": trial.value,
                            "requests": trial.test.requests,
                            "late": trial.test.late,
                            "attainment": trial.test.attainment,
                            "windowsKept": trial.test.windows,
                            "cost": trial.test.cost,
                            "replicaHours": trial.test.replica_hours,
                            "loads": trial.test.loads,
                        }
                        for trial in line.trials
                    ],
                }
                for line in comparison.lines.values()
            ],
        }
        for comparison in comparisons
    ]


_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#7f7f7f", "#56b4e9", "#e69f00")
_WIDTH, _HEIGHT, _GAP, _COLUMNS = 330, 230, 54, 3


def plot(comparisons: Sequence[Comparison]) -> str:
    """Cost (logarithmic) against the share of late requests (logarithmic) as SVG: a panel for each workload.

    Each point is a setting; a ring marks the chosen one. What lies to the left and below is better.
    """
    names = list(dict.fromkeys(name for comparison in comparisons for name in comparison.lines))
    colours = {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(names)}
    columns = min(_COLUMNS, len(comparisons))
    legend, legend_end = _legend(colours)
    width = max(columns * (_WIDTH + _GAP) + 20, legend_end)
    height = math.ceil(len(comparisons) / columns) * (_HEIGHT + _GAP) + 50
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        *legend,
    ]
    for number, comparison in enumerate(comparisons):
        left = _GAP + number % columns * (_WIDTH + _GAP)
        top = 50 + number // columns * (_HEIGHT + _GAP)
        parts += _panel(comparison, colours, left=left, top=top)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _legend(colours: dict[str, str]) -> tuple[list[str], int]:
    """The names in their colours, in one row, and where it ends."""
    parts, x = [], _GAP
    for name, colour in colours.items():
        parts.append(f'<circle cx="{x}" cy="16" r="4" fill="{colour}"/>')
        parts.append(f'<text x="{x + 9}" y="20">{escape(name)}</text>')
        x += 7 * len(name) + 30
    return parts, x


def _panel(comparison: Comparison, colours: dict[str, str], *, left: int, top: int) -> Iterator[str]:
    points = {
        name: sorted((trial.test.cost, trial.test.violations) for trial in line.trials)
        for name, line in comparison.lines.items()
    }
    x = _Axis([cost for each in points.values() for cost, _ in each], start=left, length=_WIDTH)
    y = _Axis([late for each in points.values() for _, late in each], start=top + _HEIGHT, length=-_HEIGHT)
    yield f'<rect x="{left}" y="{top}" width="{_WIDTH}" height="{_HEIGHT}" fill="none" stroke="#999"/>'
    yield f'<text x="{left}" y="{top - 6}" font-weight="bold">{escape(comparison.workload)}</text>'
    yield f'<text x="{left + _WIDTH}" y="{top - 6}" text-anchor="end" fill="#555">late requests over cost</text>'
    for tick in x.ticks((1, 2, 5)):
        at = x.place(tick)
        yield f'<line x1="{at:.1f}" y1="{top}" x2="{at:.1f}" y2="{top + _HEIGHT}" stroke="#eee"/>'
        yield f'<text x="{at:.1f}" y="{top + _HEIGHT + 14}" text-anchor="middle">{tick:g}</text>'
    for tick in y.ticks((1,)):
        at = y.place(tick)
        yield f'<line x1="{left}" y1="{at:.1f}" x2="{left + _WIDTH}" y2="{at:.1f}" stroke="#eee"/>'
        yield f'<text x="{left - 4}" y="{at + 4:.1f}" text-anchor="end">{tick * 100:g}%</text>'
    for name, each in points.items():
        path = " ".join(f"{x.place(cost):.1f},{y.place(late):.1f}" for cost, late in each)
        yield f'<polyline points="{path}" fill="none" stroke="{colours[name]}" stroke-opacity="0.5"/>'
        for cost, late in each:
            yield f'<circle cx="{x.place(cost):.1f}" cy="{y.place(late):.1f}" r="2.5" fill="{colours[name]}"/>'
        chosen = comparison.lines[name].chosen.test
        yield (
            f'<circle cx="{x.place(chosen.cost):.1f}" cy="{y.place(chosen.violations):.1f}" r="6" fill="none" '
            f'stroke="{colours[name]}" stroke-width="2"/>'
        )


class _Axis:
    """A logarithmic axis that has room for some values."""

    def __init__(self, values: Sequence[float], *, start: float, length: float) -> None:
        self._low = min(values) / 1.15
        self._high = max(values) * 1.15
        self._start, self._length = start, length

    def place(self, value: float) -> float:
        """Where a value is drawn."""
        share = math.log(value / self._low) / math.log(self._high / self._low)
        return self._start + self._length * share

    def ticks(self, digits: Sequence[int]) -> Iterator[float]:
        """Round values on the axis: each digit times each power of ten."""
        for power in range(math.floor(math.log10(self._low)), math.ceil(math.log10(self._high)) + 1):
            for digit in digits:
                if self._low <= digit * 10.0**power <= self._high:
                    yield digit * 10.0**power
