"""Demand: which site's it is, how it rises and falls, and what a clock, a gap or a restart make of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from littoral.api.assignment import Assignment
from littoral.core.learning.demand import IDLE, Demand, Pair
from littoral.core.learning.reports import reports
from littoral.core.learning.sticky import Sticky, downwards, upwards
from littoral.core.world import ModelKey, World
from tests.support.objects import model, pool
from tests.support.sites import rate, reporting, said

DIGITS = ModelKey("shop", "digits")
HERE, THERE, NOWHERE = (DIGITS, "here"), (DIGITS, "there"), (DIGITS, None)
WORLD = World(models=(model(),), pools=(pool("here"), pool("there"), pool("cloud", tier="cloud")))
HOURS = 3600.0


def demand(*, scale_to_zero_after: float | None = None) -> Demand:
    return Demand(quantile=0.95, scale_to_zero_after=scale_to_zero_after)


def at(**rates: float | None) -> list[Assignment]:
    """The Assignments of pools whose servers of `digits` get so many requests/s; None where nobody can be asked."""
    return [
        reporting(
            name,
            said(measured=rate(value)) if value is not None else said(),
            tier="cloud" if name == "cloud" else "edge",
        )
        for name, value in rates.items()
    ]


class Clock:
    """Feeds readings to a memory."""

    def __init__(self, memory: Demand, *, now: float = 1e6, step: float = 5.0) -> None:
        self.memory = memory
        self.now = now
        self.step = step

    def read(self, times: int = 1, world: World = WORLD, /, **rates: float | None) -> Mapping[Pair, float | None]:
        found = list(reports(at(**rates)))
        for _ in range(times):
            self.now += self.step
            self.memory.observe(found, now=self.now)
            asked = self.memory.ask(world, found, now=self.now)
        return asked


def near(value: float) -> Any:
    """At least the value, and no more above it than steps of 5% and a fall of 15% that does not count make."""
    return pytest.approx(value * 1.12, rel=0.11)


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        pytest.param({"here": 20.0}, {HERE: 20.0}, id="what arrives at a site is the site's"),
        pytest.param({"cloud": 20.0}, {NOWHERE: 20.0}, id="what arrives in the cloud alone is nobody's"),
        pytest.param({"here": 20.0, "cloud": 10.0}, {HERE: 30.0}, id="with one site it is that one's"),
        pytest.param(
            {"here": 30.0, "there": 10.0, "cloud": 20.0}, {HERE: 45.0, THERE: 15.0}, id="else it is divided as the rest"
        ),
        pytest.param({"here": 30.0, "there": None, "cloud": 20.0}, {HERE: 50.0}, id="a site that was never heard of"),
        pytest.param(
            {"here": 0.0, "there": 0.0, "cloud": 20.0},
            {HERE: IDLE, THERE: IDLE, NOWHERE: 20.0},
            id="where nothing arrives at sites, it is nobody's",
        ),
        pytest.param({"here": None, "cloud": None}, {}, id="nobody can be asked: nothing is known"),
        pytest.param({"here": 0.0}, {HERE: IDLE}, id="nobody asks"),
        pytest.param({"cloud": 0.0}, {NOWHERE: IDLE}, id="nobody asks the cloud"),
    ],
)
def test_whose_requests_they_are(rates: Mapping[str, float | None], expected: Mapping[Pair, float]) -> None:
    asked = Clock(demand()).read(400, **rates)
    assert asked == {pair: near(value) if value != IDLE else IDLE for pair, value in expected.items()}


def test_a_site_that_has_lost_its_servers_keeps_its_part_of_what_arrives_in_the_cloud() -> None:
    clock = Clock(demand())
    clock.read(400, here=30.0, there=10.0)
    assert clock.read(400, there=10.0, cloud=30.0) == {HERE: near(30.0), THERE: near(10.0)}
    # What comes on top may be anybody's, but is most likely of the one that sends everything there.
    assert clock.read(400, there=10.0, cloud=60.0) == {HERE: near(60.0), THERE: near(10.0)}
    assert clock.read(1000, there=10.0, cloud=15.0) == {HERE: near(15.0), THERE: near(10.0)}


def test_a_site_that_was_let_go_gets_nothing_of_what_others_send_to_the_cloud() -> None:
    clock = Clock(demand(scale_to_zero_after=300.0))
    clock.read(400, here=30.0, there=30.0)
    clock.read(60, here=0.0, there=30.0)
    assert clock.read(1000, there=30.0, cloud=20.0) == {HERE: 0.0, THERE: near(50.0)}


def test_requests_that_find_their_site_again_are_nobodys_no_longer() -> None:
    clock = Clock(demand())
    clock.read(100, cloud=20.0)
    asked = clock.read(1000, here=20.0, cloud=0.0)
    assert asked[HERE] == near(20.0)
    assert (asked[NOWHERE] or 0.0) < 0.1


def test_servers_of_one_site_add_up() -> None:
    memory = demand()
    beside, *_ = reports(at(beside=10.0))
    found = [*reports(at(here=20.0, there=0.0)), replace(beside, site="here")]
    for now in range(0, 2000, 5):
        memory.observe(found, now=now)
    assert memory.ask(WORLD, found, now=2000)[HERE] == near(30.0)


class TestOverTime:
    def test_a_rise_counts_at_the_next_reading(self) -> None:
        clock = Clock(demand())
        clock.read(100, here=10.0)
        asked = clock.read(here=100.0)[HERE]
        assert asked is not None
        assert asked >= 100.0

    def test_a_fall_takes_longer_than_a_rise_and_comes_to_an_end(self) -> None:
        clock = Clock(demand())
        clock.read(400, here=100.0)
        assert (clock.read(here=10.0)[HERE] or 0) > 50.0
        assert clock.read(1000, here=10.0) == {HERE: near(10.0)}

    def test_noise_changes_nothing(self) -> None:
        clock = Clock(demand())
        clock.read(200, here=100.0)
        for value in (101.0, 98.0, 100.0, 102.0):
            clock.read(20, here=value)
        settled = clock.read(here=100.0)
        assert [clock.read(here=value) == settled for value in (99.0, 101.0, 100.0, 98.0, 102.0) * 20] == [True] * 100

    def test_a_gap_makes_it_no_less(self) -> None:
        clock = Clock(demand())
        before = clock.read(400, here=100.0)[HERE]
        after = clock.read(100, here=None)[HERE]
        assert before is not None
        assert after is not None
        assert after >= before

    @pytest.mark.parametrize("jump", [-30 * 24 * HOURS, -10.0, 30.0, 24 * HOURS, 3650 * 24 * HOURS])
    def test_a_clock_that_jumps_makes_nothing_of_it(self, jump: float) -> None:
        clock = Clock(demand(scale_to_zero_after=300.0))
        clock.read(400, here=100.0, there=0.0)
        clock.now += jump
        assert clock.read(20, here=100.0, there=0.0) == {HERE: near(100.0), THERE: 0.0}

    @pytest.mark.parametrize("jump", [-24 * HOURS, 24 * HOURS])
    def test_a_clock_that_jumps_lets_nothing_go(self, jump: float) -> None:
        clock = Clock(demand(scale_to_zero_after=300.0))
        clock.read(10, here=0.0)
        clock.now += jump
        assert clock.read(10, here=0.0) == {HERE: IDLE}

    def test_readings_at_the_same_time_are_one(self) -> None:
        memory, found = demand(), list(reports(at(here=10.0)))
        memory.observe(found, now=100.0)
        once = memory.ask(WORLD, found, now=100.0), memory.dump()
        memory.observe(list(reports(at(here=90.0))), now=100.1)
        assert (memory.ask(WORLD, found, now=100.0), memory.dump()) == once


class TestScaleToZero:
    def test_what_nobody_asks_is_let_go_after_that_time_and_not_before(self) -> None:
        clock = Clock(demand(scale_to_zero_after=300.0))
        clock.read(400, here=100.0)
        # The burst has not faded from the forecast by then.
        assert clock.read(59, here=0.0)[HERE] not in (0.0, None)
        assert clock.read(1, here=0.0) == {HERE: 0.0}

    def test_then_it_stays_away_though_nobody_can_be_asked(self) -> None:
        clock = Clock(demand(scale_to_zero_after=300.0))
        clock.read(100, here=100.0)
        clock.read(60, here=0.0)
        assert {clock.read()[HERE] for _ in range(500)} == {0.0}

    def test_it_comes_back_with_the_first_request(self) -> None:
        clock = Clock(demand(scale_to_zero_after=300.0))
        clock.read(100, here=0.0)
        assert (clock.read(here=3.0)[HERE] or 0.0) >= 3.0

    @pytest.mark.parametrize(
        ("after", "least"),
        [pytest.param(None, 0, id="nobody could count the first request"), pytest.param(300.0, 1, id="minReplicas")],
    )
    def test_it_is_kept_where_it_is(self, after: float | None, least: int) -> None:
        world = World(models=(model(scaling={"minReplicas": least}),), pools=WORLD.pools)
        assert Clock(demand(scale_to_zero_after=after)).read(2000, world, here=0.0) == {HERE: IDLE}

    def test_a_gap_is_not_idle(self) -> None:
        clock = Clock(demand(scale_to_zero_after=300.0))
        clock.read(30, here=0.0)
        clock.read(1000, here=None)
        assert clock.read(here=0.0) == {HERE: IDLE}

    def test_what_comes_at_this_hour_every_day_is_awaited(self) -> None:
        clock = Clock(demand(scale_to_zero_after=300.0), now=0.0, step=60.0)
        per_hour = 60
        for _ in range(4):
            clock.read(8 * per_hour, here=0.0)
            clock.read(2 * per_hour, here=50.0)
            clock.read(14 * per_hour, here=0.0)
        assert clock.read(8 * per_hour - 1, here=0.0) == {HERE: 0.0}
        # As long before the hour as starting takes.
        clock.step = 45.0
        assert (clock.read(here=0.0)[HERE] or 0.0) > 25.0


class TestRestart:
    def test_what_was_dumped_is_taken_up(self) -> None:
        clock = Clock(demand())
        clock.read(400, here=100.0, cloud=20.0)
        after = demand()
        after.load(clock.memory.dump())
        assert after.dump() == clock.memory.dump()
        assert Clock(after, now=clock.now).read(here=100.0, cloud=20.0) == {HERE: near(120.0)}
        # Nothing arrives at the site now; but it did before the restart.
        assert Clock(after, now=clock.now + 60).read(cloud=120.0).keys() == {HERE}

    def test_what_was_let_go_stays_so(self) -> None:
        clock = Clock(demand(scale_to_zero_after=300.0))
        clock.read(400, here=100.0)
        clock.read(60, here=0.0)
        after = demand(scale_to_zero_after=300.0)
        after.load(clock.memory.dump())
        assert Clock(after, now=clock.now).read() == {HERE: 0.0}

    def test_what_has_been_learned_since_outranks_what_was_saved(self) -> None:
        old, new = Clock(demand()), Clock(demand())
        old.read(400, here=100.0)
        before = new.read(400, here=1.0)
        new.memory.load(old.memory.dump())
        assert new.read(here=1.0) == before

    @pytest.mark.parametrize(
        "value",
        [
            "",
            "{",
            "{}",
            "[]",
            '{"end": 1, "age": 5}',
            '{"end": 1, "age": -5, "means": [1], "errors": [1], "squares": [1]}',
            '{"end": 1, "age": 5, "means": [1, 1], "errors": [1], "squares": []}',
            '{"end": 1, "age": 1' + "0" * 400 + "}",
            "[" * 100_000,
            None,
            7,
            ["{}", "soon"],
            ["{}", 1, 2],
            [],
        ],
        ids=lambda value: str(value)[:20],
    )
    def test_what_cannot_be_read_is_not_known(self, value: object) -> None:
        memory = demand()
        memory.load({"shop/digits@here": value, "@": value, "": value})
        assert memory.ask(WORLD, (), now=1e6) == {}
        assert Clock(memory).read(400, here=10.0) == {HERE: near(10.0)}


def test_what_is_gone_is_forgotten() -> None:
    clock = Clock(demand())
    clock.read(10, here=10.0, there=10.0)
    left = World(models=WORLD.models, pools=(pool("here"),))
    assert clock.read(1, left, here=10.0, there=10.0).keys() == {HERE}
    assert clock.read(1, World(), here=10.0) == {}
    assert clock.memory.dump() == {}


@pytest.mark.parametrize("value", [1e12, 1e31])
def test_a_rate_beyond_all_measure_is_no_reading(value: float) -> None:
    clock = Clock(demand())
    assert clock.read(3, here=value, cloud=5.0) == {}
    assert clock.read(400, here=10.0) == {HERE: near(10.0)}


class TestSticky:
    @pytest.mark.parametrize("value", [0.0, 1e-9, 0.3, 1.0, 1.05, 20.0, 999.0, 1e9])
    def test_steps_are_close_and_on_the_safe_side(self, value: float) -> None:
        assert value * 0.999 <= upwards(value) <= value * 1.0501
        assert value * 0.952 <= downwards(value) <= value * 1.001
        assert upwards(upwards(value)) == upwards(value)
        assert downwards(downwards(value)) == downwards(value)

    def test_a_number_stays_until_another_differs_enough(self) -> None:
        kept: Sticky[str] = Sticky(rise=0.05, fall=0.15)
        seen = (100, 104, 86, 106, 95, 90, 80)
        assert [kept.settle("a", value) for value in seen] == [100, 100, 100, 106, 106, 90, 90]
        kept.forget("a")
        assert kept.settle("a", 82) == 82
        kept.retain(set())
        assert kept.settle("a", 81) == 81
