"""Conditions, under any order of reports."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from littoral.api import conditions
from littoral.api.conditions import RECONCILING, STALLED, Conditions, find_condition, is_true, set_condition
from littoral.api.meta import ConditionStatus

START = datetime(2026, 1, 1, tzinfo=UTC)

Report = Callable[[Conditions, datetime], Conditions]


def _report(kind: str, generation: int, message: str, serving: ConditionStatus) -> Report:
    def report(before: Conditions, now: datetime) -> Conditions:
        if kind == "ready":
            return conditions.ready(before, reason="R", message=message, generation=generation, now=now)
        if kind == "stalled":
            return conditions.stalled(before, reason="S", message=message, generation=generation, now=now)
        if kind == "unknown":
            return conditions.unknown(before, reason="U", message=message, generation=generation, now=now)
        return conditions.reconciling(
            before, reason="P", message=message, generation=generation, now=now, serving=serving
        )

    return report


reports = st.builds(
    _report,
    st.sampled_from(["ready", "reconciling", "stalled", "unknown"]),
    st.integers(min_value=1, max_value=5),
    st.text(max_size=5) | st.just("m" * 2000),
    st.sampled_from(ConditionStatus),
)


@given(history=st.lists(reports, min_size=1))
def test_kstatus_always_finds_one_state(history: list[Report]) -> None:
    told: Conditions = ()
    for step, report in enumerate(history):
        told = report(told, START + timedelta(seconds=step))
        types = [condition.type for condition in told]
        assert types[0] == "Ready"
        assert len(set(types)) == len(types)
        assert not (RECONCILING in types and STALLED in types)
        assert all(is_true(told, kind) for kind in (RECONCILING, STALLED) if kind in types)
        assert len({condition.observed_generation for condition in told}) == 1
        assert all(len(condition.message) <= 1024 for condition in told)
        if STALLED in types:
            assert not is_true(told, "Ready")


@given(history=st.lists(reports, min_size=1))
def test_saying_the_same_again_changes_nothing(history: list[Report]) -> None:
    told: Conditions = ()
    for step, report in enumerate(history):
        told = report(told, START + timedelta(seconds=step))
        assert report(told, START + timedelta(days=1)) == told


@given(statuses=st.lists(st.sampled_from(ConditionStatus), min_size=1))
def test_the_time_moves_only_with_the_status(statuses: list[ConditionStatus]) -> None:
    told: Conditions = ()
    since, before = START, None
    for step, status in enumerate(statuses):
        now = START + timedelta(seconds=step)
        if status is not before:
            since, before = now, status
        told = set_condition(told, "Ready", status=status, reason="R", message=str(step), generation=1, now=now)
        found = find_condition(told, "Ready")
        assert found is not None
        assert (found.last_transition_time, found.message) == (since, str(step))


@given(others=st.lists(st.from_regex(r"[A-Z][a-z]{1,8}", fullmatch=True), unique=True))
def test_conditions_of_others_are_left_alone(others: list[str]) -> None:
    told: Conditions = ()
    for kind in others:
        status = ConditionStatus.TRUE
        told = set_condition(told, kind, status=status, reason="R", message="", generation=1, now=START)
    after = conditions.ready(told, reason="R", message="", generation=2, now=START)
    ours = {"Ready", RECONCILING, STALLED}
    assert [item for item in after if item.type not in ours] == [item for item in told if item.type not in ours]
