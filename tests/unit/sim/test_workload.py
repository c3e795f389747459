"""Workloads: traces are read and scaled up, shapes have the rates they should, and all of it follows from the seed."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from littoral.sim.workload import PEAK, SHAPES, SPREAD, Workload, generated, read_trace, replayed, superposed

AZURE = "TIMESTAMP,ContextTokens\n2023-11-16 18:17:03.9799600,5\n2023-11-16 18:17:05.2299600,7\n"


def test_a_trace_with_dates(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(AZURE)
    assert read_trace(path) == pytest.approx([0.0, 1.25])


def test_a_trace_that_is_compressed_and_out_of_order(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv.gz"
    path.write_bytes(gzip.compress(b"x,TIMESTAMP\n1,107.5\n2,100\n"))
    assert read_trace(path) == [0.0, 7.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [("time\n1\n", "no column TIMESTAMP"), ("TIMESTAMP\n", "no request"), ("TIMESTAMP\nsoon\n", "soon")],
)
def test_what_is_no_trace(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_trace(path)


def test_copies_stay_near_the_original() -> None:
    times = superposed([100.0, 900.0], copies=50, seed=1)
    assert len(times) == 100
    assert times == sorted(times)
    assert all(100 <= time <= 100 + SPREAD for time in times[:50])
    assert all(900 <= time <= 900 + SPREAD for time in times[50:])
    assert times == superposed([100.0, 900.0], copies=50, seed=1)
    assert times != superposed([100.0, 900.0], copies=50, seed=2)


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_have_their_rates_and_halves_that_are_alike(name: str) -> None:
    shape = SHAPES[name]
    assert max(shape(second) for second in range(3600)) <= PEAK
    workload = generated(name, seed=3)
    times = workload.arrivals["site"]
    assert len(times) == pytest.approx(sum(shape(second + 0.5) for second in range(3600)), rel=0.02)
    early = sum(time < workload.half for time in times)
    assert early == pytest.approx(len(times) / 2, rel=0.03)


def test_the_beginning_of_a_workload(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(AZURE)
    workload = replayed(path, name="mine", copies=3)
    assert len(workload.arrivals["site"]) == 6
    cut = Workload(name="two", arrivals={"b": [1.0, 3.0], "a": [2.0]}, seconds=9.0).first(2.5)
    assert cut.merged() == [(1.0, "b"), (2.0, "a")]
    assert cut.seconds == 2.5
