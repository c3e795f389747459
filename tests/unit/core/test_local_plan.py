"""A site that plans for itself: it grows under load, and takes nothing away from what the hub gave it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from littoral.api.assignment import Assignment, AssignmentSpec, Server
from littoral.core.hardware import default_device_table
from littoral.core.inputs import Copies
from littoral.core.learning import Learner
from littoral.core.local_plan import grown, local_servers
from littoral.core.local_world import local_world
from littoral.core.planner import plan
from littoral.core.world import World
from tests.support.objects import assignment, model, node, pool, server, slo

MEMBER = "store-12"
NAMES = ("digits", "faces", "words")


def spec(*servers: Mapping[str, Any]) -> AssignmentSpec:
    return assignment("edge", servers=servers).spec


def shape(servers: tuple[Server, ...]) -> dict[str, tuple[int, list[str]]]:
    """Replicas and Models of each server."""
    return {it.name: (it.replicas, [model.name for model in it.models]) for it in servers}


ONE, TWO = "triton-edge-cpu", "triton-edge-2-cpu"
FLOOR = {("shop", ONE): 2}


@pytest.mark.parametrize(
    ("planned", "expected"),
    [
        pytest.param([server("digits", replicas=4)], {ONE: (4, ["digits"])}, id="more replicas"),
        pytest.param([server("digits", replicas=1)], {ONE: (2, ["digits"])}, id="never fewer than the hub gave"),
        pytest.param([], {ONE: (2, ["digits"])}, id="never without a server of the hub"),
        pytest.param(
            [server("digits"), server("digits", name=TWO)],
            {ONE: (2, ["digits"]), TWO: (1, ["digits"])},
            id="one more server",
        ),
        pytest.param(
            [server("digits", "faces", replicas=3)], {ONE: (3, ["digits", "faces"])}, id="one more Model beside it"
        ),
        pytest.param([server("faces", replicas=3)], {ONE: (3, ["digits"])}, id="nothing instead of it"),
    ],
)
def test_a_server_of_the_hub(planned: list[Mapping[str, Any]], expected: Mapping[str, Any]) -> None:
    wanted = spec(*planned)
    servers = grown(spec(server("digits", replicas=2)), planned=wanted, staged=wanted, floor=FLOOR)
    assert shape(servers) == expected


def test_what_the_site_has_added_goes_when_it_is_no_longer_needed() -> None:
    here = spec(server("digits", replicas=3), server("digits", name=TWO))
    wanted = spec(server("digits", replicas=2))
    assert shape(grown(here, planned=wanted, staged=here, floor=FLOOR)) == {
        ONE: (3, ["digits"]),
        TWO: (1, ["digits"]),
    }, "while it is awaited that the rest serves"
    assert shape(grown(here, planned=wanted, staged=wanted, floor=FLOOR)) == {ONE: (2, ["digits"])}


def test_a_server_that_only_grows_is_not_changed_otherwise() -> None:
    """Its Pods are not started anew."""
    here, wanted = spec(server("digits", cpu="1")), spec(server("digits", cpu="2", replicas=2))
    (found,) = grown(here, planned=wanted, staged=wanted, floor={})
    assert found == here.servers[0].model_copy(update={"replicas": 2})


_servers = st.lists(
    st.tuples(
        st.sampled_from([ONE, TWO, "triton-edge-3-cpu"]), st.sets(st.sampled_from(NAMES), min_size=1), st.integers(1, 5)
    ),
    unique_by=lambda it: it[0],
    max_size=3,
).map(lambda found: spec(*(server(*sorted(names), name=name, replicas=n) for name, names, n in found)))


@given(given=_servers, planned=_servers, staged=_servers)
def test_nothing_of_the_hub_is_lost_whatever_is_planned(
    given: AssignmentSpec, planned: AssignmentSpec, staged: AssignmentSpec
) -> None:
    floor = {(it.namespace, it.name): it.replicas for it in given.servers}
    found = shape(grown(given, planned=planned, staged=staged, floor=floor))
    for name, (replicas, models) in shape(given.servers).items():
        assert found[name][0] >= replicas
        assert set(found[name][1]) >= set(models)
    assert found.keys() >= shape(planned.servers).keys()


def _site(servers: list[Mapping[str, Any]], *, arrived: float, ready: bool = True) -> Assignment:
    """A site's Assignment, as the hub has made it, with what its gateway has counted for digits."""
    world = World(
        models=tuple(model(name, scaling={"maxReplicas": 20}) for name in NAMES),
        slos=tuple(slo(name) for name in NAMES),
        pools=(pool("edge", member=MEMBER),),
    )
    filled = Copies().fill({"edge": spec(*servers)}, world=world, current={})["edge"]
    routes = [{"namespace": "shop", "name": name} for name in NAMES]
    reports = [
        {
            "name": it["name"],
            "namespace": "shop",
            "replicas": it.get("replicas", 1),
            "readyReplicas": it.get("replicas", 1),
            "models": [
                {
                    "name": served["name"],
                    "variant": served["variant"],
                    "digest": served["artifact"]["digest"],
                    "state": "Ready",
                    "readyReplicas": int(ready) * it.get("replicas", 1),
                }
                for served in it["models"]
            ],
        }
        for it in servers
    ]
    gateway = {
        "replicas": 1,
        "readyReplicas": 1,
        "routes": [{"namespace": "shop", "name": "digits", "arrived": str(arrived)}],
    }
    return assignment(
        "edge",
        spec=filled.dump() | {"member": MEMBER, "routes": routes},
        status={"observedGeneration": 3, "servers": reports, "gateway": gateway},
    )


