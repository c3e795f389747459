"""What `littoral optimize` prints for people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from littoral.api.quantity import format_duration
from littoral.cli import style
from littoral.cli.table import ABSENT, table

if TYPE_CHECKING:
    from littoral.optimize.pipeline import Outcome, Report
    from littoral.optimize.speed import Latency

NOT_HERE = "not measured here"


def text(report: Report, *, root: Path, wide: bool = False) -> str:
    """The table of all variants, those that were refused with the reason, and where everything is."""
    from littoral.optimize.manifest import remarks

    accepted = [outcome for outcome in report.outcomes if outcome.accepted]
    largest = max((max(outcome.speed) for outcome in report.outcomes if outcome.speed), default=1)
    headers = ["VARIANT", "BACKEND", "SIZE", "ACCURACY", "P50", "P99"]
    if largest > 1:
        headers += [f"P50 OF {largest}", f"P99 OF {largest}"]
    headers += ["BASE", "PER ITEM", "HOW", "DIGEST"] if wide else ["HOW"]
    rows = [_row(outcome, largest=largest, wide=wide) for outcome in accepted]
    original = f"original: accuracy {report.original_accuracy:.4f}"
    lines = [table(headers, rows), "", original, remarks(report)[0]]
    refused = [outcome for outcome in report.outcomes if not outcome.accepted]
    lines += [f"{style.bad('refused')} {outcome.target.name}: {outcome.refusal}" for outcome in refused]
    lines.append(f"written: {root / 'model.yaml'}")
    return "\n".join(lines)


def _row(outcome: Outcome, *, largest: int, wide: bool) -> list[str]:
    from littoral.optimize.speed import profile

    assert outcome.made is not None
    made, speed = outcome.made, outcome.speed
    row = [
        outcome.target.name,
        outcome.target.backend,
        size(made.size),
        NOT_HERE if made.accuracy is None else f"{made.accuracy:.4f}",
    ]
    for batch in (1, largest) if largest > 1 else (1,):
        row += [NOT_HERE, ABSENT] if speed is None else quantiles(speed[batch])
    if wide:
        learned = None if speed is None else profile(speed)
        row += [ABSENT, ABSENT] if learned is None else [seconds(learned.base), seconds(learned.per_item)]
        return [*row, made.method, made.digest]
    return [*row, made.method]


def quantiles(latency: Latency) -> list[str]:
    """p50 and p99."""
    return [seconds(latency.quantile(level)) for level in (0.5, 0.99)]


def seconds(value: float) -> str:
    """A latency with three digits."""
    return format_duration(float(f"{value:.3g}"))


def size(count: int) -> str:
    """Bytes in the unit that reads best."""
    number, units = float(count), ["B", "KiB", "MiB", "GiB"]
    while number >= 1024 and len(units) > 1:
        number, units = number / 1024, units[1:]
    return f"{number:.0f} B" if units[0] == "B" else f"{number:.1f} {units[0]}"
