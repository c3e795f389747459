"""The linear relaxation of one part, solved by HiGHS: a bound on what any plan costs, and a guide to a cheap one."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from typing import Final, NamedTuple

import highspy
import numpy as np

from littoral.core.hardware import CPU
from littoral.core.planner.demands import Part
from littoral.core.planner.facts import SERVER_MEMORY, PoolFacts
from littoral.core.planner.outcome import Group, preference
from littoral.core.planner.problem import Problem

_ITERATIONS_MOST: Final = 200_000
"""A bound on work and not on time, so that the same part gets the same answer on any machine."""


_PRESOLVE_FROM: Final = 1_000
"""Columns from which presolving pays: it doubles the time of small programs."""


class Relaxed(NamedTuple):
    """The optimum of the relaxation.

    Attributes:
        bound: no plan that serves as much has a lower price.
        shares: for each demand by index, the share that each option gets, by index, where it gets any.
    """

    bound: float
    shares: dict[int, dict[int, float]]


class _Matrix:
    """Rows `lower <= sum of coefficients * columns`, written row by row."""

    def __init__(self, costs: Sequence[float], uppers: Sequence[float]) -> None:
        self.costs = costs
        self.uppers = uppers
        self.starts = [0]
        self.columns: list[int] = []
        self.values: list[float] = []
        self.lowers: list[float] = []
        self.highs: list[float] = []

    def add(self, entries: Sequence[tuple[int, float]], *, lower: float, upper: float = math.inf) -> None:
        for column, value in entries:
            self.columns.append(column)
            self.values.append(value)
        self.starts.append(len(self.columns))
        self.lowers.append(lower)
        self.highs.append(upper)

    def solve(self, *, whole_from: int | None = None) -> tuple[float, list[float]] | None:
        """The optimum and the columns' values; columns from `whole_from` on are whole numbers."""
        solver = _solver()
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = len(self.costs), len(self.lowers)
        lp.col_cost_ = np.array(self.costs, dtype=np.float64)
        lp.col_lower_ = np.zeros(len(self.costs))
        lp.col_upper_ = np.array(self.uppers, dtype=np.float64)
        lp.row_lower_ = np.array(self.lowers, dtype=np.float64)
        lp.row_upper_ = np.array(self.highs, dtype=np.float64)
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_ = np.array(self.starts, dtype=np.int32)
        lp.a_matrix_.index_ = np.array(self.columns, dtype=np.int32)
        lp.a_matrix_.value_ = np.array(self.values, dtype=np.float64)
        if whole_from is not None:
            kinds = highspy.HighsVarType
            lp.integrality_ = [kinds.kContinuous] * whole_from + [kinds.kInteger] * (len(self.costs) - whole_from)
        solver.setOptionValue("presolve", "on" if len(self.costs) > _PRESOLVE_FROM else "off")
        if solver.passModel(lp) == highspy.HighsStatus.kError:
            return None
        solver.run()
        if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return None
        return solver.getInfo().objective_function_value, list(solver.getSolution().col_value)


class _Quiet(highspy.Highs):
    """A solver without callbacks: to set them up prints a banner before anything can be silenced."""

    def __init__(self) -> None:
        super(highspy.Highs, self).__init__()


@cache
def _solver() -> highspy.Highs:
    """One solver for all: what it solved before is forgotten with each new model."""
    solver = _Quiet()
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("simplex_iteration_limit", _ITERATIONS_MOST)
    return solver


