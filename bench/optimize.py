"""`littoral optimize` on the quickstart's networks: accuracy, size, p50 and p99 of each variant.

`python -m bench.optimize [--seconds 3] [--threads N] [network ...]`. The digits are judged by their labels. For the
text networks no labels are at hand: their variants are judged by how far they agree with the original, on drawn lines
of text and on the quickstart's pictures, turned and scaled; what they are calibrated with is drawn from another seed.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from bench.report import machine
from examples.quickstart import digits, pictures
from examples.quickstart.networks import DIGITS, TEXT_DETECT, TEXT_RECOGNIZE, Network
from examples.vision import text_detection, text_recognition
from littoral.cli.optimize_text import quantiles, size
from littoral.optimize.data import Array, Dataset
from littoral.optimize.network import read_network
from littoral.optimize.pipeline import Outcome, Report, Settings, optimize
from littoral.optimize.recipes import targets_of

CLASSES = ("cpu", "intel-npu", "nvidia-gpu")
_WORDS = (
    *("harbour", "bakery", "fresh", "bread", "open", "closed", "monday", "total", "oat", "milk", "apples", "tea"),
    *("house", "price", "12.50", "3.99", "kg", "no", "17", "route", "platform", "sale", "today", "only", "exit"),
)
_COLOURS = (("black", "white"), ("white", "#17324d"), ("#ffe9c9", "#5b1f1a"), ("#333333", "#c9d6df"))


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network with its data."""

    network: Network
    calibration: Dataset
    test: Dataset
    max_batch: int


def cases() -> dict[str, Case]:
    """By the network's name."""
    train, test = digits.load()
    return {
        DIGITS.name: Case(
            network=DIGITS,
            calibration=_dataset(digits.INPUT, [image[None] for image in train.images]),
            test=Dataset(
                items=_dataset(digits.INPUT, [image[None] for image in test.images]).items, labels=tuple(test.labels)
            ),
            max_batch=8,
        ),
        TEXT_DETECT.name: Case(
            network=TEXT_DETECT,
            calibration=_dataset(text_detection.INPUT, _scenes(12, seed=1)),
            test=_dataset(text_detection.INPUT, _scenes(9, seed=2)),
            max_batch=2,
        ),
        TEXT_RECOGNIZE.name: Case(
            network=TEXT_RECOGNIZE,
            calibration=_dataset(text_recognition.INPUT, _lines(64, seed=1)),
            test=_dataset(text_recognition.INPUT, _lines(48, seed=2)),
            max_batch=4,
        ),
    }


def _dataset(name: str, arrays: Sequence[Array]) -> Dataset:
    return Dataset(items=tuple({name: array} for array in arrays))


def _lines(count: int, *, seed: int) -> list[Array]:
    """Lines of one to three words, each prepared as the recogniser takes it, all of its least width."""
    chosen = random.Random(seed)  # noqa: S311 - it only has to be the same each time
    found: list[Array] = []
    while len(found) < count:
        text = " ".join(chosen.choice(_WORDS) for _ in range(chosen.randint(1, 3)))
        text = chosen.choice((text, text.title(), text.upper()))
        font = ImageFont.load_default(size=chosen.choice((24, 32, 40, 48)))
        height = 72
        ink, ground = chosen.choice(_COLOURS)
        line = Image.new("RGB", (int(font.getlength(text)) + 16, height), ground)
        ImageDraw.Draw(line).text((8, height // 2), text, font=font, fill=ink, anchor="lm")
        tensor: Any = text_recognition.prepare(line)
        if tensor.shape[-1] == 320:
            found.append(tensor)
    return found


def _scenes(count: int, *, seed: int) -> list[Array]:
    """The quickstart's pictures, turned and cut to one size, each prepared as the detector takes it."""
    chosen = random.Random(seed)  # noqa: S311 - it only has to be the same each time
    known = [picture.image.convert("RGB") for picture in pictures.pictures()]
    scenes = []
    for index in range(count):
        turned = known[index % len(known)].rotate(chosen.uniform(-5, 5), fillcolor="gray")
        side = chosen.uniform(0.85, 1.0)
        box = (0, 0, int(turned.width * side), int(turned.height * side))
        scenes.append(text_detection.prepare(turned.resize((480, 320), box=box)))
    return scenes


def measure(case: Case, *, seconds: float, threads: int | None) -> Report:
    """Make and measure all variants, and throw them away."""
    with tempfile.TemporaryDirectory(prefix="bench-optimize-") as scratch:
        return optimize(
            read_network(case.network.path()),
            targets_of(CLASSES),
            calibration=case.calibration,
            test=case.test,
            settings=Settings(seconds=seconds, max_batch=case.max_batch, threads=threads),
            artifacts=Path(scratch, "artifacts"),
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )


def rows(name: str, report: Report) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {name} | {' | '.join(_cells(outcome))} |" for outcome in report.outcomes]


def _cells(outcome: Outcome) -> list[str]:
    name = f"`{outcome.target.name}`"
    if outcome.made is None:
        return [name, "-", "-", "-", "-", "-", "-", f"refused: {outcome.refusal}"]
    accuracy = "not measured here" if outcome.made.accuracy is None else f"{outcome.made.accuracy:.4f}"
    cells = [name, size(outcome.made.size), accuracy]
    if outcome.speed is None:
        return [*cells, "not here", "", "", "", outcome.made.method]
    largest = max(outcome.speed)
    return [*cells, *quantiles(outcome.speed[1]), *quantiles(outcome.speed[largest]), outcome.made.method]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one table for all networks."""
    known = cases()
    parser = argparse.ArgumentParser(prog="python -m bench.optimize", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("networks", nargs="*", help=f"of {', '.join(known)}; default: all")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each variant and batch size")
    parser.add_argument("--threads", type=int, default=None, help="of an inference")
    parsed = parser.parse_args(arguments)
    print(f"{machine()}\n")
    print("| network | variant | size | accuracy | p50 | p99 | p50, largest batch | p99, largest batch | how |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in parsed.networks or known:
        report = measure(known[name], seconds=parsed.seconds, threads=parsed.threads)
        told = "labels" if report.labelled else f"agreement, {report.metric}"
        batch = max((max(it.speed) for it in report.outcomes if it.speed), default=1)
        label = f"{name} ({told}, {report.items} items; batch {batch})"
        print("\n".join(rows(label, report)), flush=True)


if __name__ == "__main__":
    main()
