"""The manifests for Flux and Argo CD: as far as they can be checked without those controllers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.unit.chart.chart import ROOT, render

FLUX = ROOT / "manifests/flux"
ARGO_CD = ROOT / "manifests/argocd"


def _objects(path: Path) -> list[dict[str, Any]]:
    return [body for body in yaml.safe_load_all(path.read_text()) if body]


def test_flux_waits_for_the_kinds_then_for_the_operator() -> None:
    steps = {
        body["metadata"]["name"]: body["spec"] for body in _objects(FLUX / "littoral.yaml") if "path" in body["spec"]
    }
    assert [step["name"] for step in steps["littoral"]["dependsOn"]] == ["littoral-crds"]
    assert [step["name"] for step in steps["shop-models"]["dependsOn"]] == ["littoral"]
    assert steps["littoral-crds"]["prune"] is False


def test_flux_paths_are_folders_of_this_repository() -> None:
    paths = {
        body["spec"]["path"]
        for body in _objects(FLUX / "littoral.yaml")
        if body["spec"].get("sourceRef", {}).get("name") == "littoral"
    }
    assert paths == {"./crds", "./manifests/flux/operator"}
    assert all((ROOT / path).is_dir() for path in paths)


def test_the_helm_release_gives_values_that_the_chart_takes() -> None:
    (release,) = _objects(FLUX / "operator/helmrelease.yaml")
    assert (ROOT / release["spec"]["chart"]["spec"]["chart"] / "Chart.yaml").is_file()
    rendered = render(release["spec"]["values"])
    assert rendered.container["image"].startswith("registry.example/littoral:")
    assert not rendered.of("CustomResourceDefinition")


def test_the_application_gives_values_that_the_chart_takes() -> None:
    operator = next(body for body in _objects(ARGO_CD / "application.yaml") if body["metadata"]["name"] == "littoral")
    source = operator["spec"]["source"]
    assert (ROOT / source["path"] / "Chart.yaml").is_file()
    assert render(source["helm"]["valuesObject"], release=source["helm"]["releaseName"]).one("Deployment")
