"""When a token is renewed: by spans of the hub's clock, whatever the box at the edge believes the time to be."""

from __future__ import annotations

import base64
import json
from typing import cast

import pytest

from littoral.cluster import hub_access
from littoral.cluster.client import Client
from littoral.cluster.hub_access import HubAccess
from littoral.cluster.hub_tokens import Grant
from littoral.cluster.membership import Credentials, Lifetime

ISSUED = 1_795_000_000.0
DAY = 86400.0
YEAR = 365 * DAY


def credentials(*, life: float) -> Credentials:
    claims = json.dumps({"iat": ISSUED, "exp": ISSUED + life}).encode()
    return Credentials(
        server="https://hub.example",
        ca="",
        member="store-12",
        namespace="littoral-system",
        token=f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.c2ln",
    )


def left(monkeypatch: pytest.MonkeyPatch, *, now: float, life: float = 30 * DAY, first: bool, fresh: bool) -> float:
    """Seconds until the renewal, on a box whose clock shows `now`."""
    monkeypatch.setattr(hub_access.time, "time", lambda: now)
    access = HubAccess(cast(Client, None), namespace="littoral-system", member="store-12")
    grant = Grant(token="t", lifetime=Lifetime(issued=ISSUED, expires=ISSUED + life)) if fresh else None
    return access._life_left(credentials(life=life), fresh=grant, first=first)


@pytest.mark.parametrize("now", [0.0, ISSUED, ISSUED + 20 * YEAR])
@pytest.mark.parametrize(("life", "most"), [(30 * DAY, DAY), (DAY, DAY / 2), (3600, 1800)])
def test_a_token_that_was_just_issued_is_renewed_after_a_day_or_half_its_life(
    monkeypatch: pytest.MonkeyPatch, now: float, life: float, most: float
) -> None:
    for first, fresh in ((True, True), (False, True), (False, False)):
        seconds = left(monkeypatch, now=now, life=life, first=first, fresh=fresh)
        assert 0.8 * most <= seconds <= most


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (ISSUED + 60, DAY - 60),
        (ISSUED + DAY - 1, 1),
        (ISSUED + DAY, 0),
        (ISSUED + 20 * YEAR, 0),  # Either overdue, or the clock is ahead.
        (0.0, 0),  # No clock at all: the box was born in 1970.
    ],
)
def test_a_token_that_a_restart_has_found_is_renewed_when_its_age_is_not_plausible(
    monkeypatch: pytest.MonkeyPatch, now: float, expected: float
) -> None:
    assert left(monkeypatch, now=now, first=True, fresh=False) == expected
