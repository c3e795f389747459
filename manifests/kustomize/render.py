"""Render the chart for those who do not use Helm: `python manifests/kustomize/render.py [--check]`.

`crds.yaml` and `operator.yaml` in `base/` are the chart with its defaults, and committed, so that a change shows in
review; `--check` fails when they are stale.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

BASE = Path(__file__).resolve().parent / "base"
ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/littoral"
NAMESPACE = "littoral-system"

_HEADER = "# Generated from charts/littoral by `make generate`: edit the chart, not this file.\n"


class NoHelm(Exception):
    """There is no helm; the message says where to get it."""


def find_helm() -> Path:
    """The lab's helm, or the one on PATH.

    Raises:
        NoHelm: there is neither.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "littoral/bin"
    built = max(cache.glob("helm-*/helm"), key=lambda path: path.stat().st_mtime, default=None)
    installed = shutil.which("helm")
    if built is None and installed is None:
        raise NoHelm("helm: not found. Install it, or let the lab build it: make lab-up")
    return built or Path(str(installed))


def render() -> dict[Path, str]:
    """What must stand where.

    Raises:
        NoHelm: there is no helm.
        subprocess.CalledProcessError: helm refused the chart, and said why.
    """
    command = [
        str(find_helm()),
        "template",
        "littoral",
        str(CHART),
        f"--namespace={NAMESPACE}",
        "--set=crds.keep=false",
    ]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    objects = [_without_helm(body) for body in yaml.safe_load_all(text) if body]
    crds = [body for body in objects if body["kind"] == "CustomResourceDefinition"]
    rest = [body for body in objects if body not in crds]
    return {BASE / "crds.yaml": _dump(crds), BASE / "operator.yaml": _dump(rest)}


def _without_helm(body: dict[str, Any]) -> dict[str, Any]:
    """The object without the labels that say that Helm manages it."""
    pod = body.get("spec", {}).get("template", {}) if body["kind"] == "Deployment" else {}
    for labels in (part.get("metadata", {}).get("labels", {}) for part in (body, pod)):
        for name in ("helm.sh/chart", "app.kubernetes.io/managed-by"):
            labels.pop(name, None)
    return body


def _dump(objects: list[dict[str, Any]]) -> str:
    return _HEADER + yaml.safe_dump_all(objects, sort_keys=False, width=110, allow_unicode=True)


def main() -> int:
    """Write the files, or with `--check` name those that are stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is stale")
    options = parser.parse_args()
    try:
        files = render()
    except NoHelm as error:
        parser.error(str(error))
    stale = [path for path, text in files.items() if not path.is_file() or path.read_text("utf-8") != text]
    for path in stale:
        name = path.relative_to(ROOT)
        if options.check:
            print(f"{name} is stale: run `make generate`", file=sys.stderr)
        else:
            path.write_text(files[path], "utf-8")
            print(f"wrote {name}")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
