"""What became of a part: which servers, what goes where, and how well each demand is served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from littoral.core.planner.demands import Part
from littoral.core.planner.yard import Draft

Group = tuple[str, str, str]
"""The servers that could be one: pool, namespace, device class."""

SECOND_BEST: Final = 1e-6
"""How much less it counts to be present by the next option: what load comes is unknown, so preference decides."""


class Load(NamedTuple):
    """Requests/s of one demand that go to one of its options, both by index."""

    demand: int
    option: int
    amount: float


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Outcome:
    """What became of a part.

    Attributes:
        loads: what goes where; those to shared pools outside the part (`fluid`) are still to be planned.
        served: of each demand, the share that is served, between 0 and 1 (see `full`).
        price: of all replicas for an hour, shared pools outside the part by fractions.
        loading: what it costs that Models are loaded where they are, in the same currency.
        owed: of demands by index, how many of their least replicas shared pools outside the part are still to hold.
    """

    part: Part
    drafts: tuple[Draft, ...]
    loads: tuple[Load, ...]
    served: tuple[float, ...]
    price: float
    loading: float
    owed: Mapping[int, int]
    bound: float = 0.0

    @property
    def near_loading(self) -> float:
        """The share of `loading` that is for the part's own pools."""
        options = ((load, self.part.demands[load.demand].options[load.option]) for load in self.loads)
        return sum(option.loading for _, option in options if not (option.shared and self.part.fluid))

    @property
    def cost(self) -> float:
        """What plans that serve alike are compared by."""
        return self.price + self.loading


def full(share: float) -> bool:
    """Whether a demand is served."""
    return share > 1 - 1e-4


def preference(share: float) -> int:
    """By which of its options, by index, a demand is present that is served to this share."""
    return round((1.0 - share) / SECOND_BEST)


def lesser(left: Sequence[float], right: Sequence[float]) -> bool:
    """Whether `left` serves less than `right`: the first demand that is served differently decides."""
    for mine, other in zip(left, right, strict=True):
        if abs(mine - other) > 1e-7:
            return mine < other
    return False
