"""What holds for every plan, whatever the world, its demand, and what runs already."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter, defaultdict
from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from littoral.api.assignment import Assignment, AssignmentSpec
from littoral.api.latencyslo import LatencySLO
from littoral.api.model import Model
from littoral.api.nodepool import NodePool
from littoral.api.quantity import parse_quantity
from littoral.core.capacity import BatchTime, max_rate
from littoral.core.capacity.sharing import Tenant, fits
from littoral.core.hardware import CPU, Node
from littoral.core.plan import Plan
from littoral.core.planner import Memo, Problem, RateKey, Service, Speed, Tuning, build_problem, plan
from littoral.core.planner.company import Guest, habit, together
from littoral.core.world import ModelKey, World, key_of
from tests.support.objects import model, node, pool, slo, variant

POOLS = ("berlin", "cloud", "paris")
SITES = ("berlin", "paris")
MODELS = ("a", "b", "c")
CLASSES = {"cpu": "onnxruntime", "nvidia-gpu": "onnxruntime", "intel-npu": "openvino"}
RESOURCES = {"nvidia-gpu": "nvidia.com/gpu", "intel-npu": "npu.intel.com/accel"}

Demand = dict[tuple[ModelKey, str | None], float | None]
Rates = dict[RateKey, Speed]

pytestmark = pytest.mark.filterwarnings("error")
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def models(draw: st.DrawFn) -> Model:
    classes = draw(st.lists(st.sampled_from(sorted(CLASSES)), min_size=1, max_size=3, unique=True))
    return model(
        draw(st.sampled_from(MODELS)),
        namespace=draw(st.sampled_from(("shop", "factory"))),
        priority=draw(st.integers(0, 2)),
        variants=[
            variant(
                f"v-{name}",
                accelerator=name,
                backend=CLASSES[name],
                accuracy=draw(st.sampled_from(("0.7", "0.9"))),
                memory=draw(st.sampled_from(("100Mi", "3Gi", "6Gi"))),
                cpu=draw(st.sampled_from(("250m", "1500m"))),
            )
            for name in classes
        ],
        scaling={"minReplicas": draw(st.integers(0, 3)), "maxReplicas": draw(st.integers(3, 9))},
    )


@st.composite
def pools(draw: st.DrawFn, name: str) -> NodePool:
    limit = draw(st.none() | st.integers(0, 5))
    return pool(
        name,
        tier="cloud" if name == "cloud" else "edge",
        limits={} if limit is None else {"servers": limit},
        network={"roundTrip": {"paris": "5ms"}} if name == "berlin" and draw(st.booleans()) else {},
    )


@st.composite
def nodes(draw: st.DrawFn, name: str) -> Node:
    return node(
        name,
        pool=draw(st.sampled_from(POOLS)),
        ready=draw(st.integers(0, 5)) > 0,
        cpu=float(draw(st.integers(1, 8))),
        extended={resource: draw(st.integers(0, 2)) for resource in RESOURCES.values()},
        labels={"nvidia.com/gpu.memory": draw(st.sampled_from(("4096", "8192")))},
    )


@st.composite
def slos(draw: st.DrawFn) -> LatencySLO:
    return slo(
        draw(st.sampled_from(MODELS)),
        namespace=draw(st.sampled_from(("shop", "factory"))),
        overflow=draw(st.sampled_from(("Allow", "Never"))),
        demand={"floor": draw(st.sampled_from(("0", "0", "5")))},
        **draw(st.sampled_from(({}, {"sites": {"matchNames": ["berlin"]}}, {"minAccuracy": "0.8"}))),
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    names = draw(st.lists(st.sampled_from(POOLS), unique=True))
    return World(
        models=tuple(draw(st.lists(models(), max_size=5, unique_by=key_of))),
        slos=tuple(draw(st.lists(slos(), max_size=3))),
        pools=tuple(draw(pools(name)) for name in names),
        nodes=tuple(draw(nodes(f"n{index}")) for index in range(draw(st.integers(0, 6)))),
    )


def fast(service: Service) -> Speed:
    """The Speed of a Service, as learning makes it."""
    rate = max_rate(
        batch_time=service.batch_time, max_batch=service.max_batch, percentile=service.percentile, budget=service.budget
    )
    return Speed(rate, service.batch_time.throughput(service.max_batch), service=service)


def services() -> st.SearchStrategy[Service]:
    """Batches of 1 ms to some 100 ms, budgets that some of them cannot keep even alone."""
    return st.builds(
        Service,
        batch_time=st.builds(
            BatchTime, base=st.sampled_from((0.0, 0.001, 0.01)), per_item=st.sampled_from((0.001, 0.004, 0.03))
        ),
        max_batch=st.sampled_from((1, 4, 16)),
        percentile=st.sampled_from((None, 50.0, 99.0, 99.9)),
        budget=st.sampled_from((0.008, 0.03, 0.05, 0.1, 0.5)),
    )


@st.composite
def problems(draw: st.DrawFn) -> tuple[World, Demand, Rates, Tuning]:
    """A world, its demand and its speeds. Small parts are planned whole, or apart as large ones are."""
    world = draw(worlds())
    amounts = st.none() | st.sampled_from((0.0, 0.01, 0.5, 3.0, 12.0, 40.0, 200.0))
    demand: Demand = {
        (key_of(m), site): draw(amounts) for m in world.models for site in SITES if draw(st.integers(0, 4))
    }
    demand |= {(key_of(m), None): draw(amounts) for m in world.models if not draw(st.integers(0, 3))}
    plain = st.sampled_from((0.0, 4.0, 10.0, 50.0)).map(lambda rate: Speed(rate, 20.0))
    speeds = draw(st.sampled_from((plain, services().map(fast), plain | services().map(fast))))
    rates = {
        RateKey(key_of(m), v.name, v.accelerator, p.name): draw(speeds)
        for m in world.models
        for v in m.spec.variants
        for p in world.pools
        if draw(st.integers(0, 3))
    }
    return world, demand, rates, Tuning(whole=draw(st.sampled_from((0, 60))), gateways=draw(st.booleans()))


def solved(found: tuple[World, Demand, Rates, Tuning]) -> tuple[Problem, Plan]:
    world, demand, rates, tuning = found
    problem = build_problem(world, demand=demand, rates=rates, tuning=tuning)
    return problem, plan(problem)


def applied(decided: Plan) -> list[Assignment]:
    return [Assignment.parse({"metadata": {"name": n}, "spec": s.dump()}) for n, s in decided.assignments.items()]


def speed(problem: Problem, key: ModelKey, variant_name: str, accelerator: str, pool_name: str) -> float:
    """What a replica was taken to serve: best effort where the SLO cannot be kept."""
    tuning = problem.tuning
    found = problem.rates.get(RateKey(key, variant_name, accelerator, pool_name))
    return tuning.default_rate if found is None else found.rate


def no_device_core_byte_or_slot_is_given_twice(world: World, problem: Problem, decided: Plan) -> None:
    for name, spec in decided.assignments.items():
        there = world.nodes_by_pool[name]
        taken = Counter[str]()
        for server in spec.servers:
            taken[server.accelerator] += server.replicas
        for device_class, resource in RESOURCES.items():
            assert taken[device_class] <= sum(n.extended[resource] for n in there if n.usable)
        cores = sum(parse_quantity(server.cpu or 0) * server.replicas for server in spec.servers)
        memory = sum(parse_quantity(server.memory or 0) * server.replicas for server in spec.servers)
        assert float(cores) <= sum(n.cpu for n in there if n.usable) + 1e-6
        assert float(memory) <= sum(n.memory for n in there if n.usable)
        limit = next(p for p in world.pools if p.name == name).spec.limits.servers
        assert limit is None or sum(server.replicas for server in spec.servers) <= limit


def model_sets_fit_their_device(world: World, problem: Problem, decided: Plan) -> None:
    variants = {(key_of(m), v.name): v for m in world.models for v in m.spec.variants}
    for name, spec in decided.assignments.items():
        for server in spec.servers:
            if server.accelerator != "nvidia-gpu":
                continue
            needed = sum(
                parse_quantity(variants[ModelKey(server.namespace, m.name), m.variant].memory or 0)
                for m in server.models
            )
            largest = max(float(n.labels["nvidia.com/gpu.memory"]) * 2**20 for n in world.nodes_by_pool[name])
            assert float(needed) <= largest


def no_server_is_loaded_beyond_its_replicas(world: World, problem: Problem, decided: Plan) -> None:
    """Over each group of servers that could be one, the shares of their rates add up to their replicas at most."""
    load: dict[tuple[str, str, str], float] = defaultdict(float)
    for flow in decided.flows:
        v = next(v for v in problem.models[flow.model].variants if v.name == flow.variant)
        rate = speed(problem, flow.model, v.name, v.accelerator, flow.pool)
        if not flow.late:
            load[flow.pool, flow.model.namespace, v.accelerator] += flow.rate / rate
    for (pool_name, namespace, accelerator), total in load.items():
        servers = decided.assignments[pool_name].servers
        replicas = sum(s.replicas for s in servers if (s.namespace, s.accelerator) == (namespace, accelerator))
        assert total <= replicas + 1e-6


def demand_is_served_or_not_and_nothing_else(world: World, problem: Problem, decided: Plan) -> None:
    served: dict[tuple[ModelKey, str | None], float] = defaultdict(float)
    shares: dict[tuple[ModelKey, str | None], float] = defaultdict(float)
    for flow in decided.flows:
        served[flow.model, flow.site] += flow.rate
        shares[flow.model, flow.site] += flow.share if flow.rate else 0.0
    for (key, site), amount in served.items():
        at_no_site = site is None and any(facts.site is not None for facts in problem.pools.values())
        floor = 0.0 if at_no_site else problem.models[key].floor(site)
        asked = max(problem.demand.get((key, site)) or 0.0, floor)
        assert amount <= asked + 1e-6
        assert shares[key, site] == pytest.approx(amount / asked if asked else 0.0)


def flows_go_where_the_model_is_loaded(world: World, problem: Problem, decided: Plan) -> None:
    loaded = {
        (ModelKey(server.namespace, served.name), name, served.variant)
        for name, spec in decided.assignments.items()
        for server in spec.servers
        for served in server.models
    }
    assert {(flow.model, flow.pool, flow.variant) for flow in decided.flows} == loaded


def what_must_stay_at_its_site_stays(world: World, problem: Problem, decided: Plan) -> None:
    for flow in decided.flows:
        if flow.site is not None and problem.models[flow.model].stays(flow.site):
            there = problem.pools[flow.pool]
            assert (there.site, there.shared) == (flow.site, False)


def gateways_route_what_may_come_and_nothing_leaves_that_must_stay(
    world: World, problem: Problem, decided: Plan
) -> None:
    loaded = {
        (ModelKey(server.namespace, served.name), name)
        for name, spec in decided.assignments.items()
        for server in spec.servers
        for served in server.models
    }
    for name, spec in decided.assignments.items():
        there = problem.pools[name]
        routed = {ModelKey(route.namespace, route.name): route for route in spec.routes}
        assert problem.tuning.gateways or not routed
        assert there.nodes or not routed
        if problem.tuning.gateways:
            assert {key for key, where in loaded if where == name} <= routed.keys()
            served = {flow.model for flow in decided.flows if there.site is not None and flow.site == there.site}
            assert not there.nodes or served <= routed.keys()
        # Valid by the API's own rules, as a server would check them.
        assert AssignmentSpec.parse(spec.dump()) == spec
        for key, route in routed.items():
            assert {(key, target.pool) for target in route.next} <= loaded - {(key, name)}
            if problem.models[key].stays(there.site):
                assert route.next == ()


def bounds_on_replicas_are_kept(world: World, problem: Problem, decided: Plan) -> None:
    for key, decision in decided.decisions.items():
        assert sum(p.replicas for p in decision.placements) <= problem.models[key].max_replicas


def the_least_replicas_are_there_or_it_is_said(world: World, problem: Problem, decided: Plan) -> None:
    for key, decision in decided.decisions.items():
        replicas = sum(p.replicas for p in decision.placements)
        wanted = problem.models[key].min_replicas
        assert replicas >= wanted or decision.shortfall


def the_price_is_never_below_the_bound(world: World, problem: Problem, decided: Plan) -> None:
    assert decided.bound <= decided.cost * (1 + 1e-6) + 1e-9


@given(problems())
@settings(quick, max_examples=120)
def test_models_on_one_server_keep_their_budgets(found: tuple[World, Demand, Rates, Tuning]) -> None:
    """Whatever is served in time, by the rule that docs/capacity.md measured. What is late only takes its time."""
    world, demand, rates, tuning = found
    memo = Memo()
    decided = plan(build_problem(world, demand=demand, rates=rates, tuning=tuning), memo=memo)
    planned: dict[tuple[ModelKey, str, str], float] = defaultdict(float)
    for draft, server in memo.fleet.placed:
        tenants = []
        for key, burden in draft.burdens.items():
            planned[key, draft.pool, draft.members[key][1].name] += burden.amount
            if burden.habit is not None and burden.amount > 0:
                service = burden.habit.service
                tenants.append(
                    Tenant(
                        batch_time=service.batch_time,
                        max_batch=service.max_batch,
                        rate=burden.amount / server.replicas,
                        percentile=service.percentile,
                        budget=service.budget if burden.held else math.inf,
                    )
                )
        assert len(tenants) < 2 or fits(tenants)
    flowing: dict[tuple[ModelKey, str, str], float] = defaultdict(float)
    for flow in decided.flows:
        flowing[flow.model, flow.pool, flow.variant] += flow.rate
    assert planned == pytest.approx(flowing)


@given(st.lists(st.tuples(services(), st.floats(1e-3, 300.0), st.booleans()), min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_what_fits_by_the_planners_rule_fits_by_the_one_that_was_measured(
    asked: list[tuple[Service, float, bool]],
) -> None:
    guests = [Guest(known, rate, held) for service, rate, held in asked if (known := habit(service)) is not None]
    tenants = [
        Tenant(
            batch_time=service.batch_time,
            max_batch=service.max_batch,
            rate=rate,
            percentile=service.percentile,
            budget=service.budget if held else math.inf,
        )
        for service, rate, held in asked
    ]
    assert together(guests) == fits(tenants)


@given(problems())
@quick
def test_planning_again_on_the_outcome_changes_nothing(found: tuple[World, Demand, Rates, Tuning]) -> None:
    """But where not all is served, what runs may show a way to serve more, which is reason enough."""
    world, demand, rates, tuning = found
    _, decided = solved(found)
    again = plan(build_problem(world, demand=demand, rates=rates, tuning=tuning, assignments=applied(decided)))
    if again.assignments != decided.assignments:
        first, second = served_by_model(decided), served_by_model(again)
        order = sorted(world.models, key=lambda m: (-m.spec.priority, key_of(m)))
        assert [round(second[key_of(m)], 6) for m in order] > [round(first[key_of(m)], 6) for m in order]


@given(problems(), st.randoms(use_true_random=False))
@quick
def test_the_order_of_listing_does_not_matter(
    found: tuple[World, Demand, Rates, Tuning], shuffler: random.Random
) -> None:
    world, demand, rates, tuning = found
    _, decided = solved(found)
    other = World(
        models=tuple(shuffler.sample(world.models, len(world.models))),
        slos=tuple(world.slos),
        pools=tuple(shuffler.sample(world.pools, len(world.pools))),
        nodes=tuple(shuffler.sample(world.nodes, len(world.nodes))),
    )
    pairs = list(demand.items())
    shuffler.shuffle(pairs)
    same = plan(build_problem(other, demand=dict(pairs), rates=rates, tuning=tuning))
    assert same.assignments == decided.assignments
    assert set(same.flows) == set(decided.flows)


@given(problems(), st.data())
@quick
def test_a_memo_changes_the_time_and_not_the_plan(
    found: tuple[World, Demand, Rates, Tuning], data: st.DataObject
) -> None:
    world, demand, rates, tuning = found
    memo = Memo()
    before = build_problem(world, demand=demand, rates=rates, tuning=tuning)
    first = plan(before, memo=memo)
    changed = dict(demand)
    for pair in data.draw(st.lists(st.sampled_from(sorted(demand, key=str)), max_size=2)) if demand else []:
        changed[pair] = data.draw(st.sampled_from((None, 0.0, 7.0, 70.0)))
    running = applied(first) if data.draw(st.booleans()) else None
    kept = build_problem(world, demand=changed, rates=rates, tuning=tuning, assignments=running, before=before)
    anew = build_problem(world, demand=changed, rates=rates, tuning=tuning, assignments=running)
    with_memo, without = plan(kept, memo=memo), plan(anew)
    assert with_memo.assignments == without.assignments
    assert set(with_memo.flows) == set(without.flows)


def served_by_model(decided: Plan) -> Mapping[ModelKey, float]:
    served: dict[ModelKey, float] = defaultdict(float)
    for flow in decided.flows:
        served[flow.model] += flow.rate
    return served


@given(worlds())
@settings(quick, max_examples=100)
def test_a_small_load_that_becomes_known_moves_nothing(world: World) -> None:
    """And none is moved when nothing is known of it any more."""
    unknown = plan(build_problem(world))
    sites = {facts.name: facts.spec.site for facts in world.pools}
    demand: Demand = {
        (key, sites[placement.pool]): Tuning().small
        for key, decision in unknown.decisions.items()
        for placement in decision.placements
    }
    known = plan(build_problem(world, demand=demand, assignments=applied(unknown)))
    back = plan(build_problem(world, assignments=applied(known)))
    if not any(decision.shortfall for decided in (unknown, known) for decision in decided.decisions.values()):
        assert known.assignments == unknown.assignments == back.assignments


@given(problems(), st.data())
@quick
def test_more_demand_takes_nothing_from_a_higher_priority(
    found: tuple[World, Demand, Rates, Tuning], data: st.DataObject
) -> None:
    world, demand, rates, tuning = found
    known = sorted((pair for pair, amount in demand.items() if amount), key=str)
    if not known:
        return
    _, decided = solved(found)
    pair = data.draw(st.sampled_from(known))
    more = plan(build_problem(world, demand=demand | {pair: (demand[pair] or 0) * 3}, rates=rates, tuning=tuning))
    priorities = {key_of(m): m.spec.priority for m in world.models}
    before, after = served_by_model(decided), served_by_model(more)
    for key, priority in priorities.items():
        if priority > priorities[pair[0]]:
            assert after.get(key, 0.0) >= before.get(key, 0.0) - 1e-6


@given(problems(), st.data())
@quick
def test_a_lower_priority_takes_nothing_at_all(found: tuple[World, Demand, Rates, Tuning], data: st.DataObject) -> None:
    """Without the least important Models, the others get what they get with them."""
    world, demand, rates, tuning = found
    if not world.models:
        return
    least = min(m.spec.priority for m in world.models)
    rest = tuple(m for m in world.models if m.spec.priority > least)
    keys = {key_of(m) for m in rest}
    _, decided = solved(found)
    alone = plan(
        build_problem(
            World(models=rest, slos=world.slos, pools=world.pools, nodes=world.nodes),
            demand={pair: amount for pair, amount in demand.items() if pair[0] in keys},
            rates=rates,
            tuning=tuning,
        )
    )
    with_others, without = served_by_model(decided), served_by_model(alone)
    for key in keys:
        assert with_others.get(key, 0.0) == pytest.approx(without.get(key, 0.0), abs=1e-6)


@st.composite
def small(draw: st.DrawFn) -> tuple[World, Demand]:
    """Up to four Models with load on up to two devices of each class at one site, each device for one namespace."""
    count = draw(st.integers(1, 4))
    made = [
        model(
            f"m{index}",
            namespace=f"team{index}",
            priority=draw(st.integers(0, 1)),
            variants=[
                variant(f"v-{name}", accelerator=name, backend=CLASSES[name])
                for name in draw(st.lists(st.sampled_from(sorted(RESOURCES)), min_size=1, max_size=2, unique=True))
            ],
        )
        for index in range(count)
    ]
    extended = {resource: draw(st.integers(0, 2)) for resource in RESOURCES.values()}
    world = World(
        models=tuple(made), pools=(pool("berlin"),), nodes=(node("n", pool="berlin", cpu=16.0, extended=extended),)
    )
    return world, {(key_of(m), "berlin"): draw(st.sampled_from((4.0, 14.0))) for m in made}


@given(small())
@settings(max_examples=60, deadline=None)
def test_all_is_served_whenever_that_is_possible(found: tuple[World, Demand]) -> None:
    """Compared with trying every split of every Model's replicas over its classes."""
    world, demand = found
    counts = {name: world.nodes[0].extended[resource] for name, resource in RESOURCES.items()}
    ways = []
    for m in world.models:
        needed = math.ceil((demand[key_of(m), "berlin"] or 0) / 10.0)
        classes = [v.accelerator for v in m.spec.variants]
        ways.append([Counter(split) for split in itertools.combinations_with_replacement(classes, needed)])
    possible = any(
        all(sum(way[name] for way in chosen) <= counts[name] for name in counts) for chosen in itertools.product(*ways)
    )
    decided = plan(build_problem(world, demand=demand))
    served = sum(flow.rate for flow in decided.flows)
    assert (served == pytest.approx(sum(amount or 0 for amount in demand.values()))) == possible


