"""What is reported of a model, when, and how it is written."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from littoral.api.measurement import BATCH_SAMPLES, ModelMeasurement
from littoral.core.capacity import Measured
from littoral.site.telemetry.exposition import Counts
from littoral.site.telemetry.figures import (
    AT_LEISURE,
    AT_ONCE,
    SOON,
    Figures,
    patience,
    read,
    telling_sizes,
    write,
)
from littoral.site.telemetry.window import IDLE, Distribution, Estimate
from tests.unit.site.telemetry.pages import LEVELS

BATCHES = {1: Measured(executions=500, seconds=0.002), 4: Measured(executions=100, seconds=0.005)}
BUSY = Figures(
    seen=1200,
    rate=20,
    answered=1200,
    mean=0.010,
    p50=0.009,
    p95=0.020,
    p99=0.030,
    queue=0.002,
    batch=1.5,
    batches=BATCHES,
    memory=400 * 2.0**20,
    load_time=2.5,
    max_batch=8,
    instances=2,
)
QUIET = Figures(seen=0, rate=0, batches=BATCHES)


def test_figures_of_an_estimate() -> None:
    estimate = Estimate(
        rates=Counts(answered=20, failures=1, canceled=1, items=60, executions=15, seconds=0.4, queued=0.1),
        requests=660,
        pending=0.5,
        distributions=(Distribution(weight=600, quantiles=tuple((level, level / 10) for level in LEVELS)),),
    )
    assert Figures(batches=BATCHES, load_time=2.5, max_batch=8, instances=2, rate=99).at(estimate) == Figures(
        seen=660,
        rate=22,
        failures=1,
        answered=600,
        mean=0.02,
        p50=0.05,
        p95=0.095,
        p99=0.099,
        queue=0.005,
        pending=0.5,
        batch=4,
        batches=BATCHES,
        load_time=2.5,
        max_batch=8,
        instances=2,
    )


def test_figures_of_an_idle_model() -> None:
    assert Figures(batches=BATCHES).at(IDLE) == QUIET


def test_a_measurement_in_words() -> None:
    assert write(BUSY) == ModelMeasurement.parse(
        {
            "rate": "20",
            "latency": {"requests": 1200, "mean": "10ms", "p50": "9ms", "p95": "20ms", "p99": "30ms"},
            "queue": "2ms",
            "batch": "1.5",
            "batches": [{"size": 1, "count": 500, "time": "2ms"}, {"size": 4, "count": 100, "time": "5ms"}],
            "memory": "400Mi",
            "loadTime": "2.5s",
            "maxBatch": 8,
            "instances": 2,
        }
    )


def test_numbers_are_rounded() -> None:
    written = write(Figures(rate=1234.5, mean=0.0012345, answered=3, memory=1234567890.0))
    assert written is not None
    assert (written.rate, written.memory) == ("1230", "1177Mi")
    assert written.latency is not None
    assert written.latency.mean == "1.23ms"


def test_nothing_to_say() -> None:
    assert write(Figures()) is None


positive = st.floats(min_value=1e-5, max_value=1e6)
maybe = st.none() | positive
whole = st.none() | st.integers(min_value=1, max_value=2**31 - 1)


@given(
    st.builds(
        Figures,
        rate=maybe,
        failures=maybe,
        answered=st.floats(min_value=0, max_value=1e9),
        mean=st.none() | st.floats(min_value=0, max_value=1e4),
        p50=maybe,
        p99=maybe,
        queue=maybe,
        pending=maybe,
        batch=maybe,
        memory=st.none() | st.floats(min_value=0, max_value=1e12),
        load_time=maybe,
        max_batch=whole,
        instances=whole,
        batches=st.dictionaries(
            st.integers(min_value=1, max_value=512),
            st.builds(Measured, executions=st.floats(min_value=0.01, max_value=1e6), seconds=positive),
            max_size=40,
        ),
    )
)
def test_what_is_written_is_valid_and_says_the_same_when_read(figures: Figures) -> None:
    """Whatever was measured, the API server takes it, and after a restart it is no news."""
    written = write(figures)
    if written is None:
        return
    assert ModelMeasurement.parse(written.dump()) == written
    assert len(written.batches) <= BATCH_SAMPLES
    assert write(read(written)) == written
    if figures.rate is not None and figures.rate >= 1e-3:
        assert read(written).rate == pytest.approx(figures.rate, rel=5e-3)


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        pytest.param(Figures(), QUIET, AT_LEISURE, id="first figures of a model that nobody asks"),
        pytest.param(Figures(), BUSY, AT_ONCE, id="first figures of one that is asked"),
        pytest.param(QUIET, QUIET, None, id="idle"),
        pytest.param(BUSY, BUSY, None, id="steady"),
        pytest.param(BUSY, replace(BUSY, rate=20.9), None, id="too little to care"),
        pytest.param(BUSY, replace(BUSY, rate=23), SOON, id="more than chance"),
        pytest.param(BUSY, replace(BUSY, rate=23, seen=60), None, id="chance, with so few requests"),
        pytest.param(replace(BUSY, seen=60), replace(BUSY, rate=21.4), SOON, id="less, but much more certain by now"),
        pytest.param(BUSY, replace(BUSY, rate=40), AT_ONCE, id="a load that rises fast"),
        pytest.param(BUSY, replace(BUSY, rate=40, seen=40), SOON, id="or that may be chance"),
        pytest.param(BUSY, replace(BUSY, rate=10), SOON, id="a load that falls"),
        pytest.param(BUSY, QUIET, SOON, id="a load that ends"),
        pytest.param(replace(QUIET, rate=0.02, mean=0.01), QUIET, AT_LEISURE, id="hardly a load that ends"),
        pytest.param(QUIET, replace(QUIET, rate=0.02, mean=0.01, seen=1), AT_LEISURE, id="hardly a load"),
        pytest.param(BUSY, replace(BUSY, failures=1), AT_ONCE, id="failures begin"),
        pytest.param(replace(BUSY, failures=1), BUSY, SOON, id="failures end"),
        pytest.param(BUSY, BUSY.learned(), SOON, id="nobody answers any more"),
        pytest.param(BUSY, replace(BUSY, mean=0.012), SOON, id="slower"),
        pytest.param(BUSY, replace(BUSY, p99=0.034), None, id="a percentile within its chance"),
        pytest.param(BUSY, replace(BUSY, p99=0.045), SOON, id="a percentile beyond it"),
        pytest.param(BUSY, replace(BUSY, p99=None), None, id="a percentile with too few requests by now"),
        pytest.param(replace(BUSY, p99=None), BUSY, SOON, id="a percentile that can be told at last"),
        pytest.param(
            replace(BUSY, mean=40e-6, p50=None), replace(BUSY, mean=80e-6, p50=None), None, id="too short to matter"
        ),
        pytest.param(BUSY, replace(BUSY, pending=0.9), None, id="a request waits"),
        pytest.param(BUSY, replace(BUSY, pending=5), SOON, id="requests wait"),
        pytest.param(BUSY, replace(BUSY, batch=3), SOON, id="larger batches"),
        pytest.param(BUSY, replace(BUSY, memory=500 * 2.0**20), SOON, id="more memory"),
        pytest.param(BUSY, replace(BUSY, load_time=2.6), None, id="loaded about as fast"),
        pytest.param(BUSY, replace(BUSY, load_time=9), SOON, id="loaded much more slowly"),
        pytest.param(BUSY, replace(BUSY, max_batch=4), SOON, id="smaller batches"),
        pytest.param(BUSY, replace(BUSY, instances=1), SOON, id="fewer instances"),
        pytest.param(replace(BUSY, max_batch=None, instances=None), BUSY, SOON, id="the configuration is known now"),
        pytest.param(QUIET, replace(QUIET, max_batch=8), AT_LEISURE, id="that of a model that nobody asks"),
        pytest.param(
            BUSY,
            replace(BUSY, batches=BATCHES | {1: Measured(executions=900, seconds=0.002)}),
            None,
            id="more batches of the same time",
        ),
        pytest.param(
            BUSY,
            replace(BUSY, batches=BATCHES | {1: Measured(executions=9000, seconds=0.002)}),
            SOON,
            id="so many more that it is certain",
        ),
        pytest.param(
            BUSY,
            replace(BUSY, batches=BATCHES | {1: Measured(executions=900, seconds=0.003)}),
            SOON,
            id="batches that take longer",
        ),
        pytest.param(
            BUSY,
            replace(BUSY, batches=BATCHES | {8: Measured(executions=3, seconds=0.1)}),
            None,
            id="a few batches of a new size",
        ),
        pytest.param(
            BUSY,
            replace(BUSY, batches=BATCHES | {8: Measured(executions=30, seconds=0.1)}),
            SOON,
            id="many batches of a new size",
        ),
    ],
)
def test_patience(before: Figures, now: Figures, expected: float | None) -> None:
    assert patience(before, now) == expected


def test_what_was_reported_is_never_news_again() -> None:
    assert patience(read(ModelMeasurement.parse(write(BUSY).dump())), replace(BUSY, seen=math.inf)) is None  # type: ignore[union-attr]


def test_the_sizes_that_tell_most() -> None:
    batches = {size: Measured(executions=1000 - size, seconds=0.001) for size in range(1, 33)}
    assert telling_sizes(batches) == [1, 2, 3, 4, 5, 6, 7, 32]
    assert telling_sizes({3: Measured(executions=1, seconds=1)}) == [3]
    assert telling_sizes({}) == []


def test_a_measurement_is_small_however_much_there_is_to_say() -> None:
    """A status is bounded by its 256 models of 1,024 servers; what counts is that a hundred models fit easily."""
    third = 1 / 3
    batches = {size: Measured(executions=12345.6, seconds=size * third / 1000) for size in range(1, 129)}
    full = Figures(
        rate=1234.5,
        failures=third,
        answered=74070,
        mean=third,
        p50=third,
        p95=third,
        p99=third,
        queue=third,
        pending=third,
        batch=third,
        batches=batches,
        memory=1e10,
        load_time=third,
        max_batch=128,
        instances=16,
    )
    written = write(full)
    assert written is not None
    assert len(json.dumps(written.dump(), separators=(",", ":"))) < 700
