"""Generation of the CRDs: fresh, structural, and fit for a chart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from littoral.api.crds import KINDS, Kind, as_template, as_yaml, main

ROOT = Path(__file__).parents[3]
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.resource.KIND)


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for child in value.values():
            yield from nodes(child)
    elif isinstance(value, list):
        for child in value:
            yield from nodes(child)


def test_committed_files_are_fresh() -> None:
    assert main(["--check", "--root", str(ROOT)]) == 0


def test_a_stale_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--root", str(tmp_path)]
    assert main(arguments) == 0
    assert main([*arguments, "--check"]) == 0
    stale = tmp_path / "crds" / "models.yaml"
    stale.write_text("apiVersion: v1\n")
    assert main([*arguments, "--check"]) == 1
    assert capsys.readouterr().err == f"{stale} is stale: run `make generate`\n"
    assert main(arguments) == 0
    assert main([*arguments, "--check"]) == 0


@each_kind
def test_a_schema_is_structural(kind: Kind) -> None:
    schema = yaml.safe_load(as_yaml(kind))["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for node in nodes(schema):
        assert not node.keys() & {"$ref", "$defs", "allOf", "oneOf", "const", "nullable", "readOnly"}
        assert "anyOf" not in node or node["x-kubernetes-int-or-string"]
        if node.get("type") == "array":
            assert {"items", "x-kubernetes-list-type"} <= node.keys()
            if node["x-kubernetes-list-type"] == "map":
                assert set(node["x-kubernetes-list-map-keys"]) <= set(node["items"]["required"])


@each_kind
def test_a_template_differs_from_the_crd_by_the_values_of_the_chart(kind: Kind) -> None:
    lines = as_template(kind).splitlines()
    assert (lines[0], lines[-1]) == ("{{- if .Values.crds.enabled }}", "{{- end }}")
    keep = [
        "  {{- if .Values.crds.keep }}",
        "  annotations:",
        "    helm.sh/resource-policy: keep",
        "  {{- end }}",
    ]
    at = lines.index(keep[0])
    assert lines[at - 1] == f"  name: {kind.crd_name}"
    assert lines[at : at + 4] == keep
    assert lines[1:at] + lines[at + 4 : -1] == as_yaml(kind).splitlines()


def test_a_template_leaves_braces_to_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("littoral.api.crds.as_yaml", lambda kind: "description: as in {{ .Values.x }}\n")
    assert 'as in {{ "{{" }} .Values.x }}' in as_template(KINDS[0])


def test_templates_come_without_a_reference(tmp_path: Path) -> None:
    output = tmp_path / "templates"
    assert main(["--format", "helm", "--root", str(tmp_path), "--output", str(output)]) == 0
    assert {path.name for path in output.iterdir()} == {f"{kind.resource.PLURAL}.yaml" for kind in KINDS}
    assert not (tmp_path / "docs").exists()


def test_the_reference_has_every_field() -> None:
    text = (ROOT / "docs/reference/api.md").read_text("utf-8")
    for field in ("variants[].artifact.digest", "accelerators[].class", "sites.matchNames", "servers[].models[].state"):
        assert f"| `{field}` |" in text
