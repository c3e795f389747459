"""What gateways count, in place of what servers do, and how far pools are from each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from littoral.api.assignment import Assignment
from littoral.core.learning import Learner, LearnerTuning
from littoral.core.learning.demand import IDLE, Pair
from littoral.core.learning.gateways import RoundTrips, arrivals
from littoral.core.world import ModelKey, World
from tests.support.objects import model, pool, slo
from tests.support.sites import rate, reporting, said, with_gateway

DIGITS = ModelKey("shop", "digits")
HERE, THERE, NOWHERE = (DIGITS, "here"), (DIGITS, "there"), (DIGITS, None)
WORLD = World(
    models=(model(scaling={"minReplicas": 0}),),
    slos=(slo(),),
    pools=(pool("here"), pool("there"), pool("cloud", tier="cloud")),
)


def at(name: str, value: float, *, arrived: str | None = None, **report: object) -> Assignment:
    """A pool whose servers get so many requests/s, and at whose gateway, if it has one, so many have arrived."""
    it = reporting(name, said(measured=rate(value)), tier="cloud" if name == "cloud" else "edge")
    return it if arrived is None else with_gateway(it, digits={"arrived": arrived}, **report)


def empty(name: str, **counted: object) -> Assignment:
    """A pool without servers, whose gateway routes the Model to others."""
    it = reporting(name, tier="cloud" if name == "cloud" else "edge")
    bare = it.model_copy(update={"spec": it.spec.model_copy(update={"servers": ()})})
    return with_gateway(bare, **counted)


def asked(
    found: Sequence[Assignment], *, learner: Learner | None = None, times: int = 400
) -> Mapping[Pair, float | None]:
    """What to be ready for after so many equal readings."""
    learner = learner or Learner()
    for tick in range(times):
        told = learner.learn(WORLD, found, now=1e6 + 5.0 * tick)
    return told.demand


def near(value: float) -> object:
    return pytest.approx(value * 1.12, rel=0.11)


def test_what_arrives_counts_and_not_what_servers_get() -> None:
    """Here 60 arrive, of which 20 leave: for the other site, and for the cloud."""
    found = [at("here", 40.0, arrived="60"), at("there", 20.0, arrived="10"), at("cloud", 10.0, arrived="0")]
    assert asked(found) == {HERE: near(60.0), THERE: near(10.0)}


def test_a_cloud_without_a_gateway_counts_nothing_twice() -> None:
    assert asked([at("here", 40.0, arrived="60"), at("cloud", 20.0)]) == {HERE: near(60.0)}


def test_what_arrives_in_the_cloud_is_nobodys() -> None:
    assert asked([at("here", 40.0, arrived="40"), at("cloud", 20.0, arrived="15")]) == {
        HERE: near(40.0),
        NOWHERE: near(15.0),
    }


def test_a_site_without_a_gateway_goes_by_its_servers() -> None:
    assert asked([at("here", 40.0, arrived="60"), at("there", 20.0)]) == {HERE: near(60.0), THERE: near(20.0)}


def test_pools_of_one_site_add_up() -> None:
    one, other = at("here", 1.0, arrived="20"), at("other", 1.0, arrived="10")
    beside = other.model_copy(update={"spec": other.spec.model_copy(update={"site": "here"})})
    assert arrivals([one, beside]) == {HERE: 30.0}


def test_where_a_model_is_only_routed_nobody_waits_for_it() -> None:
    """Else each site whose gateway knows the Model would have it loaded somewhere."""
    found = [at("here", 40.0, arrived="40"), empty("there"), empty("cloud")]
    assert asked(found) == {HERE: near(40.0)}
    assert asked([at("here", 40.0, arrived="40"), empty("there", digits={"arrived": "5"})])[THERE] == near(5.0)


@pytest.mark.parametrize(
    "report",
    [
        pytest.param({"readyReplicas": 0}, id="no Pod is Ready"),
        pytest.param({"message": "HAProxy does not start"}, id="it says what is wrong"),
    ],
)
def test_what_an_unwell_gateway_has_not_counted_is_unknown(report: Mapping[str, object]) -> None:
    it = with_gateway(reporting("here", said(measured=rate(20.0))), **report)
    assert arrivals([it]) == {}
    assert asked([it]) == {HERE: near(20.0)}


def test_a_healthy_gateway_knows_that_nobody_asks() -> None:
    assert asked([with_gateway(reporting("here", said(measured=rate(20.0))))]) == {HERE: IDLE}


def test_a_request_at_the_gateway_brings_a_model_back_that_was_let_go() -> None:
    learner = Learner(LearnerTuning(scale_to_zero_after=300.0))
    assert asked([at("here", 0.0, arrived="0")], learner=learner) == {HERE: 0.0}
    told = learner.learn(WORLD, [empty("here", digits={"arrived": "0.5"})], now=1e6 + 2005.0)
    assert (told.demand[HERE] or 0.0) >= 0.5


class TestRoundTrips:
    def test_the_first_reading_counts(self) -> None:
        memory = RoundTrips()
        memory.observe([with_gateway(reporting("here"), round_trips={"cloud": "40ms", "gone": "1ms"})], now=0.0)
        assert memory.ask(WORLD) == {("here", "cloud"): pytest.approx(0.04, rel=0.05)}

    def test_noise_and_a_single_bad_reading_change_nothing(self) -> None:
        memory, now = RoundTrips(), 0.0
        told = set()
        for time in ("40ms", "44ms", "37ms", "40ms", "80ms", "40ms", "42ms"):
            now += 5.0
            memory.observe([with_gateway(reporting("here"), round_trips={"cloud": time})], now=now)
            told.add(memory.ask(WORLD)["here", "cloud"])
        assert len(told) == 1

    def test_what_lasts_is_learned_whatever_the_clock_does(self) -> None:
        memory = RoundTrips()
        for now in (0.0, 1e6, -1e6, *range(0, 300, 5)):
            time = "40ms" if now < 0 else "90ms"
            memory.observe([with_gateway(reporting("here"), round_trips={"cloud": time})], now=now)
        assert memory.ask(WORLD)["here", "cloud"] == pytest.approx(0.09, rel=0.05)

    def test_the_planner_is_told_and_speeds_go_by_it(self) -> None:
        """A way that takes 45 of 50 ms leaves hardly anything for the cloud's servers."""
        measured = {"batches": [{"size": 1, "count": 900, "time": "5ms"}], "maxBatch": 8, "rate": "1"}
        found = [reporting("here", said(measured=measured)), reporting("cloud", said(measured=measured), tier="cloud")]
        far = [with_gateway(found[0], round_trips={"cloud": "45ms"}), found[1]]
        near_by, away = (Learner().learn(WORLD, it, now=1e6) for it in (found, far))
        assert away.round_trips == {("here", "cloud"): pytest.approx(0.045, rel=0.05)}
        rates = [{key.pool: speed.rate for key, speed in told.rates.items()}["cloud"] for told in (near_by, away)]
        assert rates[1] < rates[0]
