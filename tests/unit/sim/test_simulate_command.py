"""`littoral simulate`: the table, the plot, and what it says to nonsense."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from littoral.cli.main import main


def simulate(*arguments: str) -> tuple[int, str]:
    """Exit code and output."""
    ran = CliRunner().invoke(main, ["simulate", *arguments])
    return ran.exit_code, ran.output


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "shop.csv"
    path.write_text("TIMESTAMP\n" + "".join(f"{index / 10}\n" for index in range(1200)))
    return path


def test_a_table_and_a_plot_of_a_trace(trace: Path, tmp_path: Path) -> None:
    picture = tmp_path / "plot.svg"
    code, output = simulate("--trace", str(trace), "--copies", "2", "--quick", "--plot", str(picture))
    assert code == 0, output
    for policy in ("Littoral", "HPA", "KEDA", "static peak", "clairvoyant"):
        assert sum(f"shop       {policy}" in line for line in output.splitlines()) == 1
    drawn = ElementTree.parse(picture).getroot()
    assert len(drawn.findall("{*}polyline")) == 5


def test_every_setting_for_programs() -> None:
    code, output = simulate("--shape", "steady", "--quick", "--policy", "keda", "-o", "json")
    assert code == 0, output
    (comparison,) = json.loads(output[output.index("{") :])["comparisons"]
    (policy,) = comparison["policies"]
    assert policy["name"] == "KEDA"
    assert len(policy["trials"]) == 3
    assert all(trial["requests"] > 8_000 for trial in policy["trials"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--latency", "50ms"), "no replica can keep 50ms"),
        (("--latency", "soon"), "soon"),
        (("--percentile", "100"), "100"),
        (("--trace", __file__), "cannot read the trace"),
    ],
)
def test_nonsense_is_named(arguments: tuple[str, ...], message: str) -> None:
    code, output = simulate(*arguments)
    assert code == 1
    assert message in output
