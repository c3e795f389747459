"""At which arrival rates the latency is tabulated."""

from __future__ import annotations

import math
from typing import Final

HIGHEST_UTILISATION: Final = 0.98
"""The part of a server's throughput that may be planned with: beyond it the latency is anybody's guess."""

# Under low load it matters how often a request finds the server busy: rate times the time of a batch of one.
_LOW = (0.0, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
# Under high load it matters how near the throughput is.
_HIGH = (0.45, 0.53, 0.6, 0.7, 0.8, 0.87, 0.92, 0.95, HIGHEST_UTILISATION)
_BETWEEN = 3

COUNT: Final = len(_LOW) + _BETWEEN + len(_HIGH)


def knot(index: int, *, throughput: float) -> float:
    """A rate at which the latency is tabulated, ascending in `index` and in `throughput`.

    Args:
        index: 0 up to `COUNT`, exclusive.
        throughput: of full batches, in requests for the time of a batch of one: 1 or more.

    Returns:
        Requests for the time of a batch of one.
    """
    if index < len(_LOW):
        return _LOW[index]
    if index >= len(_LOW) + _BETWEEN:
        return _HIGH[index - len(_LOW) - _BETWEEN] * throughput
    step = (index - len(_LOW) + 1) / (_BETWEEN + 1)
    # A geometric way from the last low rate to the first high one.
    return math.exp((1 - step) * math.log(_LOW[-1]) + step * math.log(_HIGH[0] * throughput))
