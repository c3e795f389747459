"""How large batches may become, and how many requests may be outstanding, within a latency objective. Pure."""

from __future__ import annotations

import math
from typing import Final

from littoral.core.capacity.batch_time import BatchTime

LARGEST: Final = 128
"""Requests in one batch at most: beyond, throughput grows little and memory much."""


def largest_batch(batch_time: BatchTime, *, budget: float) -> int:
    """The largest power of two of requests that may become one batch; 1 where not even two fit.

    A request that comes while a batch is executed waits for that one, and is then part of the next: at worst twice the
    time of the largest batch. That must fit the budget. Nobody waits for others to come: a batch is what has gathered
    meanwhile, which loses no throughput where there is load, and no time where there is none.

    Args:
        budget: seconds from a request's arrival to its answer.
    """
    size = 1
    while size < LARGEST and 2 * batch_time.of(2 * size) <= budget:
        size *= 2
    return size


def most_outstanding(batch_time: BatchTime, *, max_batch: int, budget: float) -> int:
    """How many requests a server may have, so that the last of them is still answered in time; at least 1.

    The last of L requests comes at worst when a batch of one has just begun: then come ceil((L-1)/max_batch) more
    batches, each with its base, and every request adds its own time. Little's law, which takes all batches for full,
    allows a few more, and they are late.

    Args:
        budget: seconds from a request's arrival to its answer.
    """
    least, most = 1, max(1, int(budget / batch_time.per_item))
    while least < most:
        middle = (least + most + 1) // 2
        batches = 1 + math.ceil((middle - 1) / max_batch)
        if batch_time.base * batches + batch_time.per_item * middle <= budget:
            least = middle
        else:
            most = middle - 1
    return least
