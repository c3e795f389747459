"""The lab's programs: Go modules in ``tools/`` pinned by go.mod and go.sum, built once and cached.

A module's build is kept under a key made of its files, its build flags and Go's version: a change of any builds anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.debian import find
from lab.errors import LabError
from lab.progress import say, step
from lab.state import exclusive

TOOLS = Path(__file__).resolve().parent.parent / "tools"
MODULES = ("kubernetes", "etcd", "containerd", "cni", "coredns", "kwok", "helm", "pause")
"""The modules, the ones that take longest first."""

SERVERS = ("distribution", "versitygw")
"""Servers of artifacts, a registry and S3: what tests and benchmarks fetch from. No lab needs them."""

SOURCES = ("gateway-api",)
"""What is only fetched, for files that are in it: CRDs. No lab needs them."""

_TAGS = {"containerd": "no_btrfs,no_devmapper,no_zfs,no_aufs"}
_RENAMED = {"etcd": ("server", "etcd")}


@dataclass(frozen=True, kw_only=True)
class Programs:
    """Built modules: module -> directory of its programs."""

    directories: dict[str, Path]

    def path(self, module: str, program: str | None = None) -> str:
        """The path of a module's program (by default the one that is named as the module)."""
        return str(self.directories[module] / (program or module))


def version(module: str) -> str:
    """The version of the program that a module pins, as in ``v1.36.3``; empty for a program of this repository."""
    text = (TOOLS / module / "go.mod").read_text()
    names = {"kubernetes": "k8s.io/kubernetes", "cni": "github.com/containernetworking/plugins"}
    pattern = names.get(module, rf"\S*/{module}(?:/server)?(?:/cmd/\w+)?(?:/v\d+)?")
    match = re.search(rf"^\s*(?:require )?{pattern} (v\S+)", text, re.MULTILINE)
    return match[1] if match else ""


def ensure(modules: Sequence[str] = MODULES, *, cache: Path) -> Programs:
    """Build what is not in the cache yet. Safe to run twice at the same time: the second waits for the first.

    Raises ``LabError`` when there is no Go, or a build fails.
    """
    go = find("go") or find("/usr/local/go/bin/go")
    built = {module: _place(module, go=go, cache=cache) for module in modules}
    if any(not directory.is_dir() for directory in built.values()):
        if go is None:
            raise LabError("go: not found. Install Go (see the `go` line of tools/kubernetes/go.mod), then try again.")
        with exclusive(cache / "bin" / ".lock", purpose="the lab's programs"):
            missing = [module for module, directory in built.items() if not directory.is_dir()]
            if missing:
                say(f"Building the lab's programs, once: {', '.join(missing)}")
            for number, module in enumerate(missing, start=1):
                release = version(module) or "of this repository"
                with step(f"build {module} {release} ({number} of {len(missing)})"):
                    _build(module, go=go, target=built[module])
    return Programs(directories=built)


def fetch(module: str) -> Path:
    """The directory of the sources that a module of `SOURCES` pins, in Go's own cache; checked against its go.sum.

    Raises ``LabError`` when there is no Go, or it cannot be fetched.
    """
    go = find("go") or find("/usr/local/go/bin/go")
    if go is None:
        raise LabError("go: not found. Install Go (see the `go` line of tools/kubernetes/go.mod), then try again.")
    (required,) = json.loads(_go(go, "mod", "edit", "-json", module=module))["Require"]
    return Path(json.loads(_go(go, "mod", "download", "-json", required["Path"], module=module))["Dir"])


def _go(go: str, *arguments: str, module: str) -> str:
    result = subprocess.run(
        [go, *arguments], check=False, cwd=TOOLS / module, env=_environment(), capture_output=True, text=True
    )
    if result.returncode != 0:
        raise LabError(f"go {' '.join(arguments)} in tools/{module} failed:\n{result.stderr.strip()[-2000:]}")
    return result.stdout


def _place(module: str, *, go: str | None, cache: Path) -> Path:
    """Where the build of the module as it is now belongs."""
    if go is None:  # Without Go, what was built last will do.
        kept = sorted((cache / "bin").glob(f"{module}-*"), key=lambda path: path.stat().st_mtime)
        return kept[-1] if kept else cache / "bin" / module
    digest = hashlib.sha256(_go_version(go).encode())
    digest.update(repr(_flags(module)).encode())
    for path in sorted((TOOLS / module).rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(TOOLS).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return cache / "bin" / f"{module}-{digest.hexdigest()[:12]}"


def _go_version(go: str) -> str:
    return subprocess.run([go, "version"], capture_output=True, text=True, check=True, env=_environment()).stdout


def _flags(module: str) -> list[str]:
    linker = "-s -w"
    if module == "kubernetes":
        release = version(module)
        _, minor, _ = release.split(".", 2)
        package = "k8s.io/component-base/version"
        values = {"gitVersion": release, "gitMajor": "1", "gitMinor": minor, "gitTreeState": "clean"}
        linker += "".join(f" -X {package}.{name}={value}" for name, value in values.items())
    return ["-mod=readonly", "-trimpath", f"-ldflags={linker}", f"-tags={_TAGS.get(module, '')}"]


def _environment() -> dict[str, str]:
    # The toolchain is the one that is installed: nothing may fetch another one behind a person's back.
    return {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off", "CGO_ENABLED": "0"}


def _build(module: str, *, go: str, target: Path) -> None:
    source = TOOLS / module
    packages = "tool" if re.search(r"^tool\b", (source / "go.mod").read_text(), re.MULTILINE) else "."
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    result = subprocess.run(
        [go, "build", *_flags(module), "-o", f"{partial}/", packages],
        check=False,
        cwd=source,
        env=_environment(),
        capture_output=True,
        text=True,
    )
    if result.returncode != 0:
        shutil.rmtree(partial)
        raise LabError(f"go build of tools/{module} failed:\n{result.stderr.strip()[-2000:]}")
    if module in _RENAMED:
        old, new = _RENAMED[module]
        (partial / old).rename(partial / new)
    partial.rename(target)
