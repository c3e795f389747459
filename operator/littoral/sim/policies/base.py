"""What a policy sees and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class PlaceState(NamedTuple):
    """One place, as its cluster reports it.

    Attributes:
        ready: replicas that serve.
        starting: replicas that were created and do not serve yet.
        arrivals: requests that were sent there since the policy was last asked.
        in_flight: requests that waited or were served, on average since the policy was last asked.
    """

    ready: int
    starting: int
    arrivals: int
    in_flight: float

    @property
    def replicas(self) -> int:
        """What was last asked for."""
        return self.ready + self.starting


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a policy is told.

    Attributes:
        now: seconds since the beginning.
        arrivals: requests at each site since it was last asked.
        places: in the scenario's order.
    """

    now: float
    arrivals: Mapping[str, int]
    places: tuple[PlaceState, ...]


class Policy(Protocol):
    """Decides how many replicas there are. It may remember what it saw: each run gets a new one."""

    @property
    def period(self) -> float:
        """Seconds between two decisions."""

    def decide(self, observation: Observation) -> Sequence[int]:
        """The replicas of each place, in the scenario's order."""
