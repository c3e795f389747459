"""Write the CustomResourceDefinitions and the API reference: `python -m littoral.api.crds [--check]`.

`crds/` and `docs/reference/api.md` are generated from the models and committed, so that a change of the API shows
in review; `--check` fails when they are stale. `--format helm` writes the same CRDs as templates of a chart.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from littoral.api.assignment import Assignment
from littoral.api.base import GROUP, VERSION
from littoral.api.latencyslo import LatencySLO
from littoral.api.meta import Resource
from littoral.api.model import Model
from littoral.api.nodepool import NodePool
from littoral.api.reference import reference
from littoral.api.schema import structural_schema

_HEADER = "# Generated from operator/littoral/api by `make generate`: edit the models, not this file.\n"


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of `kubectl get`; those that are not `wide` are always shown."""

    name: str
    path: str
    description: str
    type: str = "string"
    wide: bool = False

    def definition(self) -> dict[str, Any]:
        """The entry of `additionalPrinterColumns`."""
        entry = {
            "name": self.name,
            "type": self.type,
            "jsonPath": self.path,
            "description": self.description,
        }
        return entry | ({"priority": 1} if self.wide else {})


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind and how kubectl shows it."""

    resource: type[Resource]
    short_names: tuple[str, ...]
    columns: tuple[Column, ...]
    scale: dict[str, str] | None = None

    @property
    def crd_name(self) -> str:
        """The name of the CustomResourceDefinition."""
        return f"{self.resource.PLURAL}.{GROUP}"


def _condition(kind: str, field: str) -> str:
    return f'.status.conditions[?(@.type=="{kind}")].{field}'


_READY = Column(name="Ready", path=_condition("Ready", "status"), description="Whether it does what its spec asks for.")
_REASON = Column(name="Reason", path=_condition("Ready", "reason"), description="Why it is ready or not.", wide=True)
_MESSAGE = Column(name="Message", path=_condition("Ready", "message"), description="Why, in a sentence.", wide=True)
_AGE = Column(name="Age", path=".metadata.creationTimestamp", type="date", description="Time since it was made.")

KINDS = (
    Kind(
        resource=Model,
        short_names=("mdl",),
        scale={
            "specReplicasPath": ".spec.scaling.minReplicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
        columns=(
            _READY,
            Column(name="Placed", path=".status.placed", description="Ready places out of chosen places."),
            Column(
                name="Replicas",
                path=".status.readyReplicas",
                type="integer",
                description="Replicas that answer requests.",
            ),
            Column(name="URL", path=".status.url", description="Where clients of the cluster reach it."),
            Column(
                name="Priority",
                path=".spec.priority",
                type="integer",
                description="Higher goes first.",
                wide=True,
            ),
            _REASON,
            _MESSAGE,
            _AGE,
        ),
    ),
    Kind(
        resource=NodePool,
        short_names=("pool",),
        columns=(
            _READY,
            Column(name="Tier", path=".spec.tier", description="edge or cloud."),
            Column(name="Site", path=".spec.site", description="Site of the nodes."),
            Column(name="Nodes", path=".status.readyNodes", type="integer", description="Ready nodes."),
            Column(name="Devices", path=".status.devices", description="Devices that the nodes announce."),
            Column(name="Member", path=".spec.member", description="Member cluster of the nodes.", wide=True),
            _REASON,
            _MESSAGE,
            _AGE,
        ),
    ),
    Kind(
        resource=LatencySLO,
        short_names=("slo",),
        columns=(
            _READY,
            Column(name="Model", path=".spec.modelRef.name", description="The Model that must be fast."),
            Column(name="Percentile", path=".spec.percentile", description="Percentage of requests in time."),
            Column(name="Latency", path=".spec.latency", description="Time to answer in."),
            Column(name="Objective", path=".spec.objective", description="Percentage of windows kept.", wide=True),
            Column(name="Overflow", path=".spec.overflow", description="Whether requests may leave.", wide=True),
            _REASON,
            _MESSAGE,
            _AGE,
        ),
    ),
    Kind(
        resource=Assignment,
        short_names=("asg",),
        columns=(
            _READY,
            Column(name="Tier", path=".spec.tier", description="edge or cloud."),
            Column(name="Site", path=".spec.site", description="Site of the pool."),
            Column(name="Serving", path=".status.serving", description="Ready servers out of all."),
            _REASON,
            _MESSAGE,
            _AGE,
        ),
    ),
)


def crd(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind."""
    resource = kind.resource
    subresources: dict[str, Any] = {"status": {}} | ({"scale": kind.scale} if kind.scale else {})
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.crd_name},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": resource.KIND,
                "listKind": f"{resource.KIND}List",
                "plural": resource.PLURAL,
                "singular": resource.KIND.lower(),
                "shortNames": list(kind.short_names),
                "categories": ["littoral"],
            },
            "scope": "Namespaced" if resource.NAMESPACED else "Cluster",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": subresources,
                    "additionalPrinterColumns": [column.definition() for column in kind.columns],
                    "schema": {"openAPIV3Schema": structural_schema(resource)},
                }
            ],
        },
    }


def as_yaml(kind: Kind) -> str:
    """The CRD of a kind as the file under `crds/`."""
    return _HEADER + yaml.dump(crd(kind), Dumper=_PlainDumper, sort_keys=False, width=110, allow_unicode=True)


def as_template(kind: Kind) -> str:
    """The CRD of a kind as a Helm template, kept on uninstall where `crds.keep` says so."""
    # Helm would take braces in a description for its own.
    text = as_yaml(kind).replace("{{", '{{ "{{" }}')
    name = f"metadata:\n  name: {kind.crd_name}\n"
    keep = "  {{- if .Values.crds.keep }}\n  annotations:\n    helm.sh/resource-policy: keep\n  {{- end }}\n"
    return "{{- if .Values.crds.enabled }}\n" + text.replace(name, name + keep, 1) + "{{- end }}\n"


class _PlainDumper(yaml.SafeDumper):
    """Writes repeated parts out: an alias in YAML helps no reader."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def generated_files(*, root: Path, form: str, output: Path) -> dict[Path, str]:
    """What must stand where: the CRDs under `output`, and for plain CRDs the API reference under `root`."""
    write = as_template if form == "helm" else as_yaml
    files = {output / f"{kind.resource.PLURAL}.yaml": write(kind) for kind in KINDS}
    if form == "crd":
        files[root / "docs/reference/api.md"] = reference([crd(kind) for kind in KINDS])
    return files


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or with `--check` name those that are stale."""
    parser = argparse.ArgumentParser(prog="python -m littoral.api.crds", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is stale")
    parser.add_argument("--format", choices=["crd", "helm"], default="crd", help="plain CRDs or Helm templates")
    parser.add_argument("--root", type=Path, default=Path(), help="the checkout (default: here)")
    parser.add_argument("--output", type=Path, help="folder of the CRDs (default: crds/ of the checkout)")
    options = parser.parse_args(arguments)

    files = generated_files(root=options.root, form=options.format, output=options.output or options.root / "crds")
    stale = [path for path, text in files.items() if not path.is_file() or path.read_text("utf-8") != text]
    if options.check:
        for path in stale:
            print(f"{path} is stale: run `make generate`", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[path], "utf-8")
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