@given(
    st.dictionaries(
        st.tuples(st.sampled_from(MODELS), st.sampled_from((*SITES, "nowhere", None))),
        st.none() | st.floats(allow_nan=True, allow_infinity=True),
    ),
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(0, 3),
)
@quick
def test_absurd_numbers_are_harmless(
    asked: dict[tuple[str, str | None], float | None], rate: float, count: int
) -> None:
    world = World(
        models=tuple(model(name) for name in MODELS),
        pools=(pool("berlin"), pool("paris"), pool("cloud", tier="cloud")),
        nodes=tuple(node(f"n{index}", pool=POOLS[index]) for index in range(count)),
    )
    demand = {(ModelKey("shop", name), site): amount for (name, site), amount in asked.items()}
    rates = {
        RateKey(ModelKey("shop", name), "onnx-cpu", CPU, there): Speed(rate, rate, rate)
        for name in MODELS
        for there in POOLS
    }
    decided = plan(build_problem(world, demand=demand, rates=rates))
    for spec in decided.assignments.values():
        assert AssignmentSpec.parse(spec.dump()) == spec
    assert all(math.isfinite(flow.rate) and 0 <= flow.share <= 1 + 1e-9 for flow in decided.flows)
    assert all(decision.shortfall is not None for decision in decided.decisions.values())


