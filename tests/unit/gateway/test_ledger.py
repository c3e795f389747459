"""Counters of processes that come and go add up."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littoral.api.routing import BUCKETS, Latency
from littoral.gateway.ledger import Ledger
from littoral.render.gateway_rules import ARRIVED, COUNTERS, FIRST_BUCKET, LOCAL, RECEIVED


def counters(arrived: int, *, local: int = 0) -> list[int]:
    values = [0] * COUNTERS
    values[ARRIVED], values[LOCAL] = arrived, local
    return values


@given(st.lists(st.tuples(st.sampled_from(["1@5", "2@6", "3@7"]), st.integers(0, 1000)), max_size=30), st.booleans())
def test_everything_is_counted_once(steps: list[tuple[str, int]], restarts: bool) -> None:
    ledger, counted = Ledger(), {"1@5": 0, "2@6": 0, "3@7": 0}
    for worker, more in steps:
        counted[worker] += more
        ledger.read(worker, {"digits.shop": counters(counted[worker])})
        if restarts:  # the agent, which remembers
            ledger = Ledger.load(ledger.dump())
    assert ledger.demand("digits.shop").arrived == sum(counted.values())


def test_counters_wrap() -> None:
    ledger = Ledger()
    ledger.read("1@5", {"m": counters(2**32 - 2)})
    ledger.read("1@5", {"m": counters(3)})
    assert ledger.demand("m").arrived == 2**32 + 3


def test_a_process_that_has_ended_stays_counted_and_another_with_its_pid_is_another() -> None:
    ledger = Ledger()
    ledger.read("1@5", {"m": counters(7)})
    ledger.keep([])
    ledger.read("1@9", {"m": counters(4)})
    assert ledger.demand("m").arrived == 11


def test_recent_is_the_last_minute() -> None:
    ledger = Ledger()
    for second in range(0, 301):
        ledger.read("1@5", {"m": counters(2 * second, local=second)})
        ledger.tick(float(second))
    recent, seconds = ledger.recent("m", now=300.0)
    assert 60 <= seconds <= 65
    assert recent.arrived == 2 * seconds
    assert ledger.recent("other", now=300.0)[0].arrived == 0


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"last": {}, "totals": {"m": [1, 2]}}', '{"last": 3, "totals": {}}'])
def test_what_is_no_ledger_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any of its kinds: the caller begins anew
        Ledger.load(text)


def test_what_an_older_agent_counted_stays_counted() -> None:
    older = list(range(1, RECEIVED + 1))
    ledger = Ledger.load(json.dumps({"last": {"w": {"m": older}}, "totals": {"m": older}}))
    assert (ledger.demand("m").arrived, ledger.demand("m").received) == (1, 0)
    ledger.read("w", {"m": [*older[:-1], older[-1], 7]})
    assert (ledger.demand("m").arrived, ledger.demand("m").received) == (1, 7)


@given(st.lists(st.floats(0.01, 29_000), min_size=1, max_size=300), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_quantiles_are_within_their_bucket(times: list[float], share: float) -> None:
    counts = [0] * (len(BUCKETS) + 1)
    for time in times:
        counts[next(index for index, bound in enumerate(BUCKETS) if time <= bound)] += 1
    exact = sorted(times)[math.ceil(share * len(times)) - 1]
    low, high = next((low, high) for low, high in zip((0, *BUCKETS), BUCKETS, strict=False) if exact <= high)
    estimate = Latency(counts=tuple(counts)).quantile(share)
    assert estimate is not None
    assert low <= estimate <= high


def test_quantiles_at_the_ends() -> None:
    assert Latency().quantile(0.5) is None
    beyond = [0] * (len(BUCKETS) + 1)
    beyond[-1] = 1
    assert Latency(counts=tuple(beyond)).quantile(0.5) == math.inf
    assert len(beyond) == RECEIVED - FIRST_BUCKET
