"""What a plan cannot give: by how much it falls short, and what would help."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from littoral.api.quantity import format_duration
from littoral.core.plan import Flow, Reason
from littoral.core.planner.demands import Demand, unfit
from littoral.core.planner.facts import ModelFacts, PoolFacts, SloFacts, VariantFacts
from littoral.core.planner.problem import Problem

_LONGEST = 3600.0
"""Seconds: what is said to take longer takes for ever."""


def shortfalls(
    problem: Problem, model: ModelFacts, demands: Sequence[Demand], flows: Sequence[Flow], *, replicas: int
) -> Iterator[str]:
    """What is not served, late, or not ready, one sentence each.

    Args:
        demands: all of the Model.
        flows: all of the Model.
        replicas: that the Model has in the plan.
    """
    told: set[str] = set()
    known = (
        any(key == model.key and amount is not None for (key, _), amount in problem.demand.items())
        if not demands
        else True
    )
    if not known and model.key not in problem.away:
        site = min(
            (pool.site for pool in problem.pools.values() if pool.site and model.wanted_at(pool.site)), default=None
        )
        yield f"it runs nowhere: {_hindrance(problem, model, site)}"
    for demand in demands:
        mine = [flow for flow in flows if flow.site == demand.site]
        if demand.amount <= 0:
            if not any(flow.pool == option.pool for flow in mine for option in demand.options):
                told.add(f"it is not kept ready {_where(demand)}: {_remedy(problem, demand, 1.0, replicas)}")
            continue
        missing = demand.amount - sum(flow.rate for flow in mine)
        if missing > demand.amount * 1e-6:
            yield (
                f"{missing:.4g} of {demand.amount:.4g} requests/s {_where(demand)} are not served: "
                + _remedy(problem, demand, missing, replicas)
                + _closed(problem, demand)
            )
        late = sum(flow.rate for flow in mine if flow.late)
        if late > 0:
            yield _lateness(problem, demand, late)
    yield from sorted(told)
    if 0 < replicas < model.least:
        missing_replicas = model.least - replicas
        yield (
            f"{replicas + model.away} of the {model.min_replicas} replicas of scaling.minReplicas have room: "
            + (
                f"scaling.maxReplicas of {model.max_replicas} is reached"
                if replicas >= model.most
                else f"devices or memory for {missing_replicas} more would do"
            )
        )


def _where(demand: Demand) -> str:
    if demand.site is not None:
        return f"at site {demand.site}"
    return "anywhere" if demand.amount <= 0 else "that arrive at no site"


def _remedy(problem: Problem, demand: Demand, missing: float, replicas: int) -> str:
    if not demand.options:
        return _hindrance(problem, demand.model, demand.site)
    if replicas >= demand.model.most:
        return f"scaling.maxReplicas of {demand.model.max_replicas} is reached: raise it"
    best = max(demand.options, key=lambda option: (option.rate, option.pool))
    variant = best.variant
    if demand.amount <= 0:
        return f"room for {variant.name} on {variant.accelerator} in pool {best.pool} would do"
    return f"{missing / best.rate:.2g} more replicas of {variant.name} on {variant.accelerator} would do"


def _closed(problem: Problem, demand: Demand) -> str:
    """The way to another cluster that would be one with an address of its gateway; empty where there is none."""
    local = [pool for pool in problem.pools.values() if not pool.shared and pool.site == demand.site]
    if not local or any(slo.stays and slo.covers(demand.site) for slo in demand.model.slos):
        return ""
    for pool in problem.pools.values():
        if pool.shared and pool.nodes and not any(it.reaches(pool) for it in local):
            return f"; pool {pool.name} is of another cluster: spec.gateway.address of its NodePool would make it a way"
    return ""


def _hindrance(problem: Problem, model: ModelFacts, site: str | None) -> str:
    """Why there is no way at all, and what would make one: the way that lacks least."""
    if not problem.pools:
        return "there is no NodePool: create one that selects your nodes"
    stays = [slo for slo in model.slos if slo.stays and slo.covers(site)] if site is not None else []
    here = [pool for pool in problem.pools.values() if not pool.shared and (site is None or pool.site == site)]
    shared = [pool for pool in problem.pools.values() if pool.shared]
    allowed = here if stays else [*here, *shared]
    said: list[str] = []
    near = list(_accurate_enough(problem, model, allowed, site))
    if near:
        slo, variant, pool = min(near, key=lambda it: (it[0].min_accuracy or 0.0) - (it[1].accuracy or 0.0))
        asked = slo.min_accuracy or 0.0
        if variant.accuracy is None:
            said.append(
                f"LatencySLO {slo.name} asks for an accuracy of {asked:g}, and no variant that pool {pool.name} can "
                f"run states one: state the accuracy of {variant.name}"
            )
        else:
            said.append(
                f"LatencySLO {slo.name} asks for an accuracy of {asked:g}, and {variant.name}, the most accurate that "
                f"pool {pool.name} can run, has {asked - variant.accuracy:.3g} less: lower minAccuracy to "
                f"{variant.accuracy:g}, or add a variant"
            )
    if stays:
        ways = [
            pool for pool in shared if any(unfit(problem, model, v, pool, site=site) is None for v in model.variants)
        ]
        if ways:
            said.append(
                f"pool {ways[0].name} could run it, but LatencySLO {stays[0].name} has overflow: Never: allow it"
            )
        elif not here:
            said.append(f"LatencySLO {stays[0].name} has overflow: Never, and site {site} has no NodePool: add one")
    if said:
        return "; ".join(said)
    if not allowed:
        return f"site {site} has no NodePool, and none is shared: add one"
    if not any(pool.nodes for pool in allowed):
        return f"no pool that its requests may go to has a node: {_names(allowed)} would need one"
    reasons = [
        (why, v, pool) for pool in allowed for v in model.variants if (why := unfit(problem, model, v, pool, site=site))
    ]
    lacking = sorted({v.accelerator for why, v, _ in reasons if why[0] == Reason.NO_DEVICE})
    if lacking and len(lacking) == len({v.accelerator for v in model.variants}):
        chosen = " that the variant's nodeSelector selects" if any(v.selector for v in model.variants) else ""
        what = f"{' or '.join(lacking)}{chosen}"
        return f"no node of {_names(allowed)} has {what}: add a node, or a variant for what there is"
    messages = list(dict.fromkeys(f"{v.name}: {why[1]}" for why, v, _ in reasons))
    return "no pool that its requests may go to can run any variant" + "".join(f"; {text}" for text in messages[:3])


def _accurate_enough(
    problem: Problem, model: ModelFacts, pools: Sequence[PoolFacts], site: str | None
) -> Iterator[tuple[SloFacts, VariantFacts, PoolFacts]]:
    """The ways that only the accuracy closes, with the SLO that asks for most."""
    asking = [slo for slo in model.slos if slo.min_accuracy is not None]
    if not asking:
        return
    strictest = max(asking, key=lambda slo: (slo.min_accuracy or 0.0, slo.name))
    for pool in pools:
        for variant in model.variants:
            why = unfit(problem, model, variant, pool, site=site)
            if why is not None and why[0] == Reason.BELOW_MIN_ACCURACY:
                yield strictest, variant, pool


def _names(pools: Sequence[PoolFacts]) -> str:
    names = [pool.name for pool in pools]
    return f"pool {names[0]}" if len(names) == 1 else f"pools {', '.join(names[:3])}" + (" ..." if names[3:] else "")


def _lateness(problem: Problem, demand: Demand, late: float) -> str:
    """An SLO that nobody can keep: by how much it is missed, and what would meet it."""
    model = demand.model
    slos = [slo for slo in model.slos if slo.covers(demand.site)]
    strictest = min(slos, key=lambda slo: (slo.latency, slo.name), default=None)
    if strictest is None:
        return f"{late:.4g} requests/s {_where(demand)} are served as well as can be, but no rate is known to be kept"
    bound = strictest.latency
    said = (
        f"{late:.4g} requests/s {_where(demand)} are served as well as can be, but not p{strictest.percentile} within "
        f"{format_duration(bound)}"
    )
    least: list[tuple[float, str, str]] = []
    for option in demand.options:
        speed = problem.speed(model.key, option.variant.name, option.variant.accelerator, option.pool)
        if speed is not None and speed.latency is not None and 0 < speed.latency < _LONGEST:
            least.append((speed.latency, option.variant.name, option.pool))
    trips = [(trip, option.pool) for option in demand.options if (trip := _trip(problem, demand, option.pool)) >= bound]
    if trips and len(trips) == len(demand.options):
        trip, pool = min(trips)
        return (
            f"{said}: the way to pool {pool} and back alone takes {format_duration(trip)}, "
            f"{format_duration(round(trip - bound, 5))} too long; a pool at the site that can run a variant, or a "
            f"latency above {format_duration(trip)}, would do"
        )
    if not least:
        return f"{said}: no variant is known to be fast enough"
    latency, variant_name, pool = min(least)
    return (
        f"{said}: the fastest, {variant_name} in pool {pool}, takes {format_duration(round(latency, 5))} at low load, "
        f"{format_duration(round(max(0.0, latency - bound), 5))} too long; a latency of at least "
        f"{format_duration(round(latency * 1.2, 5))}, or a variant {latency / bound:.2g} times as fast, would do"
    )


def _trip(problem: Problem, demand: Demand, name: str) -> float:
    """Seconds from a demand's site to a pool and back."""
    if demand.site is None or problem.pools[name].site == demand.site:
        return 0.0
    local = [pool for pool in problem.pools.values() if pool.site == demand.site]
    return min((pool.round_trips[name] for pool in local if name in pool.round_trips), default=0.0)
