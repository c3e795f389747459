"""What Prometheus learns of the link."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from littoral.site.uplink_metrics import UplinkMetrics


@pytest.mark.parametrize(("client", "away", "up"), [(object(), False, 1.0), (None, False, 0.0), (None, True, 0.0)])
def test_the_gauges_say_how_the_link_is(client: object, away: bool, up: float) -> None:
    link = SimpleNamespace(client=client, heard_at=datetime(2026, 1, 1, tzinfo=UTC))
    registry = CollectorRegistry()
    registry.register(UplinkMetrics(cast(Any, SimpleNamespace(link=link, away=away))))
    page = generate_latest(registry).decode().splitlines()
    assert f"littoral_hub_up {up}" in page
    assert f"littoral_hub_away {float(away)}" in page
    assert "littoral_hub_last_contact_timestamp_seconds 1.7672256e+09" in page
