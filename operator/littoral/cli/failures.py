"""Expected errors in one line: what is wrong, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

import click


class Failure(click.ClickException):
    """Ends a command with exit code 1 and one line on standard error."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def not_found(what: str, *, name: str, known: Iterable[str], where: str = "") -> Failure:
    """Something that is asked for by name and does not exist.

    Args:
        what: its kind, such as `Model`.
        known: the names that do exist: close ones are proposed.
        where: what was searched, such as `in namespace shop`.
    """
    there = f"there is no {what} {name}{f' {where}' if where else ''}"
    names = sorted(known)
    if close := get_close_matches(name, names, n=3, cutoff=0.5):
        return Failure(f"{there}: did you mean {' or '.join(close)}?")
    if names:
        some = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        return Failure(f"{there}; there {'is' if len(names) == 1 else 'are'} {some}")
    return Failure(f"{there}, nor any other")


def refused(*, status: int, message: str, plural: str) -> Failure:
    """What an API server's refusal to let us read means to whoever called.

    Args:
        status: HTTP status code.
        message: the server's own words.
        plural: the resource that was asked for, such as `models.littoral.dev`.
    """
    if status == 401:
        return Failure(
            "the API server does not accept these credentials: log in again, or choose others with --context or "
            "--kubeconfig"
        )
    if status == 403:
        return Failure(
            f"{message or f'{plural}: forbidden'}: ask for a role that may read it (Littoral adds its own to the "
            "ClusterRole view), or name a namespace of yours with -n"
        )
    if status == 404:
        return Failure(
            f"the API server does not serve {plural}: install Littoral's CRDs first (helm install littoral, or "
            "kubectl apply --server-side -f crds/), or choose another cluster with --context"
        )
    return Failure(f"the API server answered {status}: {message}: try again")


def unreachable(error: BaseException) -> Failure:
    """No answer at all."""
    said = str(error) or type(error).__name__
    return Failure(
        f"the API server cannot be reached: {said}: see that the cluster is up, or choose another one with --context "
        "or --kubeconfig"
    )
