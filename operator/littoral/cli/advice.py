"""What to do first about a Model that does not run as its author wants. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from littoral.api import Model, NodePool
from littoral.api.conditions import READY, RECONCILING, STALLED, Conditions, find_condition, is_true
from littoral.api.meta import ConditionStatus
from littoral.api.model import Placement
from littoral.api.serving import ModelState
from littoral.core.member_nodes import AWAITING_REPORT
from littoral.core.plan import Reason
from littoral.core.world import rfc3339

_STEPS_MOST: Final = 3

ABOUT: Final[Mapping[str, str]] = {
    Reason.BELOW_MIN_ACCURACY: "state the accuracy of a variant that is good enough, or lower minAccuracy of the "
    "LatencySLO",
    Reason.CONFLICTING_NODE_SELECTORS: "let the nodeSelectors of the namespace's variants for that class agree, or "
    "move the Model to another namespace",
    Reason.DEVICES_TAKEN: "raise spec.priority above that of the Models that hold the devices, add a node, or add a "
    "variant for another class",
    Reason.INSUFFICIENT_CPU: "lower spec.variants[].cpu, or add a larger node",
    Reason.INSUFFICIENT_MEMORY: "lower spec.variants[].memory if it states too much, or add a larger node or device",
    Reason.LOAD_FAILED: "see what the server's agent says of the artifact, and correct it: a corrected artifact needs "
    "its own digest in the spec",
    Reason.MAX_REPLICAS_REACHED: "raise spec.scaling.maxReplicas",
    Reason.MEMBER_UNREACHABLE: "see whether the site has power and a way to this API server, and whether its operator "
    "runs; what runs there goes on, and what is asked for meanwhile is placed once it is back",
    Reason.NO_DEVICE: "add a variant for a class that the pools have, or see why no node announces the device (its "
    "device plugin, the variant's nodeSelector)",
    Reason.NO_NODE: "label nodes so that the NodePool's nodeSelector selects them; those of a member cluster are known "
    "once it has joined (littoral invite MEMBER)",
    Reason.NO_NODE_USABLE: "see why no node of the pool is ready and schedulable: kubectl get nodes",
    Reason.POOL_FULL: "raise limits.servers of the NodePool",
    Reason.SITE_NOT_SELECTED: "name the site in sites.matchNames of the LatencySLO, or remove sites",
    Reason.STAYS_AT_SITE: "make room at the edge, or let the LatencySLO say overflow: Allow",
    Reason.UNSUPPORTED_BACKEND: "name a backend that drives the variant's class",
}
"""By the reason of a rejection."""


def first_steps(model: Model) -> tuple[str, ...]:
    """What to do, the most promising first; empty where nothing is to be done, or nothing but to wait."""
    status = model.status
    if status.observed_generation < 0:
        return (
            "Littoral has not looked at it yet: see that the operator runs "
            "(kubectl get pods -A -l app.kubernetes.io/name=littoral)",
        )
    ready = find_condition(status.conditions, READY)
    if ready is not None and ready.reason == Reason.MEMBER_UNREACHABLE:
        return (ABOUT[Reason.MEMBER_UNREACHABLE],)
    if not is_true(status.conditions, STALLED):
        return ()
    stalled = find_condition(status.conditions, STALLED)
    if stalled is not None and stalled.reason == "InvalidSpec":
        return ("correct the fields that the message names and apply again; littoral validate FILE checks beforehand",)
    failed = [placement for placement in status.placements if placement.state == ModelState.FAILED]
    if failed:
        return tuple(
            f"see what {placement.server} says of it: kubectl logs -n {model.namespace} deployment/{placement.server} "
            "-c agent, or -c triton; a corrected artifact needs its own digest in the spec"
            for placement in failed[:1]
        )
    if not status.rejections:
        return ("create a NodePool that selects your nodes",)
    counts = Counter(rejection.reason for rejection in status.rejections if rejection.reason in ABOUT)
    return tuple(ABOUT[reason] for reason, _ in counts.most_common(_STEPS_MOST))


def outdated(model: Model) -> bool:
    """Whether the status is about an earlier version of the spec."""
    return 0 <= model.status.observed_generation < model.metadata.generation


def headline(model: Model) -> tuple[str, str, str]:
    """The Model in a word, and the reason and the message of the condition that says so."""
    return headline_of(model.status.conditions)


def headline_of(conditions: Conditions) -> tuple[str, str, str]:
    """Conditions in a word, `Unseen` where there are none, and the reason and the message that belong to it."""
    for kind in (STALLED, RECONCILING):
        if is_true(conditions, kind) and (condition := find_condition(conditions, kind)) is not None:
            return kind, condition.reason, condition.message
    condition = find_condition(conditions, READY)
    if condition is None:
        return "Unseen", "", ""
    word = {ConditionStatus.TRUE: READY, ConditionStatus.UNKNOWN: "Unknown"}.get(condition.status, "NotReady")
    return word, condition.reason, condition.message


def state_of(placement: Placement) -> str:
    """The state of a Model in one place, with a question mark where it is the last that was heard."""
    return f"{placement.state}{'?' if placement.reason == Reason.MEMBER_UNREACHABLE else ''}"


def member_of(pool: NodePool) -> str:
    """The member cluster of a pool, and what there is to say of it; empty for the own cluster."""
    member, since = pool.spec.member or "", pool.status.unreachable_since
    if since is not None:
        return f"{member}, not heard of since {rfc3339(since)}"
    ready = find_condition(pool.status.conditions, READY)
    return f"{member}, awaited" if ready is not None and ready.reason == AWAITING_REPORT else member