def relax(part: Part, problem: Problem, *, served: Sequence[float], whole: bool = False) -> Relaxed | None:
    """Solve the relaxation of a part in which each demand is served to a given share.

    The integer program behind it: y(m,g) = 1 where Model m is loaded in group g (a namespace's servers on one class of
    device in one pool), R(g) replicas, f(i,o) the share of demand i that option o serves;
    minimise the price of all R, subject to sum of f = served, f <= y, R >= y, R >= load, memory of the Models that are
    loaded <= memory of R devices, and the pool's devices and limit. Here y and R are fractions, and y, which costs
    nothing itself, is what the flows make it.

    Args:
        whole: whether R shall be whole numbers after all: a tighter bound, in many times the time (for benchmarks).

    Returns:
        The optimum; None where the solver finds none (the flows of a plan that exists always are a solution, so this
        is a matter of rounding).
    """
    facts = {pool.name: pool for pool in part.pools}
    costs: list[float] = []
    uppers: list[float] = []
    names: list[tuple[int, int]] = []
    loads: dict[Group, list[tuple[int, float]]] = defaultdict(list)
    weights: dict[Group, list[tuple[int, float]]] = defaultdict(list)
    presence: list[tuple[Group, list[int]]] = []
    sums: list[tuple[range, float]] = []
    parted: dict[object, int] = defaultdict(int)
    for demand in part.demands:
        parted[demand.model.key] += 1
    for index, demand in enumerate(part.demands):
        if served[index] <= 0:
            continue
        first = len(costs)
        here: dict[Group, list[int]] = defaultdict(list)
        # What is present by its n-th option is present by one of the first n.
        last = len(demand.options) if not demand.presence else 1 + preference(served[index])
        for number, option in enumerate(demand.options[:last]):
            column = len(costs)
            load = demand.amount * served[index] / option.rate
            names.append((index, number))
            uppers.append(1.0)
            if option.shared and part.fluid:
                costs.append(option.loading + option.price * load)
                continue
            costs.append(option.loading)
            group = (option.pool, demand.model.key.namespace, option.variant.accelerator)
            loads[group].append((column, -load))
            here[group].append(column)
            needed = option.variant.memory if option.variant.accelerator == CPU else option.variant.device_memory
            weights[group].append((column, -needed / parted[demand.model.key]))
        presence += here.items()
        sums.append((range(first, len(costs)), 1.0))
    flows = len(costs)
    replicas: dict[Group, int] = {}
    for group in loads:
        replicas[group] = len(costs)
        costs.append(problem.price(facts[group[0]], group[2]))
        uppers.append(math.inf)
    matrix = _Matrix(costs, uppers)  # `uppers` of replicas follow below.
    for columns, share in sums:
        matrix.add([(column, 1.0) for column in columns], lower=share, upper=share)
    for group, entries in loads.items():
        matrix.add([(replicas[group], 1.0), *entries], lower=0.0)
        size = _memory(facts[group[0]], group[2])
        if size is not None and any(weight for _, weight in weights[group]):
            matrix.add([(replicas[group], 1.0), *((column, w / size) for column, w in weights[group])], lower=0.0)
    for group, found in presence:
        matrix.add([(replicas[group], 1.0), *((column, -1.0) for column in found)], lower=0.0)
    smallest = {
        group: min(part.demands[names[column][0]].options[names[column][1]].variant.cpu for column, _ in entries)
        for group, entries in loads.items()
    }
    for group, column in replicas.items():
        nodes = (node for node in facts[group[0]].nodes if group[2] in node.devices)
        uppers[column] = float(sum(int(node.cpu / smallest[group] + 1e-6) for node in nodes))
    by_device: dict[tuple[str, str], list[int]] = defaultdict(list)
    by_pool: dict[str, list[int]] = defaultdict(list)
    for (pool, _, accelerator), column in replicas.items():
        by_device[pool, accelerator].append(column)
        by_pool[pool].append(column)
    for (pool, accelerator), found in by_device.items():
        if accelerator != CPU:
            count = sum(node.devices[accelerator].count for node in facts[pool].nodes if accelerator in node.devices)
            matrix.add([(column, 1.0) for column in found], lower=-math.inf, upper=count)
    for pool, found in by_pool.items():
        limit = facts[pool].limit
        if limit is not None:
            matrix.add([(column, 1.0) for column in found], lower=-math.inf, upper=limit)
    if not costs:
        return Relaxed(0.0, {})
    solved = matrix.solve(whole_from=flows if whole else None)
    if solved is None:
        return None
    bound, values = solved
    shares: dict[int, dict[int, float]] = defaultdict(dict)
    for (index, number), value in sorted(zip(names, values[:flows], strict=True), key=lambda it: (it[0][0], -it[1])):
        if value > 1e-6:
            shares[index][number] = value * served[index]
    return Relaxed(bound, dict(shares))


def _memory(pool: PoolFacts, accelerator: str) -> float | None:
    """The most memory that one replica can hold Models in; None where a node does not say."""
    sizes: list[float] = []
    for node in pool.nodes:
        if accelerator not in node.devices:
            continue
        device = node.devices[accelerator]
        size = node.memory - SERVER_MEMORY if accelerator == CPU else device.memory
        if size is None or size <= 0:
            return None
        sizes.append(size)
    return max(sizes, default=None)
