"""Nodes of member clusters: the hub plans with them as with its own, and confuses none with a namesake."""

from __future__ import annotations

import pytest

from littoral.api.assignment import Assignment, AssignmentStatus
from littoral.core.member_nodes import MemberNodes, has_reported
from littoral.core.node_reports import reports_of
from littoral.core.planner.problem import nodes_by_pool
from littoral.core.world import World, in_order
from tests.support.objects import assignment, model, node, pool
from tests.support.planning import planned

GPU = {"nvidia.com/gpu": 2}


def reported(name: str, *nodes: str, member: str | None = "store-12", gpus: int = 0) -> Assignment:
    """The Assignment of a pool whose site reports nodes."""
    found = assignment(name)
    spec = found.spec.model_copy(update={"member": member})
    reports = reports_of(node(each, pool=name, extended={"nvidia.com/gpu": gpus}) for each in nodes)
    status = found.status.model_copy(update={"nodes": reports, "observed_generation": 1})
    return found.model_copy(update={"spec": spec, "status": status})


def test_a_member_s_nodes_are_those_of_its_reports() -> None:
    found = list(MemberNodes().of([reported("b", "n2"), reported("a", "n1", member="store-7"), assignment("none")]))
    assert [(it.member, it.name) for it in found] == [("store-7", "n1"), ("store-12", "n2")]


def test_a_node_that_two_pools_report_is_one_node() -> None:
    found = list(MemberNodes().of([reported("b", "n1", "n2"), reported("a", "n1")]))
    assert [it.name for it in found] == ["n1", "n2"]


def test_the_own_cluster_s_assignments_report_no_nodes() -> None:
    assert not list(MemberNodes().of([reported("a", "n1", member=None)]))


def test_what_is_reported_again_is_not_read_again() -> None:
    reader, first = MemberNodes(), reported("a", "n1")
    (before,) = reader.of([first])
    (after,) = reader.of([first.model_copy(update={"status": first.status.model_copy()})])
    assert after is before
    (changed,) = reader.of([reported("a", "n1", gpus=1)])
    assert changed.extended == {"nvidia.com/gpu": 1}
    assert not list(reader.of([]))


def test_nodes_stay_while_their_report_is_missing() -> None:
    """An Assignment that somebody has deleted is written anew, and its site has yet to report on that one."""
    pools, reader = {"a": "store-12"}, MemberNodes()
    assert [it.name for it in reader.of([reported("a", "n1")], pools=pools)] == ["n1"]
    assert [it.name for it in reader.of([], pools=pools)] == ["n1"]
    anew = reported("a")
    anew = anew.model_copy(update={"status": AssignmentStatus()})
    assert [it.name for it in reader.of([anew], pools=pools)] == ["n1"]
    # That there is none is a report, too.
    assert not list(reader.of([reported("a")], pools=pools))
    assert not list(reader.of([anew], pools=pools))


@pytest.mark.parametrize("pools", [{}, {"a": "store-7"}, {"a": None}, {"b": "store-12"}, None])
def test_nodes_of_a_pool_that_is_gone_are_forgotten(pools: dict[str, str | None] | None) -> None:
    reader = MemberNodes()
    list(reader.of([reported("a", "n1")], pools=pools))
    assert not list(reader.of([], pools=pools))


def test_nodes_are_reported_before_anything_runs() -> None:
    first = reported("a", "n1")
    first = first.model_copy(update={"status": first.status.model_copy(update={"observed_generation": -1})})
    assert has_reported(first)
    assert [it.name for it in MemberNodes().of([first])] == ["n1"]
    assert not has_reported(assignment("a"))


def namesakes() -> World:
    """Two clusters with pools that select by one label, and a node of the same name and labels in each."""
    anywhere = {"matchLabels": {"gpu": "yes"}}
    here = node("n1", pool="x", labels={"gpu": "yes"})
    there = node("n1", pool="x", labels={"gpu": "yes"}, extended=GPU, member="store-12")
    return World(
        models=(model(),),
        pools=(pool("b-here", nodeSelector=anywhere), pool("a-there", nodeSelector=anywhere, member="store-12")),
        nodes=in_order((there, here)),
    )


def test_nodes_of_one_name_in_two_clusters_are_two_nodes() -> None:
    world = namesakes()
    assert [it.member for it in world.nodes] == [None, "store-12"]
    expected = {"b-here": [None], "a-there": ["store-12"]}
    assert {name: [it.member for it in found] for name, found in world.nodes_by_pool.items()} == expected
    found = nodes_by_pool(world.pools, world.nodes)
    assert {name: [it.member for it in nodes] for name, nodes in found.items()} == expected


def test_a_member_s_pool_is_planned_as_any_other() -> None:
    decided = planned(namesakes())
    assert {name: len(spec.servers) for name, spec in decided.assignments.items()} == {"b-here": 1, "a-there": 1}
    assert {name: spec.member for name, spec in decided.assignments.items()} == {"b-here": None, "a-there": "store-12"}


@pytest.mark.parametrize("nodes", [(), (node("n1", pool="edge"),)])
def test_a_member_that_has_not_reported_gets_no_server(nodes: tuple[object, ...]) -> None:
    """Not even where the hub's own cluster has nodes with the labels."""
    world = World(models=(model(),), pools=(pool(member="store-12"),), nodes=nodes)  # type: ignore[arg-type]
    decided = planned(world)
    assert decided.assignments["edge"].servers == ()
