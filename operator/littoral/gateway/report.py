"""What the counters and HAProxy's figures mean of each Model. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from littoral.api.routing import (
    UNLIMITED,
    GatewayConfig,
    ModelDemand,
    ModelRoute,
    Upstream,
    UpstreamState,
    UpstreamStatus,
)
from littoral.gateway.haproxy import ServerFigures
from littoral.gateway.ledger import Ledger
from littoral.render.gateway_haproxy import Place, address_of, upstream_of

_WORST_FIRST = (UpstreamState.DOWN, UpstreamState.DRAINING, UpstreamState.UNKNOWN, UpstreamState.UP)


def describe(
    config: GatewayConfig | None,
    *,
    ledger: Ledger,
    outstanding: Mapping[str, int],
    figures: Sequence[ServerFigures],
    now: float,
) -> tuple[ModelDemand, ...]:
    """The Models that are routed, in the order of their keys.

    Args:
        outstanding: requests that own servers have, by Model.
        figures: of all servers.
        now: seconds of the ledger's clock.
    """
    if config is None:
        return ()
    theirs: dict[str, list[ServerFigures]] = {}
    for it in figures:
        theirs.setdefault(it.backend.partition(":")[0], []).append(it)
    return tuple(
        _describe(it, ledger=ledger, outstanding=outstanding.get(it.key, 0), figures=theirs.get(it.key, ()), now=now)
        for it in sorted(config.models, key=lambda it: it.key)
    )


def _describe(
    model: ModelRoute, *, ledger: Ledger, outstanding: int, figures: Sequence[ServerFigures], now: float
) -> ModelDemand:
    recent, seconds = ledger.recent(model.key, now=now)
    places = {it.backend.split(":")[1] for it in figures}
    own = [_upstream(it, "", figures) for it in model.servers] if Place.LOCAL in places or model.servers else []
    other = [_upstream(it, pool.name, figures) for pool in model.next for it in pool.servers]
    up = sum(it.state is UpstreamState.UP for it in own)
    return ModelDemand(
        namespace=model.namespace,
        name=model.name,
        demand=ledger.demand(model.key),
        recent=recent,
        recent_seconds=round(seconds, 3),
        outstanding=outstanding,
        limit=min(model.limit_per_server * up, UNLIMITED),
        servers=(*own, *other),
    )


def _upstream(upstream: Upstream, pool: str, figures: Sequence[ServerFigures]) -> UpstreamStatus:
    mine = [it for it in figures if upstream_of(it.name) == (pool, upstream.name)]
    # What stands by for own servers is checked there by itself, and is not where requests go first.
    first = [it for it in mine if it.backend.split(":")[1] == (Place.NEXT if pool else Place.LOCAL)]
    # Of a host name with several addresses one is enough; of HTTP and gRPC both are needed.
    by_address: dict[str, set[UpstreamState]] = {}
    for it in first:
        by_address.setdefault(address_of(it.name), set()).add(_state(it.status))
    states = {_worst(each) for each in by_address.values()} or {UpstreamState.UNKNOWN}
    state = next(state for state in reversed(_WORST_FIRST) if state in states)
    checks = [it.check for it in first if it.check is not None and _state(it.status) is state]
    return UpstreamStatus(
        name=upstream.name,
        pool=pool,
        state=state,
        outstanding=sum(it.sessions for it in mine),
        check_milliseconds=min(checks) if checks else None,
    )


def _worst(states: Collection[UpstreamState]) -> UpstreamState:
    return next(state for state in _WORST_FIRST if state in states)


def _state(status: str) -> UpstreamState:
    match status.split()[0].split("(")[0] if status else "":
        case "UP" | "no":  # `no check`
            return UpstreamState.UP
        case "DOWN":
            return UpstreamState.DOWN
        case "DRAIN" | "MAINT" | "NOLB":
            return UpstreamState.DRAINING
    return UpstreamState.UNKNOWN
