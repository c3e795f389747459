"""Whatever is stored under a kind's name is read, or refused with a message that fits a condition."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littoral.api import InvalidObject
from littoral.api.crds import KINDS, Kind
from littoral.api.meta import Resource
from tests.unit.api.cases.assignment import assignment
from tests.unit.api.cases.latencyslo import latency_slo
from tests.unit.api.cases.model import model, variant
from tests.unit.api.cases.nodepool import nodepool

BODIES = {
    "Model": model(
        variants=[
            variant(
                "v",
                cpu="2",
                memory="1Gi",
                accuracy="0.9",
                profile={"base": "1ms", "perItem": "1ms"},
                nodeSelector={"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]},
                parameters={"a": "b"},
            )
        ],
        verification={"publicKeySecretRef": {"name": "key"}},
        scaling={"minReplicas": 1},
    ),
    "NodePool": nodepool(
        accelerators=[{"class": "cpu", "costPerHour": "1"}],
        network={"roundTrip": {"cloud": "35ms"}},
        cache={"quota": "1Gi"},
    ),
    "LatencySLO": latency_slo(sites={"matchNames": ["a"]}, demand={"floor": 20}, minAccuracy="0.5"),
    "Assignment": assignment(),
}

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=5
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with a key or an index into it."""
    keys: Any = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.resource.KIND)
@given(data=st.data())
def test_is_read_or_refused(kind: Kind, data: st.DataObject) -> None:
    body = copy.deepcopy(BODIES[kind.resource.KIND])
    container, key = data.draw(st.sampled_from(list(places(body))))
    container[key] = data.draw(anything)
    complaint = _complaint(kind.resource, body)
    if complaint is None:
        read = kind.resource.parse(body)
        assert kind.resource.parse(read.dump()) == read
    else:
        assert 0 < len(complaint) <= 1024


def _complaint(resource: type[Resource], body: Any) -> str | None:
    try:
        resource.parse(body)
    except InvalidObject as error:
        return str(error)
    return None
