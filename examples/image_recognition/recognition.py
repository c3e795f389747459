"""Read a picture with the quickstart's Models: its lines of text, or the one digit that it shows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from examples.vision import digit_recognition, text_detection, text_recognition
from examples.vision.digit_recognition import Digit
from examples.vision.kserve import Model, ModelRefused
from examples.vision.text_detection import TextBox
from examples.vision.text_recognition import Line

_MOST_LINES = 100


@dataclass(frozen=True, kw_only=True)
class Text:
    """The lines in reading order, each with its box; `more`: how many further lines were found and not read."""

    lines: tuple[tuple[TextBox, Line], ...]
    more: int
    versions: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class DigitAnswer:
    """The digit, or none in an empty picture."""

    digit: Digit | None
    versions: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Recognizer:
    """Asks the three Models.

    Attributes:
        lines_at_once: requests to `text-recognize` that are under way at any time, for all pictures together.
    """

    detector: Model
    recognizer: Model
    digits: Model
    lines_at_once: asyncio.Semaphore
    characters: Sequence[str] = field(default_factory=text_recognition.alphabet)

    async def read_text(self, picture: Image.Image) -> Text:
        """Find the lines of text and read each; raise a ModelError."""
        tensor = await asyncio.to_thread(text_detection.prepare, picture)
        found = await self.detector.infer(tensor, input_name=text_detection.INPUT, output_name=text_detection.OUTPUT)
        if found.values.shape != (1, 1, *tensor.shape[2:]):
            raise ModelRefused(f"{self.detector.name}: a text map of shape {found.values.shape} for {tensor.shape}")
        boxes = await asyncio.to_thread(text_detection.find_boxes, found.values, size=picture.size)
        versions = {self.detector.name: found.version}
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._read_line(picture, box)) for box in boxes[:_MOST_LINES]]
        except ExceptionGroup as errors:
            # One line that cannot be read is as bad as all: the others are not waited for.
            raise errors.exceptions[0] from None
        lines = []
        for box, task in zip(boxes, tasks, strict=False):
            line, version = task.result()
            versions[self.recognizer.name] = version
            if line.text:
                lines.append((box, line))
        return Text(lines=tuple(lines), more=max(0, len(boxes) - _MOST_LINES), versions=versions)

    async def read_digit(self, picture: Image.Image) -> DigitAnswer:
        """Read the one digit that the picture shows; raise a ModelError."""
        scan = await asyncio.to_thread(digit_recognition.prepare, picture)
        if scan is None:
            return DigitAnswer(digit=None, versions={})
        answer = await self.digits.infer(scan, input_name=digit_recognition.INPUT, output_name=digit_recognition.OUTPUT)
        if answer.values.shape != (1, 10):
            raise ModelRefused(f"{self.digits.name}: probabilities of shape {answer.values.shape}")
        return DigitAnswer(digit=digit_recognition.read(answer.values), versions={self.digits.name: answer.version})

    async def _read_line(self, picture: Image.Image, box: TextBox) -> tuple[Line, str]:
        async with self.lines_at_once:
            tensor = await asyncio.to_thread(_prepare_line, picture, box)
            answer = await self.recognizer.infer(
                tensor, input_name=text_recognition.INPUT, output_name=text_recognition.OUTPUT
            )
        if answer.values.ndim != 3 or answer.values.shape[-1] != len(self.characters):
            raise ModelRefused(f"{self.recognizer.name}: scores of shape {answer.values.shape}")
        return text_recognition.read(answer.values, characters=list(self.characters)), answer.version


def _prepare_line(picture: Image.Image, box: TextBox) -> NDArray[np.float32]:
    return text_recognition.prepare(text_detection.cut_out(picture, box))
