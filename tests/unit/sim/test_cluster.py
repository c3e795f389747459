"""The simulated cluster: batches, starts and ends of replicas, routing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from littoral.core.capacity import BatchTime
from littoral.sim.cluster import Routing, simulate
from littoral.sim.policies import Observation, StaticPeak
from littoral.sim.queueing import SimulatedModel, poisson_arrivals
from littoral.sim.queueing import simulate as simulate_queue
from littoral.sim.scenario import Balancing, Scenario, edge_and_cloud, one_pool
from littoral.sim.score import judge
from littoral.sim.workload import Workload


def small_pool(*, load: float = 20.0, balancing: Balancing = Balancing.RANDOM, patience: float = 5.0) -> Scenario:
    """One place whose batches of n take 60 + 40 n ms, with an SLO of 500 ms."""
    scenario = one_pool(load=load, balancing=balancing)
    place = replace(scenario.places[0], batch_time=BatchTime(base=0.06, per_item=0.04))
    return replace(scenario, places=(place,), latency=0.5, patience=patience)


def at_one_site(times: Sequence[float], *, seconds: float | None = None) -> Workload:
    """A workload of one site."""
    return Workload(name="test", arrivals={"site": times}, seconds=times[-1] if seconds is None else seconds)


@dataclass
class Script:
    """A policy that follows a script: from each time on, so many replicas."""

    steps: Sequence[tuple[float, int]]
    period: float = 1.0
    seen: list[Observation] = field(default_factory=list)

    def decide(self, observation: Observation) -> Sequence[int]:
        self.seen.append(observation)
        return [max(step for step in self.steps if step[0] <= observation.now)[1]]


@pytest.mark.parametrize("rate", [2.0, 9.0, 16.0])
def test_one_replica_serves_as_the_queue_simulation_does(rate: float) -> None:
    scenario = small_pool(patience=math.inf)
    place = scenario.places[0]
    times = poisson_arrivals(rate=rate, count=4000, seed=7)
    run = simulate(scenario, at_one_site(times), StaticPeak(replicas=(1,)))
    model = SimulatedModel(batch_time=place.batch_time, max_batch=place.max_batch)
    # The run begins with what the first minute needs; from when only one replica is left, both are the same queue.
    served = simulate_queue([model], [times])[0].latencies
    assert run.latencies[-2000:] == pytest.approx(served[-2000:])


def test_the_rate_of_a_replica_is_what_it_can_take_behind_a_service() -> None:
    scenario = small_pool(balancing=Balancing.RANDOM)
    times = poisson_arrivals(rate=10 * scenario.rates[0], count=200_000, seed=3)
    run = simulate(scenario, at_one_site(times), StaticPeak(replicas=(10,)))
    late = sum(latency > scenario.latency for latency in run.latencies) / len(times)
    assert 0.0002 < late <= 0.001


def test_the_least_busy_replica_is_better_than_a_random_one() -> None:
    times = poisson_arrivals(rate=80.0, count=20_000, seed=3)
    late = {
        balancing: sum(
            latency > 0.5
            for latency in simulate(
                small_pool(balancing=balancing), at_one_site(times), StaticPeak(replicas=(6,))
            ).latencies
        )
        for balancing in Balancing
    }
    assert late[Balancing.LEAST] < late[Balancing.RANDOM] / 10


def test_a_replica_serves_when_it_has_started_and_loaded() -> None:
    scenario = small_pool(load=16.0)
    script = Script(steps=[(0, 1), (100, 2)])
    simulate(scenario, at_one_site([float(second) for second in range(200)]), script)
    states = {observation.now: observation.places[0] for observation in script.seen}
    assert (states[101.0].ready, states[101.0].starting) == (1, 1)
    assert (states[119.0].ready, states[119.0].starting) == (1, 1)
    assert (states[121.0].ready, states[121.0].starting) == (2, 0)


def test_what_a_policy_is_told() -> None:
    script = Script(steps=[(0, 1)], period=10.0)
    # Alone, each takes 0.1 s: one request in flight for a hundredth of the time.
    simulate(small_pool(), at_one_site([1.0, 12.0, 14.0], seconds=30.0), script)
    assert [dict(observation.arrivals) for observation in script.seen] == [{"site": 0}, {"site": 1}, {"site": 2}]
    assert [observation.places[0].arrivals for observation in script.seen] == [0, 1, 2]
    assert [observation.places[0].in_flight for observation in script.seen] == pytest.approx([0, 0.01, 0.02])


def test_a_replica_that_goes_answers_what_it_has() -> None:
    times = poisson_arrivals(rate=50.0, count=3000, seed=5)
    script = Script(steps=[(0, 8), (40, 3)])
    run = simulate(small_pool(patience=math.inf), at_one_site(times), script)
    assert max(run.latencies) < math.inf
    gone = [life for life in run.lifetimes if life.gone < times[-1]]
    assert len(gone) == 5
    assert any(life.gone > 40.0 for life in gone)


def test_what_is_not_ready_goes_first() -> None:
    script = Script(steps=[(0, 1), (5, 3), (10, 1)])
    run = simulate(small_pool(), at_one_site([1.0, 50.0]), script)
    assert sorted((life.created, life.gone) for life in run.lifetimes) == [(0.0, 50.0), (5.0, 10.0), (5.0, 10.0)]


def test_clients_give_up() -> None:
    def lost(patience: float) -> int:
        scenario = small_pool(patience=patience)
        run = simulate(scenario, at_one_site([0.0] * 100, seconds=10.0), StaticPeak(replicas=(1,)))
        return sum(latency == math.inf for latency in run.latencies)

    # A hundred at once are a batch of 1 and 13 of up to 8, which take 0.38 s each: the last one starts after 4.66 s.
    assert lost(4.7) == 0
    # Within 1.9 s, the first one and five full batches start.
    assert lost(1.9) == 100 - 1 - 5 * 8


def test_requests_wait_for_the_first_replica() -> None:
    run = simulate(small_pool(load=6.0, patience=math.inf), at_one_site([70.0, 71.0]), Script(steps=[(0, 0), (70, 1)]))
    # The first one finds it idle and goes alone.
    assert run.latencies == pytest.approx([10.1, 9.2])


def test_cost_is_what_existed() -> None:
    scenario = small_pool()
    run = simulate(scenario, at_one_site([1.0, 7200.0]), StaticPeak(replicas=(3,)))
    score = judge(run, scenario, start=3600.0, end=7200.0)
    assert score.cost == pytest.approx(3.0)
    assert score.replica_hours == pytest.approx(3.0)
    assert score.loads == 0


def _two_places() -> Scenario:
    scenario = edge_and_cloud(sites=("site",), devices=2)
    edge, cloud = (
        replace(place, batch_time=BatchTime(base=base, per_item=per_item))
        for place, base, per_item in zip(scenario.places, (0.06, 0.03), (0.04, 0.02), strict=True)
    )
    return replace(scenario, places=(edge, cloud), latency=0.5)


def test_a_request_spills_when_waiting_would_break_the_slo_and_not_before() -> None:
    scenario = replace(_two_places(), balancing=Balancing.LEAST)
    quiet = poisson_arrivals(rate=1.0, count=500, seed=1)
    run = simulate(scenario, at_one_site(quiet), StaticPeak(replicas=(2, 2)))
    assert list(run.served) == [500, 0]
    busy = poisson_arrivals(rate=70.0, count=5000, seed=1)
    run = simulate(scenario, at_one_site(busy), StaticPeak(replicas=(2, 2)))
    assert min(run.served) > 1000
    assert sum(latency > scenario.latency for latency in run.latencies) == 0


def test_without_spill_requests_are_divided_by_capacity() -> None:
    scenario = _two_places()
    times = poisson_arrivals(rate=10.0, count=20_000, seed=1)
    run = simulate(scenario, at_one_site(times), StaticPeak(replicas=(2, 1)), routing=Routing.WEIGHTED)
    edge, cloud = 2 * scenario.rates[0], scenario.rates[1]
    assert run.served[0] / 20_000 == pytest.approx(edge / (edge + cloud), abs=0.02)


def test_a_site_is_not_served_by_another_one() -> None:
    scenario = edge_and_cloud(sites=("one", "two"))
    workload = Workload(name="test", arrivals={"one": poisson_arrivals(rate=5, count=500, seed=1)}, seconds=100.0)
    run = simulate(scenario, workload, StaticPeak(replicas=(2, 2, 1)), routing=Routing.WEIGHTED)
    assert run.served[0] > 0
    assert run.served[1] == 0


def test_the_same_arguments_give_the_same_run() -> None:
    times = poisson_arrivals(rate=40.0, count=3000, seed=5)
    first, second = (simulate(small_pool(), at_one_site(times), StaticPeak(replicas=(4,)), seed=9) for _ in range(2))
    assert first == second
    assert first != simulate(small_pool(), at_one_site(times), StaticPeak(replicas=(4,)), seed=10)


def test_a_batch_time_is_the_place_s_own() -> None:
    scenario = small_pool()
    slow = replace(scenario.places[0], batch_time=BatchTime(base=1.0, per_item=0.5))
    run = simulate(replace(scenario, places=(slow,)), at_one_site([1.0], seconds=5.0), StaticPeak(replicas=(1,)))
    assert run.latencies[0] == pytest.approx(1.5)
