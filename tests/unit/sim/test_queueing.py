"""The simulated batcher forms the batches that Triton forms, and conserves what a queue conserves."""

from __future__ import annotations

import math

import pytest

from littoral.core.capacity import BatchTime
from littoral.sim.queueing import Sharing, SimulatedModel, poisson_arrivals, simulate

# A batch of n takes 10 + n seconds: every number below can be added up by hand.
SLOW = BatchTime(base=10, per_item=1)


@pytest.mark.parametrize(
    ("model", "arrivals", "latencies", "batches"),
    [
        pytest.param({"max_batch": 4}, [0, 100], [11, 11], [1, 1], id="an idle server starts at once"),
        pytest.param({"max_batch": 4}, [0, 1, 2, 3], [11, 23, 22, 21], [1, 3], id="what waits goes together"),
        pytest.param({"max_batch": 2}, [0, 1, 2, 3], [11, 22, 21, 31], [1, 2, 1], id="no more than the largest"),
        pytest.param(
            {"max_batch": 8, "preferred": (2, 3)}, [0, 1, 2, 3, 4], [11, 23, 22, 21, 31], [1, 3, 1], id="nor preferred"
        ),
        pytest.param({"max_batch": 1, "instances": 2}, [0, 1, 2], [11, 11, 20], [1, 1, 1], id="two instances"),
        pytest.param({"max_batch": 4, "max_queue_delay": 5}, [0, 3], [17, 14], [2], id="the first waits for others"),
        pytest.param({"max_batch": 2, "max_queue_delay": 5}, [0, 3], [15, 12], [2], id="but not when it is full"),
        pytest.param(
            {"max_batch": 4, "max_queue_delay": 5, "preferred": (2, 4)}, [0, 3], [15, 12], [2], id="or of a good size"
        ),
        pytest.param({"max_batch": 4, "max_queue_delay": 5}, [0, 6], [16, 21], [1, 1], id="nor longer than the delay"),
    ],
)
def test_batches(model: dict, arrivals: list[float], latencies: list[float], batches: list[int]) -> None:
    (served,) = simulate([SimulatedModel(batch_time=SLOW, **model)], [arrivals])
    assert served.latencies == latencies
    assert served.batches == batches


@pytest.mark.parametrize(
    ("sharing", "first", "second"),
    [(Sharing.NONE, [11], [11]), (Sharing.TURNS, [11], [21]), (Sharing.EQUAL, [21], [21])],
)
def test_two_models_on_one_accelerator(sharing: Sharing, first: list[float], second: list[float]) -> None:
    model = SimulatedModel(batch_time=SLOW, max_batch=1)
    one, other = simulate([model, model], [[0], [1]], sharing=sharing)
    assert (one.latencies, other.latencies) == (first, second)


def test_turns_go_to_whoever_has_waited_longest() -> None:
    model = SimulatedModel(batch_time=SLOW, max_batch=4)
    one, other = simulate([model, model], [[0, 2], [1, 3]], sharing=Sharing.TURNS)
    assert other.latencies == [22, 20]
    assert one.latencies == [11, 32]


@pytest.mark.parametrize("sharing", list(Sharing))
@pytest.mark.parametrize("delay", [0.0, 0.01])
def test_nothing_is_lost(sharing: Sharing, delay: float) -> None:
    models = [
        SimulatedModel(batch_time=BatchTime(base=0.01, per_item=0.001), max_batch=8, max_queue_delay=delay),
        SimulatedModel(batch_time=BatchTime(base=0.002, per_item=0.002), max_batch=4, instances=2),
    ]
    arrivals = [poisson_arrivals(rate=rate, count=3000, seed=seed) for seed, rate in enumerate((100.0, 90.0))]
    for model, served in zip(models, simulate(models, arrivals, sharing=sharing), strict=True):
        assert len(served.latencies) == sum(served.batches) == 3000
        assert max(served.batches) <= model.max_batch
        assert min(served.latencies) > model.batch_time.of(1) - 1e-9
        # Little's law, counted independently of the latencies.
        assert served.area == pytest.approx(math.fsum(served.latencies))
        work = sum(model.batch_time.of(size) for size in served.batches)
        if sharing is Sharing.EQUAL:
            assert served.busy > work
        else:
            assert served.busy == pytest.approx(work)


def test_arrivals_come_at_their_rate_and_again_with_the_same_seed() -> None:
    times = poisson_arrivals(rate=50, count=20_000, seed=3)
    assert times == poisson_arrivals(rate=50, count=20_000, seed=3)
    assert times == sorted(times)
    assert times[-1] == pytest.approx(400, rel=0.02)


def test_every_model_needs_arrivals() -> None:
    with pytest.raises(ValueError, match="zip"):
        simulate([SimulatedModel(batch_time=SLOW, max_batch=1)], [])
