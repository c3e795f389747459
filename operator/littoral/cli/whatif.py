"""A what-if: the world as it is, changes laid over it, and the operator's own planner for both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from littoral.api.quantity import parse_decimal
from littoral.cli.access import Object
from littoral.cli.difference import Difference, difference
from littoral.cli.failures import Failure, not_found
from littoral.cli.findings import check, is_ours
from littoral.cli.manifests import UnreadableManifest, read_manifests
from littoral.cli.worlds import KINDS, NODE, ObjectKey, Surroundings, key_of, overlay, surroundings, trimmed
from littoral.core.hardware import DeviceTable
from littoral.core.learning import Learner
from littoral.core.plan import Plan
from littoral.core.planner import Tuning, build_problem, plan
from littoral.core.world import ModelKey, World
from littoral.core.world import key_of as model_key


def what_if(
    objects: Sequence[Object],
    *,
    changes: Sequence[Object],
    without: Sequence[ObjectKey],
    namespace: str,
    devices: DeviceTable,
    runs: bool,
) -> tuple[Difference, tuple[str, ...]]:
    """The difference that the changes would make.

    Args:
        objects: the world as it is, as `trimmed` has them.
        changes: objects that are new or take the place of their namesakes.
        without: objects that are left out.
        namespace: namespace of changes that name none.
        devices: the device classes that exist.
        runs: whether the objects tell all that runs, as those of a live cluster do; otherwise, where there is no
            Assignment among them, the plan without the changes stands for what runs.

    Returns:
        The difference, and what was passed over because it cannot be read.

    Raises:
        Failure: something to leave out is not there.
    """
    now = surroundings(objects, devices=devices)
    try:
        laid_over = overlay(objects, changes=changes, without=without, namespace=namespace)
    except KeyError as error:
        key = error.args[0]
        known = [name for kind, place, name in _keys(objects) if (kind, place) == (key.kind, key.namespace)]
        where = f"in namespace {key.namespace}" if key.namespace else ""
        raise not_found(key.kind, name=key.name, known=known, where=where) from error
    then = surroundings(laid_over, devices=devices)
    before = {pool: assignment.spec for pool, assignment in now.assignments.items()}
    if not before and not runs and (changes or without):
        before = dict(solve(now).assignments)
    return difference(before, solve(then)), then.skipped


def solve(it: Surroundings) -> Plan:
    """What the operator would decide of this world.

    Demand is what the operator says in the Models' statuses that it plans for; speeds are learned from what the sites
    report now. What only the operator remembers is missing: how long ago servers changed, and how far latencies have
    been from what was predicted.
    """
    assignments = tuple(it.assignments.values())
    inputs = Learner().learn(it.world, assignments, now=0.0)
    problem = build_problem(
        it.world,
        demand=_demand(it.world),
        rates=inputs.rates,
        memory=inputs.memory,
        assignments=assignments,
        round_trips=inputs.round_trips,
        tuning=Tuning(standby=True, gateways=any(assignment.spec.routes for assignment in assignments)),
    )
    return plan(problem)


def _demand(world: World) -> dict[tuple[ModelKey, str | None], float | None]:
    return {
        (model_key(model), said.site): float(parse_decimal(said.rate))
        for model in world.models
        for said in model.status.demand
    }


def changes_of(files: Sequence[str], *, recursive: bool, namespace: str) -> list[Object]:
    """The objects of files that a planner reads; others are passed over.

    Raises:
        Failure: a file cannot be read, or an object of ours is invalid.
    """
    changes: list[Object] = []
    try:
        for manifest in read_manifests(files, recursive=recursive):
            body = manifest.body
            if is_ours(body):
                _, wrong = check(manifest, namespace=namespace)
                if wrong:
                    more = f" ({len(wrong) - 1} more: see littoral validate)" if len(wrong) > 1 else ""
                    raise Failure(f"{wrong[0]}{more}")
                changes.append(trimmed(body))
            elif isinstance(body, dict) and (body.get("apiVersion"), body.get("kind")) == ("v1", NODE):
                changes.append(trimmed(body))
    except UnreadableManifest as error:
        place = f"{error.source}:{error.line}" if error.line else error.source
        raise Failure(f"{place}: {error}") from error
    return changes


def key_from(text: str, *, namespace: str) -> ObjectKey:
    """The object that `KIND/NAME` names, in whatever case, in the plural or by a short name.

    Raises:
        click.UsageError: it names none that the planner reads.
    """
    short = {"mdl": "model", "slo": "latencyslo", "pool": "nodepool", "asg": "assignment", "no": "node"}
    word, _, name = text.partition("/")
    singular = word.lower().removesuffix("s")
    singular = short.get(singular, singular)
    kind = next((kind for kind in KINDS if kind.lower() == singular), None)
    if kind is None or not name:
        raise click.UsageError(f"--without {text}: name it KIND/NAME, with one of {', '.join(map(str.lower, KINDS))}")
    return key_of({"kind": kind, "metadata": {"name": name}}, namespace=namespace)


def _keys(objects: Sequence[Object]) -> Iterator[ObjectKey]:

    return (key_of(body) for body in objects)
