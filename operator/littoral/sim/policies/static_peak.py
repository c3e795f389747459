"""No scaling at all: so many replicas as someone once thought enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from littoral.sim.policies.base import Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticPeak:
    """Always the same.

    Attributes:
        replicas: of each place.
    """

    replicas: tuple[int, ...]
    period: float = 60.0

    def decide(self, observation: Observation) -> Sequence[int]:
        """The replicas, whatever happens."""
        return self.replicas
