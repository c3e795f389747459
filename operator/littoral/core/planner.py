"""The planner: from a world to a plan. Pure: the same world gets the same plan, whatever came before.

This is the simplest planner that is correct: every Model runs in every pool that may serve it, in the first variant
whose device class the pool has and has room for, and the Models of one namespace share one server for each pool and
class. Models are placed in order of priority, so that the most important one gets the last device.
"""

from __future__ import annotations

from collections.abc import Sequence

from littoral.api.assignment import AssignmentSpec
from littoral.api.latencyslo import LatencySLO, Overflow
from littoral.api.model import Model, Variant
from littoral.api.nodepool import NodePool, Tier
from littoral.core.hardware import CPU
from littoral.core.ledger import Ledger, Seat
from littoral.core.plan import Decision, Placement, Plan, Reason, Rejection
from littoral.core.world import ModelKey, World, key_of


def plan(world: World) -> Plan:
    """Decide what runs where.

    Returns:
        An assignment for every pool and a decision for every Model of the world.
    """
    ledger = Ledger(world)
    pools = sorted(world.pools, key=lambda pool: (pool.spec.tier != Tier.EDGE, pool.name))

    # 1. Who sits where, the most important Model first.
    seated: dict[ModelKey, tuple[list[Seat], list[Rejection]]] = {}
    for model in sorted(world.models, key=lambda model: (-model.spec.priority, key_of(model))):
        seated[key_of(model)] = _seat(
            model, pools=pools, slos=world.slos_by_model.get(key_of(model), ()), ledger=ledger
        )

    # 2. What every seat needs is known only now: Models that share a server share its replicas.
    return Plan(
        assignments={pool.name: _assignment(pool, ledger) for pool in pools},
        decisions={
            key: Decision(
                placements=tuple(_placement(seat) for seat in seats),
                rejections=tuple(rejections),
            )
            for key, (seats, rejections) in seated.items()
        },
    )


def _seat(
    model: Model, *, pools: Sequence[NodePool], slos: Sequence[LatencySLO], ledger: Ledger
) -> tuple[list[Seat], list[Rejection]]:
    seats: list[Seat] = []
    rejections: list[Rejection] = []
    for pool in pools:
        barred = _barred(model, pool, slos=slos, seats=len(seats))
        if barred is not None:
            rejections.append(barred)
            continue
        passed_over: list[Rejection] = []
        for variant in model.spec.variants:
            outcome = _inaccurate(variant, pool=pool, slos=slos) or ledger.take(model, variant=variant, pool=pool)
            if isinstance(outcome, Seat):
                seats.append(outcome)
                break
            passed_over.append(outcome)
        else:
            passed_over.append(
                Rejection(
                    pool=pool.name,
                    reason=Reason.NO_VARIANT_FITS,
                    message=f"none of the {len(model.spec.variants)} variants fits pool {pool.name}: "
                    + "; ".join(f"{rejection.variant}: {rejection.message}" for rejection in passed_over),
                )
            )
        rejections += passed_over
    ledger.scale(seats, replicas=model.spec.scaling.min_replicas)
    return seats, rejections


def _barred(model: Model, pool: NodePool, *, slos: Sequence[LatencySLO], seats: int) -> Rejection | None:
    """Why the Model may not run in the pool at all, whatever the variant."""
    if model.spec.verification is not None:
        # Failing closed: whoever asks for a signature must not be served what nobody has checked.
        return Rejection(
            pool=pool.name,
            reason=Reason.SIGNATURE_UNSUPPORTED,
            message="this version cannot check signatures: remove spec.verification to rely on the digest alone",
        )
    most = model.spec.scaling.max_replicas
    if seats >= most:
        return Rejection(
            pool=pool.name,
            reason=Reason.MAX_REPLICAS_REACHED,
            message=f"scaling.maxReplicas is {most}, and nearer pools have them all",
        )
    if not slos:
        return None
    if pool.spec.tier == Tier.CLOUD:
        if all(slo.spec.overflow == Overflow.NEVER for slo in slos):
            return Rejection(
                pool=pool.name,
                reason=Reason.STAYS_AT_SITE,
                message=f"LatencySLO {slos[0].name} has overflow: Never, so the data must not leave its site",
            )
        return None
    if not any(slo.spec.sites is None or pool.spec.site in slo.spec.sites.match_names for slo in slos):
        return Rejection(
            pool=pool.name,
            reason=Reason.SITE_NOT_SELECTED,
            message=f"site {pool.spec.site} is not among the sites of LatencySLO {', '.join(slo.name for slo in slos)}",
        )
    return None


def _inaccurate(variant: Variant, *, pool: NodePool, slos: Sequence[LatencySLO]) -> Rejection | None:
    for slo in slos:
        least = slo.spec.min_accuracy
        if least is not None and (variant.accuracy is None or float(variant.accuracy) < float(least)):
            stated = "states no accuracy" if variant.accuracy is None else f"has accuracy {variant.accuracy}"
            return Rejection(
                pool=pool.name,
                variant=variant.name,
                reason=Reason.BELOW_MIN_ACCURACY,
                message=f"{stated}, and LatencySLO {slo.name} asks for at least {least}",
            )
    return None


def _placement(seat: Seat) -> Placement:
    variants = seat.model.spec.variants
    preferred = seat.variant.name == variants[0].name
    rank = f"the first of {len(variants)} variants" if len(variants) > 1 else "the only variant"
    devices = f"{seat.devices} {seat.variant.accelerator}" + (f" ({seat.product})" if seat.product else "")
    if seat.variant.accelerator == CPU:
        devices = f"{seat.devices} CPU cores"
    return Placement(
        pool=seat.pool.name,
        variant=seat.variant.name,
        accelerator=seat.variant.accelerator,
        server=seat.server.name,
        replicas=seat.server.replicas,
        reason=Reason.PREFERRED_VARIANT if preferred else Reason.FALLBACK_VARIANT,
        message=f"{seat.variant.name} is {rank} that pool {seat.pool.name} can run: it has {devices}",
    )


def _assignment(pool: NodePool, ledger: Ledger) -> AssignmentSpec:
    return AssignmentSpec(
        site=pool.spec.site,
        member=pool.spec.member,
        tier=pool.spec.tier,
        node_selector=pool.spec.node_selector,
        servers=ledger.servers(pool),
    )
