"""Why a Model runs where it does: everything that its status, its SLOs and the pools tell, in one object. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from littoral.api import Assignment, LatencySLO, Model, NodePool
from littoral.api.conditions import READY, is_true
from littoral.api.model import Placement, SiteDemand
from littoral.cli.advice import first_steps, headline, outdated
from littoral.cli.measured import Arrivals, Load, arrivals, load, report_of, said_of, strictest
from littoral.core.learning.demand import IDLE

_SITES_MOST: Final = 5


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """One Model and what surrounds it.

    Attributes:
        slos: the SLOs of the Model.
        pools: all pools; None where the caller may not read them.
        assignments: by pool; empty where the caller may not read them.
    """

    model: Model
    slos: tuple[LatencySLO, ...] = ()
    pools: tuple[NodePool, ...] | None = None
    assignments: Mapping[str, Assignment] = field(default_factory=dict)

    def load(self, placement: Placement) -> Load:
        """What was measured in one place."""
        report = report_of(
            self.assignments, pool=placement.pool, namespace=self.model.namespace or "", server=placement.server
        )
        budget = strictest(self.slos, site=placement.site)
        return load(said_of(report, model=self.model.name), budget=budget)

    @property
    def gateways(self) -> Mapping[str, Arrivals]:
        """What gateways have counted of the Model, by pool."""
        namespace, name = self.model.namespace or "", self.model.name
        found = {pool: arrivals(it, namespace=namespace, model=name) for pool, it in sorted(self.assignments.items())}
        return {pool: counted for pool, counted in found.items() if counted is not None}

    def why_so_many(self) -> tuple[str, ...]:
        """Why it has as many replicas as it has, in sentences."""
        status, scaling = self.model.status, self.model.spec.scaling
        if status.observed_generation < 0:
            return (f"none yet; spec.scaling asks for {_bounds(self.model)}",)
        if not status.placements and is_true(status.conditions, READY):
            return (f"none, since nobody asks for it; spec.scaling asks for {_bounds(self.model)}",)
        if not status.placements:
            return (f"none, since no place was found for it; spec.scaling asks for {_bounds(self.model)}",)
        parts = " + ".join(f"{placement.replicas} in {placement.pool}" for placement in status.placements)
        told = [f"{parts}; spec.scaling asks for {_bounds(self.model)}"]
        if status.replicas > scaling.max_replicas:
            told.append("more than maxReplicas, since it shares servers with Models that need more")
        if status.ready_replicas < status.replicas:
            told.append(f"{status.ready_replicas} of them answer requests")
        expected = [f"{it.rate} requests/s {_where(it)}" for it in status.demand if float(it.rate) > IDLE]
        if expected:
            rest = f", and more at {len(expected) - _SITES_MOST} other sites" if len(expected) > _SITES_MOST else ""
            told.append(f"planned for {', '.join(expected[:_SITES_MOST])}{rest}")
        for slo in self.slos:
            if float(slo.spec.demand.floor or 0):
                told.append(f"LatencySLO {slo.name} wants room for {slo.spec.demand.floor} requests/s at each site")
        if status.shortfall:
            told.append(f"too few: {status.shortfall}")
        return tuple(told)


def _where(demand: SiteDemand) -> str:
    return f"at {demand.site}" if demand.site else "from no site"


def _bounds(model: Model) -> str:
    return f"{model.spec.scaling.min_replicas} to {model.spec.scaling.max_replicas}"


def describe(slo: LatencySLO) -> str:
    """An SLO in a sentence."""
    spec = slo.spec
    parts = [f"{spec.percentile}% of requests within {spec.latency}", f"in {spec.objective}% of 5-minute windows"]
    parts.append(f"at {', '.join(spec.sites.match_names)}" if spec.sites else "at every site")
    if spec.min_accuracy is not None:
        parts.append(f"accuracy {spec.min_accuracy} or more")
    if spec.overflow == "Never":
        parts.append("never off its site")
    return ", ".join(parts)


def as_json(it: Explanation) -> dict[str, Any]:
    """The explanation for programs. Latencies are in seconds, rates in requests/s; what is unknown is null."""
    model, status = it.model, it.model.status
    word, reason, message = headline(model)
    return {
        "namespace": model.namespace,
        "name": model.name,
        "state": word,
        "reason": reason,
        "message": message,
        "firstSteps": list(first_steps(model)),
        "outdated": outdated(model),
        "url": status.url,
        "priority": model.spec.priority,
        "demand": [said.dump() for said in status.demand],
        "shortfall": status.shortfall,
        "replicas": {
            "wanted": status.replicas,
            "ready": status.ready_replicas,
            "least": model.spec.scaling.min_replicas,
            "most": model.spec.scaling.max_replicas,
            "why": list(it.why_so_many()),
        },
        "slos": [{"name": slo.name} | slo.spec.dump() for slo in it.slos],
        "placements": [placement.dump() | {"measured": _load(it.load(placement))} for placement in status.placements],
        "gateways": [{"pool": pool} | asdict(counted) for pool, counted in it.gateways.items()],
        "rejections": [rejection.dump() for rejection in status.rejections],
        "pools": None
        if it.pools is None
        else [
            {"name": pool.name, "tier": pool.spec.tier, "site": pool.spec.site, "member": pool.spec.member}
            | pool.status.dump()
            for pool in it.pools
        ],
    }


def _load(found: Load) -> dict[str, float | None]:
    return {
        "rate": found.rate,
        "p99": found.p99,
        "budget": found.budget.seconds if found.budget else None,
        "headroom": None if found.headroom is None else round(found.headroom, 4),
    }
