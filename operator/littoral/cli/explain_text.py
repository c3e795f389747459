"""An explanation for people: the text of `littoral explain`. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, tzinfo

from littoral.api import Model
from littoral.api.conditions import ATTAINABLE, READY, find_condition
from littoral.api.meta import ConditionStatus
from littoral.api.model import Placement, Rejection
from littoral.cli import style
from littoral.cli.advice import first_steps, headline, headline_of, member_of, outdated, state_of
from littoral.cli.explanation import Explanation, describe
from littoral.cli.measured import Load
from littoral.cli.table import ABSENT, table, wrap
from littoral.cli.times import age, local, milliseconds
from littoral.core.plan import Reason


def overview(models: Sequence[Model], *, namespaces: bool, wide: bool, now: datetime) -> str:
    """A line for each Model.

    Args:
        namespaces: with the namespace of each.
        wide: with the whole message.
    """
    headers = [*(["NAMESPACE"] if namespaces else []), "MODEL", "STATE", "PLACED", "REPLICAS", "AGE", "REASON"]
    rows = []
    for model in models:
        word, reason, message = headline(model)
        row = [
            *([model.namespace or ""] if namespaces else []),
            model.name,
            style.state(word),
            model.status.placed or "0/0",
            f"{model.status.ready_replicas}/{model.status.replicas}",
            age(model.metadata.creation_timestamp, now=now),
            reason or ABSENT,
        ]
        rows.append([*row, message] if wide else row)
    return table([*headers, *(["MESSAGE"] if wide else [])], rows)


def as_text(it: Explanation, *, wide: bool, now: datetime, width: int | None, zone: tzinfo | None = None) -> str:
    """The explanation for people.

    Args:
        wide: with servers, rates and latencies.
        zone: zone of the times; None for the local one.
    """
    model, status = it.model, it.model.status
    blocks = [_head(it, now=now, width=width, zone=zone)]
    if it.slos:
        blocks.append(_block("What is asked", _slos(it, width=width)))
    if status.placements:
        blocks.append(_block("Why here", _places(it, wide=wide, width=width)))
    if status.rejections:
        rows = [[r.pool, r.variant or "any", r.reason, r.message] for r in _telling(status.rejections)]
        blocks.append(_block("Why not there", table(["POOL", "VARIANT", "REASON", ""], rows, indent=2, width=width)))
    number = f"{status.replicas} replica{'' if status.replicas == 1 else 's'}"
    blocks.append(_block(f"Why {number}", "\n".join(_sentence(text, width=width) for text in it.why_so_many())))
    if it.gateways:
        blocks.append(_block("Gateways", _gateways(it, width=width)))
    blocks.append(_block("Pools", _pools(it, width=width)))
    if wide:
        blocks.append(_block("Variants", _variants(model, width=width)))
    return "\n\n".join(blocks)


def _telling(rejections: Sequence[Rejection]) -> Iterator[Rejection]:
    """The rejections without those that only sum up what is said of each variant of the pool."""
    detailed = {rejection.pool for rejection in rejections if rejection.variant is not None}
    for rejection in rejections:
        if rejection.reason != Reason.NO_VARIANT_FITS or rejection.pool not in detailed:
            yield rejection


def _head(it: Explanation, *, now: datetime, width: int | None, zone: tzinfo | None) -> str:
    model, status = it.model, it.model.status
    word, reason, message = headline(model)
    first = f"{style.strong(f'Model {model.namespace}/{model.name}')}   {style.state(word)}"
    lines = [f"{first}   {status.placed or '0/0'} placed   {status.url or ''}".rstrip()]
    condition = find_condition(status.conditions, word) or find_condition(status.conditions, READY)
    if condition is not None:
        since = condition.last_transition_time
        lines.append(_sentence(f"{reason}: {message}", width=width))
        lines.append(style.faint(f"  since {local(since, zone)} ({age(since, now=now)})"))
    if outdated(model):
        lines.append(style.warn("  This is about an earlier spec: the operator has yet to see this one."))
    for index, step in enumerate(first_steps(model)):
        lines.append(f"  {style.bad('Do first:' if not index else 'Or:      ')} {wrap(step, start=12, width=width)}")
    return "\n".join(lines)


def _slos(it: Explanation, *, width: int | None) -> str:
    rows = []
    for slo in it.slos:
        reason = headline_of(slo.status.conditions)[1]
        attainable = find_condition(slo.status.conditions, ATTAINABLE)
        if attainable is not None and attainable.status is ConditionStatus.FALSE:
            reason = attainable.reason
        rows.append([slo.name, style.state(reason or "Unseen"), describe(slo)])
    return table(["LATENCYSLO", "STATE", ""], rows, indent=2, width=width)


def _places(it: Explanation, *, wide: bool, width: int | None) -> str:
    """A line for each place, and beneath it why there."""
    headers = ["POOL", "TIER", "VARIANT", "CLASS", "READY", "STATE"]
    more = ["SERVER", "RATE", "P99", "BUDGET"] if wide else []
    placements = it.model.status.placements
    rows = [[*_place(place), *(_measured(place, it.load(place)) if wide else [])] for place in placements]
    head, *lines = table([*headers, *more], rows, indent=2).splitlines()
    reasons = [wrap(f"{place.reason}: {place.message}", start=6, width=width) for place in placements]
    return "\n".join([head, *(f"{line}\n      {why}" for line, why in zip(lines, reasons, strict=True))])


def _place(placement: Placement) -> list[str]:
    ready = f"{placement.ready_replicas}/{placement.replicas}"
    tier, state = str(placement.tier), style.state(state_of(placement))
    return [placement.pool, tier, placement.variant, placement.accelerator, ready, state]


def _measured(placement: Placement, found: Load) -> list[str]:
    return [
        placement.server,
        "" if found.rate is None else f"{found.rate:.3g}/s",
        "" if found.p99 is None else milliseconds(found.p99),
        ABSENT if found.budget is None else milliseconds(found.budget.seconds),
    ]


def _gateways(it: Explanation, *, width: int | None) -> str:
    """What arrives where, and what of it leaves or is refused."""
    rows = [
        [
            pool,
            f"{counted.arrived:.3g}/s",
            f"{counted.spilled:.3g}/s",
            _lost(counted.refused),
            _lost(counted.failed),
            ABSENT if counted.p99 is None else milliseconds(counted.p99),
        ]
        for pool, counted in it.gateways.items()
    ]
    return table(["POOL", "ARRIVED", "SPILLED", "REFUSED", "FAILED", "P99"], rows, indent=2, width=width)


def _lost(rate: float) -> str:
    """Requests/s that got no answer: whatever they are, they are too many."""
    return style.bad(f"{rate:.3g}/s") if rate > 0 else "0/s"


def _pools(it: Explanation, *, width: int | None) -> str:
    if it.pools is None:
        return _sentence("you may not read NodePools: a cluster administrator may", width=width)
    if not it.pools:
        return _sentence("there is none: create a NodePool that selects your nodes", width=width)
    members = any(pool.spec.member for pool in it.pools)
    rows = [
        [
            pool.name,
            str(pool.spec.tier),
            pool.spec.site or "",
            f"{pool.status.ready_nodes}/{pool.status.nodes}",
            pool.status.devices or "no devices",
            *([member_of(pool)] if members else []),
        ]
        for pool in it.pools
    ]
    headers = ["POOL", "TIER", "SITE", "NODES", "DEVICES", *(["MEMBER"] if members else [])]
    return table(headers, rows, indent=2, width=width)


def _variants(model: Model, *, width: int | None) -> str:
    rows = [
        [it.name, it.accelerator, it.backend, it.cpu or "", it.memory or "", it.accuracy or "", it.artifact.digest[:19]]
        for it in model.spec.variants
    ]
    headers = ["VARIANT", "CLASS", "BACKEND", "CPU", "MEMORY", "ACCURACY", "ARTIFACT"]
    return table(headers, rows, indent=2, width=width)


def _block(title: str, body: str) -> str:
    return f"{style.strong(title)}\n{body}"


def _sentence(text: str, *, width: int | None) -> str:
    return f"  {wrap(text, start=2, width=width)}"
