"""A policy that knows what comes: what the others cost is measured by it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from littoral.sim.policies.base import Observation


class Clairvoyant:
    """As many replicas as the arrivals of every moment need, ordered just in time, and none for longer.

    For a scenario with one place. What it knows is exact; how hard it may drive a replica is a parameter that is
    tuned on the very requests that it is judged by.

    Args:
        arrivals: the times of all requests in seconds, ascending.
        rate: requests/s that a replica is given at most.
        start: seconds that a replica takes to serve.
        seconds: how long the workload lasts.
        window: seconds over which arrivals are counted: what comes within may wait for each other.
    """

    def __init__(
        self, *, arrivals: Sequence[float], rate: float, start: float, seconds: float, window: float = 1.0
    ) -> None:
        self.period = window
        counts = [0] * (math.ceil(seconds / window) + 1)
        for time in arrivals:
            counts[min(int(time / window), len(counts) - 1)] += 1
        needed = [math.ceil(count / (rate * window)) for count in counts]
        # A replica that is needed again before another one could have been started stays. So the plan for a moment is
        # the most that is needed from then until a replica ordered then would serve.
        self._plan = _highest_ahead(needed, span=math.ceil(start / window) + 1)

    def decide(self, observation: Observation) -> Sequence[int]:
        """What is needed until the next order could serve."""
        moment = min(round(observation.now / self.period), len(self._plan) - 1)
        return [max(1, self._plan[moment])]


def _highest_ahead(values: Sequence[int], *, span: int) -> list[int]:
    """For each index, the highest of the `span` values from there on."""
    found = [0] * len(values)
    candidates: deque[int] = deque()
    for index in range(len(values) - 1, -1, -1):
        while candidates and values[candidates[-1]] <= values[index]:
            candidates.pop()
        candidates.append(index)
        if candidates[0] >= index + span:
            candidates.popleft()
        found[index] = values[candidates[0]]
    return found
