"""Colours. click drops them where the output is no terminal, and `littoral` where NO_COLOR is set."""

from __future__ import annotations

import click

_GOOD = frozenset({"Ready", "Serving", "InForce", "NodesReady", "Applied"})
_BAD = frozenset({"Failed", "Stalled", "NoPlacement", "ModelFailed", "InvalidSpec", "ModelNotFound", "SiteNotFound"})


def strong(text: str) -> str:
    """A heading, or what the eye shall find first."""
    return click.style(text, bold=True)


def faint(text: str) -> str:
    """What is there for completeness."""
    return click.style(text, dim=True)


def good(text: str) -> str:
    """As it should be; also what is added."""
    return click.style(text, fg="green")


def bad(text: str) -> str:
    """Needs somebody; also what is taken away."""
    return click.style(text, fg="red")


def warn(text: str) -> str:
    """On its way, or worth a look; also what changes."""
    return click.style(text, fg="yellow")


def state(word: str) -> str:
    """A state or a reason, in the colour of what it means."""
    if word in _GOOD:
        return good(word)
    return bad(word) if word in _BAD else warn(word) if word not in ("", "-") else word
