"""When a live object says what we would apply."""

from __future__ import annotations

from typing import Any

import pytest

from littoral.cluster.drift import covers

CONTAINER = {"name": "triton", "image": "a", "ports": [{"containerPort": 8000, "name": "http"}]}


@pytest.mark.parametrize(
    ("live", "desired", "expected"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({}, {"a": 1}, False),
        (None, {"a": 1}, False),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, True),
        ({"a": ["x", "y"]}, {"a": ["x", "y"]}, True),
        ({"a": ["y", "x"]}, {"a": ["x", "y"]}, False),
        ({"a": ["x", "y"]}, {"a": ["x"]}, False),
        ([{"name": "b"}, {"name": "a", "image": "i", "more": 1}], [{"name": "a", "image": "i"}], True),
        ([{"name": "a", "image": "other"}], [{"name": "a", "image": "i"}], False),
        ([CONTAINER | {"terminationMessagePath": "/dev/termination-log"}], [CONTAINER], True),
        ([CONTAINER | {"ports": []}], [CONTAINER], False),
        ([{"topologyKey": "host", "maxSkew": 1}], [{"maxSkew": 1}], True),
        ([{"maxSkew": 1}, {"maxSkew": 1}], [{"maxSkew": 1}], False),
        ("text", ["text"], False),
    ],
)
def test_covers(live: Any, desired: Any, expected: bool) -> None:
    assert covers(live, desired) is expected
