"""Kubernetes' HorizontalPodAutoscaler, as its documentation and controller describe it.

https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/: a Pods metric with an average
value as target, tolerance 0.1, a sync every 15 s, default behaviour (up by 100% or 4 Pods in 15 s, whichever is more,
at once; down to the highest recommendation of the last 300 s). The metric is the number of requests in flight for each
Pod, averaged over the last 15 s: it shows overload at once, which CPU or GPU utilisation, bounded by 100%, does not.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Final

from littoral.sim.policies.base import Observation, PlaceState

PERIOD: Final = 15.0
TOLERANCE: Final = 0.1
STABILISATION: Final = 300.0


class Behaviour:
    """How fast an HPA follows what it recommends: the defaults of `spec.behavior`, for one Deployment."""

    def __init__(self, *, least: int, most: int) -> None:
        self._least = least
        self._most = most
        self._recommended: deque[tuple[float, int]] = deque()

    def apply(self, recommended: int, *, current: int, now: float) -> int:
        """The replicas to set."""
        self._recommended.append((now, recommended))
        while self._recommended[0][0] < now - STABILISATION:
            self._recommended.popleft()
        if recommended < current:
            recommended = min(current, max(replicas for _, replicas in self._recommended))
        if recommended > current:
            # A sync is as long as the policies' periodSeconds, so what it adds is all that was added in one.
            recommended = min(recommended, max(2 * current, current + 4))
        return min(max(recommended, self._least), self._most)


def recommend_by_pods(state: PlaceState, *, target: float) -> int:
    """What the controller's replica calculator says to a Pods metric."""
    current = state.replicas
    if not state.ready:
        return current
    ratio = state.in_flight / state.ready / target
    if not state.starting:
        return current if abs(ratio - 1) <= TOLERANCE else math.ceil(ratio * state.ready)
    if ratio < 1:
        # Pods without a metric are taken to be exactly at the target when that means less scaling down.
        measured = (state.in_flight + target * state.starting) / current / target
    else:
        measured = state.in_flight / current / target
    # Doubt must not turn the direction.
    if abs(measured - 1) <= TOLERANCE or (measured > 1) != (ratio > 1):
        return current
    recommended = math.ceil(measured * current)
    return max(recommended, current) if ratio > 1 else min(recommended, current)


class HorizontalPodAutoscaler:
    """One HPA for each place.

    Args:
        target: requests in flight for each Pod.
        devices: the most replicas of each place.
        least: `minReplicas`.
    """

    period = PERIOD

    def __init__(self, *, target: float, devices: Sequence[int], least: int = 1) -> None:
        self._target = target
        self._behaviours = [Behaviour(least=least, most=most) for most in devices]

    def decide(self, observation: Observation) -> Sequence[int]:
        """One sync."""
        return [
            behaviour.apply(recommend_by_pods(state, target=self._target), current=state.replicas, now=observation.now)
            if observation.now > 0
            else state.replicas
            for behaviour, state in zip(self._behaviours, observation.places, strict=True)
        ]
