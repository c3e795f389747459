"""Which Assignments a member is told of."""

from __future__ import annotations

import pytest

from littoral.hub.members import names_by_member
from tests.support.objects import assignment


@pytest.mark.parametrize(
    ("pools", "announced", "unreadable", "expected"),
    [
        pytest.param({"b": "m", "a": "m", "own": None}, {"m": None}, (), {"m": ("a", "b")}, id="sorted, its own"),
        pytest.param({"a": "m"}, {}, (), {"m": ("a",)}, id="not invited yet"),
        pytest.param({}, {"m": "a"}, (), {"m": ()}, id="gone"),
        pytest.param({"b": "m"}, {"m": "a,b"}, ("a",), {"m": ("a", "b")}, id="unreadable is not gone"),
        pytest.param({}, {"m": None, "n": "a"}, ("a",), {"m": ("a",), "n": ()}, id="and whose it is, its pool says"),
        pytest.param({"b": "m"}, {"m": "b,own"}, ("own",), {"m": ("b",)}, id="the hub's own is nobody else's"),
        pytest.param({"b": "m"}, {"m": "b,x", "n": ""}, ("x",), {"n": ()}, id="without its pool all stays as it is"),
        pytest.param({"b": "m"}, {"m": "b"}, ("x",), {"m": ("b",)}, id="for those alone that were told of it"),
    ],
)
def test_a_member_is_told_of_its_assignments(
    pools: dict[str, str | None],
    announced: dict[str, str | None],
    unreadable: tuple[str, ...],
    expected: dict[str, tuple[str, ...]],
) -> None:
    found = [
        assignment(pool).model_copy(update={"spec": assignment(pool).spec.model_copy(update={"member": member})})
        for pool, member in pools.items()
    ]
    by_pool = {"a": "m", "b": "m", "own": None}
    assert names_by_member(found, announced=announced, unreadable=unreadable, pools=by_pool) == expected
