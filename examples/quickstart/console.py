"""What the demo prints: numbered steps, each with what happens in it and the seconds it took."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class Console:
    """Prints plain lines, as fit for a log as for a terminal."""

    def __init__(self, *, steps: int) -> None:
        self._steps = steps
        self._step = 0

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Announce a step, and say how long it took when it succeeds."""
        self._step += 1
        print(f"\n[{self._step}/{self._steps}] {title}", flush=True)
        start = time.monotonic()
        yield
        self.say(f"done in {time.monotonic() - start:.1f} s")

    def say(self, text: str = "") -> None:
        """Print below the current step."""
        for line in text.splitlines() or [""]:
            print(f"      {line}".rstrip(), flush=True)

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """Print rows of equal length in columns."""
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            self.say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
