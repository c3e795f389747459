"""A difference for people: the text of `littoral plan`. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Final

from littoral.cli import style
from littoral.cli.difference import Change, Difference, Move, ServerChange
from littoral.cli.table import table

_VERBS: Final = {Change.APPEARS: "appear", Change.CHANGES: "change", Change.GOES: "go"}
_MARKS: Final = {Change.APPEARS: style.good("+"), Change.CHANGES: style.warn("~"), Change.GOES: style.bad("-")}


def as_text(found: Difference, *, width: int | None) -> str:
    """The difference for people."""
    servers = [
        [_MARKS[it.change], it.pool, it.server.namespace, it.server.name, _size(it), _about(it)] for it in found.servers
    ]
    moves = [[_MARKS[it.change], str(it.model), it.pool, _way(it), f"{it.reason}: {it.message}"] for it in found.moves]
    shortfalls = [[style.bad("!"), str(it.model), it.message] for it in found.shortfalls]
    frozen = [[style.warn("?"), pool, f"{why}; what runs there goes on"] for pool, why in found.frozen]
    blocks = [
        f"{style.strong(title)}\n{table(['', *headers], rows, indent=2, width=width)}"
        for title, headers, rows in (
            ("Servers", ["POOL", "NAMESPACE", "SERVER", "SIZE", "MODELS"], servers),
            ("Models", ["MODEL", "POOL", "VARIANT", "WHY"], moves),
            ("Not served as asked", ["MODEL", "WHY"], shortfalls),
            ("Not planned", ["POOL", "WHY"], frozen),
        )
        if rows
    ]
    return "\n\n".join([*blocks, summary(found)])


def summary(found: Difference) -> str:
    """The last line: how much would change."""
    if not found:
        return "Nothing would change."
    counts = Counter(it.change for it in found.servers)
    said = [
        f"{count} {'server' if count == 1 else 'servers'} {verb if count == 1 else plural}"
        for verb, plural in _VERBS.items()
        if (count := counts[verb])
    ]
    models = len({it.model for it in found.moves})
    moved = [f"{models} {'Model is' if models == 1 else 'Models are'} affected"] if models else []
    return f"{', '.join([*said, *moved])}. Nothing was written."


def _size(it: ServerChange) -> str:
    return f"{it.server.accelerator} x {it.server.replicas}"


def _about(it: ServerChange) -> str:
    if it.details:
        return "; ".join(it.details)
    return ", ".join(f"{model.name} ({model.variant})" for model in it.server.models)


def _way(it: Move) -> str:
    ends = [" + ".join(map(str, spots)) for spots in (it.before, it.after) if spots]
    return " -> ".join(dict.fromkeys(ends))
