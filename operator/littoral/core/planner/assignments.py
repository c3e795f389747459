"""From drafts to Assignments: names that stay, sizes as quantities."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from littoral.api.assignment import AssignmentSpec, Server
from littoral.api.meta import NodeSelector
from littoral.api.quantity import format_quantity
from littoral.core.planner.facts import PoolFacts
from littoral.core.planner.problem import CurrentServer, Problem, Running
from littoral.core.planner.yard import Draft

_NAME_LIMIT: Final = 63
_NOTHING: Final = Running()

Placed = tuple[Draft, Server]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class _Rendered:
    pool: PoolFacts
    current: tuple[object, ...]
    drafts: tuple[Draft, ...]
    placed: tuple[Placed, ...]
    spec: AssignmentSpec


@dataclass(kw_only=True)
class Fleet:
    """The Assignments of the last plan, so that those that did not change are not made anew."""

    pools: dict[str, _Rendered] = field(default_factory=dict)
    names: frozenset[str] = frozenset()

    @property
    def placed(self) -> Iterable[Placed]:
        """Every draft with the server that it became."""
        return (pair for rendered in self.pools.values() for pair in rendered.placed)


def render(problem: Problem, drafts: Iterable[Draft], *, fleet: Fleet) -> dict[str, AssignmentSpec]:
    """The spec of every pool's Assignment. `fleet` is brought up to date."""
    by_pool: dict[str, list[Draft]] = defaultdict(list)
    for draft in drafts:
        by_pool[draft.pool].append(draft)
    pools: dict[str, _Rendered] = {}
    everyone = frozenset(problem.pools) | problem.frozen.keys()
    known_pools = fleet.pools if fleet.names == everyone else {}
    for name, facts in problem.pools.items():
        mine = tuple(by_pool.get(name, ()))
        running = problem.current.get(name, _NOTHING)
        known = known_pools.get(name)
        if (
            known is not None
            and known.pool is facts
            and len(known.drafts) == len(mine)
            and all(a is b for a, b in zip(known.drafts, mine, strict=True))
            and known.current == running.content
        ):
            pools[name] = known
            continue
        placed = _name(mine, current=running.servers, pool=facts, neighbours=everyone)
        pools[name] = _Rendered(
            pool=facts,
            current=running.content,
            drafts=mine,
            placed=placed,
            spec=AssignmentSpec(
                site=facts.site,
                member=facts.pool.spec.member,
                tier=facts.pool.spec.tier,
                node_selector=facts.pool.spec.node_selector,
                cache_quota=facts.pool.spec.cache.quota,
                bandwidth=facts.pool.spec.network.bandwidth,
                gateway=facts.pool.spec.gateway,
                servers=tuple(sorted((server for _, server in placed), key=lambda it: (it.namespace, it.name))),
            ),
        )
    fleet.pools, fleet.names = pools, everyone
    return {name: rendered.spec for name, rendered in pools.items()}


def _name(
    drafts: Sequence[Draft], *, current: Sequence[CurrentServer], pool: PoolFacts, neighbours: frozenset[str]
) -> tuple[Placed, ...]:
    """Name the servers of a pool: what goes on keeps its name, whatever else is planned around it."""
    groups: dict[tuple[str, str], list[Draft]] = defaultdict(list)
    for draft in drafts:
        groups[draft.namespace, draft.accelerator].append(draft)
    placed: list[Placed] = []
    for (namespace, accelerator), members in sorted(groups.items()):
        possible = _names(pool.name, accelerator, neighbours=neighbours, count=len(members) + len(current))
        there = {
            server.name: set(server.models)
            for server in current
            if (server.namespace, server.accelerator) == (namespace, accelerator) and server.name in possible
        }
        names: dict[int, str] = {}
        for draft in members:
            if draft.name in there:
                del there[draft.name]
                names[id(draft)] = draft.name
        # A new draft goes on with the server that it has most in common with.
        waiting = sorted((d for d in members if id(d) not in names), key=lambda draft: sorted(draft.members))
        for draft in waiting:
            mine = {key.name for key in draft.members}
            heir = max(sorted(there), key=lambda name: len(mine & there[name]), default=None)
            if heir is not None and mine & there[heir]:
                del there[heir]
                names[id(draft)] = heir
        free = [name for name in possible if name not in names.values()]
        free.sort(key=lambda name: name in there)
        for draft in waiting:
            if id(draft) not in names:
                names[id(draft)] = free.pop(0)
        placed += ((draft, _server(draft, name=names[id(draft)], pool=pool)) for draft in members)
    return tuple(placed)


def _names(pool: str, accelerator: str, *, neighbours: frozenset[str], count: int) -> list[str]:
    """As many names as are needed for servers of a pool, none of which another pool could have."""
    names = [f"triton-{pool}-{accelerator}"]
    number = 2
    while len(names) < count:
        middle = f"{pool}-{number}"
        number += 1
        if middle in neighbours:
            continue
        name = f"triton-{middle}-{accelerator}"
        if len(name) > _NAME_LIMIT:
            name = f"triton-{hashlib.sha256(middle.encode()).hexdigest()[:12]}-{accelerator}"
        names.append(name)
    return names


def _server(draft: Draft, *, name: str, pool: PoolFacts) -> Server:
    return Server(
        name=name,
        namespace=draft.namespace,
        accelerator=draft.accelerator,
        extended_resource=pool.nodes[draft.hosts[0]].devices[draft.accelerator].resource,
        node_selector=_merge(draft.selectors),
        replicas=draft.replicas,
        cpu=format_quantity(Decimal(repr(round(draft.cpu, 9)))),
        memory=format_quantity(round(draft.memory), binary=True),
        models=tuple(variant.served for _, (_, variant) in sorted(draft.members.items())),
    )


def _merge(selectors: Sequence[NodeSelector]) -> NodeSelector | None:
    """One selector that selects what all of them select."""
    if not selectors:
        return None
    labels: Mapping[str, str] = {key: value for selector in selectors for key, value in selector.match_labels.items()}
    requirements = (requirement for selector in selectors for requirement in selector.match_expressions)
    return NodeSelector(match_labels=dict(labels), match_expressions=tuple(dict.fromkeys(requirements)))
