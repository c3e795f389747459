"""Who is heard of: by the hub's own clock, whatever the Leases say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from littoral.hub.heartbeats import Watch, _beat

START = datetime(2026, 11, 28, 18, tzinfo=UTC)
M = "store-12"


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


class Looking:
    """A Watch that is asked again and again, with a clock that began at 1000 s."""

    def __init__(self, *, known: dict[str, datetime] | None = None, reported: tuple[str, ...] = ()) -> None:
        self.watch = Watch()
        self.known = known or {}
        self.reported = reported

    def __call__(self, seconds: float, renewed: dict[str, str], *, skew: float = 0.0) -> dict[str, datetime]:
        return self.watch.unreachable(
            renewed, reported=self.reported, known=self.known, clock=1000.0 + seconds, now=at(seconds + skew)
        )


def renewal(seconds: float) -> str:
    """A renewTime as sites write it."""
    return f"{at(seconds):%Y-%m-%dT%H:%M:%S.%fZ}"


Steps = list[tuple[float, str, datetime | None]]
"""Seconds, what the Lease says, and since when the member is not heard of."""


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(
            [(0, renewal(-3), None), (10, renewal(7), None), (69, renewal(7), None), (70, renewal(7), at(10))],
            id="a minute without a renewal",
        ),
        pytest.param(
            [(0, renewal(-3), None), (59, renewal(-3), None), (60, renewal(-3), at(-3)), (61, renewal(58), None)],
            id="it is back with the first renewal",
        ),
        pytest.param(
            [(0, renewal(-9000), None), (60, renewal(-9000), at(-9000))],
            id="first seen with an old renewal: it is given time, and then gone for long",
        ),
        pytest.param(
            [(0, renewal(9000), None), (60, renewal(9000), at(0)), (70, renewal(9010), None)],
            id="a clock that is ahead",
        ),
        pytest.param(
            [(0, renewal(-9000), None), (50, renewal(-8950), None), (100, renewal(-8900), None)],
            id="a clock that is behind",
        ),
        pytest.param(
            [(0, renewal(0), None), (50, renewal(-5000), None), (109, renewal(-5000), None)],
            id="a clock that was set back",
        ),
        pytest.param([(0, "", None), (900, "", None)], id="invited, and never joined"),
        pytest.param(
            [(0, "", None), (900, renewal(899), None), (960, renewal(899), at(899))], id="joined, and never again"
        ),
        pytest.param([(0, "soon", None), (60, "soon", at(0)), (61, "now", None)], id="no time at all"),
    ],
)
def test_a_member_that_has_yet_to_report(steps: Steps) -> None:
    look = Looking()
    for seconds, renewed, since in steps:
        assert look(seconds, {M: renewed}) == ({} if since is None else {M: since}), seconds


def test_the_time_of_day_may_jump() -> None:
    look = Looking()
    assert look(0, {M: renewal(0)}) == {}
    assert look(10, {M: renewal(10)}, skew=86400) == {}
    assert look(30, {M: renewal(10)}, skew=-86400) == {}
    assert look(70, {M: renewal(10)}) == {M: at(86410)}


def test_what_the_last_process_missed_is_missed_until_it_is_heard_of() -> None:
    look = Looking(known={M: at(-500)}, reported=(M, "other"))
    renewed = {M: renewal(-520), "other": renewal(-1)}
    assert look(0, renewed) == {M: at(-500)}
    assert look(5, renewed) == {M: at(-500)}
    assert look(9, {M: renewal(8), "other": renewal(8)}) == {}
    # What it says itself is then what it knows: not what a status says that is yet to be written.
    assert look(10, {M: renewal(8), "other": renewal(8)}) == {}
    assert look(69, {M: renewal(8), "other": renewal(60)}) == {M: at(9)}


def test_a_member_that_has_reported_and_whose_lease_was_taken_away() -> None:
    look = Looking(reported=(M,))
    assert look(0, {M: renewal(0)}) == {}
    assert look(59, {}) == {}
    assert look(60, {}) == {M: at(0)}
    assert look(90, {M: ""}) == {M: at(0)}
    assert look(95, {M: renewal(95)}) == {}


def test_one_that_is_gone_altogether_is_forgotten() -> None:
    look = Looking()
    assert look(0, {M: renewal(0)}) == {}
    assert look(10, {}) == {}
    assert look(100, {M: renewal(0)}) == {}


def test_since_is_to_the_second_as_a_status_has_it() -> None:
    look = Looking()
    look(0.7, {M: renewal(0.7)})
    assert look(61, {M: renewal(0.7)}) == {M: at(0)}


def test_annotations_are_no_sign_of_life() -> None:
    lease = {
        "metadata": {"name": "littoral-member-store-12", "labels": {"littoral.dev/member": M}, "resourceVersion": "1"},
        "spec": {"renewTime": renewal(0)},
    }
    told = {**lease, "metadata": lease["metadata"] | {"annotations": {"littoral.dev/assignments": "a"}}}
    assert _beat(lease) == _beat(told) == (M, renewal(0))
    assert _beat({"metadata": lease["metadata"]}) == (M, "")
    forged = lease["metadata"] | {"labels": {"littoral.dev/member": "another"}}
    assert _beat(lease | {"metadata": forged}).member == M
