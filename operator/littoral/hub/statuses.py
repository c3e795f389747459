"""What people are told about their Models, SLOs and NodePools. Pure: plan and reports in, statuses out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from littoral.api import conditions
from littoral.api.assignment import AssignedModelStatus, Assignment
from littoral.api.base import shorten
from littoral.api.conditions import Conditions
from littoral.api.latencyslo import LatencySLO, LatencySLOStatus
from littoral.api.meta import Condition, ConditionStatus
from littoral.api.model import Model, ModelStatus, Placement, Rejection, SiteDemand
from littoral.api.nodepool import DiscoveredAccelerator, NodePool, NodePoolStatus
from littoral.api.quantity import format_decimal, format_quantity
from littoral.api.serving import ModelState
from littoral.core import plan as core
from littoral.core.member_nodes import AWAITING_REPORT, has_reported
from littoral.core.world import ModelKey, World, key_of, selects, unheard

# A status must fit into etcd's 1.5 MiB whatever the number of pools; the totals count all of them.
_LISTED_MOST: Final = 500


Said = Mapping[tuple[str, str], AssignedModelStatus]
"""What sites say of one Model, by pool and server."""


def model_status(
    model: Model,
    *,
    decision: core.Decision,
    world: World,
    assignments: Mapping[str, Assignment],
    now: datetime,
    demand: Mapping[str | None, float] | None = None,
) -> ModelStatus:
    """The status of a Model: where it runs and why, where not and why not.

    Args:
        assignments: by pool, with the sites' reports in their statuses.
        demand: requests/s that are expected, by site; None for those that arrive at no site.
    """
    pools = {pool.name: pool for pool in world.pools}
    away = {pool.name for pool in world.pools if pool.spec.member in world.unreachable}
    said = {(it.pool, it.server): _said(model, it, assignments.get(it.pool)) for it in decision.placements}
    placements = tuple(
        _placement(placed, pool=pools[placed.pool], said=said[placed.pool, placed.server])
        for placed in decision.placements
    )
    ready = [placement for placement in placements if placement.ready_replicas >= placement.replicas]
    expected = sorted((demand or {}).items(), key=lambda item: (item[0] is None, item[0] or ""))
    return ModelStatus(
        observed_generation=model.metadata.generation,
        conditions=_model_conditions(
            model,
            placements=[placement for placement in placements if placement.pool not in away],
            away=[placement for placement in placements if placement.pool in away],
            said=said,
            decision=decision,
            world=world,
            now=now,
        ),
        replicas=sum(placement.replicas for placement in placements),
        ready_replicas=sum(placement.ready_replicas for placement in placements),
        selector=f"serves.littoral.dev/{model.name}=true",
        placed=f"{len(ready)}/{len(placements)}",
        url=f"http://{model.name}.{model.namespace}",
        demand=tuple(SiteDemand(site=site, rate=format_decimal(rate)) for site, rate in expected[:_LISTED_MOST]),
        shortfall=shorten(decision.shortfall) or None,
        placements=placements[:_LISTED_MOST],
        rejections=tuple(
            Rejection(pool=r.pool, variant=r.variant, reason=r.reason, message=shorten(r.message))
            for r in decision.rejections[:_LISTED_MOST]
        ),
    )


def _placement(placed: core.Placement, *, pool: NodePool, said: AssignedModelStatus) -> Placement:
    message = placed.message
    if said.state != ModelState.READY and said.message:
        message = f"{message}; {said.message}"
    return Placement(
        pool=placed.pool,
        site=pool.spec.site,
        tier=pool.spec.tier,
        accelerator=placed.accelerator,
        variant=placed.variant,
        server=placed.server,
        replicas=placed.replicas,
        ready_replicas=said.ready_replicas,
        state=said.state,
        reason=placed.reason,
        message=shorten(message),
    )


def _said(model: Model, placed: core.Placement, assignment: Assignment | None) -> AssignedModelStatus:
    """What the site says of this Model there: nothing yet, while its report is about another artifact."""
    digest = _digest(model, placed, assignment)
    for server in assignment.status.servers if assignment is not None else ():
        if (server.namespace, server.name) != (model.namespace, placed.server):
            continue
        for said in server.models:
            if said.name == model.name and said.digest == digest:
                return said
    return AssignedModelStatus(
        name=model.name, variant=placed.variant, digest=digest, message="its site has yet to report on it"
    )


def _digest(model: Model, placed: core.Placement, assignment: Assignment | None) -> str:
    """The artifact that is to be there. Where nobody is heard of it is still the one that was assigned last."""
    if placed.reason == core.Reason.MEMBER_UNREACHABLE and assignment is not None:
        for server in assignment.spec.servers:
            if (server.namespace, server.name) == (model.namespace, placed.server):
                return next((served.artifact.digest for served in server.models if served.name == model.name), "")
    variant = model.variant(placed.variant)
    return variant.artifact.digest if variant is not None else ""


def _model_conditions(
    model: Model,
    *,
    placements: Sequence[Placement],
    away: Sequence[Placement],
    said: Said,
    decision: core.Decision,
    world: World,
    now: datetime,
) -> tuple[Condition, ...]:
    before, generation = model.status.conditions, model.metadata.generation
    if away and not placements:
        return conditions.unknown(
            before,
            reason=core.Reason.MEMBER_UNREACHABLE.value,
            message=_unheard(away, world),
            generation=generation,
            now=now,
        )
    if not placements and decision.demand == 0 and any(r.reason == core.Reason.NOT_NEEDED for r in decision.rejections):
        message = "nobody has asked for it for long, so it is let go; demand, or scaling.minReplicas, brings it back"
        return conditions.ready(before, reason="Idle", message=message, generation=generation, now=now)
    if not placements:
        reasons = [r.message for r in decision.rejections if r.variant is None]
        message = "; ".join(reasons) if world.pools else "there is no NodePool: create one that selects your nodes"
        return conditions.stalled(before, reason="NoPlacement", message=message, generation=generation, now=now)
    failed = [p for p in placements if p.state == ModelState.FAILED]
    if failed:
        message = "; ".join(f"{p.pool}: {said[p.pool, p.server].message}" for p in failed)
        return conditions.stalled(before, reason="ModelFailed", message=message, generation=generation, now=now)
    waiting = [p for p in placements if p.ready_replicas < p.replicas]
    if waiting:
        message = "; ".join(f"{p.pool}: {p.state}: {said[p.pool, p.server].message}" for p in waiting)
        # More replicas of what serves already: it is ready, and on its way.
        serving = all(p.ready_replicas for p in placements)
        return conditions.reconciling(
            before,
            reason="Progressing",
            message=message,
            generation=generation,
            now=now,
            serving=ConditionStatus.TRUE if serving else ConditionStatus.FALSE,
        )
    where = {f"{p.pool} ({p.variant})": None for p in placements}
    message = "serves in " + ", ".join(where)
    if away:
        message = f"{message}; {_unheard(away, world)}"
    if decision.shortfall:
        message = f"{message}; {decision.shortfall}"
    return conditions.ready(before, reason="Serving", message=message, generation=generation, now=now)


def _unheard(away: Sequence[Placement], world: World) -> str:
    """What is said of places of which nothing is heard."""
    pools = {pool.name: pool.spec.member or "" for pool in world.pools}
    members = {pools[placement.pool]: None for placement in away}
    return f"{'; '.join(unheard(member, world.unreachable[member]) for member in members)}; what runs there goes on"


def slo_status(
    slo: LatencySLO, *, world: World, decisions: Mapping[ModelKey, core.Decision], now: datetime
) -> LatencySLOStatus:
    """The status of a LatencySLO: whether it is about something that exists, and whether it can be kept."""
    before, generation = slo.status.conditions, slo.metadata.generation
    models = {key_of(model) for model in world.models}
    sites = {pool.spec.site for pool in world.pools}
    unknown = [name for name in slo.spec.sites.match_names if name not in sites] if slo.spec.sites else []
    if (slo.namespace, slo.spec.model_ref.name) not in models:
        after = conditions.stalled(
            before,
            reason="ModelNotFound",
            message=f"there is no Model {slo.spec.model_ref.name} in namespace {slo.namespace}: create it, or point "
            "modelRef at one that exists",
            generation=generation,
            now=now,
        )
    elif unknown:
        after = conditions.stalled(
            before,
            reason="SiteNotFound",
            message=f"no NodePool has site {', '.join(unknown)}; known sites: "
            + (", ".join(sorted(site for site in sites if site)) or "none"),
            generation=generation,
            now=now,
        )
    else:
        after = conditions.ready(
            before,
            reason="InForce",
            message=f"p{slo.spec.percentile} of {slo.spec.model_ref.name} within {slo.spec.latency}",
            generation=generation,
            now=now,
        )
    decision = decisions.get(ModelKey(slo.namespace or "", slo.spec.model_ref.name))
    return LatencySLOStatus(
        observed_generation=generation, conditions=_attainable(after, decision, generation=generation, now=now)
    )


def _attainable(before: Conditions, decision: core.Decision | None, *, generation: int, now: datetime) -> Conditions:
    if decision is None or (not decision.placements and not decision.shortfall):
        return conditions.remove_conditions(before, conditions.ATTAINABLE)
    status, reason, message = ConditionStatus.TRUE, "EnoughCapacity", "the plan has capacity for what is expected"
    if decision.shortfall:
        status, reason, message = ConditionStatus.FALSE, "NotEnoughCapacity", decision.shortfall
    return conditions.set_condition(
        before,
        conditions.ATTAINABLE,
        status=status,
        reason=reason,
        message=message,
        generation=generation,
        now=now,
    )


def pool_status(pool: NodePool, *, world: World, now: datetime, assignment: Assignment | None = None) -> NodePoolStatus:
    """The status of a NodePool: what was found in it.

    Args:
        assignment: of the pool, with what its site reports; a member cluster's nodes are known from there alone.
    """
    nodes = world.nodes_by_pool[pool.name]
    since = world.unreachable.get(pool.spec.member) if pool.spec.member is not None else None
    usable = [node for node in nodes if node.usable]
    found: dict[tuple[str, str, int | None], tuple[int, int]] = {}
    for node in nodes:
        for device in world.devices.devices(node):
            key = (device.device_class, device.product or "", device.memory)
            count, holders = found.get(key, (0, 0))
            found[key] = (count + device.count, holders + 1)
    return NodePoolStatus(
        observed_generation=pool.metadata.generation,
        conditions=_pool_conditions(
            pool, nodes=len(nodes), usable=len(usable), world=world, now=now, assignment=assignment
        ),
        nodes=len(nodes),
        ready_nodes=len(usable),
        unreachable_since=since,
        accelerators=tuple(
            DiscoveredAccelerator(
                device_class=device_class,
                product=product,
                count=count,
                memory=None if memory is None else format_quantity(memory, binary=True),
                nodes=holders,
            )
            for (device_class, product, memory), (count, holders) in sorted(
                found.items(), key=lambda item: (item[0][0], item[0][1], item[0][2] or 0)
            )
        ),
    )


def _pool_conditions(
    pool: NodePool, *, nodes: int, usable: int, world: World, now: datetime, assignment: Assignment | None
) -> tuple[Condition, ...]:
    before, generation, member = pool.status.conditions, pool.metadata.generation, pool.spec.member
    if member is not None and member in world.unreachable:
        message = f"{unheard(member, world.unreachable[member])}; what runs there goes on"
        return conditions.unknown(
            before, reason=core.Reason.MEMBER_UNREACHABLE.value, message=message, generation=generation, now=now
        )
    if member is not None and (assignment is None or not has_reported(assignment)):
        return conditions.reconciling(
            before,
            reason=AWAITING_REPORT,
            message=f"member {member} has yet to report: littoral invite {member} prints the token with which it joins",
            generation=generation,
            now=now,
            serving=ConditionStatus.UNKNOWN,
        )
    own = {(node.member, node.name) for node in world.nodes_by_pool[pool.name]}
    lost = sorted(node.name for node in world.nodes if selects(pool, node) and (node.member, node.name) not in own)
    if lost:
        message = (
            f"node {', '.join(lost)} belongs to another NodePool, the first by name: make the nodeSelectors exclusive"
        )
        return conditions.stalled(before, reason="OverlappingNodes", message=message, generation=generation, now=now)
    if usable:
        message = f"{usable} of {nodes} nodes are ready"
        return conditions.ready(before, reason="NodesReady", message=message, generation=generation, now=now)
    reason, message = "NodesNotReady", f"none of the {nodes} nodes is ready and schedulable"
    if not nodes:
        where = "no node" if member is None else f"no node of member {member}"
        reason, message = "NoNode", f"{where} has the labels that nodeSelector asks for: label one"
    return conditions.reconciling(before, reason=reason, message=message, generation=generation, now=now)
