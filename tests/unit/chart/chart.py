"""The chart as helm renders it."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts/littoral"
NAMESPACE = "littoral-system"

Object = dict[str, Any]


class Refused(Exception):
    """helm refused the values; the message is helm's."""


@dataclass(frozen=True)
class Rendered:
    """The objects of one rendering."""

    objects: tuple[Object, ...]

    def of(self, kind: str) -> list[Object]:
        """All objects of a kind."""
        return [body for body in self.objects if body["kind"] == kind]

    def one(self, kind: str, *, suffix: str = "") -> Object:
        """The object of a kind whose name ends so; there must be exactly one."""
        (found,) = [body for body in self.of(kind) if body["metadata"]["name"].endswith(suffix)]
        return found

    @property
    def pod(self) -> Object:
        """The Pod template of the operator."""
        template: Object = self.one("Deployment")["spec"]["template"]
        return template

    @property
    def container(self) -> Object:
        """The operator's container."""
        (container,) = self.pod["spec"]["containers"]
        assert isinstance(container, dict)
        return container


@cache
def helm() -> Path:
    """The lab's helm, or the one on PATH; these tests mean nothing without it, and fail."""
    cached = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "littoral/bin"
    built = max(cached.glob("helm-*/helm"), key=lambda path: path.stat().st_mtime, default=None)
    found = built or shutil.which("helm")
    assert found, "helm: not found. Install it, or let the lab build it: make lab-up"
    return Path(found)


def run_helm(*arguments: str, values: Object | None = None) -> str:
    """What helm prints.

    Raises:
        Refused: helm failed.
    """
    command = [str(helm()), *arguments, *(["--values=-"] if values else [])]
    done = subprocess.run(command, input=yaml.dump(values or {}), capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(done.stderr + done.stdout)
    return done.stdout


def render(values: Object | None = None, *, release: str = "littoral") -> Rendered:
    """The chart with these values on top of its own.

    Raises:
        Refused: the schema, or a template, does not take them.
    """
    return Rendered(
        tuple(
            body for body in yaml.load_all(_template(yaml.dump(values or {}), release), Loader=yaml.CSafeLoader) if body
        )
    )


@cache
def _template(values: str, release: str) -> str:
    return run_helm("template", release, str(CHART), f"--namespace={NAMESPACE}", values=yaml.safe_load(values))
