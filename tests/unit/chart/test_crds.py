"""The CRDs in the chart, and the same objects without Helm."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.unit.chart.chart import ROOT, render

KEEP = {"helm.sh/resource-policy": "keep"}


def test_the_chart_carries_the_generated_crds() -> None:
    generated = {crd["metadata"]["name"]: crd for path in (ROOT / "crds").glob("*.yaml") if (crd := _load(path))}
    rendered = {
        crd["metadata"]["name"]: crd for crd in render({"crds": {"keep": False}}).of("CustomResourceDefinition")
    }
    assert rendered == generated
    assert len(rendered) == 4


@pytest.mark.parametrize(("keep", "annotations"), [(True, KEEP), (False, None)])
def test_crds_are_kept_on_uninstall_where_asked(keep: bool, annotations: dict[str, str] | None) -> None:
    for crd in render({"crds": {"keep": keep}}).of("CustomResourceDefinition"):
        assert crd["metadata"].get("annotations") == annotations


def test_crds_can_be_left_to_others() -> None:
    assert not render({"crds": {"enabled": False}}).of("CustomResourceDefinition")


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "littoral.api.crds", "--check", "--format=helm", "--output=charts/littoral/templates/crds"],
        ["manifests/kustomize/render.py", "--check"],
    ],
    ids=["chart", "kustomize"],
)
def test_what_is_generated_is_not_stale(command: list[str]) -> None:
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_staleness_is_noticed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "littoral.api.crds", "--check", "--format=helm", f"--output={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "run `make generate`" in done.stderr


def test_helm_finds_the_same_objects_as_kustomize() -> None:
    base = ROOT / "manifests/kustomize/base"
    listed = yaml.safe_load((base / "kustomization.yaml").read_text())["resources"]
    without_helm = {
        (body["kind"], body["metadata"]["name"])
        for name in listed
        if name != "namespace.yaml"
        for body in yaml.safe_load_all((base / name).read_text())
    }
    assert without_helm == {(body["kind"], body["metadata"]["name"]) for body in render().objects}


def test_kustomize_names_the_images_that_the_chart_does() -> None:
    (image,) = yaml.safe_load((ROOT / "manifests/kustomize/kustomization.yaml").read_text())["images"]
    assert f"{image['name']}:{image['newTag']}" == render().container["image"]
    assert image["newName"] == image["name"]


def _load(path: Path) -> dict[str, dict[str, str]] | None:
    body = yaml.safe_load(path.read_text())
    return body if body["kind"] == "CustomResourceDefinition" else None
