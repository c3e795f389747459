"""What became of an Assignment: its status, from Deployments, Pods and agents. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from littoral.api import conditions
from littoral.api.assignment import AssignedModelStatus, Assignment, AssignmentStatus, Server, ServerReport
from littoral.api.base import shorten
from littoral.api.meta import Condition
from littoral.api.serving import FailureReason, ModelState, ServedModel, ServerStatus
from littoral.api.serving import ModelStatus as AgentModelStatus
from littoral.render.server import server_config
from littoral.site.desired import ChildKey
from littoral.site.readiness import ready_models
from littoral.site.views import PodView

# How far a model is, the least first: of several replicas the one that is least far is reported.
_PROGRESS: Final = (
    ModelState.FAILED,
    ModelState.UNKNOWN,
    ModelState.PENDING,
    ModelState.FETCHING,
    ModelState.LOADING,
    ModelState.UNLOADING,
    ModelState.READY,
)


def report(
    assignment: Assignment,
    *,
    pods: Iterable[PodView],
    statuses: Mapping[str, ServerStatus],
    troubles: Mapping[ChildKey, str],
    now: datetime,
) -> AssignmentStatus:
    """The status of an Assignment.

    Args:
        statuses: what each agent says, by its Pod's uid.
        troubles: what went wrong with an object as a whole (it was refused, it cannot make its Pods).
    """
    by_server: dict[tuple[str, str], list[PodView]] = {}
    ending = False
    for pod in pods:
        ending = ending or (pod.ending and pod.server.startswith(f"triton-{assignment.name}-"))
        if not pod.leaving:
            by_server.setdefault((pod.namespace, pod.server), []).append(pod)
    servers = tuple(
        _server(
            server,
            pods=by_server.get((server.namespace, server.name), ()),
            statuses=statuses,
            troubles=troubles,
            ending=ending,
        )
        for server in assignment.spec.servers
    )
    return AssignmentStatus(
        observed_generation=assignment.metadata.generation,
        conditions=_conditions(assignment, servers=servers, now=now),
        servers=servers,
    )


def _server(
    server: Server,
    *,
    pods: Sequence[PodView],
    statuses: Mapping[str, ServerStatus],
    troubles: Mapping[ChildKey, str],
    ending: bool,
) -> ServerReport:
    config = server_config(server)
    ready = {pod.uid: ready_models(pod, config=config, statuses=statuses) for pod in pods}
    trouble = next(_troubles(server, pods=pods, statuses=statuses, troubles=troubles), "")
    return ServerReport(
        name=server.name,
        namespace=server.namespace,
        replicas=len(pods),
        ready_replicas=sum(pod.ready for pod in pods),
        # A Pod without a node has no other trouble than that the scheduler finds none.
        unschedulable=0 if ending else sum(bool(pod.trouble) and not pod.node for pod in pods),
        message=shorten(trouble) or None,
        models=tuple(
            _model(
                model,
                said=[_said(model, pod=pod, status=statuses.get(pod.uid)) for pod in pods],
                ready=sum(model.name in ready[pod.uid] for pod in pods),
                trouble=trouble,
                unreachable=troubles.get(ChildKey("Service", server.namespace, model.name), ""),
            )
            for model in server.models
        ),
    )


def _troubles(
    server: Server, *, pods: Sequence[PodView], statuses: Mapping[str, ServerStatus], troubles: Mapping[ChildKey, str]
) -> Iterator[str]:
    """What is wrong with the server as a whole, the most telling first."""
    for kind in ("ConfigMap", "Deployment"):
        if text := troubles.get(ChildKey(kind, server.namespace, server.name)):
            yield text
    for pod in pods:
        if pod.trouble:
            yield f"Pod {pod.name} {pod.trouble}"
    for pod in pods:
        if pod.uid in statuses and statuses[pod.uid].message:
            yield f"the agent in Pod {pod.name}: {statuses[pod.uid].message}"


def _said(model: ServedModel, *, pod: PodView, status: ServerStatus | None) -> AgentModelStatus:
    """What one agent says of a model; an agent that has not heard of it yet, or does not answer, says little."""
    if status is None and pod.ready:
        message = f"the agent in Pod {pod.name} cannot be reached"
        return AgentModelStatus(name=model.name, state=ModelState.UNKNOWN, message=message)
    if status is None:
        return AgentModelStatus(name=model.name, state=ModelState.PENDING, message=f"Pod {pod.name} is starting")
    said = next((said for said in status.models if said.name == model.name), None)
    if said is None or said.digest != model.artifact.digest:
        return AgentModelStatus(name=model.name, state=ModelState.PENDING, message="the agent has yet to see it")
    return said


def _model(
    model: ServedModel, *, said: Sequence[AgentModelStatus], ready: int, trouble: str, unreachable: str
) -> AssignedModelStatus:
    if unreachable:
        # Triton may serve it; but clients do not get there.
        return AssignedModelStatus(
            name=model.name,
            variant=model.variant,
            digest=model.artifact.digest,
            state=ModelState.FAILED,
            message=shorten(unreachable),
            reason=FailureReason.SERVICE_REFUSED,
        )
    # Of those that are equally far, the one that has more trouble.
    least = min(said, key=lambda status: (_PROGRESS.index(status.state), -status.attempts), default=None)
    state = least.state if least is not None else ModelState.PENDING
    message = least.message if least is not None else "its server has no Pod yet"
    if state in (ModelState.PENDING, ModelState.UNKNOWN) and trouble:
        message = trouble
    return AssignedModelStatus(
        name=model.name,
        variant=model.variant,
        digest=model.artifact.digest,
        state=state,
        ready_replicas=ready,
        message=shorten(message),
        reason=least.reason if least is not None else None,
        attempts=least.attempts if least is not None else 0,
    )


def _conditions(assignment: Assignment, *, servers: Sequence[ServerReport], now: datetime) -> tuple[Condition, ...]:
    before = assignment.status.conditions
    generation = assignment.metadata.generation
    wanted = {(server.namespace, server.name): server.replicas for server in assignment.spec.servers}
    failed = [
        f"{server.namespace}/{model.name}: {model.message}"
        for server in servers
        for model in server.models
        if model.state == ModelState.FAILED
    ]
    if failed:
        return conditions.stalled(
            before, reason="ModelFailed", message=shorten("; ".join(failed)), generation=generation, now=now
        )
    waiting = [
        f"{server.namespace}/{server.name}: {server.message or _progress(server)}"
        for server in servers
        if any(model.ready_replicas < wanted[(server.namespace, server.name)] for model in server.models)
    ]
    if waiting:
        return conditions.reconciling(
            before, reason="Progressing", message=shorten("; ".join(waiting)), generation=generation, now=now
        )
    return conditions.ready(
        before,
        reason="Applied",
        message=f"{len(servers)} servers serve their models",
        generation=generation,
        now=now,
    )


def _progress(server: ServerReport) -> str:
    ready = sum(model.state == ModelState.READY for model in server.models)
    return f"{server.ready_replicas} Pods ready, {ready} of {len(server.models)} models ready"
