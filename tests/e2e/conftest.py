"""The lab with Littoral on it, for all tests of this folder that ask for it.

`LITTORAL_LAB=<name>` uses a lab that is up and leaves it up; else the lab `test` is brought up, and taken down at the
end. Its nodes announce what the machine lacks: `edge` has an NPU.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.littoral import Littoral, install

ROOT = Path(__file__).parents[2]
_NAME = "test"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever stands in this folder needs the lab."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("e2e")


@pytest.fixture(scope="session")
def lab() -> Iterator[str]:
    """Name of a lab with the nodes edge (with an NPU) and cloud."""
    if running := os.environ.get("LITTORAL_LAB"):
        yield running
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "littoral/labs"
    cache.mkdir(parents=True, exist_ok=True)
    # Two test runs on one machine use the same lab, one after the other.
    with (cache / f".{_NAME}.session").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            _lab("up", "--name", _NAME, "--node", "edge:intel-npu=1", "--node", "cloud")
            yield _NAME
        finally:
            _lab("down", "--name", _NAME)


@pytest.fixture(scope="session")
def littoral(lab: str) -> Littoral:
    """Littoral, installed in the lab by its chart, with the quickstart's Models Ready."""
    return install(lab)


def _lab(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "lab", *arguments], cwd=ROOT, check=True)
