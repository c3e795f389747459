"""What a configuration means for capacity."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littoral.site.telemetry.configuration import UNKNOWN, Configuration, least, parse_configuration
from tests.unit.site.telemetry.pages import configuration_page

GPU = {"kind": "KIND_GPU", "count": 2, "gpus": [0, 1]}


def config(**fields: Any) -> bytes:
    """A configuration with `max_batch_size` 8 and neither of the batchers."""
    bare = {"name": "a", "max_batch_size": 8, "instance_group": [{"kind": "KIND_CPU", "count": 1, "gpus": []}]}
    return json.dumps(bare | fields).encode()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({}, 1, id="no request is merged with another"),
        pytest.param({"dynamic_batching": {}}, 8, id="dynamic batching"),
        pytest.param({"dynamic_batching": {"preferred_batch_size": [2, 4]}}, 4, id="the largest that is preferred"),
        pytest.param({"dynamic_batching": {}, "max_batch_size": 0}, 1, id="no batch dimension"),
        pytest.param({"dynamic_batching": {}, "max_batch_size": 1}, 1, id="batches of one"),
        pytest.param(
            {"dynamic_batching": {}, "model_transaction_policy": {"decoupled": True}},
            8,
            id="decoupled: requests are merged all the same",
        ),
        pytest.param({"sequence_batching": {}}, 8, id="one of each sequence"),
        pytest.param({"sequence_batching": {"direct": {"minimum_slot_utilization": 0.5}}}, 8, id="direct"),
        pytest.param({"sequence_batching": {"oldest": {"preferred_batch_size": [4]}}}, 4, id="oldest, preferred"),
        pytest.param({"sequence_batching": {"oldest": {"max_candidate_sequences": 4}}}, 8, id="oldest"),
        pytest.param({"ensemble_scheduling": {"step": []}, "platform": "ensemble"}, 1, id="an ensemble"),
    ],
)
def test_the_largest_batch(fields: dict[str, Any], expected: int) -> None:
    assert parse_configuration(config(**fields)).max_batch == expected


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        pytest.param([{"count": 3, "gpus": []}], 3, id="one group"),
        pytest.param([{}], 1, id="no count"),
        pytest.param([{"count": 1}, {"count": 2}], 3, id="two groups"),
        pytest.param([GPU], 4, id="so many on each device"),
        pytest.param([GPU, {"count": 5, "passive": True}], 4, id="what is passive gets no requests"),
        pytest.param([], None, id="an ensemble has none"),
    ],
)
def test_the_instances(groups: list[dict[str, Any]], expected: int | None) -> None:
    assert parse_configuration(config(instance_group=groups)).instances == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"[1]",
        b'{"error": "no such model"}',
        config(max_batch_size="many"),
        config(dynamic_batching=[]),
        config(dynamic_batching={"preferred_batch_size": ["two"]}),
        config(sequence_batching=5),
        config(instance_group=5),
        config(instance_group=["one"]),
        config(instance_group=[{"count": "one"}]),
        config(instance_group=[{"gpus": 1}]),
    ],
)
def test_what_makes_no_sense_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"configuration|Expecting value"):
        parse_configuration(body)


NONSENSE = st.sampled_from([None, True, 2.5, "2", [], {}, [2], {"count": 2}])
NUMBERS = st.integers(min_value=-(2**40), max_value=2**40) | NONSENSE
BATCHERS = st.fixed_dictionaries({}, optional={"preferred_batch_size": st.lists(NUMBERS, max_size=3) | NONSENSE})
GROUPS = st.fixed_dictionaries({}, optional={"count": NUMBERS, "gpus": st.lists(NUMBERS, max_size=3) | NONSENSE})


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "max_batch_size": NUMBERS,
            "dynamic_batching": BATCHERS | NONSENSE,
            "sequence_batching": st.fixed_dictionaries({}, optional={"oldest": BATCHERS | NONSENSE}) | NONSENSE,
            "instance_group": st.lists(GROUPS | NONSENSE, max_size=3) | NONSENSE,
        },
    )
)
def test_whatever_is_answered_can_be_reported_or_is_refused(fields: dict[str, Any]) -> None:
    try:
        found = parse_configuration(config(**fields))
    except ValueError:
        return
    for number in (found.max_batch, found.instances):
        assert number is None or (type(number) is int and 1 <= number < 2**31)


def test_of_several_replicas_the_least_can_be_relied_on() -> None:
    two, three = Configuration(max_batch=2, instances=4), Configuration(max_batch=3, instances=1)
    assert least([two, three]) == Configuration(max_batch=2, instances=1)
    assert least([UNKNOWN, two, Configuration(max_batch=8)]) == Configuration(max_batch=2, instances=4)
    assert least([]) == UNKNOWN


def test_the_pages_of_these_tests_are_such_configurations() -> None:
    assert parse_configuration(configuration_page("a")) == Configuration(max_batch=8, instances=1)
