"""Numbers that a plan is made for: coarse and slow to fall, so that noise moves nothing."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_STEP: Final = 1.05
_DIGITS: Final = 2  # of an exponent: that of a number of six digits is off by up to 0.0001.


def upwards(value: float) -> float:
    """The next of a series of numbers 5% apart that is not below the value; 0 stays 0."""
    return _nearest(math.ceil(_exponent(value))) if value > 0 else 0.0


def downwards(value: float) -> float:
    """The next of the same numbers that is not above the value; 0 stays 0."""
    return _nearest(math.floor(_exponent(value))) if value > 0 else 0.0


def _exponent(value: float) -> float:
    # Rounding errors must not make a number of the series its neighbour.
    return round(math.log(value, _STEP), _DIGITS)


def _nearest(exponent: int) -> float:
    return float(f"{_STEP**exponent:.6g}")


class Sticky(Generic[K]):
    """Keeps each number until another one differs by more than a tolerance.

    Args:
        rise: a number that is higher by more than this share replaces the kept one.
        fall: the same for one that is lower.
    """

    def __init__(self, *, rise: float, fall: float) -> None:
        self._rise = rise
        self._fall = fall
        self._kept: dict[K, float] = {}

    def settle(self, key: K, value: float) -> float:
        """The number to go by: the kept one, where the new one is near it."""
        kept = self._kept.get(key)
        if kept is not None and kept * (1 - self._fall) <= value <= kept * (1 + self._rise):
            return kept
        self._kept[key] = value
        return value

    def forget(self, key: K) -> None:
        """Keep nothing for the key."""
        self._kept.pop(key, None)

    def retain(self, keys: set[K]) -> None:
        """Forget all others."""
        for key in self._kept.keys() - keys:
            del self._kept[key]
