"""From demands, one after the other in order of priority, to servers: the constructive heart of the planner.

What a demand gets never depends on those after it, so that a higher priority is strictly served first, and more
demand for one Model takes nothing from a more important one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from littoral.core.optimizer.demands import Demand, Option, Part
from littoral.core.optimizer.problem import CurrentServer, Problem
from littoral.core.optimizer.yard import SLACK, Draft, Yard
from littoral.core.world import ModelKey

Group = tuple[str, str, str]
"""The servers that could be one: pool, namespace, device class."""

_CHEAPER: Final = 1 - 1e-6
"""What is not cheaper by more than this costs the same: then the earlier option is preferred."""
_UNBOUNDED: Final = 10**9
_SECOND_BEST: Final = 1e-6
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
    """

    part: Part
    drafts: tuple[Draft, ...]
    loads: tuple[Load, ...]
    served: tuple[float, ...]
    price: float
    loading: float
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


class Loading:
    """Loads the demands of one part onto its pools. One object makes one outcome."""

    def __init__(
        self,
        part: Part,
        problem: Problem,
        *,
        seeds: Mapping[str, Sequence[CurrentServer]] | None = None,
        frozen: bool = False,
        guide: Mapping[int, Mapping[int, float]] | None = None,
        banned: Collection[tuple[int, int]] = (),
        caps: Mapping[Group, int] | None = None,
    ) -> None:
        """Prepare.

        Args:
            seeds: servers to begin with, by pool, as far as they still make sense.
            frozen: whether the seeds are all there shall be: nothing grows, shrinks or is loaded,
                and only Models that are idle go.
            guide: for demands by index, how much (as a share) to try to place with which options before all else.
            banned: options not to use, by (demand, option).
            caps: most replicas of some groups.
        """
        self._part = part
        self._problem = problem
        self._frozen = frozen
        self._guide = guide or {}
        self._banned = banned
        self._caps = caps or {}
        self._yards = {pool.name: Yard(pool) for pool in part.pools}
        self._budget: dict[ModelKey, int] = {d.model.key: d.model.max_replicas for d in part.demands}
        self._flows: dict[tuple[int, int], float] = {}
        self._carried: dict[int, dict[ModelKey, float]] = {}
        self._fluid_price = 0.0
        self._loading = 0.0
        for pool, servers in (seeds or {}).items():
            # By what they are and not by their names, which are given after planning.
            for server in sorted(servers, key=lambda it: (it.accelerator, sorted(it.models.items()), it.replicas)):
                self._seed(self._yards[pool], server)

    def run(self) -> Outcome:
        """Load every demand."""
        served = tuple(self._serve(index, demand) for index, demand in enumerate(self._part.demands))
        self._trim()
        drafts = tuple(draft for yard in self._yards.values() for draft in yard.drafts)
        return Outcome(
            part=self._part,
            drafts=drafts,
            loads=tuple(Load(demand, option, amount) for (demand, option), amount in sorted(self._flows.items())),
            served=served,
            price=self._fluid_price + sum(draft.price * draft.replicas for draft in drafts),
            loading=self._loading,
        )

    def _seed(self, yard: Yard, server: CurrentServer) -> None:
        """Begin with a server that runs, as far as its Models and nodes are still there."""
        models = self._problem.models
        draft: Draft | None = None
        pairs = [(models.get(ModelKey(server.namespace, name)), variant) for name, variant in server.models.items()]
        known = sorted(((model, variant) for model, variant in pairs if model), key=lambda pair: pair[0].order)
        for model, name in known:
            variant = next((variant for variant in model.variants if variant.name == name), None)
            if variant is None or variant.accelerator != server.accelerator or model.signed:
                continue
            if draft is None:
                draft = Draft(
                    pool=yard.facts.name,
                    namespace=server.namespace,
                    accelerator=server.accelerator,
                    price=self._problem.price(yard.facts, server.accelerator),
                    name=server.name,
                )
            taken_in = yard.admit(draft, model, variant, anywhere=True)
            if taken_in and not draft.replicas and not yard.grow(draft, anywhere=True):
                draft = None
        if draft is None:
            return
        most = min([server.replicas, *(self._budget.get(key, _UNBOUNDED) for key in draft.members)])
        while draft.replicas < most and yard.grow(draft, anywhere=True):
            pass
        yard.shrink(draft, most)
        if not draft.replicas:
            return
        yard.add(draft)
        self._spend(draft, draft.replicas)
        if not server.settled:
            draft.least = draft.replicas

    def _serve(self, index: int, demand: Demand) -> float:
        if demand.presence:
            number = self._attend(index, demand)
            return 0.0 if number is None else 1.0 - number * _SECOND_BEST
        left = demand.amount
        for number, share in self._guide.get(index, {}).items():
            left -= self._fill(index, demand, number, min(left, share * demand.amount))
        open_options = [n for n in range(len(demand.options)) if (index, n) not in self._banned]
        while left > demand.amount * SLACK and open_options:
            number, amount = self._choose(demand, open_options, left)
            placed = self._fill(index, demand, number, amount)
            left -= placed
            if placed < amount * (1 - SLACK) or amount <= 0:
                open_options.remove(number)
        return 1.0 - max(0.0, left) / demand.amount if left > demand.amount * SLACK else 1.0

    def _choose(self, demand: Demand, numbers: Sequence[int], amount: float) -> tuple[int, float]:
        """The option that takes the amount at the least cost, alone or after another whose slack is filled first."""
        if len(numbers) == 1:
            return numbers[0], amount
        options = demand.options
        room = {number: self._room(demand, options[number]) for number in numbers}
        best, best_cost = (numbers[0], amount), math.inf
        for number in numbers:
            cost = self._estimate(options[number], amount, *room[number])
            if cost < best_cost * _CHEAPER:
                best, best_cost = (number, amount), cost
        for number, (slack, loading) in room.items():
            if not 0 < slack < amount * (1 - SLACK):
                continue
            for other in numbers:
                if other != number:
                    cost = loading + self._estimate(options[other], amount - slack, *room[other])
                    if cost < best_cost * _CHEAPER:
                        best, best_cost = (number, slack), cost
        return best

    def _room(self, demand: Demand, option: Option) -> tuple[float, float]:
        """How many requests/s running servers could still take of the demand, and what having it there costs."""
        if option.shared and self._part.fluid:
            return 0.0, option.loading
        other: Draft | None = None
        slack, held = 0.0, False
        for draft in self._group(demand, option):
            member = draft.members.get(demand.model.key)
            if member is None:
                other = other or draft
            elif member[1] is option.variant:
                slack, held = slack + draft.slack, True
        if held:
            return max(0.0, slack) * option.rate, 0.0
        if other is None or self._frozen:
            return 0.0, option.loading
        return max(0.0, other.slack) * option.rate, option.loading

    def _estimate(self, option: Option, amount: float, slack: float, loading: float) -> float:
        """What it costs to serve the amount with one option, whose running servers have some slack."""
        if option.shared and self._part.fluid:
            return loading + option.price * amount / option.rate
        return loading + option.price * max(0, math.ceil((amount - slack) / option.rate - SLACK))

    def _group(self, demand: Demand, option: Option) -> list[Draft]:
        return self._yards[option.pool].groups[demand.model.key.namespace, option.variant.accelerator]

    @staticmethod
    def _holds(draft: Draft, demand: Demand, option: Option) -> bool:
        member = draft.members.get(demand.model.key)
        return member is not None and member[1] is option.variant

    def _fill(self, index: int, demand: Demand, number: int, amount: float) -> float:
        """Place up to an amount with one option; returns how much of it was."""
        option = demand.options[number]
        if amount <= 0 or (index, number) in self._banned:
            return 0.0
        if option.shared and self._part.fluid:
            self._fluid_price += option.price * amount / option.rate
            self._record(index, number, amount, option)
            return amount
        left = amount / option.rate
        group = self._group(demand, option)
        for draft in [draft for draft in group if self._holds(draft, demand, option)]:
            left -= self._take(draft, demand, left)
        if left > SLACK and not self._frozen:
            for draft in [draft for draft in group if demand.model.key not in draft.members]:
                if (
                    left > SLACK
                    and (draft.slack > SLACK or self._can_grow(draft))
                    and self._admit(draft, demand, option)
                ):
                    left -= self._take(draft, demand, left)
        while left > SLACK and not self._frozen:
            fresh = self._open(demand, option)
            if fresh is None:
                break
            left -= self._take(fresh, demand, left)
        placed = amount - max(0.0, left) * option.rate if left > SLACK else amount
        if placed > 0:
            self._record(index, number, placed, option)
        return placed

    def _record(self, index: int, number: int, amount: float, option: Option) -> None:
        if (index, number) not in self._flows:
            self._loading += option.loading
        self._flows[index, number] = self._flows.get((index, number), 0.0) + amount

    def _take(self, draft: Draft, demand: Demand, wanted: float) -> float:
        """Replicas' worth that a server takes of what is wanted, growing as far as it can."""
        while not self._frozen and draft.slack + SLACK < wanted and self._can_grow(draft):
            if not self._yards[draft.pool].grow(draft):
                break
            self._spend(draft, 1)
        taken = min(wanted, max(0.0, draft.slack))
        if taken > 0:
            draft.load += taken
            carried = self._carried.setdefault(id(draft), {})
            carried[demand.model.key] = carried.get(demand.model.key, 0.0) + taken
        return taken

    def _can_grow(self, draft: Draft) -> bool:
        if self._caps and not self._below_cap((draft.pool, draft.namespace, draft.accelerator)):
            return False
        return all(self._budget.get(key, _UNBOUNDED) > 0 for key in draft.members)

    def _below_cap(self, group: Group) -> bool:
        cap = self._caps.get(group)
        if cap is None:
            return True
        pool, namespace, accelerator = group
        return sum(draft.replicas for draft in self._yards[pool].groups[namespace, accelerator]) < cap

    def _spend(self, draft: Draft, replicas: int) -> None:
        for key in draft.members:
            if key in self._budget:
                self._budget[key] -= replicas

    def _admit(self, draft: Draft, demand: Demand, option: Option) -> bool:
        key = demand.model.key
        if self._budget[key] < draft.replicas:
            return False
        if not self._yards[draft.pool].admit(draft, demand.model, option.variant):
            return False
        self._budget[key] -= draft.replicas
        return True

    def _open(self, demand: Demand, option: Option) -> Draft | None:
        if self._budget[demand.model.key] < 1:
            return None
        group = (option.pool, demand.model.key.namespace, option.variant.accelerator)
        if self._caps and not self._below_cap(group):
            return None
        draft = self._yards[option.pool].open(demand.model, option.variant, price=option.price)
        if draft is not None:
            self._spend(draft, 1)
        return draft

    def _attend(self, index: int, demand: Demand) -> int | None:
        """See that the Model is loaded with the first option that has room; returns which that is."""
        for number, option in enumerate(demand.options):
            if (index, number) in self._banned:
                continue
            if not (option.shared and self._part.fluid):
                draft = self._present(demand, option)
                if draft is None:
                    continue
                self._carried.setdefault(id(draft), {}).setdefault(demand.model.key, 0.0)
            self._record(index, number, 0.0, option)
            return number
        return None

    def _present(self, demand: Demand, option: Option) -> Draft | None:
        group = self._group(demand, option)
        for draft in group:
            if self._holds(draft, demand, option):
                return draft
        if self._frozen:
            return None
        for draft in group:
            if demand.model.key not in draft.members and self._admit(draft, demand, option):
                return draft
        return self._open(demand, option)

    def _trim(self) -> None:
        """Give back what nothing needs: idle Models of seeds, replicas beyond the load, idle servers."""
        for yard in self._yards.values():
            for draft in list(yard.drafts):
                if draft.least:
                    continue
                carried = self._carried.get(id(draft), {})
                if not carried:
                    yard.drop(draft)
                    continue
                idle = [key for key in draft.members if key not in carried]
                if idle:
                    yard.dismiss(draft, idle)
                if not self._frozen:
                    yard.shrink(draft, max(1, math.ceil(draft.load - SLACK)))


def full(share: float) -> bool:
    """Whether a demand is served."""
    return share > 1 - 1e-4


def preference(share: float) -> int:
    """By which of its options, by index, a demand is present that is served to this share."""
    return round((1.0 - share) / _SECOND_BEST)


def lesser(left: Sequence[float], right: Sequence[float]) -> bool:
    """Whether `left` serves less than `right`: the first demand that is served differently decides."""
    for mine, other in zip(left, right, strict=True):
        if abs(mine - other) > 1e-7:
            return mine < other
    return False
