"""Models that share a server: predictions against the simulation, and the rule that decides who fits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from littoral.core.capacity import BatchTime, latency
from littoral.core.capacity.sharing import Tenant, fits, headroom, shared_latency
from littoral.sim.queueing import Sharing, SimulatedModel, poisson_arrivals, simulate

SHORT = Tenant(batch_time=BatchTime(base=0.002, per_item=0.0005), max_batch=8, rate=100, percentile=99, budget=0.1)
LONG = Tenant(batch_time=BatchTime(base=0.010, per_item=0.010), max_batch=4, rate=15, percentile=99, budget=0.3)
FLAT = Tenant(batch_time=BatchTime(base=0.020, per_item=0.0002), max_batch=32, rate=120, percentile=99, budget=0.3)


def test_a_single_model_has_the_server_to_itself() -> None:
    alone = latency(batch_time=SHORT.batch_time, max_batch=8, rate=100, percentile=99)
    assert shared_latency([SHORT]) == (alone,)


def test_no_models_fit() -> None:
    assert fits([])
    assert headroom([]) == math.inf


def simulated(tenants: Sequence[Tenant]) -> list[float]:
    """Each tenant's percentile in seconds, from 100 seconds on one accelerator."""
    arrivals = [
        poisson_arrivals(rate=tenant.rate, count=int(100 * tenant.rate), seed=seed)
        for seed, tenant in enumerate(tenants)
    ]
    models = [SimulatedModel(batch_time=tenant.batch_time, max_batch=tenant.max_batch) for tenant in tenants]
    served = simulate(models, arrivals, sharing=Sharing.EQUAL)
    return [run.percentile(99, warm_up=0.05) for run in served]


@pytest.mark.parametrize(
    "tenants", [(SHORT, LONG), (SHORT, FLAT), (FLAT, FLAT), (SHORT, replace(LONG, rate=2)), (SHORT, SHORT, LONG)]
)
def test_the_simulation_stays_below(tenants: tuple[Tenant, ...]) -> None:
    for tenant, predicted, measured in zip(tenants, shared_latency(tenants), simulated(tenants), strict=True):
        assert 0.95 * measured <= predicted <= 2.5 * measured
        assert predicted > latency(
            batch_time=tenant.batch_time, max_batch=tenant.max_batch, rate=tenant.rate, percentile=99
        )


def test_shares_can_add_up_to_much_less_than_one_and_still_miss() -> None:
    # Each alone needs little of a server. Together the short one is slowed whenever the long one runs.
    tenants = [replace(SHORT, budget=0.006, rate=20), replace(LONG, budget=1, rate=8)]
    assert sum(tenant.share for tenant in tenants) < 0.25
    assert simulated(tenants)[0] > 0.006
    assert not fits(tenants)


def test_a_model_that_misses_alone_needs_more_than_any_share() -> None:
    assert replace(SHORT, budget=0.001).share == math.inf
    assert not fits([replace(SHORT, budget=0.001, rate=0)])


def test_headroom_is_where_the_first_budget_is_missed() -> None:
    tenants = [SHORT, LONG]
    factor = headroom(tenants)
    assert factor > 1
    for grown, fit in ((0.999 * factor, True), (1.001 * factor, False)):
        assert fits([replace(tenant, rate=tenant.rate * grown) for tenant in tenants]) is fit


def test_headroom_of_what_can_never_fit() -> None:
    assert headroom([replace(SHORT, budget=0.001), LONG]) == 0
    assert headroom([replace(SHORT, rate=0)]) == math.inf
    assert headroom([replace(SHORT, rate=0, budget=0.001)]) == 0


def test_more_load_than_the_server_has_time_for() -> None:
    tenants = [replace(SHORT, rate=0.7 * SHORT.batch_time.throughput(8)), replace(LONG, rate=40)]
    assert sum(tenant.utilisation for tenant in tenants) > 1
    assert math.inf in shared_latency(tenants)
    assert not fits(tenants)


@pytest.mark.parametrize("bad", [{"rate": -1.0}, {"rate": math.nan}, {"budget": 0.0}, {"budget": math.nan}])
def test_a_tenant_has_a_rate_and_a_budget(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="not a rate and a latency budget"):
        replace(SHORT, **bad)
