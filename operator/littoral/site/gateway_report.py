"""What became of a pool's gateway: its part of the Assignment's status, from its Pods and its agents. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from littoral.api.assignment import Assignment
from littoral.api.base import shorten
from littoral.api.quantity import format_decimal, format_duration, parse_duration
from littoral.api.routes import GatewayReport, RoundTrip, RouteReport
from littoral.api.routing import BUCKETS, GatewayStatus, Latency, ModelDemand, UpstreamState
from littoral.render.gateway import MEMBERS_SUFFIX
from littoral.site.desired import ChildKey
from littoral.site.gateways import Gateways, gateway_name
from littoral.site.views import PodView

_SHORTEST: Final = 5.0  # Seconds that must have been watched before requests per second say anything.
_DIGITS: Final = 3  # that a rate has: the last ones of a measurement are chance, and each change is a write
_ROUNDS: Final = 3  # of a check over TLS 1.3: connection, handshake, request. Requests need only the last.
_STEADY: Final = 0.25  # Part by which a round trip may vary and still be the same.


def gateway_report(
    assignment: Assignment,
    *,
    gateways: Gateways,
    pods: Collection[PodView],
    statuses: Mapping[str, GatewayStatus],
    troubles: Mapping[ChildKey, str],
    certificate_request: str | None = None,
) -> GatewayReport | None:
    """The report of one pool's gateway; None where it has no routes, and so no gateway.

    Args:
        statuses: what each gateway's agent says, by its Pod's uid.
        troubles: what went wrong with an object as a whole.
        certificate_request: of a gateway that talks to gateways of other clusters (PEM).
    """
    if not assignment.spec.routes:
        return None
    name = gateway_name(assignment.name)
    own = [p for p in pods if p.gateway == name and p.namespace == gateways.namespace and not p.leaving]
    said = [statuses[pod.uid] for pod in own if pod.uid in statuses]
    trouble = next(_troubles(name, namespace=gateways.namespace, pods=own, statuses=statuses, troubles=troubles), "")
    before = assignment.status.gateway
    return GatewayReport(
        replicas=len(own),
        ready_replicas=sum(pod.ready for pod in own),
        message=shorten(trouble) or None,
        routes=_routes(said, wanted={(route.namespace, route.name) for route in assignment.spec.routes}),
        round_trips=_round_trips(
            said,
            far={it.pool for route in assignment.spec.routes for it in route.next if it.gateway is not None},
            before=before.round_trips if before is not None else (),
        ),
        certificate_request=certificate_request,
    )


def _troubles(
    name: str,
    *,
    namespace: str,
    pods: Iterable[PodView],
    statuses: Mapping[str, GatewayStatus],
    troubles: Mapping[ChildKey, str],
) -> Iterator[str]:
    """What is wrong, the most telling first."""
    for kind, suffix in (
        ("ConfigMap", ""),
        ("Deployment", ""),
        ("Service", ""),
        ("Service", MEMBERS_SUFFIX),
        ("PodDisruptionBudget", ""),
        ("Secret", ""),
    ):
        if text := troubles.get(ChildKey(kind, namespace, f"{name}{suffix}")):
            yield text
    for pod in pods:
        if pod.trouble:
            yield f"Pod {pod.name} {pod.trouble}"
    for pod in pods:
        status = statuses.get(pod.uid)
        if status is not None and status.message:
            yield f"the agent in Pod {pod.name}: {status.message}"
        if status is None and pod.ready:
            yield f"the agent in Pod {pod.name} cannot be reached"


def _routes(statuses: Iterable[GatewayStatus], *, wanted: Collection[tuple[str, str]]) -> tuple[RouteReport, ...]:
    demands: dict[tuple[str, str], list[ModelDemand]] = {}
    for status in statuses:
        for model in status.models:
            if (model.namespace, model.name) in wanted and (model.recent.arrived or model.outstanding):
                demands.setdefault((model.namespace, model.name), []).append(model)
    return tuple(
        RouteReport(
            namespace=namespace,
            name=name,
            arrived=_rate((it.recent.arrived, it.recent_seconds) for it in parts),
            spilled=_rate((it.recent.spilled, it.recent_seconds) for it in parts),
            refused=_rate((it.recent.refused, it.recent_seconds) for it in parts),
            failed=_rate((it.recent.failed, it.recent_seconds) for it in parts),
            outstanding=sum(it.outstanding for it in parts),
            p50=_quantile(parts, 0.5),
            p99=_quantile(parts, 0.99),
        )
        for (namespace, name), parts in sorted(demands.items())
    )


def _rate(counts: Iterable[tuple[int, float]]) -> str:
    """Requests per second, over all Pods of the gateway."""
    rate = sum(count / max(seconds, _SHORTEST) for count, seconds in counts)
    if rate <= 0:
        return "0"
    places = max(0, min(6, _DIGITS - 1 - math.floor(math.log10(rate))))
    return format_decimal(rate, places=places)


def _quantile(parts: Iterable[ModelDemand], share: float) -> str | None:
    merged = Latency(counts=tuple(map(sum, zip(*(it.recent.latency.counts for it in parts), strict=True))))
    milliseconds = merged.quantile(share)
    if milliseconds is None:
        return None
    return format_duration(round(min(milliseconds, BUCKETS[-1]), 1) / 1000)


def _round_trips(
    statuses: Iterable[GatewayStatus], *, far: Collection[str], before: Iterable[RoundTrip]
) -> tuple[RoundTrip, ...]:
    """How far each other pool is: as far as the nearest of its servers is from any Pod of the gateway.

    Args:
        far: pools that are reached by their gateways.
    """
    times: dict[str, float] = {}
    for status in statuses:
        for model in status.models:
            for server in model.servers:
                took = server.check_milliseconds
                if server.pool and server.state is UpstreamState.UP and took is not None:
                    time = took / _ROUNDS if server.pool in far else took
                    times[server.pool] = min(times.get(server.pool, time), time)
    last = {it.pool: it for it in before}
    trips = []
    for pool, milliseconds in sorted(times.items()):
        known = last.get(pool)
        if known is not None:
            was = 1000 * parse_duration(known.time)
            if abs(milliseconds - was) <= max(1, _STEADY * was):
                trips.append(known)
                continue
        trips.append(RoundTrip(pool=pool, time=format_duration(round(milliseconds / 1000, 4))))
    return tuple(trips)
