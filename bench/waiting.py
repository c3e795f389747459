"""How a benchmark waits for a condition of a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable

import click


def wait_until(holds: Callable[[], bool], *, what: str, within: float) -> None:
    """Wait until it holds; `within` is in seconds.

    Raises:
        click.ClickException: it did not hold in time; the message says `what`.
    """
    end = time.monotonic() + within
    while not holds():
        if time.monotonic() > end:
            raise click.ClickException(f"not {what} within {within:g} s")
        time.sleep(0.2)
