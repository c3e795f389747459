"""What was asked of each Model, from counters that begin anew with each of HAProxy's processes. Pure but for its
time, which is given."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from littoral.api.routing import BUCKETS, Demand, Latency
from littoral.render.gateway_rules import (
    ARRIVED,
    COUNTERS,
    FAILED,
    FIRST_BUCKET,
    LOCAL,
    RECEIVED,
    REFUSED,
    RESCUED,
    SPILLED,
)

_WRAP = 2**32  # HAProxy counts in 32 bits.
_WINDOW = 60.0  # Seconds.
_STEP = 5.0


class Ledger:
    """Adds up the counters of all processes, those that have ended included."""

    def __init__(self) -> None:
        self._last: dict[str, dict[str, list[int]]] = {}
        self._totals: dict[str, list[int]] = {}
        self._past: deque[tuple[float, dict[str, list[int]]]] = deque()

    def read(self, worker: str, counters: Mapping[str, Sequence[int]]) -> None:
        """Take in what one process has counted since it began; `worker` is its identity."""
        last = self._last.setdefault(worker, {})
        for model, values in counters.items():
            before = last.get(model, [0] * COUNTERS)
            total = self._totals.setdefault(model, [0] * COUNTERS)
            for index, (value, earlier) in enumerate(zip(values, before, strict=False)):
                total[index] += (value - earlier) % _WRAP
            last[model] = list(values)

    def keep(self, workers: Sequence[str]) -> None:
        """Forget the processes that are not among these: what they have counted stays counted."""
        self._last = {worker: seen for worker, seen in self._last.items() if worker in workers}

    def tick(self, now: float) -> None:
        """Remember the counters of this moment, for `recent`; `now` in seconds of a clock that does not jump."""
        if not self._past or now - self._past[-1][0] >= _STEP:
            self._past.append((now, {model: list(total) for model, total in self._totals.items()}))
        while len(self._past) > 1 and now - self._past[1][0] >= _WINDOW:
            self._past.popleft()

    def demand(self, model: str) -> Demand:
        """All that was counted of a Model."""
        return _demand(self._totals.get(model, [0] * COUNTERS))

    def recent(self, model: str, *, now: float) -> tuple[Demand, float]:
        """What was counted within the last minute or so, and the seconds that it took."""
        total = self._totals.get(model, [0] * COUNTERS)
        if not self._past:
            return Demand(), 0.0
        since, then = self._past[0]
        before = then.get(model, [0] * COUNTERS)
        return _demand([now_ - then_ for now_, then_ in zip(total, before, strict=True)]), now - since

    @property
    def models(self) -> frozenset[str]:
        """Keys of the Models of which something was counted."""
        return frozenset(self._totals)

    def dump(self) -> str:
        """All that an agent after this one needs to go on counting."""
        return json.dumps({"last": self._last, "totals": self._totals})

    @classmethod
    def load(cls, text: str) -> Ledger:
        """
        Raises:
            ValueError: the text is not what `dump` wrote, or what an agent with other counters wrote.
        """
        ledger = cls()
        body: Any = json.loads(text)
        try:
            rows = [*body["totals"].values(), *(row for seen in body["last"].values() for row in seen.values())]
            for row in rows:
                if RECEIVED <= len(row) < COUNTERS:  # of an agent that did not count what stands last
                    row.extend([0] * (COUNTERS - len(row)))
            if any(len(row) != COUNTERS or not all(isinstance(it, int) for it in row) for row in rows):
                raise ValueError("not the counters of this version")
            ledger._last, ledger._totals = body["last"], body["totals"]
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError("not a ledger") from error
        return ledger


def _demand(counters: Sequence[int]) -> Demand:
    return Demand(
        arrived=counters[ARRIVED],
        local=counters[LOCAL] - counters[RESCUED],
        spilled=counters[SPILLED] + counters[RESCUED],
        refused=counters[REFUSED],
        failed=counters[FAILED],
        received=counters[RECEIVED],
        latency=Latency(counts=tuple(counters[FIRST_BUCKET : FIRST_BUCKET + len(BUCKETS) + 1])),
    )
