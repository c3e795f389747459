"""Speed: from what a Model states, by what its pools measure, to the rate at which it keeps its SLO."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from littoral.api.assignment import Assignment
from littoral.api.quantity import format_duration
from littoral.core.capacity import BatchTime, latency, max_rate
from littoral.core.capacity.sharing import Tenant, shared_latency
from littoral.core.learning.reports import reports
from littoral.core.learning.speed import UNBOUND, Speeds
from littoral.core.planner import RateKey, Speed
from littoral.core.world import ModelKey, World
from tests.support.objects import model, pool, server, slo, variant
from tests.support.sites import rate, reporting, said, with_servers

DIGITS = ModelKey("shop", "digits")
TRUE = BatchTime(base=0.002, per_item=0.003)
PROFILE = {"base": "2ms", "perItem": "3ms"}
HERE = pool("here", network={"roundTrip": {"cloud": "30ms", "far": "45ms"}})
THERE = pool("there", network={"roundTrip": {"cloud": "35ms"}})
POOLS = (HERE, THERE, pool("cloud", tier="cloud"), pool("far", tier="cloud"))


def key(place: str | None, name: str = "digits") -> RateKey:
    return RateKey(ModelKey("shop", name), "onnx-cpu", "cpu", place)


def world(*slos: Any, profile: bool = False, models: Sequence[str] = ("digits",)) -> World:
    fields: dict[str, Any] = {"profile": PROFILE} if profile else {}
    return World(models=tuple(model(name, variants=[variant(**fields)]) for name in models), slos=slos, pools=POOLS)


def batches(batch_time: BatchTime, *, count: int = 500, sizes: Sequence[int] = (1, 2, 4, 8)) -> dict[str, Any]:
    """A measurement of batches that take as long as they should."""
    samples = [{"size": n, "count": count, "time": format_duration(round(batch_time.of(n), 9))} for n in sizes]
    return {"batches": samples, "maxBatch": max(sizes)}


def quantiles(batch_time: BatchTime, arriving: float, *, times: float = 1.0, requests: int = 6000) -> dict[str, Any]:
    """Measured quantiles of a server with that many requests/s: so many times as long as predicted."""

    def at(percentile: float) -> str:
        value = latency(batch_time=batch_time, max_batch=8, rate=arriving, percentile=percentile)
        return format_duration(round(times * value, 9))

    found = {"requests": requests, "mean": at(50.0), "p50": at(50.0), "p95": at(95.0), "p99": at(99.0)}
    return rate(arriving, latency=found)


def learned(there: World, *assignments: Assignment, memory: Speeds | None = None, now: float = 0.0) -> dict[Any, Speed]:
    memory = Speeds() if memory is None else memory
    found = list(reports(assignments))
    memory.observe(there, found, now=now)
    return memory.ask(there, found)


def about(value: float) -> Any:
    """The value, or what steps of 5% make of it."""
    return pytest.approx(value * 0.975, rel=0.03)


class TestWithoutSlo:
    def test_nothing_is_known(self) -> None:
        assert learned(world()) == {}

    def test_a_profile_counts_while_nothing_is_measured(self) -> None:
        found = learned(world(profile=True))
        assert found.keys() == {key(None), key("cloud"), key("far")}
        assert {speed.rate for speed in found.values()} == {found[key(None)].rate}
        assert found[key(None)].rate == about(UNBOUND * TRUE.throughput(1))

    def test_a_part_of_the_throughput_is_given(self) -> None:
        found = learned(world(), reporting("here", said(measured=batches(TRUE))))
        assert found.keys() == {key(None), key("here"), key("cloud"), key("far")}
        assert found[key("here")].saturation == pytest.approx(TRUE.throughput(8), rel=0.02)
        assert found[key("here")].rate == about(UNBOUND * TRUE.throughput(8))
        assert found[key("here")].latency is None
        assert found[key("here")].service is None

    def test_a_new_artifact_is_as_fast_as_the_last_one_until_it_has_run(self) -> None:
        memory = Speeds()
        before = learned(world(), reporting("here", said(measured=batches(TRUE))), memory=memory)
        replaced = learned(world(), reporting("here", said()), memory=memory, now=5.0)
        assert replaced[key(None)] == before[key(None)]
        slow = BatchTime(base=0.02, per_item=0.03)
        found = learned(world(), reporting("here", said(measured=batches(slow))), memory=memory, now=10.0)
        assert found[key("here")].rate == about(UNBOUND * slow.throughput(8))

    def test_instances_share_the_device_and_are_not_counted(self) -> None:
        one, two = (batches(TRUE) | {"instances": count} for count in (1, 2))
        assert learned(world(), reporting("here", said(measured=one))) == learned(
            world(), reporting("here", said(measured=two))
        )

    def test_the_largest_batch_that_was_seen_counts_where_none_is_stated(self) -> None:
        measured = {"batches": batches(TRUE)["batches"]}
        assert learned(world(), reporting("here", said(measured=measured)))[key("here")].saturation == pytest.approx(
            TRUE.throughput(8), rel=0.02
        )

    def test_batches_that_took_no_time_say_nothing(self) -> None:
        measured = {"batches": [{"size": 1, "count": 9, "time": "0s"}]}
        assert learned(world(), reporting("here", said(measured=measured))) == {}


class TestEvidence:
    def test_what_was_measured_outranks_what_is_stated(self) -> None:
        slow = TRUE.scaled(3.0)
        found = learned(world(profile=True), reporting("here", said(measured=batches(slow))))
        assert found[key("here")].saturation == pytest.approx(slow.throughput(8), rel=0.05)
        assert found[key(None)].saturation == pytest.approx(slow.throughput(8), rel=0.05)

    def test_pools_differ_and_others_go_by_all_of_them(self) -> None:
        fast, slow = (reporting(n, said(measured=batches(TRUE.scaled(k)))) for n, k in (("here", 1.0), ("there", 2.0)))
        found = learned(world(), fast, slow)
        assert found[key("here")].saturation > found[key("cloud")].saturation > found[key("there")].saturation
        assert found[key("cloud")].saturation == found[key(None)].saturation

    def test_a_pool_that_has_hardly_served_goes_by_what_others_have_seen(self) -> None:
        known = reporting("here", said(measured=batches(TRUE)))
        odd = reporting("there", said(measured=batches(TRUE.scaled(4.0), count=1, sizes=(1,)) | {"maxBatch": 8}))
        found = learned(world(), known, odd)
        assert found[key("there")].saturation == pytest.approx(found[key("here")].saturation, rel=0.25)


class TestSlo:
    @pytest.mark.parametrize(
        ("slos", "budgets"),
        [
            pytest.param(
                [slo(latency="100ms")],
                {"here": 0.1, "there": 0.1, None: 0.1, "cloud": 0.065, "far": 0.055},
                id="the longest way to a shared pool is taken off",
            ),
            pytest.param(
                [slo(latency="100ms"), slo(latency="80ms")],
                {"here": 0.08, "there": 0.08, None: 0.08, "cloud": 0.045, "far": 0.035},
                id="the strictest counts",
            ),
            pytest.param(
                [slo(latency="80ms", sites={"matchNames": ["here"]}), slo(latency="100ms")],
                {"here": 0.08, "there": 0.1, None: 0.08, "cloud": 0.045, "far": 0.035},
                id="each site has its own, shared pools and unknown ones the strictest",
            ),
            pytest.param(
                [slo(latency="80ms", sites={"matchNames": ["here"]})],
                {"here": 0.08, "there": None, None: 0.08, "cloud": 0.045, "far": 0.035},
                id="a site without one",
            ),
        ],
    )
    def test_budgets(self, slos: Sequence[Any], budgets: dict[str | None, float | None]) -> None:
        places = [reporting(name, said(measured=batches(TRUE))) for name in ("here", "there")]
        found = learned(world(*slos), *places)
        assert found.keys() == {key(name) for name in budgets}
        for name, budget in budgets.items():
            speed = found[key(name)]
            if budget is None:
                assert speed.service is None
                assert speed.rate == about(UNBOUND * TRUE.throughput(8))
                continue
            assert speed.service is not None
            assert speed.service.budget == pytest.approx(budget)
            most = max_rate(batch_time=TRUE, max_batch=8, percentile=99.0, budget=budget)
            assert speed.rate == pytest.approx(most * 0.975, rel=0.06)

    @pytest.mark.parametrize(
        ("bound", "place", "trip"),
        [
            pytest.param("1ms", "here", 0.0, id="the server alone takes too long"),
            pytest.param("36ms", "cloud", 0.035, id="the way leaves it too little"),
            pytest.param("30ms", "cloud", 0.035, id="the way alone takes too long"),
        ],
    )
    def test_one_that_cannot_be_kept(self, bound: str, place: str, trip: float) -> None:
        found = learned(world(slo(latency=bound)), reporting("here", said(measured=batches(TRUE))))
        speed = found[key(place)]
        assert speed.rate == 0.0
        assert speed.saturation == pytest.approx(TRUE.throughput(8), rel=0.02)
        assert speed.latency is not None
        least = latency(batch_time=TRUE, max_batch=8, rate=0.0, percentile=99.0)
        assert speed.latency == pytest.approx(least + trip, rel=0.02)


class TestCorrection:
    SLO = slo(latency="100ms")

    def test_what_is_slower_than_predicted_is_given_less(self) -> None:
        memory, there = Speeds(), world(slo(latency="20ms"))
        fine = reporting("here", said(measured=batches(TRUE) | quantiles(TRUE, 100.0)))
        before = learned(there, fine, memory=memory)[key("here")]
        slow = reporting("here", said(measured=batches(TRUE) | quantiles(TRUE, 100.0, times=2.0)))
        found = learned(there, slow, memory=memory, now=60.0)
        assert found[key("here")].rate < 0.9 * before.rate
        assert found[key("here")].saturation == pytest.approx(before.saturation, rel=0.01)
        # Other pools have no better witness.
        assert found[key(None)].rate < 0.9 * before.rate

    def test_a_number_that_is_said_again_is_no_news(self) -> None:
        memory, there = Speeds(), world(self.SLO)
        slow = reporting("here", said(measured=batches(TRUE) | quantiles(TRUE, 100.0, times=2.0)))
        learned(there, slow, memory=memory)
        saved = memory.dump()
        assert [learned(there, slow, memory=memory, now=t * 5.0) and memory.dump() for t in range(9)] == [saved] * 9

    def test_what_waited_for_more_replicas_does_not_make_a_replica_slow(self) -> None:
        """After a step of the load, quantiles of the last minute are still those of too few replicas."""
        memory, there = Speeds(), world(self.SLO)

        def after(seconds: float, arriving: float, replicas: int, *, times: float) -> None:
            measured = batches(TRUE) | quantiles(TRUE, arriving / replicas, times=times) | {"rate": str(arriving)}
            learned(
                there, reporting("here", said(measured=measured, readyReplicas=replicas)), memory=memory, now=seconds
            )

        after(0.0, 30.0, 1, times=1.0)
        saved = memory.dump()
        for seconds, replicas, times in ((5.0, 1, 9.0), (15.0, 3, 20.0), (25.0, 3, 19.0), (70.0, 3, 18.0)):
            after(seconds, 150.0, replicas, times=times)
            assert memory.dump() == saved
        after(80.0, 150.0, 3, times=2.0)
        assert memory.dump() != saved

    def test_a_clock_that_is_set_back_teaches_later(self) -> None:
        memory, there = Speeds(), world(self.SLO)
        for seconds, arriving in ((1000.0, 100.0), (1001.0, 50.0), (10.0, 50.0)):
            measured = batches(TRUE) | quantiles(TRUE, arriving, times=seconds / 500)
            learned(there, reporting("here", said(measured=measured)), memory=memory, now=seconds)
        saved = memory.dump()
        slow = reporting("here", said(measured=batches(TRUE) | quantiles(TRUE, 50.0, times=3.0)))
        learned(there, slow, memory=memory, now=80.0)
        assert memory.dump() != saved

    def test_two_servers_of_a_pool_are_two_witnesses_once_each(self) -> None:
        memory, there = Speeds(), world(self.SLO)
        servers = [server("digits", pool="here", name=name) for name in ("triton-here-cpu", "triton-here-2-cpu")]
        statuses = {
            each["name"]: [said(measured=batches(TRUE) | quantiles(TRUE, 100.0, times=times))]
            for each, times in zip(servers, (2.0, 1.5), strict=True)
        }
        both = with_servers("here", servers, statuses)
        learned(there, both, memory=memory)
        saved = memory.dump()
        learned(there, both, memory=memory, now=5.0)
        assert memory.dump() == saved

    def test_what_a_neighbour_causes_is_no_fault_of_the_model(self) -> None:
        tenants = [Tenant(batch_time=TRUE, max_batch=8, rate=60.0, percentile=99.0, budget=9.0)] * 2
        together = shared_latency(tenants)[0]
        alone = latency(batch_time=TRUE, max_batch=8, rate=60.0, percentile=99.0)
        assert together > 1.3 * alone
        there = world(self.SLO, slo("ocr", latency="100ms"), models=("digits", "ocr"))
        measured = batches(TRUE) | quantiles(TRUE, 60.0, times=together / alone)
        shared = reporting("here", said(measured=measured), said("ocr", measured=measured))
        memory = Speeds()
        learned(there, shared, memory=memory)
        for logarithm, weight in memory.dump().values():
            assert abs(logarithm) < 0.05 * weight

    @pytest.mark.parametrize(
        "measured",
        [
            pytest.param(batches(TRUE) | quantiles(TRUE, 100.0, times=2.0, requests=20), id="too few requests"),
            pytest.param(quantiles(TRUE, 100.0, times=2.0), id="no batch was measured"),
            pytest.param(
                batches(TRUE) | rate(5000.0, latency={"requests": 9999, "mean": "9s", "p99": "9s"}), id="overloaded"
            ),
            pytest.param(
                batches(TRUE) | rate(0.0, latency={"requests": 9999, "mean": "9s", "p99": "9s"}), id="no rate"
            ),
            pytest.param(batches(TRUE) | rate(10.0, latency={"requests": 9999, "mean": "9s"}), id="no quantile"),
        ],
    )
    def test_what_teaches_nothing(self, measured: dict[str, Any]) -> None:
        memory = Speeds()
        learned(world(self.SLO), reporting("here", said(measured=measured)), memory=memory)
        assert all(values == [0.0, 0.0] for values in memory.dump().values())


def test_noise_changes_no_speed() -> None:
    """Else each report would make a plan."""
    draw = random.Random(7)
    memory, there = Speeds(), world(slo(latency="100ms"))

    def noisy() -> Assignment:
        measured = batches(TRUE)
        for sample in measured["batches"]:
            sample["time"] = format_duration(round(TRUE.of(sample["size"]) * draw.uniform(0.975, 1.025), 9))
        return reporting("here", said(measured=measured | quantiles(TRUE, 100.0, times=draw.uniform(0.97, 1.03))))

    for tick in range(40):
        first = learned(there, noisy(), memory=memory, now=tick * 60.0)
    for tick in range(40, 140):
        assert learned(there, noisy(), memory=memory, now=tick * 60.0) == first
