"""From demands, one after the other in order of priority, to servers: the constructive heart of the planner.

What a demand gets never depends on those after it, so that a higher priority is strictly served first, and more
demand for one Model takes nothing from a more important one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from littoral.core.planner.company import room, together
from littoral.core.planner.demands import Demand, Option, Part
from littoral.core.planner.outcome import SECOND_BEST, Group, Load, Outcome
from littoral.core.planner.problem import CurrentServer, Problem
from littoral.core.planner.yard import SLACK, Burden, Draft, Yard
from littoral.core.world import ModelKey

_CHEAPER: Final = 1 - 1e-6
"""What is not cheaper by more than this costs the same: then the earlier option is preferred."""
_COMPANY_MOST: Final = 8
"""Of so many servers it is estimated whether they could take a Model in."""
_UNMET: Final = 1e-3
"""How much less it counts to be served without the least replicas: too little to be mistaken for requests."""
_UNBOUNDED: Final = 10**9


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
        rooms: dict[object, float] | None = None,
    ) -> None:
        """Prepare.

        Args:
            seeds: servers to begin with, by pool, as far as they still make sense.
            frozen: whether the seeds are all there shall be: nothing grows, shrinks or is loaded,
                and only Models that are idle go.
            guide: for demands by index, how much (as a share) to try to place with which options before all else.
            banned: options not to use, by (demand, option).
            caps: most replicas of some groups.
            rooms: what servers were found to have room for, by content: shared by all attempts at a part.
        """
        self._part = part
        self._problem = problem
        self._frozen = frozen
        self._guide = guide or {}
        self._banned = banned
        self._caps = caps or {}
        self._rooms = {} if rooms is None else rooms
        self._yards = {pool.name: Yard(pool) for pool in part.pools}
        self._budget: dict[ModelKey, int] = {d.model.key: d.model.most for d in part.demands}
        self._flows: dict[tuple[int, int], float] = {}
        self._required: dict[ModelKey, int] = {}
        self._owed: dict[int, int] = {}
        self._fluid_price = 0.0
        self._loading = 0.0
        for pool, servers in (seeds or {}).items():
            # By what they are and not by their names, which are given after planning.
            for server in sorted(servers, key=lambda it: (it.accelerator, sorted(it.models.items()), it.replicas)):
                self._seed(self._yards[pool], server)

    def run(self) -> Outcome:
        """Load every demand."""
        demands = enumerate(self._part.demands)
        served = tuple(self._serve(index, demand) - self._reserve(index, demand) for index, demand in demands)
        self._trim()
        drafts = tuple(draft for yard in self._yards.values() for draft in yard.drafts)
        return Outcome(
            part=self._part,
            drafts=drafts,
            loads=tuple(Load(demand, option, amount) for (demand, option), amount in sorted(self._flows.items())),
            served=served,
            price=self._fluid_price + sum(draft.price * draft.replicas for draft in drafts),
            loading=self._loading,
            owed=self._owed,
        )

    def _seed(self, yard: Yard, server: CurrentServer) -> None:
        """Begin with a server that runs, as far as its Models and nodes are still there."""
        models = self._problem.models
        draft: Draft | None = None
        pairs = [(models.get(ModelKey(server.namespace, name)), variant) for name, variant in server.models.items()]
        known = sorted(((model, variant) for model, variant in pairs if model), key=lambda pair: pair[0].order)
        for model, name in known:
            variant = next((variant for variant in model.variants if variant.name == name), None)
            if variant is None or variant.accelerator != server.accelerator:
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
            return self._attend(index, demand)
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

    def _reserve(self, index: int, demand: Demand) -> float:
        """See that the least replicas of the Model are there; returns how much less the demand is served without."""
        if not demand.least:
            return 0.0
        key = demand.model.key
        self._required[key] = self._required.get(key, 0) + demand.least
        missing = self._required[key] - self._held(key)
        outside = [n for n, option in enumerate(demand.options) if option.shared and self._part.fluid]
        used = [n for n in outside if (index, n) in self._flows]
        if missing > 0 and not used:
            missing -= self._stock(index, demand, missing)
        if missing > 0 and outside:
            number = (used or outside)[0]
            option = demand.options[number]
            self._record(index, number, 0.0, option)
            self._fluid_price += option.price * max(0.0, missing - self._flows[index, number] / option.rate)
            self._owed[index] = missing
            self._required[key] -= missing
            missing = 0
        return _UNMET * max(0, missing) / demand.least

    def _held(self, key: ModelKey) -> int:
        """The replicas that a Model has."""
        drafts = (draft for yard in self._yards.values() for draft in yard.drafts)
        return sum(draft.replicas for draft in drafts if key in draft.burdens)

    def _stock(self, index: int, demand: Demand, missing: int) -> int:
        """How many of the missing replicas the Model gets, though it has no load for them."""
        key, got = demand.model.key, 0
        inside = [(n, o) for n, o in enumerate(demand.options) if not (o.shared and self._part.fluid)]
        holders: list[Draft] = []
        for number, option in inside:
            for draft in self._group(demand, option):
                if not self._holds(draft, demand, option):
                    continue
                holders.append(draft)
                if got < missing and key not in draft.burdens:
                    draft.burdens[key] = Burden(0.0, option.habit, held=False)
                    self._record(index, number, 0.0, option)
                    got += draft.replicas
        holders = [] if self._frozen else [draft for draft in holders if key in draft.burdens]
        while got < missing and holders:
            least = min(holders, key=lambda draft: (draft.price, draft.replicas))
            if self._enlarge(least):
                got += 1
            else:
                holders.remove(least)
        for number, option in inside:
            while got < missing and not self._frozen and (index, number) not in self._banned:
                fresh = self._open(demand, option)
                if fresh is None:
                    break
                fresh.burdens[key] = Burden(0.0, option.habit, held=False)
                self._record(index, number, 0.0, option)
                got += 1
                while got < missing and self._enlarge(fresh):
                    got += 1
        return got

    def _choose(self, demand: Demand, numbers: Sequence[int], amount: float) -> tuple[int, float]:
        """The option that takes the amount at the least cost, alone or after another whose slack is filled first."""
        if len(numbers) == 1:
            return numbers[0], amount
        options = demand.options
        rooms = {number: self._room(demand, options[number], amount) for number in numbers}
        best, best_cost = (numbers[0], amount), math.inf
        for number in numbers:
            cost = self._estimate(options[number], amount, *rooms[number])
            if cost < best_cost * _CHEAPER:
                best, best_cost = (number, amount), cost
        for number, (slack, loading) in rooms.items():
            if not 0 < slack < amount * (1 - SLACK):
                continue
            for other in numbers:
                if other != number:
                    cost = loading + self._estimate(options[other], amount - slack, *rooms[other])
                    if cost < best_cost * _CHEAPER:
                        best, best_cost = (number, slack), cost
        return best

    def _room(self, demand: Demand, option: Option, amount: float) -> tuple[float, float]:
        """How many requests/s running servers could still take of the demand, and what having it there costs."""
        if option.shared and self._part.fluid:
            return 0.0, option.loading
        wanted = amount / option.rate
        others: list[Draft] = []
        slack, held = 0.0, False
        for draft in self._group(demand, option):
            member = draft.members.get(demand.model.key)
            if member is None:
                others.append(draft)
            elif member[1] is option.variant:
                slack, held = slack + self._spare(draft, demand, option, wanted), True
        if held:
            return slack * option.rate, 0.0
        if not others or self._frozen:
            return 0.0, option.loading
        best = max(self._spare(draft, demand, option, wanted) for draft in others[: self._tries(option)])
        return best * option.rate, option.loading

    def _spare(self, draft: Draft, demand: Demand, option: Option, wanted: float) -> float:
        if not self._crowded(draft, demand, option):
            return max(0.0, draft.slack)
        return self._space(draft, demand, option, wanted, draft.replicas)

    @staticmethod
    def _tries(option: Option) -> int:
        # Where only shares count, any server is as good as the next.
        return 1 if option.habit is None else _COMPANY_MOST

    def _estimate(self, option: Option, amount: float, slack: float, loading: float) -> float:
        """What it costs to serve the amount with one option, whose running servers have some slack."""
        if option.shared and self._part.fluid:
            return loading + _outside(option, amount)
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
            before = self._flows.get((index, number), 0.0)
            self._fluid_price += _outside(option, before + amount) - _outside(option, before)
            self._record(index, number, amount, option)
            return amount
        left = self._spread(demand, option, amount / option.rate)
        placed = amount - max(0.0, left) * option.rate if left > SLACK else amount
        if placed > 0:
            self._record(index, number, placed, option)
        return placed

    def _spread(self, demand: Demand, option: Option, left: float) -> float:
        """Place replicas' worth of requests on the servers of a group; returns what is left of them."""
        group = self._group(demand, option)
        left = self._settle(demand, option, group, left)
        while left > SLACK and not self._frozen:
            fresh = self._open(demand, option)
            if fresh is None:
                break
            left -= self._take(fresh, demand, option, left)
        if left > SLACK and option.habit is not None and not self._frozen:
            # No room for a server of its own: then others share theirs, whatever it takes to keep all budgets.
            left = self._settle(demand, option, group, left, at_any_price=True)
        return left

    def _settle(
        self, demand: Demand, option: Option, group: Sequence[Draft], left: float, *, at_any_price: bool = False
    ) -> float:
        """The same on servers that are there, those first that hold the Model already."""
        for draft in [draft for draft in group if self._holds(draft, demand, option)]:
            left -= self._take(draft, demand, option, left, at_any_price=at_any_price)
        if left > SLACK and not self._frozen:
            for draft in [draft for draft in group if demand.model.key not in draft.members]:
                if (
                    left > SLACK
                    and (draft.slack > SLACK or self._can_grow(draft))
                    and self._welcome(draft, demand, option, left, at_any_price=at_any_price)
                    and self._admit(draft, demand, option)
                ):
                    left -= self._take(draft, demand, option, left, at_any_price=at_any_price)
        return left

    def _record(self, index: int, number: int, amount: float, option: Option) -> None:
        if (index, number) not in self._flows:
            self._loading += option.loading
        self._flows[index, number] = self._flows.get((index, number), 0.0) + amount

    def _take(
        self, draft: Draft, demand: Demand, option: Option, wanted: float, *, at_any_price: bool = False
    ) -> float:
        """Replicas' worth that a server takes of what is wanted, growing as far as it can and as that pays."""
        if self._crowded(draft, demand, option):
            taken = self._squeeze(draft, demand, option, wanted, at_any_price=at_any_price)
        else:
            while not self._frozen and draft.slack + SLACK < wanted and self._can_grow(draft):
                if not self._yards[draft.pool].grow(draft):
                    break
                self._spend(draft, 1)
            taken = min(wanted, max(0.0, draft.slack))
        if taken > 0:
            draft.load += taken
            burden = draft.burdens.setdefault(demand.model.key, Burden(0.0, option.habit, held=False))
            burden.amount += taken * option.rate
            burden.held = burden.held or not option.late
        return taken

    @staticmethod
    def _crowded(draft: Draft, demand: Demand, option: Option) -> bool:
        """Whether the Model would have company there whose effect is known: then shares are not all that counts."""
        return option.habit is not None and any(
            burden.amount > 0 and burden.habit is not None
            for key, burden in draft.burdens.items()
            if key != demand.model.key
        )

    def _space(self, draft: Draft, demand: Demand, option: Option, wanted: float, replicas: int) -> float:
        """Replicas' worth of what is wanted that a server of so many replicas could take, every budget kept."""
        most = min(wanted, replicas - draft.load)
        if most <= SLACK or option.habit is None:
            return max(0.0, most)
        others = draft.guests(but=demand.model.key)
        if not others:
            return most
        key = demand.model.key
        here = draft.burdens.get(key)
        held = not option.late or (here is not None and here.held)
        present = 0.0 if here is None else here.amount
        asked = (tuple(others), option.habit, present, most, option.rate, held, replicas)
        known = self._rooms.get(asked)
        if known is None:
            found = room(
                others,
                habit=option.habit,
                present=present,
                wanted=most * option.rate,
                held=held,
                replicas=replicas,
            )
            self._rooms[asked] = known = min(most, found / option.rate)
        return known

    def _squeeze(self, draft: Draft, demand: Demand, option: Option, wanted: float, *, at_any_price: bool) -> float:
        """What a server takes whose other Models have budgets to keep.

        Growing dilutes them all, which may take many replicas: that pays only below what a server of its own takes.
        """
        space = self._space(draft, demand, option, wanted, draft.replicas)
        if self._frozen or space + SLACK >= wanted:
            return space
        own = math.ceil(wanted - SLACK)
        grown = self._growth(draft, demand, option, wanted, most=own - 1)
        if grown is not None:
            before = draft.replicas
            while draft.replicas < before + grown and self._enlarge(draft):
                pass
            if draft.replicas == before + grown:
                return wanted
            self._lessen(draft, before)
        if at_any_price:
            while space + SLACK < wanted and self._enlarge(draft):
                more = self._space(draft, demand, option, wanted, draft.replicas)
                if more <= space + SLACK:
                    self._lessen(draft, draft.replicas - 1)
                    break
                space = more
            return space
        # A part of it is worth taking only where the rest then needs one replica less.
        return space if math.ceil(wanted - space - SLACK) < own else 0.0

    def _growth(self, draft: Draft, demand: Demand, option: Option, wanted: float, *, most: int) -> int | None:
        """The fewest more replicas with which a server takes all that is wanted; None where `most` are too few."""
        fewest = max(1, math.ceil(draft.load + wanted - SLACK) - draft.replicas)
        for more in range(fewest, most + 1):
            if self._space(draft, demand, option, wanted, draft.replicas + more) + SLACK >= wanted:
                return more
        return None

    def _enlarge(self, draft: Draft) -> bool:
        if not self._can_grow(draft) or not self._yards[draft.pool].grow(draft):
            return False
        self._spend(draft, 1)
        return True

    def _lessen(self, draft: Draft, replicas: int) -> None:
        self._spend(draft, replicas - draft.replicas)
        self._yards[draft.pool].shrink(draft, replicas)

    def _welcome(self, draft: Draft, demand: Demand, option: Option, wanted: float, *, at_any_price: bool) -> bool:
        """Whether a server would take any of it, if its nodes had the memory."""
        if not self._crowded(draft, demand, option):
            return True
        space = self._space(draft, demand, option, wanted, draft.replicas)
        own = math.ceil(wanted - SLACK)
        if space + SLACK >= wanted or (at_any_price and (space > SLACK or self._can_grow(draft))):
            return True
        if not self._can_grow(draft):
            return math.ceil(wanted - space - SLACK) < own
        return (
            math.ceil(wanted - space - SLACK) < own
            or self._growth(draft, demand, option, wanted, most=own - 1) is not None
        )

    def _can_grow(self, draft: Draft) -> bool:
        if self._caps and not self._below_cap((draft.pool, draft.namespace, draft.accelerator)):
            return False
        if not all(self._budget.get(key, _UNBOUNDED) > 0 for key in draft.members):
            return False
        return self._yards[draft.pool].has_room(draft)

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

    def _attend(self, index: int, demand: Demand) -> float:
        """See that the Model is loaded with the first option that has room; returns the share that is served."""
        left = demand.amount
        for number, option in enumerate(demand.options):
            if (index, number) in self._banned:
                continue
            outside = option.shared and self._part.fluid
            if outside or left / option.rate > SLACK:
                left -= self._fill(index, demand, number, left)
            else:
                draft = self._present(demand, option)
                if draft is None:
                    continue
                burden = draft.burdens.setdefault(demand.model.key, Burden(0.0, option.habit, held=False))
                burden.amount, left = burden.amount + left, 0.0
            if left <= demand.amount * SLACK:
                self._record(index, number, 0.0, option)
                return 1.0 - number * SECOND_BEST
        return 1.0 - left / demand.amount if demand.amount > 0 else 0.0

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
                if not draft.burdens:
                    yard.drop(draft)
                    continue
                idle = [key for key in draft.members if key not in draft.burdens]
                if idle:
                    yard.dismiss(draft, idle)
                if not self._frozen:
                    yard.shrink(draft, self._needed(draft))

    def _needed(self, draft: Draft) -> int:
        """The fewest replicas that do."""
        fewest = max(1, math.ceil(draft.load - SLACK))
        for key in draft.burdens:
            if key in self._required:
                fewest = max(fewest, draft.replicas - max(0, self._held(key) - self._required[key]))
        guests = draft.guests()
        if len(guests) > 1:
            while fewest < draft.replicas and not together(
                [guest._replace(rate=guest.rate / fewest) for guest in guests]
            ):
                fewest += 1
        return fewest


def _outside(option: Option, amount: float) -> float:
    """What replicas of shared pools outside the part cost by the fraction, without knowing who shares them."""
    if amount <= 0:
        return 0.0
    blocked = 0.0 if option.habit is None else option.habit.footing(amount)
    return option.price * max(amount / option.rate, blocked)
