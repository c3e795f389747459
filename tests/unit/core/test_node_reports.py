"""Nodes travel from a member cluster to the hub without loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from littoral.api.nodes import NodeReport, NodeTaint
from littoral.core.hardware import Node, Taint
from littoral.core.node_reports import MOST_NODES, node_of, report_of, reports_of
from tests.support.objects import node

_words = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
_quantities = st.one_of(
    st.integers(0, 2**40).map(str),
    st.integers(0, 64_000).map(lambda it: f"{it}m"),
    st.integers(0, 2**20).map(lambda it: f"{it}Ki"),
    st.sampled_from(["", "what", "-1", "1e99"]),
)
_bodies = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries({"name": _words, "labels": st.dictionaries(_words, _words, max_size=4)}),
        "spec": st.fixed_dictionaries(
            {
                "unschedulable": st.booleans(),
                "taints": st.lists(
                    st.fixed_dictionaries(
                        {"key": _words, "effect": st.sampled_from(["NoSchedule", "NoExecute", "PreferNoSchedule"])}
                    ),
                    max_size=3,
                ),
            }
        ),
        "status": st.fixed_dictionaries(
            {
                "allocatable": st.dictionaries(
                    st.one_of(st.sampled_from(["cpu", "memory"]), _words.map(lambda it: f"example.com/{it}")),
                    _quantities,
                    max_size=5,
                ),
                "conditions": st.lists(
                    st.fixed_dictionaries({"type": st.just("Ready"), "status": st.sampled_from(["True", "Unknown"])}),
                    max_size=1,
                ),
            }
        ),
    }
)


@given(_bodies)
def test_a_node_comes_back_as_it_was(body: dict[str, Any]) -> None:
    """By way of JSON, as it travels; but for whose it is."""
    there = Node.from_object(body)
    report = NodeReport.parse(report_of(there).dump())
    assert node_of(report, member="store-12") == replace(there, member="store-12")


def test_a_report_reads_well() -> None:
    """Numbers are as a person would write them."""
    there = node(cpu=3.92, memory=8 * 2.0**30, extended={"nvidia.com/gpu": 1}, taints=(Taint("a", "NoExecute"),))
    assert report_of(there).dump() == {
        "name": "edge-1",
        "ready": True,
        "schedulable": True,
        "cpu": "3920m",
        "memory": "8Gi",
        "labels": {"littoral.dev/pool": "edge"},
        "extended": {"nvidia.com/gpu": 1},
        "taints": [{"key": "a", "effect": "NoExecute"}],
    }


def test_reports_are_ordered_and_bounded() -> None:
    """A pool with too many nodes is reported in part, and always the same part."""
    nodes = [node(f"n-{number:03}") for number in range(MOST_NODES + 4)]
    reports = reports_of(reversed(nodes))
    assert [report.name for report in reports] == [it.name for it in nodes[:MOST_NODES]]
    assert reports == reports_of(nodes)


def test_what_a_node_has_is_told_before_what_it_lacks() -> None:
    """Of many extended resources, those with devices are kept."""
    extended = {f"example.com/none-{number:03}": 0 for number in range(100)} | {"nvidia.com/gpu": 2}
    report = report_of(node(extended=extended))
    assert len(report.extended) == 64
    assert report.extended["nvidia.com/gpu"] == 2


def test_a_member_cannot_claim_what_no_machine_has() -> None:
    """Numbers beyond reason count as none, as those of a Node do."""
    report = NodeReport(
        name="edge-1",
        cpu="-4",
        memory="1e90",
        extended={"nvidia.com/gpu": 2**30, "cpu": 4},
        taints=(NodeTaint(key="a", effect="Whatever"),),
    )
    read = node_of(report, member="store-12")
    assert (read.cpu, read.memory, read.extended, read.taints) == (0.0, 0.0, {"nvidia.com/gpu": 0}, ())
    assert not read.ready
