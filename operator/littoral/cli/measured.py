"""What sites measure, joined with what is asked: rate, latency, budget and headroom. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from littoral.api import Assignment, LatencySLO
from littoral.api.assignment import AssignedModelStatus, ServerReport
from littoral.api.measurement import LatencyQuantiles
from littoral.api.quantity import parse_duration

_HIGHEST: Final = 99
"""The highest percentile that sites measure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What an SLO allows: so many percent of the requests within so many seconds."""

    seconds: float
    percentile: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a Model does on one server, or does on all its servers together.

    Attributes:
        rate: requests/s; None while nothing was measured.
        p99: seconds; None where there were no requests, or too few to tell.
        budget: the strictest that applies; None without an SLO.
        headroom: the share of the budget that the SLO's percentile leaves: 0.4 of 50ms are left at 30ms, and less than
            0 is too late. None where either is unknown.
    """

    rate: float | None = None
    p99: float | None = None
    budget: Budget | None = None
    headroom: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """What became of a Model's requests at a pool's gateway, in requests/s within the last minute.

    Attributes:
        p99: seconds, over all answers; None without any.
    """

    arrived: float = 0.0
    spilled: float = 0.0
    refused: float = 0.0
    failed: float = 0.0
    p99: float | None = None


def arrivals(assignment: Assignment | None, *, namespace: str, model: str) -> Arrivals | None:
    """What a pool's gateway has counted of a Model; None where there is no gateway that routes it."""
    gateway = assignment.status.gateway if assignment is not None else None
    if assignment is None or gateway is None:
        return None
    for said in gateway.routes:
        if (said.namespace, said.name) == (namespace, model):
            rates = (float(text) for text in (said.arrived, said.spilled, said.refused, said.failed))
            arrived, spilled, refused, failed = rates
            p99 = None if said.p99 is None else parse_duration(said.p99)
            return Arrivals(arrived=arrived, spilled=spilled, refused=refused, failed=failed, p99=p99)
    routed = any((route.namespace, route.name) == (namespace, model) for route in assignment.spec.routes)
    return Arrivals() if routed else None


def strictest(slos: Iterable[LatencySLO], *, site: str | None) -> Budget | None:
    """The budget that a Model has at a site; `site` is None for a pool without one, which serves all sites."""
    budgets = [
        Budget(seconds=parse_duration(slo.spec.latency), percentile=float(slo.spec.percentile))
        for slo in slos
        if site is None or slo.spec.sites is None or site in slo.spec.sites.match_names
    ]
    return min(budgets, key=lambda budget: (budget.seconds, -budget.percentile), default=None)


def load(said: AssignedModelStatus | None, *, budget: Budget | None) -> Load:
    """The load of one Model on one server, from the site's report on it."""
    measured = said.measured if said is not None else None
    if measured is None:
        return Load(budget=budget)
    p99 = _at(measured.latency, _HIGHEST)
    judged = _at(measured.latency, budget.percentile) if budget else None
    return Load(
        rate=float(measured.rate) if measured.rate is not None else None,
        p99=p99,
        budget=budget,
        headroom=1 - judged / budget.seconds if budget and judged is not None else None,
    )


def _at(latency: LatencyQuantiles | None, percentile: float) -> float | None:
    """The least measured quantile that is not below the percentile, or the p99 for one that is above all.

    None where there were too few requests to tell: a lower quantile would promise too much.
    """
    if latency is None:
        return None
    known = ((50, latency.p50), (95, latency.p95), (_HIGHEST, latency.p99))
    enough = (text for at, text in known if text is not None and at >= min(percentile, _HIGHEST))
    text = next(enough, None)
    return None if text is None else parse_duration(text)


def report_of(assignments: Mapping[str, Assignment], *, pool: str, namespace: str, server: str) -> ServerReport | None:
    """What a pool's site reports of a server."""
    reports = assignments[pool].status.servers if pool in assignments else ()
    return next((report for report in reports if (report.namespace, report.name) == (namespace, server)), None)


def said_of(report: ServerReport | None, *, model: str) -> AssignedModelStatus | None:
    """What a server's report says of a Model."""
    return next((said for said in report.models if said.name == model), None) if report is not None else None
