"""What a person sees while the lab works: one line for each step, with its seconds."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


def say(text: str) -> None:
    """One line to standard error, which leaves standard output to results."""
    print(text, file=sys.stderr, flush=True)


_under_way: list[str] = []
"""The titles of the steps that have begun, the innermost last: only that one shows its seconds."""


@contextmanager
def step(title: str) -> Iterator[None]:
    """Name a step once it has ended, and how long it took; ``xx`` marks one that failed.

    A terminal shows the seconds as they pass. Steps may be nested.
    """
    started = time.monotonic()
    done = threading.Event()

    def line(mark: str) -> str:
        return f"{mark} {title:<58} {time.monotonic() - started:7.1f} s"

    def tick() -> None:
        while not done.wait(1.0):
            if _under_way[-1:] == [title]:
                print(f"\r{line('..')}", end="", file=sys.stderr, flush=True)

    _under_way.append(title)
    ticker = threading.Thread(target=tick, daemon=True) if sys.stderr.isatty() else None
    if ticker is not None:
        ticker.start()
    mark = "xx"
    try:
        yield
        mark = "ok"
    finally:
        done.set()
        _under_way.remove(title)
        if ticker is not None:
            ticker.join()
            print("\r", end="", file=sys.stderr)
        say(line(mark))
