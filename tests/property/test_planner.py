"""What holds of every plan, whatever the world."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from littoral.api.assignment import AssignmentSpec
from littoral.api.latencyslo import LatencySLO, Overflow
from littoral.api.model import Model
from littoral.api.nodepool import NodePool, Tier
from littoral.core.hardware import CPU, Node
from littoral.core.planner import plan
from littoral.core.world import World, key_of
from tests.support.objects import model, node, pool, slo, variant

POOLS = ("berlin", "cloud", "paris")
MODELS = ("a", "b", "c")
CLASSES = {"cpu": "onnxruntime", "nvidia-gpu": "onnxruntime", "intel-npu": "openvino"}
RESOURCES = {"nvidia-gpu": "nvidia.com/gpu", "intel-npu": "npu.intel.com/accel"}


@st.composite
def models(draw: st.DrawFn) -> Model:
    classes = draw(st.lists(st.sampled_from(sorted(CLASSES)), min_size=1, max_size=3, unique=True))
    return model(
        draw(st.sampled_from(MODELS)),
        namespace=draw(st.sampled_from(("shop", "factory"))),
        priority=draw(st.integers(0, 3)),
        variants=[
            variant(
                f"v-{name}", accelerator=name, backend=CLASSES[name], accuracy=draw(st.sampled_from(("0.7", "0.9")))
            )
            for name in classes
        ],
        scaling={"minReplicas": draw(st.integers(0, 5)), "maxReplicas": draw(st.integers(5, 9))},
    )


@st.composite
def pools(draw: st.DrawFn, name: str) -> NodePool:
    limit = draw(st.none() | st.integers(0, 3))
    return pool(name, tier="cloud" if name == "cloud" else "edge", limits={} if limit is None else {"servers": limit})


@st.composite
def nodes(draw: st.DrawFn, name: str) -> Node:
    return node(
        name,
        pool=draw(st.sampled_from(POOLS)),
        ready=draw(st.booleans()),
        cpu=float(draw(st.integers(1, 8))),
        extended={resource: draw(st.integers(0, 2)) for resource in RESOURCES.values()},
    )


@st.composite
def slos(draw: st.DrawFn) -> LatencySLO:
    return slo(
        draw(st.sampled_from(MODELS)),
        namespace=draw(st.sampled_from(("shop", "factory"))),
        overflow=draw(st.sampled_from(("Allow", "Never"))),
        **draw(st.sampled_from(({}, {"sites": {"matchNames": ["berlin"]}}, {"minAccuracy": "0.8"}))),
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    names = draw(st.lists(st.sampled_from(POOLS), unique=True))
    return World(
        models=tuple(draw(st.lists(models(), max_size=6, unique_by=key_of))),
        slos=tuple(draw(st.lists(slos(), max_size=3))),
        pools=tuple(draw(pools(name)) for name in names),
        nodes=tuple(draw(nodes(f"n{index}")) for index in range(draw(st.integers(0, 5)))),
    )


@given(worlds())
def test_no_device_is_given_twice(world: World) -> None:
    for name, spec in plan(world).assignments.items():
        there = Counter[str]()
        for found in world.nodes_by_pool[name]:
            for device in world.devices.devices(found):
                there[device.device_class] += device.count
        taken = Counter[str]()
        for server in spec.servers:
            taken[server.accelerator] += server.replicas
        assert all(taken[device_class] <= there[device_class] for device_class in taken if device_class != CPU)


@given(worlds())
def test_limits_of_pools_are_kept(world: World) -> None:
    limits = {found.name: found.spec.limits.servers for found in world.pools}
    for name, spec in plan(world).assignments.items():
        most = limits[name]
        assert most is None or sum(server.replicas for server in spec.servers) <= most


@given(worlds())
def test_what_must_stay_at_its_site_stays(world: World) -> None:
    tiers = {found.name: found.spec.tier for found in world.pools}
    for key, decision in plan(world).decisions.items():
        mine = world.slos_by_model.get(key, ())
        if mine and all(found.spec.overflow == Overflow.NEVER for found in mine):
            assert all(tiers[placement.pool] == Tier.EDGE for placement in decision.placements)


@given(worlds())
def test_decisions_and_assignments_agree(world: World) -> None:
    decided = plan(world)
    said = {
        (p.pool, key.namespace, p.server, key.name, p.variant, p.replicas)
        for key, decision in decided.decisions.items()
        for p in decision.placements
    }
    assigned = {
        (name, server.namespace, server.name, served.name, served.variant, server.replicas)
        for name, spec in decided.assignments.items()
        for server in spec.servers
        for served in server.models
    }
    assert said == assigned


@given(worlds())
def test_an_assignment_read_back_is_the_one_that_was_written(world: World) -> None:
    """Else every pass would write it anew."""
    for spec in plan(world).assignments.values():
        assert AssignmentSpec.parse(spec.dump()) == spec


@given(worlds())
def test_every_pool_is_accounted_for(world: World) -> None:
    """Each Model is placed in a pool, or the reason why it is not there is given."""
    for decision in plan(world).decisions.values():
        for found in world.pools:
            here = any(placement.pool == found.name for placement in decision.placements)
            refused = any(r.pool == found.name and r.variant is None for r in decision.rejections)
            assert here != refused


@given(worlds(), st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_the_order_in_which_objects_are_listed_does_not_matter(world: World, shuffler: random.Random) -> None:
    other = World(
        models=tuple(shuffler.sample(world.models, len(world.models))),
        slos=world.slos,
        pools=tuple(shuffler.sample(world.pools, len(world.pools))),
        nodes=tuple(shuffler.sample(world.nodes, len(world.nodes))),
    )
    assert plan(other).assignments == plan(world).assignments
