"""The lab, by its own commands: its images and its cluster."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from . import setting_up
from .cluster import Cluster, DemoError, connect
from .setting_up import Images


def run_module(*arguments: str, capture: bool = True) -> str:
    """Run `python -m ...` in the checkout and return what it prints; raise DemoError if it fails."""
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(
        command, cwd=setting_up.ROOT, stdout=subprocess.PIPE if capture else None, text=True, check=False
    )
    if done.returncode != 0:
        raise DemoError(f"`python -m {' '.join(arguments)}` failed: what it says stands above.")
    return done.stdout or ""


def connect_lab(name: str) -> Cluster:
    """Return the cluster of a lab that is up, with helm built for it; raise DemoError."""
    run_module("lab", "programs", "helm")  # The lab itself has no use for it.
    return connect(kubeconfig=Path(run_module("lab", "kubeconfig", "--name", name).strip()))


def lab_images() -> Images:
    """Return the images as the checkout is now, by names that change with their content: a stale one never runs."""
    references = [line.split()[0] for line in run_module("lab.images").splitlines()]
    by_name = {reference.rpartition("/")[2].partition(":")[0]: reference for reference in references}
    return Images(
        littoral=by_name["littoral"],
        quickstart_models=by_name["quickstart-models"],
        triton=by_name["triton"],
        gateway=by_name["gateway"],
    )
