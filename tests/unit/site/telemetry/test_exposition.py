"""The parser of Triton's metrics page."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from littoral.site.telemetry.exposition import Counts, ExpositionParser, Memory, ModelVersion
from tests.unit.site.telemetry.pages import LEVELS, family, metrics_page

A1, B2 = ModelVersion("a", "1"), ModelVersion("b", "2")
PAGE = metrics_page(
    {
        A1: {
            "answered": 40,
            "failures": 3,
            "canceled": 2,
            "items": 90,
            "executions": 30,
            "seconds": 1.5,
            "queued": 0.25,
            "pending": 4,
            "latency": 0.025,
        },
        B2: {},
    }
)


def test_everything_that_is_wanted_is_read() -> None:
    versions = ExpositionParser().parse(PAGE).versions
    assert versions.keys() == {A1, B2}
    assert versions[A1].counts == Counts(
        answered=40, failures=3, canceled=2, items=90, executions=30, seconds=1.5, queued=0.25
    )
    assert versions[A1].counts.requests == 45
    assert versions[A1].pending == 4
    assert versions[A1].quantiles == tuple((level, 0.025) for level in LEVELS)
    assert versions[B2].counts == Counts()
    assert versions[B2].quantiles == ()


def test_the_values_are_those_that_the_official_parser_reads() -> None:
    versions = ExpositionParser().parse(PAGE).versions
    samples = {
        (sample.name, sample.labels["model"], sample.labels["version"], sample.labels.get("quantile")): sample.value
        for each in text_string_to_metric_families(PAGE)
        for sample in each.samples
        if "model" in sample.labels and "reason" not in sample.labels
    }
    for key, metrics in versions.items():
        # The official parser knows counters by the names that OpenMetrics gives them.
        assert samples["nv_inference_request_success_total", *key, None] == metrics.counts.answered
        assert samples["nv_inference_exec_count_total", *key, None] == metrics.counts.executions
        assert samples["nv_inference_queue_duration_us_total", *key, None] == metrics.counts.queued * 1e6
        for level, seconds in metrics.quantiles:
            assert samples["nv_inference_request_summary_us", *key, str(level)] == pytest.approx(seconds * 1e6)


def test_a_second_page_is_not_mixed_up_with_the_first() -> None:
    parser = ExpositionParser()
    parser.parse(PAGE)
    later = parser.parse(metrics_page({B2: {"answered": 1}}))
    assert {key: metrics.counts.answered for key, metrics in later.versions.items()} == {B2: 1}


@pytest.mark.parametrize(
    "page",
    [
        pytest.param("", id="nothing"),
        pytest.param(family("nv_cpu_utilization", {"": 0}), id="no models yet"),
        pytest.param("# TYPE nv_inference_count counter", id="cut off after a family's name"),
        pytest.param("# TYPE nv_inference_count counter\n", id="a family without rows"),
        pytest.param("<html>not the metrics</html>\n", id="something else"),
    ],
)
def test_a_page_without_models(page: str) -> None:
    exposition = ExpositionParser().parse(page)
    assert exposition.versions == {}
    assert exposition.memory is None


@pytest.mark.parametrize("value", ["Nan", "NaN", "+Inf", "-1", "one", ""])
def test_a_counter_that_is_no_count_spoils_the_page(value: str) -> None:
    page = family("nv_inference_count", {'model="a",version="1"': value})
    with pytest.raises(ValueError, match=r"not a count|could not convert"):
        ExpositionParser().parse(page)


@pytest.mark.parametrize(("value", "expected"), [("Nan", 0), ("-3", 0), ("+Inf", 0), ("2", 2)])
def test_a_gauge_that_is_no_number_counts_as_absent(value: str, expected: float) -> None:
    label = 'model="a",version="1"'
    page = family("nv_inference_count", {label: 1}) + family("nv_inference_pending_request_count", {label: value})
    assert ExpositionParser().parse(page).versions[A1].pending == expected


def test_a_model_on_several_gpus_is_one() -> None:
    labels = [f'gpu_uuid="GPU-{number}",model="a",version="1"' for number in (1, 2)]
    page = (
        family("nv_inference_request_success", {labels[0]: 3, labels[1]: 4})
        + family("nv_inference_pending_request_count", {labels[0]: 1, labels[1]: 2}, kind="gauge")
        + family(
            "nv_inference_request_summary_us",
            {f'{labels[0]},quantile="0.99"': 900, f'{labels[1]},quantile="0.99"': 400},
            kind="summary",
        )
        + family("nv_gpu_memory_used_bytes", {f'gpu_uuid="GPU-{n}"': 2.0 * 2**30 for n in (1, 2)}, kind="gauge")
        + family("nv_gpu_memory_total_bytes", {f'gpu_uuid="GPU-{n}"': 8.0 * 2**30 for n in (1, 2)}, kind="gauge")
    )
    exposition = ExpositionParser().parse(page)
    metrics = exposition.versions[A1]
    assert metrics.counts.answered == 7
    assert metrics.pending == 3
    assert metrics.quantiles == ((0.99, pytest.approx(0.0009)),)
    assert exposition.memory == Memory(used=4 * 2**30, total=16 * 2**30)


def test_labels_may_come_in_any_order_and_hold_anything() -> None:
    page = family("nv_inference_count", {r'version="1",_note="a \"}\" \\ 5",model="a"': 5})
    assert ExpositionParser().parse(page).versions[A1].counts.items == 5
