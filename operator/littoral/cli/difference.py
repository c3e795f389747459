"""What a plan would change: servers that appear, change or go, and Models that move, with the reasons. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from littoral.api.assignment import AssignmentSpec, Server
from littoral.api.serving import ServedModel
from littoral.core.plan import Decision, Plan
from littoral.core.world import ModelKey


class Change(StrEnum):
    """What becomes of something."""

    APPEARS = "appears"
    CHANGES = "changes"
    GOES = "goes"


@dataclass(frozen=True, kw_only=True)
class ServerChange:
    """One server of a pool that would not stay as it is.

    Attributes:
        server: the server as it will be, or, if it goes, as it was.
        details: for one that changes, each thing that does: `replicas: 1 -> 2`.
    """

    change: Change
    pool: str
    server: Server
    details: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Spot:
    """Where a Model runs in a pool."""

    variant: str
    accelerator: str
    server: str
    replicas: int
    digest: str

    def __str__(self) -> str:
        return f"{self.variant} on {self.accelerator} x {self.replicas}"


@dataclass(frozen=True, kw_only=True)
class Move:
    """One Model in one pool, where it would not stay as it is.

    Attributes:
        before: where it runs now: one spot for each server.
        after: where it would run.
        reason: why, as one word for programs.
        message: why, for people.
    """

    change: Change
    model: ModelKey
    pool: str
    before: tuple[Spot, ...]
    after: tuple[Spot, ...]
    reason: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Shortfall:
    """A Model that would run nowhere, or not serve all that is asked of it; and why."""

    model: ModelKey
    message: str


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Everything between what runs and what a plan asks for.

    Attributes:
        frozen: pools that are not planned, each with the reason: what runs there goes on.
    """

    servers: tuple[ServerChange, ...] = ()
    moves: tuple[Move, ...] = ()
    shortfalls: tuple[Shortfall, ...] = ()
    frozen: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.servers or self.moves)


def difference(before: Mapping[str, AssignmentSpec], after: Plan) -> Difference:
    """Compare what every pool is assigned now with what a plan assigns.

    Args:
        before: by pool; a pool that is missing runs nothing.
    """
    # What is not planned stays as it is.
    before = {pool: spec for pool, spec in before.items() if pool not in after.frozen}
    return Difference(
        servers=tuple(_servers(before, after.assignments)),
        moves=tuple(_moves(_spots(before), _spots(after.assignments), plan=after)),
        shortfalls=tuple(
            Shortfall(model=key, message=decision.shortfall or _why_nowhere(decision))
            for key, decision in sorted(after.decisions.items())
            if decision.shortfall or not decision.placements
        ),
        frozen=tuple(after.frozen.items()),
    )


def _servers(before: Mapping[str, AssignmentSpec], after: Mapping[str, AssignmentSpec]) -> Iterator[ServerChange]:
    for pool in sorted(before.keys() | after.keys()):
        old, new = (
            {(s.namespace, s.name): s for s in spec[pool].servers} if pool in spec else {} for spec in (before, after)
        )
        for key in sorted(old.keys() | new.keys()):
            if key not in old:
                yield ServerChange(change=Change.APPEARS, pool=pool, server=new[key])
            elif key not in new:
                yield ServerChange(change=Change.GOES, pool=pool, server=old[key])
            elif details := tuple(_details(old[key], new[key])):
                yield ServerChange(change=Change.CHANGES, pool=pool, server=new[key], details=details)


def _details(old: Server, new: Server) -> Iterator[str]:
    for name, was, becomes in (
        ("replicas", old.replicas, new.replicas),
        ("cpu", old.cpu, new.cpu),
        ("memory", old.memory, new.memory),
        ("device", old.extended_resource, new.extended_resource),
    ):
        if was != becomes:
            yield f"{name}: {was or 'none'} -> {becomes or 'none'}"
    if old.node_selector != new.node_selector:
        yield "its nodeSelector changes"
    served, wanted = ({model.name: model for model in server.models} for server in (old, new))
    for name in sorted(served.keys() | wanted.keys()):
        if name not in served:
            yield f"+{name} ({wanted[name].variant})"
        elif name not in wanted:
            yield f"-{name} ({served[name].variant})"
        elif change := _change_of(served[name], wanted[name]):
            yield f"{name}: {change}"


