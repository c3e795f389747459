"""The gateway's status in the format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from littoral.api.routing import BUCKETS, GatewayStatus, Latency, UpstreamState

_MODEL = ("namespace", "model")


def exposition(status: GatewayStatus) -> bytes:
    """The text that Prometheus reads."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(status))
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(self, status: GatewayStatus) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """All metrics, made from the status."""
        haproxy = self._status.haproxy
        yield GaugeMetricFamily(
            "littoral_gateway_haproxy_ready", "1 if HAProxy has all that is wanted.", value=haproxy.ready
        )
        yield GaugeMetricFamily(
            "littoral_gateway_haproxy_workers", "Processes of HAProxy that have connections.", value=haproxy.workers
        )
        yield CounterMetricFamily(
            "littoral_gateway_reloads", "Reloads of HAProxy since the agent started.", value=haproxy.reloads
        )
        requests = CounterMetricFamily(
            "littoral_gateway_requests", "Inference requests, by where they went.", labels=(*_MODEL, "to")
        )
        received = CounterMetricFamily(
            "littoral_gateway_received",
            "Inference requests that gateways of other clusters sent here; they are counted in nothing else.",
            labels=_MODEL,
        )
        failures = CounterMetricFamily(
            "littoral_gateway_failures", "Inference requests that were answered with an error.", labels=_MODEL
        )
        latency = HistogramMetricFamily(
            "littoral_gateway_latency_seconds",
            "Time from a request's headers to its answer's headers; the sum is estimated from the buckets.",
            labels=_MODEL,
        )
        outstanding = GaugeMetricFamily(
            "littoral_gateway_outstanding", "Inference requests that the site's servers have.", labels=_MODEL
        )
        limit = GaugeMetricFamily(
            "littoral_gateway_limit", "Outstanding requests beyond which the next one leaves.", labels=_MODEL
        )
        servers = GaugeMetricFamily(
            "littoral_gateway_server_up", "1 if the server gets requests.", labels=(*_MODEL, "pool", "server")
        )
        for model in self._status.models:
            labels = (model.namespace, model.name)
            demand = model.demand
            for place, count in (("local", demand.local), ("next", demand.spilled), ("refused", demand.refused)):
                requests.add_metric((*labels, place), count)
            received.add_metric(labels, demand.received)
            failures.add_metric(labels, demand.failed)
            latency.add_metric(labels, _buckets(demand.latency), _estimated_sum(demand.latency))
            outstanding.add_metric(labels, model.outstanding)
            limit.add_metric(labels, model.limit)
            for server in model.servers:
                servers.add_metric((*labels, server.pool, server.name), server.state is UpstreamState.UP)
        yield from (requests, received, failures, latency, outstanding, limit, servers)


def _buckets(latency: Latency) -> list[tuple[str, float]]:
    buckets, seen = [], 0
    for bound, count in zip(BUCKETS, latency.counts, strict=False):
        seen += count
        buckets.append((str(bound / 1000), float(seen)))
    return [*buckets, ("+Inf", float(latency.count))]


def _estimated_sum(latency: Latency) -> float:
    lows, highs = (0, *BUCKETS), (*BUCKETS, BUCKETS[-1])
    return sum(count * (low + high) / 2000 for count, low, high in zip(latency.counts, lows, highs, strict=True))
