"""What a member site gets with its Assignment to plan by while the hub is away: copies of what the hub plans by. Pure.

The same world gives the same inputs, so that no Assignment is written for their sake without need.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from littoral.api.assignment import Assignment, AssignmentSpec
from littoral.api.inputs import CopiedSpec, PlanningInputs
from littoral.api.latencyslo import LatencySLO
from littoral.api.model import Model
from littoral.api.nodepool import NodePoolSpec
from littoral.core.world import ModelKey, World, key_of

# As many as an Assignment may hold.
_MODELS_MOST: Final = 256
_SLOS_MOST: Final = 512

_Name = tuple[str, str, str]
"""(kind, namespace, name)."""


class _Made(NamedTuple):
    """The inputs of one pool, and what they were made of."""

    models: tuple[CopiedSpec, ...]
    slos: tuple[CopiedSpec, ...]
    pool: NodePoolSpec
    inputs: PlanningInputs


class Copies:
    """Makes inputs; what did not change since the last time is not made anew."""

    def __init__(self) -> None:
        self._copied: dict[_Name, tuple[object, CopiedSpec]] = {}
        self._made: dict[str, _Made] = {}

    def fill(
        self, specs: Mapping[str, AssignmentSpec], *, world: World, current: Mapping[str, Assignment]
    ) -> dict[str, AssignmentSpec]:
        """The specs, those of members' pools with inputs: the Models that are served or routed there (of more than an
        Assignment may hold, those of the highest priority), their LatencySLOs, and the NodePool.

        Args:
            specs: by pool.
            current: the Assignments as they are: where the inputs are the same, they are the same object.
        """
        pools = {pool.name: pool for pool in world.pools if pool.spec.member is not None and pool.name in specs}
        models = {key_of(model): model for model in world.models} if pools else {}
        copy = _Copier(self._copied)
        before, self._made = self._made, {}
        filled = dict(specs)
        for name, pool in pools.items():
            wanted = _most_important([models[key] for key in _keys(specs[name]) if key in models])
            slos = [slo for model in wanted for slo in world.slos_by_model.get(key_of(model), ())]
            known = current[name].spec.inputs if name in current else None
            made = _make(
                models=_in_order(map(copy, wanted)),
                slos=_in_order(map(copy, slos))[:_SLOS_MOST],
                pool=pool.spec,
                before=before.get(name),
            )
            if made.inputs is not known and made.inputs == known:
                made = made._replace(inputs=known)
            self._made[name] = made
            filled[name] = specs[name].model_copy(update={"inputs": made.inputs})
        self._copied = copy.copied
        return filled


class _Copier:
    """Copies each object once; the same object as the last time where its spec is the same."""

    def __init__(self, before: Mapping[_Name, tuple[object, CopiedSpec]]) -> None:
        self._before = before
        self.copied: dict[_Name, tuple[object, CopiedSpec]] = {}

    def __call__(self, it: Model | LatencySLO) -> CopiedSpec:
        name = (type(it).__name__, it.namespace or "", it.name)
        found = self.copied.get(name)
        if found is None:
            found = self._before.get(name)
            if found is None or found[0] != it.spec:
                found = it.spec, CopiedSpec(namespace=name[1], name=name[2], spec=it.spec.dump())
            self.copied[name] = found
        return found[1]


def _make(
    *, models: tuple[CopiedSpec, ...], slos: tuple[CopiedSpec, ...], pool: NodePoolSpec, before: _Made | None
) -> _Made:
    if before is not None and _same(models, before.models) and _same(slos, before.slos) and pool == before.pool:
        return before
    return _Made(models, slos, pool, PlanningInputs(models=models, slos=slos, pool=pool.dump()))


def _same(one: Sequence[object], other: Sequence[object]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))


def _in_order(copies: Iterable[CopiedSpec]) -> tuple[CopiedSpec, ...]:
    return tuple(sorted(copies, key=lambda copied: (copied.namespace, copied.name)))


def _keys(spec: AssignmentSpec) -> set[ModelKey]:
    served = {ModelKey(server.namespace, model.name) for server in spec.servers for model in server.models}
    return served | {ModelKey(route.namespace, route.name) for route in spec.routes}


def _most_important(models: list[Model]) -> list[Model]:
    """Of too many, those of the highest priority; among equals, the first by name."""
    if len(models) <= _MODELS_MOST:
        return models
    return sorted(models, key=lambda model: (-model.spec.priority, key_of(model)))[:_MODELS_MOST]
