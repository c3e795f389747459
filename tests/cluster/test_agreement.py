"""Each rule is written in CEL and in Python: both say the same of any text, not only of that in the tables."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from littoral.api import InvalidObject, LatencySLO, Model
from littoral.api.meta import Resource
from tests.cluster.api_server import ApiServer
from tests.unit.api.cases.case import DIGEST
from tests.unit.api.cases.latencyslo import latency_slo
from tests.unit.api.cases.model import model, variant

# The API server is the same for all examples, as it should be.
against_a_server = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

digits = st.text(alphabet="0123456789", min_size=1, max_size=4)
numbers = st.builds("".join, st.tuples(digits, st.sampled_from(["", ".", "."]), digits | st.just("")))
quantities = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["", "", "+", "-"]),
        numbers | st.just(".5") | st.just("0"),
        st.sampled_from(["", "n", "u", "m", "k", "K", "M", "G", "E", "Ki", "Ei", "e3", "E-3", "e+99", "i", " "]),
    ),
)
durations = st.lists(
    st.builds("".join, st.tuples(numbers, st.sampled_from(["ns", "us", "ms", "s", "m", "h", "d", ""]))), max_size=3
).map("".join)
steps = st.sampled_from(["a", "b.onnx", "..", ".", "...", "", "a..b", "?x", "#y", "A@b", DIGEST, f"c@{DIGEST}"])
uris = st.builds(
    lambda scheme, parts: scheme + "/".join(parts),
    st.sampled_from(["https://", "oci://", "s3://", "gs://", "pvc://", "file://", "file:///", "http://", "", "pvc:/"]),
    st.lists(steps, min_size=1, max_size=4),
)


def agree(api: ApiServer, kind: type[Resource], body: dict[str, Any]) -> None:
    answer = api.dry_create(body)
    assert answer.status in (201, 422), answer.body
    complaint = None
    try:
        kind.parse(body)
    except InvalidObject as error:
        complaint = str(error)
    assert answer.accepted == (complaint is None), (answer.body.get("message"), complaint)


@against_a_server
@given(uri=uris)
def test_on_artifacts(api: ApiServer, uri: str) -> None:
    agree(api, Model, model(variants=[variant("v", artifact={"uri": uri, "digest": DIGEST})]))


@against_a_server
@given(quantity=quantities | st.integers(min_value=-2, max_value=2))
@example(quantity="1e99")
@example(quantity="1e-99")
@example(quantity="0.0000000001")
def test_on_quantities(api: ApiServer, quantity: str | int) -> None:
    agree(api, Model, model(variants=[variant("v", memory=quantity)]))


@against_a_server
@given(duration=durations)
@example(duration="0.1ns")
@example(duration="9999999999h")
@example(duration="60m0.0000000001s")
def test_on_durations(api: ApiServer, duration: str) -> None:
    agree(api, LatencySLO, latency_slo(latency=duration))


@against_a_server
@given(decimal=numbers | st.text(alphabet="01.-%", max_size=6))
@example(decimal="99.99999999999999999999")
@example(decimal="1.00000000000000000001")
def test_on_decimals(api: ApiServer, decimal: str) -> None:
    agree(api, LatencySLO, latency_slo(percentile=decimal, minAccuracy=decimal))
    agree(api, LatencySLO, latency_slo(percentile=decimal))
