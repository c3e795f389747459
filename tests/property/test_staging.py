"""What holds of every way from one plan to another, on nodes that have no more room than each of them needs."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from littoral.api.assignment import AssignedModelStatus, Assignment, AssignmentSpec, AssignmentStatus, ServerReport
from littoral.api.quantity import parse_quantity
from littoral.api.serving import ModelState
from littoral.core.plan import Decision, Placement, Plan, Reason
from littoral.core.staging import stage
from littoral.core.world import ModelKey
from tests.support.objects import DIGEST, assignment, server

POOLS = ("east", "west")
MODELS = ("a", "b", "c", "d")
CORES, DEVICES = 8, 2
GPU = "nvidia-gpu"
PASSES = 30


class Site:
    """One node in each pool, whose scheduler gives nothing twice. Pods run a pass after they are scheduled."""

    def __init__(self, *, cores: int = CORES, devices: int = DEVICES) -> None:
        self.cores = cores
        self.devices = devices
        self.assignments = {name: assignment(name, metadata={"name": name, "generation": 1}) for name in POOLS}
        self._pods: dict[tuple[str, str], list[int | None]] = {}
        self._loaded: dict[tuple[str, str, str], int] = {}
        self._now = 0

    def write(self, specs: Mapping[str, AssignmentSpec]) -> None:
        for name, spec in specs.items():
            before = self.assignments[name]
            if before.spec != spec:
                metadata = before.metadata.model_copy(update={"generation": before.metadata.generation + 1})
                self.assignments[name] = before.model_copy(update={"spec": spec, "metadata": metadata})

    def go_on(self) -> None:
        self._now += 1
        for name, each in self.assignments.items():
            self._schedule(name, each.spec)
            self.assignments[name] = each.model_copy(update={"status": self._report(name, each)})

    def serving(self) -> set[str]:
        """The Models that answer in some replica."""
        return {
            model.name
            for each in self.assignments.values()
            for report in each.status.servers
            for model in report.models
            if model.ready_replicas
        }

    def _schedule(self, pool: str, spec: AssignmentSpec) -> None:
        wanted = {each.name: each for each in spec.servers}
        for gone in [place for place in self._pods if place[0] == pool and place[1] not in wanted]:
            del self._pods[gone]
        seats = {(pool, each.name, model.name) for each in spec.servers for model in each.models}
        self._loaded = {s: at for s, at in self._loaded.items() if s[0] != pool or s in seats}
        self._loaded |= {seat: self._now for seat in seats if seat not in self._loaded}
        for name, each in wanted.items():
            pods = self._pods.setdefault((pool, name), [])
            # As a ReplicaSet does: first those that do not run, then the youngest.
            pods.sort(key=lambda at: (at is None, at))
            del pods[each.replicas :]
            pods += [None] * (each.replicas - len(pods))
        running = [(wanted[place[1]], at) for place, pods in self._pods.items() if place[0] == pool for at in pods]
        cores = self.cores - sum(parse_quantity(each.cpu or 0) for each, at in running if at is not None)
        devices = self.devices - sum(each.accelerator == GPU for each, at in running if at is not None)
        for name in sorted(wanted):
            pods = self._pods[pool, name]
            need, device = parse_quantity(wanted[name].cpu or 0), wanted[name].accelerator == GPU
            for index, at in enumerate(pods):
                if at is None and need <= cores and device <= devices:
                    pods[index] = self._now
                    cores, devices = cores - need, devices - device

    def _report(self, pool: str, each: Assignment) -> AssignmentStatus:
        reports = []
        for found in each.spec.servers:
            pods = self._pods[pool, found.name]
            ready = sum(at is not None and at < self._now for at in pods)
            models = tuple(
                AssignedModelStatus(
                    name=model.name,
                    variant=model.variant,
                    digest=DIGEST,
                    state=ModelState.READY,
                    ready_replicas=ready if self._loaded[pool, found.name, model.name] < self._now else 0,
                )
                for model in found.models
            )
            unschedulable = sum(at is None for at in pods)
            reports.append(ServerReport(name=found.name, namespace="shop", unschedulable=unschedulable, models=models))
        return AssignmentStatus(observed_generation=each.metadata.generation, servers=tuple(reports))


def need(plan: Plan) -> dict[str, tuple[Decimal, int]]:
    """Cores and devices that a plan takes in each pool."""
    return {
        name: (
            sum((parse_quantity(each.cpu or 0) * each.replicas for each in spec.servers), Decimal()),
            sum(each.replicas for each in spec.servers if each.accelerator == GPU),
        )
        for name, spec in plan.assignments.items()
    }


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """A plan that fits, mostly with little room to spare: each Model on one server or two, or nowhere."""
    members: dict[tuple[str, str], list[str]] = {}
    names = {pool: [f"triton-{pool}-{rest}" for rest in ("cpu", "2-cpu", GPU)] for pool in POOLS}
    places = [(pool, name) for pool in POOLS for name in names[pool]]
    for name in MODELS:
        for place in draw(st.lists(st.sampled_from(places), min_size=draw(st.integers(0, 1)), max_size=2, unique=True)):
            members.setdefault(place, []).append(name)
    specs = {}
    placements: dict[str, list[Placement]] = {name: [] for name in MODELS}
    for pool in POOLS:
        servers: list[dict[str, Any]] = []
        for place in [place for place in places if place[0] == pool and place in members]:
            accelerator = GPU if place[1].endswith(GPU) else "cpu"
            most = CORES - sum(int(each["cpu"]) * each["replicas"] for each in servers)
            if most < 1:
                continue
            replicas = draw(st.integers(1, min(2, most)))
            cpu = str(draw(st.sampled_from((1, most // replicas))))
            servers.append(server(*members[place], accelerator=accelerator, name=place[1], replicas=replicas, cpu=cpu))
            for name in members[place]:
                placements[name].append(_placement(pool, place[1], accelerator, replicas))
        specs[pool] = assignment(pool, servers=servers).spec
    found = Plan(
        assignments=specs,
        decisions={ModelKey("shop", name): Decision(placements=tuple(it)) for name, it in placements.items()},
    )
    assert all(cores <= CORES and devices <= DEVICES for cores, devices in need(found).values())
    return found


def _placement(pool: str, name: str, accelerator: str, replicas: int) -> Placement:
    return Placement(
        pool=pool,
        variant="onnx-cpu",
        accelerator=accelerator,
        server=name,
        replicas=replicas,
        reason=Reason.PREFERRED_VARIANT,
        message="",
    )


def bring_about(site: Site, plan: Plan) -> list[set[str]]:
    """Pass after pass, until nothing changes any more; what served in each."""
    served = []
    for _ in range(PASSES):
        site.write(stage(plan, current=site.assignments))
        site.go_on()
        served.append(site.serving())
    return served


def placed(plan: Plan) -> set[str]:
    return {key.name for key, decision in plan.decisions.items() if decision.placements}


@given(plans(), plans())
@settings(max_examples=40)
def test_every_plan_is_reached(before: Plan, after: Plan) -> None:
    site = Site()
    for plan in (before, after):
        bring_about(site, plan)
        wanted = {name for name in MODELS if plan.decisions[ModelKey("shop", name)].placements}
        assert placed(plan) <= site.serving()
        for name, spec in plan.assignments.items():
            planned = {each.name: (each.replicas, [m.name for m in each.models]) for each in spec.servers}
            there = {e.name: (e.replicas, [m.name for m in e.models]) for e in site.assignments[name].spec.servers}
            # What has no place any more and is in nobody's way may stay.
            assert planned == {
                k: (count, [m for m in models if m in wanted])
                for k, (count, models) in there.items()
                if set(models) & wanted
            }


@given(plans(), plans())
@settings(max_examples=40)
def test_where_there_is_room_for_both_no_model_stops_in_between(before: Plan, after: Plan) -> None:
    site = Site(cores=2 * CORES, devices=2 * DEVICES)
    bring_about(site, before)
    both = placed(before) & placed(after)
    assert all(both <= served for served in bring_about(site, after))


@given(plans(), plans())
@settings(max_examples=40)
def test_a_model_that_has_a_place_in_both_stops_only_where_its_next_one_has_no_room(before: Plan, after: Plan) -> None:
    site = Site()
    bring_about(site, before)
    for _ in range(PASSES):
        serving = site.serving()
        blocked = {
            (pool, report.name)
            for pool, each in site.assignments.items()
            for report in each.status.servers
            if report.unschedulable
        }
        site.write(stage(after, current=site.assignments))
        assigned = {m.name for each in site.assignments.values() for e in each.spec.servers for m in e.models}
        site.go_on()
        for name in (placed(before) & placed(after) & serving) - site.serving():
            places = after.decisions[ModelKey("shop", name)].placements
            assert name in assigned
            assert {(place.pool, place.server) for place in places} <= blocked
