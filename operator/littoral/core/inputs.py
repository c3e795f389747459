"""What a member site gets with its Assignment to plan by while the hub is away: copies of what the hub plans by. Pure.

The same world gives the same inputs, so that no Assignment is written for their sake without need.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from littoral.api.assignment import Assignment, AssignmentSpec
from littoral.api.inputs import CopiedSpec, PlanningInputs
from littoral.api.latencyslo import LatencySLO
from littoral.api.model import Model
from littoral.api.nodepool import NodePool, NodePoolSpec
from littoral.core.world import ModelKey, World, key_of

# As many as an Assignment may hold.
_MODELS_MOST: Final = 256
_SLOS_MOST: Final = 512


class Copies:
    """Makes inputs; what did not change since the last time is not made anew."""

    def __init__(self) -> None:
        self._copied: dict[tuple[str, str, str], tuple[object, CopiedSpec]] = {}
        self._pools: dict[str, tuple[NodePoolSpec, dict[str, Any]]] = {}

    def fill(
        self, specs: Mapping[str, AssignmentSpec], *, world: World, current: Mapping[str, Assignment]
    ) -> dict[str, AssignmentSpec]:
        """The specs, those of members' pools with inputs: the Models that are served or routed there (of more than an
        Assignment may hold, those of the highest priority), their LatencySLOs, and the NodePool.

        Args:
            specs: by pool.
            current: the Assignments as they are: where the inputs are the same, they are the same object.
        """
        before, self._copied = self._copied, {}
        pools = {pool.name: pool for pool in world.pools if pool.spec.member is not None}
        self._pools = {name: known for name, known in self._pools.items() if name in pools}
        models = {key_of(model): model for model in world.models} if pools else {}
        filled = dict(specs)
        for name, pool in pools.items():
            spec = specs.get(name)
            if spec is None:
                continue
            wanted = _most_important(models[key] for key in sorted(_keys(spec)) if key in models)
            slos = [slo for model in wanted for slo in world.slos_by_model.get(key_of(model), ())]
            inputs = PlanningInputs(
                models=tuple(self._copy(model, before) for model in wanted),
                slos=tuple(self._copy(slo, before) for slo in sorted(slos, key=_name)[:_SLOS_MOST]),
                pool=self._pool(pool),
            )
            known = current[name].spec.inputs if name in current else None
            filled[name] = spec.model_copy(update={"inputs": known if known == inputs else inputs})
        return filled

    def _copy(
        self, it: Model | LatencySLO, before: Mapping[tuple[str, str, str], tuple[object, CopiedSpec]]
    ) -> CopiedSpec:
        key = (type(it).__name__, *_name(it))
        known = self._copied.get(key) or before.get(key)
        if known is None or known[0] != it.spec:
            known = it.spec, CopiedSpec(namespace=key[1], name=key[2], spec=it.spec.dump())
        self._copied[key] = known
        return known[1]

    def _pool(self, pool: NodePool) -> dict[str, Any]:
        known = self._pools.get(pool.name)
        if known is None or known[0] != pool.spec:
            self._pools[pool.name] = known = pool.spec, pool.spec.dump()
        return known[1]


def _keys(spec: AssignmentSpec) -> set[ModelKey]:
    served = {ModelKey(server.namespace, model.name) for server in spec.servers for model in server.models}
    return served | {ModelKey(route.namespace, route.name) for route in spec.routes}


def _most_important(models: Iterable[Model]) -> list[Model]:
    """By name; of too many, those of the highest priority."""
    found = list(models)
    if len(found) > _MODELS_MOST:
        found = sorted(found, key=lambda model: -model.spec.priority)[:_MODELS_MOST]
    return sorted(found, key=key_of)


def _name(it: Model | LatencySLO) -> tuple[str, str]:
    return it.namespace or "", it.name