def _planned(
    it: Assignment, learner: Learner, *, times: int = 30, nodes: int = 4, start: float = 1e6
) -> tuple[Server, ...]:
    """The site's servers after some passes with the same report."""
    floors = {"edge": {(each.namespace, each.name): each.replicas for each in it.spec.servers}}
    for number in range(times):
        world = local_world(
            [it], [node(f"n-{n}", cpu=16.0) for n in range(nodes)], devices=default_device_table(), member=MEMBER
        ).world
        told = learner.learn(world, [it], now=start + 5 * number)
        servers = local_servers(plan(told.problem(world, [it])), current={"edge": it}, floors=floors)["edge"]
        it = it.model_copy(update={"spec": it.spec.model_copy(update={"servers": servers})})
    return it.spec.servers


def _replicas(servers: tuple[Server, ...], name: str) -> int:
    return sum(it.replicas for it in servers if any(model.name == name for model in it.models))


def test_a_site_grows_under_load() -> None:
    """By the same planner as the hub's: one replica is taken for 10 requests/s while nothing is known."""
    servers = [server("digits"), server("faces", name=TWO)]
    assert _replicas(_planned(_site(servers, arrived=45.0), Learner()), "digits") >= 5


def test_a_quiet_site_stays_as_it_is() -> None:
    it = _site([server("digits", replicas=3), server("faces", name=TWO)], arrived=0.0)
    assert shape(_planned(it, Learner(), times=5)) == shape(it.spec.servers)


@settings(max_examples=25, deadline=None)
@given(
    arrived=st.floats(0, 500),
    nodes=st.integers(0, 3),
    ready=st.booleans(),
    models=st.lists(st.tuples(st.sets(st.sampled_from(NAMES), min_size=1), st.integers(1, 3)), min_size=1, max_size=2),
)
def test_no_load_and_no_loss_of_nodes_takes_a_model_away(
    arrived: float, nodes: int, ready: bool, models: list[tuple[set[str], int]]
) -> None:
    names = (ONE, TWO)
    servers = [server(*sorted(them), name=names[number], replicas=count) for number, (them, count) in enumerate(models)]
    it = _site(servers, arrived=round(arrived, 2), ready=ready)
    found = shape(_planned(it, Learner(), times=4, nodes=nodes))
    for name, (replicas, them) in shape(it.spec.servers).items():
        assert found[name][0] >= replicas
        assert set(found[name][1]) >= set(them)
