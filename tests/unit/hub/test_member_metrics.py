"""What Prometheus is told of members."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from littoral.hub.member_metrics import MemberMetrics


class Heartbeats:
    heard: dict[str, bool] = {"store-12": True, "store-7": False}  # noqa: RUF012 - read only


def test_who_is_heard_of() -> None:
    registry = CollectorRegistry()
    registry.register(MemberMetrics(Heartbeats()))
    told = {member: registry.get_sample_value("littoral_member_up", {"member": member}) for member in Heartbeats.heard}
    assert told == {"store-12": 1.0, "store-7": 0.0}
