"""`/metrics`, `/healthz`, and the newest annotated frame at `/latest.jpg`."""

from __future__ import annotations

import time
from collections.abc import Iterator

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .forwarding import Forwarder
from .running import Analytics

_OUTCOMES = ("kept", "unavailable", "failed", "not-kept", "unreadable")


class Watching(Collector):
    """Reads the counts where they are counted.

    Args:
        stale_after: seconds without a result, after which `/healthz` says 503; 0: never. It is for people and for
            alerts: no restart brings a camera or a Model back.
    """

    def __init__(self, *, analytics: Analytics, forwarder: Forwarder | None, stale_after: float) -> None:
        self._analytics, self._forwarder, self._stale_after = analytics, forwarder, stale_after
        self._started = time.monotonic()
        self.registry = CollectorRegistry()
        self.registry.register(self)
        histogram = Histogram(
            "video_analytics_inference_seconds", "Seconds from asking the Model to its answer.", registry=self.registry
        )
        analytics.inference_seconds = histogram.observe

    def collect(self) -> Iterator[Metric]:
        """Return the metrics."""
        analytics, ring = self._analytics, self._analytics.ring
        frames = CounterMetricFamily("video_analytics_frames", "Frames by what became of them.", labels=["outcome"])
        for outcome in _OUTCOMES:
            frames.add_metric([outcome], analytics.frames[outcome])
        frames.add_metric(["skipped"], analytics.sampler.skipped)
        yield frames
        yield CounterMetricFamily("video_analytics_boxes", "Boxes that were found.", value=analytics.boxes)
        yield CounterMetricFamily(
            "video_analytics_dropped_results", "Results that the ring dropped unforwarded.", value=ring.dropped
        )
        yield GaugeMetricFamily("video_analytics_pending_results", "Results to be forwarded yet.", value=ring.pending)
        yield GaugeMetricFamily("video_analytics_ring_bytes", "Bytes of results and pictures.", value=ring.used)
        if (forwarder := self._forwarder) is not None:
            sent = CounterMetricFamily(
                "video_analytics_forwarded_results", "Results that the collector answered.", labels=["answer"]
            )
            sent.add_metric(["taken"], forwarder.sent)
            sent.add_metric(["rejected"], forwarder.rejected)
            yield sent
            yield CounterMetricFamily(
                "video_analytics_forwarding_failures", "Attempts that will be repeated.", value=forwarder.failed
            )

    def application(self) -> web.Application:
        """Return the aiohttp application."""
        application = web.Application()
        application.router.add_get("/metrics", self._metrics)
        application.router.add_get("/healthz", self._health)
        application.router.add_get("/livez", self._life)
        application.router.add_get("/latest.jpg", self._latest)
        return application

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _life(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _health(self, request: web.Request) -> web.Response:
        since = time.monotonic() - (self._analytics.last_kept or self._started)
        if self._stale_after and since > self._stale_after:
            counts = ", ".join(f"{outcome}: {count}" for outcome, count in self._analytics.frames.items()) or "no frame"
            return web.Response(status=503, text=f"no result for {since:.0f} s ({counts})\n")
        return web.Response(text="ok\n")

    async def _latest(self, request: web.Request) -> web.Response:
        ring = self._analytics.ring
        picture = ring.picture(ring.last)
        if picture is None:
            return web.Response(status=404, text="no picture yet\n")
        return web.Response(body=picture, content_type="image/jpeg", headers={"Cache-Control": "no-store"})
