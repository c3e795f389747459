"""Around the network `text-detect` (PP-OCRv4 detection): picture -> tensor, and text map -> boxes.

The network marks each pixel with the probability that it lies in the core of a line of text (differentiable
binarization: Liao et al. 2020, arXiv 1911.08947). A line's box is the smallest rectangle around a connected
patch of such pixels, grown again by as much as training shrank it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

INPUT = "x"
OUTPUT = "sigmoid_0.tmp_0"

_STRIDE = 32  # the network halves the picture five times
_LONGEST_SIDE = 960
_PIXEL_THRESHOLD = 0.3
_BOX_THRESHOLD = 0.6
_GROWTH = 1.6
_SMALLEST_SIDE = 3
_ANGLES = np.deg2rad(np.arange(-45, 45, 0.5))


@dataclass(frozen=True, kw_only=True)
class TextBox:
    """A line: corners of shape (4, 2), (x, y) in pixels of the picture, clockwise from the top left."""

    corners: NDArray[np.float64]
    score: float

    @property
    def size(self) -> tuple[float, float]:
        """Return (width, height) in pixels, measured along the line and across it."""
        top_left, top_right, _, bottom_left = self.corners
        return float(np.hypot(*(top_right - top_left))), float(np.hypot(*(bottom_left - top_left)))

    @property
    def center(self) -> tuple[float, float]:
        """Return the middle of the box as (x, y) in pixels."""
        x, y = self.corners.mean(axis=0)
        return float(x), float(y)


def prepare(picture: Image.Image) -> NDArray[np.float32]:
    """Return the picture as the network takes it: float32 of shape (1, 3, h, w), blue green red, each -1..1.

    Sides are multiples of 32 and at most 960 pixels; a small picture is not enlarged.
    """
    ratio = min(1.0, _LONGEST_SIDE / max(picture.size))
    width, height = (max(_STRIDE, round(side * ratio / _STRIDE) * _STRIDE) for side in picture.size)
    return to_tensor(picture.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))


def to_tensor(picture: Image.Image) -> NDArray[np.float32]:
    """Return an RGB picture as float32 of shape (1, 3, height, width): blue green red, each -1..1."""
    pixels = np.asarray(picture, dtype=np.float32)[:, :, ::-1]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[np.newaxis]) / np.float32(127.5) - np.float32(1)


def find_boxes(text_map: NDArray[np.float32], *, size: tuple[int, int]) -> list[TextBox]:
    """Return the lines of text in reading order.

    text_map: the network's output, probabilities of shape (1, 1, h, w); size: (width, height) of the picture
    that was given to `prepare`, in whose pixels the boxes are.
    """
    probabilities = text_map[0, 0]
    patches, _ = ndimage.label(probabilities > _PIXEL_THRESHOLD, structure=np.ones((3, 3)))
    scale = np.array(size) / np.array(probabilities.shape[::-1])
    boxes = []
    for number, window in enumerate(ndimage.find_objects(patches), start=1):
        patch = patches[window] == number
        score = float(probabilities[window][patch].mean())
        corners = _smallest_rectangle(_outline(patch)) + np.array([window[1].start, window[0].start])
        if score >= _BOX_THRESHOLD and _shortest_side(corners) >= _SMALLEST_SIDE:
            boxes.append(TextBox(corners=_grow(corners) * scale, score=score))
    return _reading_order(boxes)


def cut_out(picture: Image.Image, box: TextBox) -> Image.Image:
    """Return what is in the box, turned upright, as an RGB picture of the box's size."""
    top_left, top_right, bottom_right, bottom_left = box.corners
    quad = np.concatenate([top_left, bottom_left, bottom_right, top_right]).tolist()
    width, height = (max(1, round(side)) for side in box.size)
    return picture.convert("RGB").transform(
        (width, height), Image.Transform.QUAD, quad, resample=Image.Resampling.BICUBIC
    )


def _outline(patch: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the corners of the outermost pixels of each row: no other point can be on the convex hull."""
    rows = np.flatnonzero(patch.any(axis=1))
    left = patch[rows].argmax(axis=1)
    right = patch.shape[1] - patch[rows, ::-1].argmax(axis=1)
    return np.array(
        [(x, y) for row, *ends in zip(rows, left, right, strict=True) for x in ends for y in (row, row + 1)],
        dtype=np.float64,
    )


def _smallest_rectangle(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the corners, from the top left clockwise, of the rectangle of least area around points (n, 2).

    Directions from -45 to 45 degrees are tried in half degrees: text that is steeper counts as vertical.
    """
    cosine, sine = np.cos(_ANGLES), np.sin(_ANGLES)
    along = points @ np.stack([cosine, sine])
    across = points @ np.stack([-sine, cosine])
    best = int(np.argmin(np.ptp(along, axis=0) * np.ptp(across, axis=0)))
    left, right = along[:, best].min(), along[:, best].max()
    top, bottom = across[:, best].min(), across[:, best].max()
    back = np.array([[cosine[best], sine[best]], [-sine[best], cosine[best]]])
    corners: NDArray[np.float64] = np.array([(left, top), (right, top), (right, bottom), (left, bottom)]) @ back
    return corners


def _shortest_side(corners: NDArray[np.float64]) -> float:
    return min(TextBox(corners=corners, score=0).size)


def _grow(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move each side outwards by area * growth / perimeter, the inverse of how the labels were shrunk."""
    box = TextBox(corners=corners, score=0)
    width, height = box.size
    distance = width * height * _GROWTH / (2 * (width + height))
    right, down = (corners[1] - corners[0]) / width, (corners[3] - corners[0]) / height
    outwards = np.array([-right - down, right - down, right + down, -right + down])
    grown: NDArray[np.float64] = corners + distance * outwards
    return grown


def _reading_order(boxes: list[TextBox]) -> list[TextBox]:
    """Sort by rows, and within a row from left to right; boxes share a row if half their height overlaps."""
    rows: list[list[TextBox]] = []
    for box in sorted(boxes, key=lambda box: box.center[1]):
        if rows and box.center[1] - rows[-1][0].center[1] < box.size[1] / 2:
            rows[-1].append(box)
        else:
            rows.append([box])
    return [box for row in rows for box in sorted(row, key=lambda box: box.center[0])]
