"""The policies decide as what they stand for is documented to decide."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from littoral.core.forecast import Series, forecast, update
from littoral.sim.policies import Clairvoyant, HorizontalPodAutoscaler, Keda, Littoral, Observation, PlaceState
from littoral.sim.policies.hpa import Behaviour, recommend_by_pods
from littoral.sim.policies.littoral import PERIOD
from littoral.sim.scenario import edge_and_cloud, one_pool


def state(ready: int, *, starting: int = 0, arrivals: int = 0, in_flight: float = 0.0) -> PlaceState:
    """A place."""
    return PlaceState(ready=ready, starting=starting, arrivals=arrivals, in_flight=in_flight)


def observe(now: float, *places: PlaceState, **arrivals: int) -> Observation:
    """What a policy is told."""
    return Observation(now=now, arrivals=arrivals, places=places)


@pytest.mark.parametrize(
    ("place", "recommended"),
    [
        pytest.param(state(3, in_flight=6.0), 6, id="twice the target doubles"),
        pytest.param(state(4, in_flight=2.0), 2, id="half the target halves"),
        pytest.param(state(10, in_flight=10.9), 10, id="within the tolerance nothing changes"),
        pytest.param(state(10, in_flight=11.2), 12, id="beyond it, rounded up"),
        pytest.param(state(3, starting=3, in_flight=6.0), 6, id="what starts counts as idle while scaling up"),
        pytest.param(state(3, starting=1, in_flight=9.0), 9, id="but more may be needed even so"),
        pytest.param(state(3, starting=5, in_flight=6.0), 8, id="doubt never turns the direction"),
        pytest.param(state(4, starting=4, in_flight=1.0), 5, id="what starts counts as busy while scaling down"),
        pytest.param(state(0, starting=2), 2, id="nothing measured, nothing changed"),
    ],
)
def test_the_replica_calculator_of_the_hpa(place: PlaceState, recommended: int) -> None:
    assert recommend_by_pods(place, target=1.0) == recommended


def test_an_hpa_grows_by_four_or_by_half_of_what_it_becomes() -> None:
    behaviour = Behaviour(least=1, most=100)
    assert behaviour.apply(50, current=1, now=15) == 5
    assert behaviour.apply(50, current=5, now=30) == 10
    assert behaviour.apply(50, current=20, now=45) == 40
    assert behaviour.apply(500, current=90, now=60) == 100


def test_an_hpa_shrinks_to_the_highest_recommendation_of_five_minutes() -> None:
    behaviour = Behaviour(least=2, most=100)
    assert behaviour.apply(10, current=10, now=0) == 10
    assert behaviour.apply(6, current=10, now=150) == 10
    assert behaviour.apply(1, current=10, now=300) == 10
    assert behaviour.apply(1, current=10, now=315) == 6
    assert behaviour.apply(1, current=6, now=615) == 2


def test_an_hpa_for_each_place() -> None:
    hpa = HorizontalPodAutoscaler(target=2.0, devices=[4, 100])
    decided = hpa.decide(observe(15.0, state(2, in_flight=40.0), state(3, in_flight=12.0), site=100))
    assert decided == [4, 6]


def keda(rates: Sequence[int], *, cached: bool) -> list[int]:
    """What a ScaledObject with 10 requests/s for each replica decides, given a rate at each sync."""
    policy = Keda(target=[10.0], devices=[100], cached=cached)
    replicas, decided = 5, []
    for sync, rate in enumerate(rates, start=1):
        replicas = policy.decide(observe(15.0 * sync, state(replicas, arrivals=15 * rate), site=15 * rate))[0]
        decided.append(replicas)
    return decided


def test_keda_follows_the_rate_of_a_minute() -> None:
    assert keda([50, 50, 50, 50, 90, 90, 90, 90], cached=False) == [5, 5, 5, 5, 6, 7, 8, 9]


def test_keda_s_cached_metric_is_late() -> None:
    assert keda([50, 50, 50, 50, 90, 90, 90, 90], cached=True) == [5, 5, 5, 5, 6, 6, 8, 8]


def test_the_clairvoyant_policy_orders_just_in_time() -> None:
    # Nothing but ten requests between second 50 and 51, and a replica takes one per second.
    policy = Clairvoyant(arrivals=[50.0 + i / 10 for i in range(10)], rate=1.0, start=20.0, seconds=100.0)
    decided = {now: policy.decide(observe(float(now), state(1), site=0))[0] for now in range(100)}
    assert decided[29] == 1
    assert [decided[now] for now in range(30, 51)] == [10] * 21
    assert decided[51] == 1


def test_littoral_plans_what_the_forecast_needs() -> None:
    scenario = one_pool(load=20.0)
    policy = Littoral(scenario, quantile=0.95)
    series, replicas = Series(), 1
    assert policy.decide(observe(0.0, state(replicas), site=0)) == [1]
    # Ever more requests, so that nothing is kept for the sake of calm.
    for reading in range(1, 40):
        now, count = reading * PERIOD, 20 + 5 * reading
        series = update(series, count=count, start=now - PERIOD, end=now)
        demand = forecast(series, at=now, horizon=24.0 + PERIOD, quantile=0.95)
        replicas = policy.decide(observe(now, state(replicas), site=count))[0]
        needed = math.ceil(demand / scenario.rates[0])
        assert needed <= replicas <= max(needed, 1.06 * needed)
    assert replicas > 16


def test_littoral_scales_up_at_once_and_down_slowly() -> None:
    policy = Littoral(one_pool(), quantile=0.95)
    history = []
    for reading in range(400):
        now = reading * PERIOD
        rate = 30 if 300 <= now < 360 else 5
        history.append((now, policy.decide(observe(now, state(3), site=round(rate * PERIOD)))[0]))
    replicas = dict(history)
    assert replicas[297.0] <= 3
    assert replicas[303.0] >= 7
    assert replicas[357.0] >= replicas[303.0]
    assert replicas[363.0] > 4
    assert replicas[1197.0] <= 3


@pytest.mark.parametrize(
    ("rate", "edge", "cloud"), [(5, {2}, {0}), (11, {3, 4}, {0}), (60, {1, 2, 3, 4}, {4, 5, 6, 7})]
)
def test_littoral_fills_cheap_devices_at_the_edge_first(rate: int, edge: set[int], cloud: set[int]) -> None:
    policy = Littoral(edge_and_cloud(sites=("site",), devices=4), quantile=0.95)
    policy.decide(observe(0.0, state(1), state(0), site=0))
    decided: Sequence[int] = ()
    for reading in range(1, 60):
        decided = policy.decide(observe(reading * PERIOD, state(4), state(1), site=round(rate * PERIOD)))
    assert decided[0] in edge
    assert decided[1] in cloud