def _change_of(was: ServedModel, becomes: ServedModel) -> str:
    if was.variant != becomes.variant:
        return f"{was.variant} -> {becomes.variant}"
    # The digest is the artifact; that it moved changes nothing for who serves it already.
    if was.artifact.digest != becomes.artifact.digest:
        return "another artifact"
    return "other parameters" if (was.backend, was.parameters) != (becomes.backend, becomes.parameters) else ""


_Spots = Mapping[tuple[ModelKey, str], tuple[Spot, ...]]


def _spots(assignments: Mapping[str, AssignmentSpec]) -> _Spots:
    """By Model and pool; the servers of a pool in the order of their names."""
    spots: dict[tuple[ModelKey, str], tuple[Spot, ...]] = {}
    for pool, spec in assignments.items():
        for server in sorted(spec.servers, key=lambda server: server.name):
            for model in server.models:
                key = ModelKey(server.namespace, model.name), pool
                spot = Spot(
                    variant=model.variant,
                    accelerator=server.accelerator,
                    server=server.name,
                    replicas=server.replicas,
                    digest=model.artifact.digest,
                )
                spots[key] = (*spots.get(key, ()), spot)
    return spots


def _moves(before: _Spots, after: _Spots, *, plan: Plan) -> Iterator[Move]:
    for model, pool in sorted(before.keys() | after.keys()):
        was, becomes = before.get((model, pool), ()), after.get((model, pool), ())
        if was == becomes:
            continue
        change = Change.APPEARS if not was else Change.GOES if not becomes else Change.CHANGES
        reason, message = _why(model, pool, plan=plan)
        if {spot.variant for spot in was} == {spot.variant for spot in becomes} and (
            fresh := {spot.digest for spot in becomes} - {spot.digest for spot in was}
        ):
            reason, message = "ArtifactChanged", f"another artifact takes over: {min(fresh)[:19]}..."
        yield Move(change=change, model=model, pool=pool, before=was, after=becomes, reason=reason, message=message)


def _why(model: ModelKey, pool: str, *, plan: Plan) -> tuple[str, str]:
    decision = plan.decisions.get(model)
    if decision is None:
        return "ModelGone", "the Model is gone"
    if pool not in plan.assignments:
        return "PoolGone", f"NodePool {pool} is gone"
    for placement in decision.placements:
        if placement.pool == pool:
            return placement.reason, placement.message
    # What is said of the pool as a whole sums up what is said of each variant.
    said = sorted((r for r in decision.rejections if r.pool == pool), key=lambda r: r.variant is not None)
    return (said[0].reason, said[0].message) if said else ("NotNeeded", "other pools serve it")


def _why_nowhere(decision: Decision) -> str:
    said = [rejection.message for rejection in decision.rejections if rejection.variant is None]
    return "; ".join(said) or "there is no NodePool: create one that selects your nodes"


def as_json(found: Difference) -> dict[str, Any]:
    """The difference for programs."""
    return {
        "changed": bool(found),
        "servers": [
            {
                "change": str(it.change),
                "pool": it.pool,
                "namespace": it.server.namespace,
                "name": it.server.name,
                "accelerator": it.server.accelerator,
                "replicas": it.server.replicas,
                "models": [model.name for model in it.server.models],
                "details": list(it.details),
            }
            for it in found.servers
        ],
        "models": [
            {
                "change": str(it.change),
                "namespace": it.model.namespace,
                "name": it.model.name,
                "pool": it.pool,
                "before": [asdict(spot) for spot in it.before],
                "after": [asdict(spot) for spot in it.after],
                "reason": it.reason,
                "message": it.message,
            }
            for it in found.moves
        ],
        "shortfalls": [
            {"namespace": it.model.namespace, "name": it.model.name, "message": it.message} for it in found.shortfalls
        ],
        "frozen": [{"pool": pool, "message": message} for pool, message in found.frozen],
    }
