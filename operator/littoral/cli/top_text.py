"""The tables of `littoral top`: what runs, how busy it is and how fast. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from littoral.api import Assignment, LatencySLO, Model, NodePool
from littoral.api.assignment import ServerReport
from littoral.api.quantity import format_quantity, parse_quantity
from littoral.cli import style
from littoral.cli.advice import headline, member_of, state_of
from littoral.cli.measured import Budget, Load, arrivals, load, report_of, said_of, strictest
from littoral.cli.table import ABSENT, table
from littoral.cli.times import milliseconds
from littoral.core.world import ModelKey, World, key_of

_TIGHT = 0.2


@dataclass(frozen=True, kw_only=True)
class State:
    """What is known of the cluster at one moment.

    Attributes:
        assignments: empty where the caller may not read them; so are the pools.
        namespace: the one that is shown; None for all.
    """

    models: tuple[Model, ...] = ()
    slos: tuple[LatencySLO, ...] = ()
    pools: tuple[NodePool, ...] = ()
    assignments: tuple[Assignment, ...] = ()
    namespace: str | None = None

    @cached_property
    def assignments_by_pool(self) -> dict[str, Assignment]:
        """An Assignment has the name of its pool."""
        return {assignment.name: assignment for assignment in self.assignments}

    @cached_property
    def slos_by_model(self) -> dict[ModelKey, tuple[LatencySLO, ...]]:
        """The SLOs of each Model that has any."""
        return World(slos=self.slos).slos_by_model

    @cached_property
    def gateways(self) -> bool:
        """Whether any pool has a gateway."""
        return any(assignment.status.gateway is not None for assignment in self.assignments)

    def shows(self, namespace: str | None) -> bool:
        """Whether the objects of a namespace are to be shown."""
        return self.namespace is None or namespace == self.namespace


def models_table(state: State) -> str:
    """A line for each place of each Model, and one for each Model that has none."""
    headers = ["MODEL", "POOL", "VARIANT", "STATE", "READY", "RATE", "P99", "BUDGET", "HEADROOM"]
    headers += ["SPILLED", "REFUSED"] if state.gateways else []
    rows = [row for model in state.models if state.shows(model.namespace) for row in _places(model, state)]
    return _table(headers, rows, state)


def _places(model: Model, state: State) -> Iterator[list[str]]:
    start = [*_namespaced(model.namespace, state), model.name]
    if not model.status.placements:
        reason = headline(model)[1] or "Unseen"
        yield [*start, "", "", style.state(reason), "0/0", *_load(Load()), *_leaving(model, "", state)]
    slos = state.slos_by_model.get(key_of(model), ())
    for it in model.status.placements:
        report = report_of(state.assignments_by_pool, pool=it.pool, namespace=model.namespace or "", server=it.server)
        found = load(said_of(report, model=model.name), budget=strictest(slos, site=it.site))
        ready = f"{it.ready_replicas}/{it.replicas}"
        yield [
            *start,
            it.pool,
            it.variant,
            style.state(state_of(it)),
            ready,
            *_load(found),
            *_leaving(model, it.pool, state),
        ]


def _leaving(model: Model, pool: str, state: State) -> list[str]:
    """What the pool's gateway sends elsewhere, and refuses, where there are gateways."""
    if not state.gateways:
        return []
    counted = arrivals(state.assignments_by_pool.get(pool), namespace=model.namespace or "", model=model.name)
    if counted is None:
        return ["", ""]
    refused = _rate(counted.refused)
    return [_rate(counted.spilled), style.bad(refused) if counted.refused > 0 else refused]


def pools_table(state: State) -> str:
    """A line for each pool; what runs there is counted over all namespaces."""
    headers = ["POOL", "TIER", "SITE", "NODES", "SERVERS", "PODS", "MODELS", "RATE", "DEVICES"]
    members = any(pool.spec.member for pool in state.pools)
    headers += ["MEMBER"] if members else []
    rows = []
    for pool in state.pools:
        assignment = state.assignments_by_pool.get(pool.name)
        servers = assignment.spec.servers if assignment else ()
        reports = assignment.status.servers if assignment else ()
        rows.append(
            [
                pool.name,
                str(pool.spec.tier),
                pool.spec.site or "",
                _of(pool.status.ready_nodes, pool.status.nodes),
                str(len(servers)),
                _of(sum(report.ready_replicas for report in reports), sum(server.replicas for server in servers)),
                str(len({(server.namespace, model.name) for server in servers for model in server.models})),
                _rate(_total(reports)),
                pool.status.devices or ABSENT,
                *([member_of(pool)] if members else []),
            ]
        )
    return table(headers, rows)


def servers_table(state: State) -> str:
    """A line for each server: its size, its load, and what keeps its Pods from being ready."""
    headers = ["SERVER", "POOL", "CLASS", "PODS", "MODELS", "CPU", "MEMORY", "DEVICE", "RATE", "MESSAGE"]
    rows = []
    for assignment in state.assignments:
        for server in assignment.spec.servers:
            if not state.shows(server.namespace):
                continue
            report = report_of(
                state.assignments_by_pool, pool=assignment.name, namespace=server.namespace, server=server.name
            )
            ready = report.ready_replicas if report else 0
            rows.append(
                [
                    *_namespaced(server.namespace, state),
                    server.name,
                    assignment.name,
                    server.accelerator,
                    _of(ready, server.replicas),
                    str(len(server.models)),
                    server.cpu or "",
                    server.memory or "",
                    _device(report),
                    _rate(_total([report] if report else ())),
                    (report.message if report else "its site has yet to report on it") or "",
                ]
            )
    return _table(headers, rows, state)


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]], state: State) -> str:
    return table([*(["NAMESPACE"] if state.namespace is None else []), *headers], rows)


def _namespaced(namespace: str | None, state: State) -> list[str]:
    return [namespace or ""] if state.namespace is None else []


def _load(found: Load) -> list[str]:
    return [
        _rate(found.rate),
        "" if found.p99 is None else milliseconds(found.p99),
        _budget(found.budget),
        _headroom(found.headroom),
    ]


def _budget(budget: Budget | None) -> str:
    if budget is None:
        return ""
    # The column of measured latencies is the p99: an SLO about another percentile says so.
    return milliseconds(budget.seconds) + ("" if budget.percentile == 99 else f" (p{budget.percentile:g})")


def _headroom(share: float | None) -> str:
    if share is None:
        return ABSENT
    paint = style.bad if share < 0 else style.warn if share < _TIGHT else style.good
    return paint(f"{share:.0%}")


def _rate(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.3g}/s" if rate < 1000 else f"{rate:.0f}/s"


def _total(reports: Iterable[ServerReport]) -> float | None:
    rates = [float(m.measured.rate) for r in reports for m in r.models if m.measured and m.measured.rate is not None]
    return sum(rates) if rates else None


def _device(report: ServerReport | None) -> str:
    """Used and whole memory of the device."""
    if report is None or report.device is None:
        return ""
    used, whole = (
        format_quantity(round(parse_quantity(text) / 2**20) * 2**20, binary=True)
        for text in (report.device.memory_used, report.device.memory_total)
    )
    return f"{used}/{whole}"


def _of(part: int, whole: int) -> str:
    text = f"{part}/{whole}"
    return text if part >= whole else style.warn(text)


TABLES = {"models": models_table, "pools": pools_table, "servers": servers_table}
"""By what is asked for."""
