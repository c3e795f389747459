"""What a member site's operator tells Prometheus of its link to the hub."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from littoral.site.uplink_link import HubLink


class _Uplink(Protocol):
    @property
    def link(self) -> HubLink: ...

    @property
    def away(self) -> bool: ...


class UplinkMetrics(Collector):
    """Reads the link whenever it is asked."""

    def __init__(self, uplink: _Uplink) -> None:
        self._uplink = uplink

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges."""
        link = self._uplink.link
        yield GaugeMetricFamily(
            "littoral_hub_up", "1 while the hub answers this site's heartbeats.", value=link.client is not None
        )
        yield GaugeMetricFamily(
            "littoral_hub_away",
            "1 while the hub is away for so long that this site scales its servers itself.",
            value=self._uplink.away,
        )
        yield GaugeMetricFamily(
            "littoral_hub_last_contact_timestamp_seconds",
            "When the hub answered last; before the first time, when this process began.",
            value=link.heard_at.timestamp(),
        )
