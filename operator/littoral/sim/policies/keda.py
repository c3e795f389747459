"""KEDA: a Prometheus trigger on the request rate, which an HPA follows as an external metric.

https://keda.sh/docs/latest/reference/scaledobject-spec/: with the defaults (`useCachedMetrics: false`) the HPA asks
the trigger anew at each of its syncs. `pollingInterval` (30 s) then only decides on the step from 0 to 1, and
`cooldownPeriod` (300 s) on the one from 1 to 0, which do not occur here: one replica always stays. With cached metrics
the HPA sees what the last poll found. The query is a rate over one minute.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Final

from littoral.sim.policies.base import Observation, PlaceState
from littoral.sim.policies.hpa import PERIOD, TOLERANCE, Behaviour

POLLING: Final = 30.0
_WINDOW: Final = 60.0


class Keda:
    """A ScaledObject for each place, on the requests that come there.

    Args:
        target: requests/s for each replica of a place (`threshold`, as an average value).
        devices: the most replicas of each place.
        least: `minReplicaCount`, 1 or more.
        cached: `useCachedMetrics`.
    """

    period = PERIOD

    def __init__(
        self, *, target: Sequence[float], devices: Sequence[int], least: int = 1, cached: bool = False
    ) -> None:
        polling = POLLING if cached else PERIOD
        self._objects = [
            _ScaledObject(target=rate, behaviour=Behaviour(least=least, most=most), polling=polling)
            for rate, most in zip(target, devices, strict=True)
        ]

    def decide(self, observation: Observation) -> Sequence[int]:
        """One sync of each HPA, and a poll when it is due."""
        if observation.now == 0:
            return [state.replicas for state in observation.places]
        return [
            scaled.sync(state, now=observation.now)
            for scaled, state in zip(self._objects, observation.places, strict=True)
        ]


class _ScaledObject:
    def __init__(self, *, target: float, behaviour: Behaviour, polling: float) -> None:
        self._target = target
        self._behaviour = behaviour
        self._polling = polling
        self._counts: deque[int] = deque(maxlen=round(_WINDOW / PERIOD))
        self._rate = 0.0
        self._polled = -math.inf

    def sync(self, state: PlaceState, *, now: float) -> int:
        self._counts.append(state.arrivals)
        if now - self._polled >= self._polling:
            self._polled = now
            self._rate = sum(self._counts) / (len(self._counts) * PERIOD)
        current = state.replicas
        unchanged = current > 0 and abs(self._rate / (self._target * current) - 1) <= TOLERANCE
        recommended = current if unchanged else math.ceil(self._rate / self._target)
        return self._behaviour.apply(recommended, current=current, now=now)
