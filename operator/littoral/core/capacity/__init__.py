"""Capacity: how many requests per second a server can take and still meet a latency budget.

`Evidence` learns a `BatchTime` from Triton's statistics, `max_rate` turns it into a rate, `sharing` divides a server
between models, and a `Correction` learns from measured latencies what the model does not know. `docs/capacity.md`
says where the formulas come from and how far they can be trusted.
"""

from littoral.core.capacity.batch_time import BatchTime
from littoral.core.capacity.correction import Correction
from littoral.core.capacity.evidence import Evidence, Measured
from littoral.core.capacity.latency import Shortfall, latency, max_rate, shortfall
from littoral.core.capacity.statistics import BatchCounter, BatchCounters, batches_between, merged, read_batch_stats

__all__ = [
    "BatchCounter",
    "BatchCounters",
    "BatchTime",
    "Correction",
    "Evidence",
    "Measured",
    "Shortfall",
    "batches_between",
    "latency",
    "max_rate",
    "merged",
    "read_batch_stats",
    "shortfall",
]
