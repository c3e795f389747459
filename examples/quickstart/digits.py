"""Handwritten digits: scikit-learn's scans, and the networks trained on them in this repository.

The data set is the test part of the UCI "Optical Recognition of Handwritten Digits" set, which scikit-learn
ships: 1,797 scans of 8 x 8 pixels with grey levels 0 (paper) to 16 (ink).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from examples.vision import digit_recognition

INPUT = digit_recognition.INPUT
OUTPUT = digit_recognition.OUTPUT
MAX_LEVEL = digit_recognition.MAX_LEVEL
_SHADES = " .:-=+*#%@"


@dataclass(frozen=True, kw_only=True)
class Digits:
    """Scans and what they show: images of shape (n, 8, 8) with grey levels 0..16, labels of shape (n,)."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]


def load() -> tuple[Digits, Digits]:
    """Return (train, test): always the same stratified split, a quarter of the scans held out."""
    data = load_digits()
    images = data.images.astype(np.float32)
    labels = data.target.astype(np.int64)
    train_x, test_x, train_y, test_y = train_test_split(images, labels, test_size=0.25, random_state=0, stratify=labels)
    return Digits(images=train_x, labels=train_y), Digits(images=test_x, labels=test_y)


def accuracy(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the share of rows of probabilities, shape (n, 10), whose highest entry is the label."""
    return float(np.mean(probabilities.argmax(axis=1) == labels))


def ascii_art(image: NDArray[np.float32]) -> list[str]:
    """Draw one scan of shape (8, 8) as eight lines of text, two characters a pixel to look square."""
    steps = (image / MAX_LEVEL * (len(_SHADES) - 1)).round().astype(int)
    return ["".join(_SHADES[step] * 2 for step in row) for row in steps]
