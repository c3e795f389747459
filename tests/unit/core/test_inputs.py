"""What a member's Assignments carry for planning without the hub, and how a site reads it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from littoral.api.assignment import AssignmentSpec
from littoral.api.inputs import CopiedSpec, PlanningInputs
from littoral.core.hardware import default_device_table
from littoral.core.inputs import Copies
from littoral.core.local_world import LocalWorld, local_world
from littoral.core.world import ModelKey, World, key_of
from tests.support.objects import assignment, model, node, pool, server, slo

WORLD = World(
    models=(model("digits"), model("faces"), model("other")),
    slos=(slo("digits"), slo("other")),
    pools=(pool("edge", member="store-12"), pool("here")),
)
ROUTE = {"namespace": "shop", "name": "faces"}


def spec(*servers: dict[str, Any], **fields: Any) -> AssignmentSpec:
    return assignment("edge", servers=servers).spec.model_copy(update=fields)


def test_members_pools_get_what_is_served_or_routed_there() -> None:
    specs = {"edge": spec(server("digits")), "here": spec(server("digits"))}
    routed = AssignmentSpec.parse(specs["edge"].dump() | {"routes": [ROUTE]})
    filled = Copies().fill(specs | {"edge": routed}, world=WORLD, current={})
    inputs = filled["edge"].inputs
    assert inputs is not None
    assert [it.name for it in inputs.models] == ["digits", "faces"]
    assert [it.name for it in inputs.slos] == ["digits-slo"]
    assert inputs.models[0].spec == model("digits").spec.dump()
    assert inputs.pool["member"] == "store-12"
    assert filled["here"] == specs["here"]
    assert filled["edge"].servers == specs["edge"].servers


def test_the_same_world_gives_the_same_inputs() -> None:
    """Also after they were stored, and by a process that has just started: nothing is written for them."""
    specs = {"edge": spec(server("digits"))}
    copies = Copies()
    first = copies.fill(specs, world=WORLD, current={})["edge"]
    stored = assignment("edge", spec=first.dump())
    for it in (copies, Copies()):
        again = it.fill(specs, world=WORLD, current={"edge": stored})["edge"]
        assert again == stored.spec
        assert again.inputs is stored.spec.inputs


def test_a_change_of_a_model_is_passed_on() -> None:
    specs = {"edge": spec(server("digits"))}
    copies = Copies()
    stored = assignment("edge", spec=copies.fill(specs, world=WORLD, current={})["edge"].dump())
    changed = replace(WORLD, models=(model("digits", priority=7),))
    inputs = copies.fill(specs, world=changed, current={"edge": stored})["edge"].inputs
    assert inputs is not None
    assert inputs.models[0].spec["priority"] == 7


def test_of_too_many_the_most_important_are_copied() -> None:
    many = [model(f"m-{number:03}", priority=number) for number in range(300)]
    world = replace(WORLD, models=tuple(many))
    names = [it.name for it in many]
    halves = server(*names[:150]), server(*names[150:], name="triton-edge-2-cpu")
    filled = Copies().fill({"edge": spec(*halves)}, world=world, current={})
    inputs = filled["edge"].inputs
    assert inputs is not None
    assert [it.name for it in inputs.models] == names[-256:]


def read(*specs: AssignmentSpec, nodes: int = 1, member: str = "store-12") -> LocalWorld:
    assignments = [assignment(f"edge{number or ''}", spec=it.dump()) for number, it in enumerate(specs)]
    found = (node(f"n-{number}") for number in range(nodes))
    return local_world(assignments, found, devices=default_device_table(), member=member)


def test_a_site_sees_its_pools_its_nodes_and_what_runs_there() -> None:
    """What is only routed is served elsewhere: it does not begin to run here because the hub is away."""
    routed = AssignmentSpec.parse(spec(server("digits")).dump() | {"routes": [ROUTE]})
    filled = Copies().fill({"edge": routed}, world=WORLD, current={})["edge"]
    world = read(filled, nodes=2).world
    assert world.models == (model("digits"),)
    assert [it.spec for it in world.slos] == [slo("digits").spec]
    assert world.pools == (pool("edge", member="store-12"),)
    assert [it.name for it in world.nodes_by_pool["edge"]] == ["n-0", "n-1"]


def test_what_cannot_be_read_is_left_out_and_said() -> None:
    inputs = PlanningInputs(
        models=(
            CopiedSpec(namespace="shop", name="digits", spec={"variants": "new"}),
            CopiedSpec(namespace="shop", name="faces", spec=model("faces").spec.dump()),
        ),
        slos=(CopiedSpec(namespace="shop", name="slo", spec={}),),
        pool=pool("edge", member="store-12").spec.dump(),
    )
    found = read(spec(server("digits", "faces"), inputs=inputs), spec(inputs=PlanningInputs(pool={"tier": "sea"})))
    assert [key_of(it) for it in found.world.models] == [ModelKey("shop", "faces")]
    assert [it.partition(":")[0] for it in found.unreadable] == [
        "Model shop/digits",
        "LatencySLO shop/slo",
        "NodePool edge1",
    ]


def test_another_members_pool_is_no_pool_here() -> None:
    filled = Copies().fill({"edge": spec(server("digits"))}, world=WORLD, current={})["edge"]
    assert read(filled, member="store-13").world.pools == ()
