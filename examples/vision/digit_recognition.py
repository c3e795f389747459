"""Around the network `digits`: the picture of one digit -> a scan of 8 x 8 pixels, and probabilities -> the digit.

The network was trained on the UCI set "Optical Recognition of Handwritten Digits", whose scans were made so: the digit
is told apart from the paper, cut out, made 32 pixels high, and its ink is counted in blocks of 4 x 4 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

INPUT = "image"
OUTPUT = "probabilities"
MAX_LEVEL = 16

_BITMAP = 32
_BLOCK = 4
_LEAST_CONTRAST = 32
_LONGEST_SIDE = 512


@dataclass(frozen=True, kw_only=True)
class Digit:
    """What was read: the digit, and how probable each of the ten is."""

    digit: int
    probabilities: tuple[float, ...]

    @property
    def confidence(self) -> float:
        """Return the probability of the digit."""
        return self.probabilities[self.digit]


def prepare(picture: Image.Image) -> NDArray[np.float32] | None:
    """Return the digit as float32 of shape (1, 8, 8), grey levels 0 (paper) to 16 (ink); None for an empty picture.

    Dark on light or light on dark: what the picture's border shows is the paper.
    """
    grey = picture.convert("L")
    grey.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    pixels = np.asarray(grey, dtype=np.float32)
    paper = float(np.median(np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])))
    contrast = np.abs(pixels - paper)
    if contrast.max() < _LEAST_CONTRAST:
        return None
    ink = contrast > contrast.max() / 2
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    cut = Image.fromarray((ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] * 255).astype(np.uint8))
    scale = _BITMAP / max(cut.size)
    width, height = (max(1, round(side * scale)) for side in cut.size)
    bitmap = Image.new("L", (_BITMAP, _BITMAP))
    place = ((_BITMAP - width) // 2, (_BITMAP - height) // 2)
    bitmap.paste(cut.resize((width, height), Image.Resampling.BILINEAR), place)
    inked = np.asarray(bitmap, dtype=np.float32) / 255
    side = _BITMAP // _BLOCK
    levels: NDArray[np.float32] = inked.reshape(side, _BLOCK, side, _BLOCK).sum(axis=(1, 3))[np.newaxis]
    return levels


def read(probabilities: NDArray[np.float32]) -> Digit:
    """Return the digit in probabilities of shape (1, 10)."""
    (row,) = probabilities
    return Digit(digit=int(row.argmax()), probabilities=tuple(round(float(value), 4) for value in row))