def every_pool_is_accounted_for(world: World, problem: Problem, decided: Plan) -> None:
    """Each Model is placed in a pool, or the reason why it is not there is given, once."""
    for decision in decided.decisions.values():
        for there in world.pools:
            here = any(placement.pool == there.name for placement in decision.placements)
            refused = sum(r.pool == there.name and r.variant is None for r in decision.rejections)
            assert here + refused == 1


def decisions_and_assignments_agree(world: World, problem: Problem, decided: Plan) -> None:
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


SOUND = (
    no_device_core_byte_or_slot_is_given_twice,
    model_sets_fit_their_device,
    no_server_is_loaded_beyond_its_replicas,
    demand_is_served_or_not_and_nothing_else,
    flows_go_where_the_model_is_loaded,
    what_must_stay_at_its_site_stays,
    gateways_route_what_may_come_and_nothing_leaves_that_must_stay,
    bounds_on_replicas_are_kept,
    the_least_replicas_are_there_or_it_is_said,
    the_price_is_never_below_the_bound,
    every_pool_is_accounted_for,
    decisions_and_assignments_agree,
)


@given(problems())
@settings(quick, max_examples=120)
def test_every_plan_is_sound(found: tuple[World, Demand, Rates, Tuning]) -> None:
    problem, decided = solved(found)
    for holds in SOUND:
        holds(found[0], problem, decided)
