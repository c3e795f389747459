"""Find the text of a frame by the Model `text-detect`, and say what was found."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from PIL import Image

from examples.vision import text_detection
from examples.vision.drawing import draw_boxes, to_jpeg
from examples.vision.kserve import Model, ModelRefused
from examples.vision.text_detection import TextBox

from .sources import Frame


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The boxes of a frame, which Model's version found them, and the seconds from asking to the answer."""

    boxes: tuple[TextBox, ...]
    model: str
    version: str
    seconds: float

    def describe(self, frame: Frame, *, source: str, seen: datetime) -> dict[str, Any]:
        """Return what is kept and forwarded."""
        return {
            "source": source,
            "seen": seen.isoformat(timespec="milliseconds"),
            "frame": frame.index,
            "position": round(frame.position, 3),
            "width": frame.picture.width,
            "height": frame.picture.height,
            "model": self.model,
            "version": self.version,
            "seconds": round(self.seconds, 4),
            "boxes": [{"corners": box.corners.round(1).tolist(), "score": round(box.score, 4)} for box in self.boxes],
        }


async def analyse(frame: Frame, *, model: Model) -> Finding:
    """Ask the Model for a frame; raise a ModelError."""
    tensor = await asyncio.to_thread(text_detection.prepare, frame.picture)
    start = time.perf_counter()
    answer = await model.infer(tensor, input_name=text_detection.INPUT, output_name=text_detection.OUTPUT)
    seconds = time.perf_counter() - start
    if answer.values.shape != (1, 1, *tensor.shape[2:]):
        raise ModelRefused(f"{model.name}: a text map of shape {answer.values.shape} for {tensor.shape}")
    boxes = await asyncio.to_thread(text_detection.find_boxes, answer.values, size=frame.picture.size)
    return Finding(boxes=tuple(boxes), model=model.name, version=answer.version, seconds=seconds)


def annotate(picture: Image.Image, boxes: Sequence[TextBox], *, longest_side: int) -> bytes:
    """Return the frame with its boxes and their scores as JPEG."""
    drawn = draw_boxes(picture, boxes, captions=[f"{box.score:.0%}" for box in boxes])
    return to_jpeg(drawn, longest_side=longest_side)
