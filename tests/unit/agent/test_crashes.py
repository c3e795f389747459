"""Whom a death of Triton is charged to, and how long it is held against them."""

from hypothesis import given, settings
from hypothesis import strategies as st

from littoral.agent.crashes import CRASHES, FIRST_PAUSE, LAST_PAUSE, PROBATION, Crashes, Key
from littoral.core.learning.places import BROKEN_AFTER

OLD, NEW, OTHER = ("digits", "old"), ("digits", "new"), ("other", "x")


def proven(*keys: Key) -> Crashes:
    """These have served long enough, at 0 s."""
    crashes = Crashes()
    crashes.serve(keys, now=-PROBATION)
    assert set(crashes.serve(keys, now=0.0)) == set(keys)
    return crashes


def test_the_version_that_changed_last_is_charged_and_what_is_proven_is_not() -> None:
    crashes = proven(OLD)
    assert crashes.youngest([OLD]) is None
    crashes.serve([OLD, OTHER], now=1.0)
    crashes.serve([OLD, OTHER, NEW], now=2.0)
    assert crashes.youngest([OLD, OTHER, NEW]) == NEW
    assert crashes.youngest([OLD, OTHER]) == OTHER
    assert crashes.youngest([]) is None
    assert crashes.youngest([OLD, OTHER, ("third", "v"), NEW]) == ("third", "v"), "it has never been seen to serve"


def test_one_or_two_deaths_bar_nobody() -> None:
    crashes = Crashes()
    for count in range(1, CRASHES):
        assert crashes.charge(NEW, now=10.0) == count
        assert crashes.barred("digits", now=10.0) == frozenset()
        assert crashes.bar(NEW, now=10.0) is None
    assert crashes.charge(NEW, now=10.0) == CRASHES
    assert crashes.barred("digits", now=10.0) == {"new"}
    assert crashes.barred("other", now=10.0) == frozenset()
    bar = crashes.bar(NEW, now=10.0)
    assert bar is not None
    assert bar[0] == CRASHES
    assert crashes.bar(NEW, now=bar[1]) is None


def test_pauses_double_up_to_a_limit() -> None:
    crashes = Crashes()
    pauses = []
    for _ in range(60):
        crashes.charge(NEW, now=0.0)
        if (bar := crashes.bar(NEW, now=0.0)) is not None:
            pauses.append(bar[1])
    assert len(pauses) == 60 - CRASHES + 1
    for number, pause in enumerate(pauses):
        least = min(LAST_PAUSE, FIRST_PAUSE * 2**number)
        assert least <= pause <= 1.5 * least


def test_the_hub_has_the_time_to_try_another_variant() -> None:
    """It wants to see a Model failed for a while, and one that is tried again in between is ready for a moment."""
    assert FIRST_PAUSE > BROKEN_AFTER


def test_serving_long_enough_clears_it_and_an_interruption_starts_anew() -> None:
    crashes = Crashes()
    crashes.charge(NEW, now=0.0)
    crashes.charge(NEW, now=0.0)
    assert crashes.serve([NEW], now=1.0) == []
    assert crashes.serve([], now=PROBATION) == []  # interrupted
    assert crashes.serve([NEW], now=PROBATION + 2) == []
    assert crashes.serve([NEW], now=2 * PROBATION + 1) == []
    assert crashes.serve([NEW], now=2 * PROBATION + 2) == [NEW]
    assert crashes.serve([NEW], now=2 * PROBATION + 3) == [], "said once"
    assert crashes.charge(NEW, now=3 * PROBATION) == 1


def test_what_comes_back_after_its_bar_is_what_changed_last() -> None:
    crashes = Crashes()
    crashes.serve([NEW], now=0.0)
    crashes.serve([NEW, OTHER], now=1.0)
    for _ in range(CRASHES):
        crashes.charge(NEW, now=2.0)
    crashes.serve([OTHER], now=3.0)
    crashes.serve([NEW, OTHER], now=200.0)
    assert crashes.youngest([NEW, OTHER]) == NEW


def test_what_is_no_longer_wanted_is_forgotten() -> None:
    crashes = proven(OLD, OTHER)
    crashes.charge(OLD, now=0.0)
    crashes.keep(["other"])
    assert not crashes.proven(OLD)
    assert crashes.proven(OTHER)
    assert crashes.charge(OLD, now=0.0) == 1


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 6), data=st.data())
def test_whoever_kills_triton_is_found_and_the_others_serve_in_the_end(count: int, data: st.DataObject) -> None:
    """A boot with unproven models of which one, `m0`, kills Triton whenever it serves for a few seconds."""
    keys = [(f"m{number}", "v") for number in range(count)]
    order = data.draw(st.permutations(keys))
    crashes, now = Crashes(), 0.0
    for key in order:
        now += data.draw(st.sampled_from([0.0, 0.5]))
        crashes.serve(order[: order.index(key) + 1], now=now)
    culprit_barred_alone = 0
    for _ in range(800):
        now += 5.0
        serving = [(name, it) for name, it in keys if it not in crashes.barred(name, now=now)]
        crashes.serve(serving, now=now)
        if keys[0] in serving:
            suspect = crashes.youngest(serving)
            assert suspect is not None
            crashes.charge(suspect, now=now)
        elif len(serving) == count - 1:
            culprit_barred_alone += 1
    assert culprit_barred_alone > 400, "most of the time all the others serve"
