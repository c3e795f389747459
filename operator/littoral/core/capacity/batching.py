"""How large batches may become within a latency objective. Pure."""

from __future__ import annotations

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
