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


@contextmanager
def step(title: str) -> Iterator[None]:
    """Name a step and, when it has succeeded, how long it took. A terminal shows the seconds as they pass."""
    started = time.monotonic()
    done = threading.Event()

    def line(mark: str) -> str:
        return f"{mark} {title:<58} {time.monotonic() - started:7.1f} s"

    def tick() -> None:
        while not done.wait(1.0):
            print(f"\r{line('..')}", end="", file=sys.stderr, flush=True)

    ticker = threading.Thread(target=tick, daemon=True) if sys.stderr.isatty() else None
    if ticker is not None:
        ticker.start()
    mark = "xx"
    try:
        yield
        mark = "ok"
    finally:
        done.set()
        if ticker is not None:
            ticker.join()
            print("\r", end="", file=sys.stderr)
        say(line(mark))
