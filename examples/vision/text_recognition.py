"""Around the network `text-recognize` (PP-OCRv4 recognition): a line of text -> tensor, and scores -> text.

For each vertical slice of the line the network gives a probability for each character of its alphabet and for
"none"; the text is read off by connectionist temporal classification (Graves et al. 2006).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .text_detection import to_tensor

INPUT = "x"
OUTPUT = "softmax_11.tmp_0"

_HEIGHT = 48
# The network was trained on lines of at least this width: shorter ones are padded.
_LEAST_WIDTH = 320
_CHARACTERS = Path(__file__).with_name("characters.txt")


@dataclass(frozen=True, kw_only=True)
class Line:
    """What was read: the text, and the mean probability of its characters."""

    text: str
    confidence: float


def prepare(line: Image.Image) -> NDArray[np.float32]:
    """Return an upright line as float32 of shape (1, 3, 48, w), w >= 320: blue green red, each -1..1."""
    width = max(1, math.ceil(_HEIGHT * line.width / line.height))
    tensor = to_tensor(line.convert("RGB").resize((width, _HEIGHT), Image.Resampling.BILINEAR))
    padding = max(0, _LEAST_WIDTH - width)
    return np.pad(tensor, ((0, 0), (0, 0), (0, 0), (0, padding)))


def alphabet() -> list[str]:
    """Return the characters in the network's order: first none (""), last the space.

    `characters.txt` is what the network's file carries under the key `character` of its metadata, one a line, so that
    who only asks the Model needs neither that file nor a reader of it.
    """
    return ["", *_CHARACTERS.read_text(encoding="utf-8").splitlines(), " "]


def read(scores: NDArray[np.float32], *, characters: list[str]) -> Line:
    """Return the line in scores, shape (1, slices, characters): repeats of a slice's winner count once."""
    winners = scores[0].argmax(axis=1)
    confidence = scores[0].max(axis=1)
    new = np.concatenate([[True], winners[1:] != winners[:-1]]) & (winners != 0)
    if not new.any():
        return Line(text="", confidence=0)
    text = "".join(characters[winner] for winner in winners[new])
    return Line(text=text, confidence=float(confidence[new].mean()))
