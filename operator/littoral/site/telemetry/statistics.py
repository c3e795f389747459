"""Triton's statistics of all models (`/v2/models/stats`): what its metrics lack, batch times and models' memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from littoral.core.capacity import BatchCounters, read_batch_stats
from littoral.site.telemetry.exposition import ModelVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What one reading says of the versions that are loaded.

    Attributes:
        batches: executions and their time, by batch size, since the version was loaded.
        memory: bytes that a version takes; only those whose backend tells Triton.
    """

    batches: Mapping[ModelVersion, BatchCounters] = field(default_factory=dict)
    memory: Mapping[ModelVersion, float] = field(default_factory=dict)


def parse_statistics(body: bytes) -> Statistics:
    """Read Triton's answer.

    Raises:
        ValueError: it is not what Triton answers. A single entry that cannot be read counts as absent.
    """
    answer = json.loads(body)
    entries = answer.get("model_stats") if isinstance(answer, dict) else None
    if not isinstance(entries, list):
        raise ValueError("no model_stats in the answer")
    batches: dict[ModelVersion, BatchCounters] = {}
    memory: dict[ModelVersion, float] = {}
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            continue
        key = ModelVersion(entry["name"], str(entry.get("version", "")))
        batches[key] = read_batch_stats(entry)
        if (used := _memory(entry)) is not None:
            memory[key] = used
    return Statistics(batches=batches, memory=memory)


def _memory(entry: Mapping[str, Any]) -> float | None:
    usages = entry.get("memory_usage")
    if not isinstance(usages, list) or not usages:
        return None
    try:
        return float(sum(max(int(usage["byte_size"]), 0) for usage in usages))
    except (KeyError, TypeError, ValueError):
        return None
