"""How a benchmark says what it measured."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path


def machine() -> str:
    """The machine and the date, in one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    return f"{today}, {os.cpu_count()} x {model}, {memory:.0f} GiB, Linux {platform.release().split('-')[0]}"


def print_table(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Print (what, number) pairs beneath a title."""
    width = max(len(what) for what, _ in rows)
    print(f"\n{title}\n{machine()}\n")
    for what, number in rows:
        print(f"  {what:<{width}}  {number}")


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
