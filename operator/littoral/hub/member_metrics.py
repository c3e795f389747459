"""What the hub's operator tells Prometheus of its members."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


class _Heartbeats(Protocol):
    @property
    def heard(self) -> Mapping[str, bool]: ...


class MemberMetrics(Collector):
    """Reads who is heard of whenever it is asked. Of several replicas only the one that leads knows."""

    def __init__(self, heartbeats: _Heartbeats) -> None:
        self._heartbeats = heartbeats

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauge."""
        up = GaugeMetricFamily(
            "littoral_member_up", "1 while the hub hears of a member cluster, 0 while it does not.", labels=["member"]
        )
        for member, heard in sorted(self._heartbeats.heard.items()):
            up.add_metric([member], float(heard))
        yield up
