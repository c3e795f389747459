"""`littoral validate`: each finding with its file and line, and exit codes that CI can use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from littoral.cli.findings import check
from littoral.cli.main import main
from littoral.cli.manifests import parse_manifests
from tests.support.objects import DIGEST, model_object, pool_object, variant
from tests.unit.api.cases import CASES
from tests.unit.api.cases.case import Case

ROOT = Path(__file__).parents[3]


def slo_object(model: str = "digits", **spec: Any) -> dict[str, Any]:
    """A LatencySLO of 50 ms."""
    return {
        "apiVersion": "littoral.dev/v1alpha1",
        "kind": "LatencySLO",
        "metadata": {"name": "fast", "namespace": "shop"},
        "spec": {"modelRef": {"name": model}, "latency": "50ms"} | spec,
    }


def validate(*arguments: str, stdin: str | None = None) -> Result:
    """Run it."""
    return CliRunner().invoke(main, ["validate", *arguments], input=stdin)


def findings(*objects: dict[str, Any]) -> list[tuple[str, str]]:
    """(severity, message) of each finding about these objects."""
    ran = validate("-", "-o", "json", stdin=yaml.safe_dump_all(objects))
    return [(it["severity"], it["message"]) for it in json.loads(ran.stdout)["findings"]]


@pytest.mark.parametrize("folder", ["manifests/samples", "manifests/quickstart"])
def test_what_we_ship_is_valid(folder: str) -> None:
    ran = validate(str(ROOT / folder), "--strict")
    assert (ran.exit_code, "all valid" in ran.stderr) == (0, True)


BROKEN = """\
apiVersion: littoral.dev/v1alpha1
kind: Model
metadata: {name: digits, namespace: shop}
spec:
  variants:
  - name: onnx-cpu
    acelerator: cpu
    accelerator: cpu
    backend: onnxruntime
    artifact: {uri: "ftp://models.example/digits.onnx", digest: "%s"}
  scaling:
    minReplicas: 30
    maxReplicas: 2
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: littoral.dev/v1alpha1
kind: LatencySLO
metadata: {name: fast, namespace: shop}
spec:
  modelRef: {name: digits}
  latency: 50ms
  latency: 60ms
  sites: {matchNames: [store-1]}
"""


def test_findings_name_file_line_and_field(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(BROKEN % DIGEST)
    (tmp_path / "b.json").write_text(json.dumps(pool_object("edge", site="store-12"), indent=1))
    ran = validate(str(tmp_path))
    assert ran.exit_code == 1
    assert ran.stdout.replace(f"{tmp_path}/", "").splitlines() == [
        "a.yaml: note: passed over 1 Namespace",
        "a.yaml:7: error: Model shop/digits: spec.variants[0].acelerator: unknown field: did you mean accelerator?",
        "a.yaml:10: error: Model shop/digits: spec.variants[0].artifact.uri: must start with oci://, https://, s3://, "
        "gs://, pvc:// or file://",
        "a.yaml:12: error: Model shop/digits: spec.scaling.minReplicas: must not be greater than maxReplicas",
        "a.yaml:25: error: LatencySLO shop/fast: latency stands here twice: remove one",
        "a.yaml:26: warning: LatencySLO shop/fast: no NodePool has site store-1: did you mean store-12?",
    ]
    assert ran.stderr == "3 objects: 4 errors, 1 warning\n"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_agrees_with_the_api_server(case: Case) -> None:
    """The rows that the cluster tests put to a real API server."""
    (manifest,) = parse_manifests(json.dumps(case.body), source="-")
    _, wrong = check(manifest, namespace="shop")
    assert bool(wrong) is bool(case.message), wrong


@pytest.mark.parametrize(
    ("objects", "severity", "message"),
    [
        (
            [model_object(), slo_object("digts")],
            "warning",
            "there is no Model digts in namespace shop of these files: did you mean digits?",
        ),
        (
            [model_object(variants=[variant(accelerator="nvidia-gpus")])],
            "warning",
            "variant onnx-cpu: no device class is named nvidia-gpus: did you mean nvidia-gpu?",
        ),
        (
            [model_object(variants=[variant(accelerator="hailo", backend="onnxruntime")])],
            "warning",
            "variant onnx-cpu: backend onnxruntime does not run on hailo: use one of python",
        ),
        (
            [model_object(), slo_object(minAccuracy="0.9")],
            "warning",
            "no variant of Model digits states an accuracy of 0.9 or more, so none may run",
        ),
        (
            [pool_object("a", nodeSelector={}), pool_object("b")],
            "warning",
            "selects nodes that NodePool a selects, too; they belong to a, the first by name: make the nodeSelectors "
            "exclusive",
        ),
        (
            [model_object(), model_object()],
            "warning",
            "stands in -:1, too: the one that is applied last wins",
        ),
        (
            [{"apiVersion": "littoral.dev/v2", "kind": "Model"}],
            "error",
            "unknown version littoral.dev/v2: write littoral.dev/v1alpha1",
        ),
        (
            [{"apiVersion": "littoral.dev/v1alpha1", "kind": "Modle"}],
            "error",
            "unknown kind Modle: did you mean Model?",
        ),
        ([model_object() | {"metadata": {"name": "a", "lables": {}}}], "error", "unknown field: did you mean labels?"),
    ],
)
def test_findings(objects: list[dict[str, Any]], severity: str, message: str) -> None:
    assert findings(*objects) == [(severity, message)]


@pytest.mark.parametrize(
    "objects",
    [
        pytest.param([slo_object("digits"), model_object(variants=[variant("Bad")])], id="an SLO for a broken Model"),
        pytest.param([model_object(), slo_object(sites={"matchNames": ["s"]})], id="no pool, so no word of sites"),
        pytest.param([pool_object("a"), pool_object("b", nodeSelector={}, member="m")], id="pools of two clusters"),
        pytest.param([model_object(namespace="a"), model_object(namespace="b")], id="namesakes in two namespaces"),
    ],
)
def test_no_false_alarm(objects: list[dict[str, Any]]) -> None:
    assert "warning" not in [severity for severity, _ in findings(*objects)]


def test_warnings_only_count_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "slo.yaml"
    path.write_text(yaml.safe_dump(slo_object()))
    assert validate(str(path)).exit_code == 0
    assert validate(str(path), "--strict").exit_code == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: [1\nb: 2\n", "is not YAML"),
        (b"\xff\xfe\x00", "cannot be read: it is not UTF-8"),
        (b"a: 2026-99-99\n", "is not YAML"),
    ],
)
def test_unreadable_files(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    ran = validate(str(path))
    assert (ran.exit_code, said in ran.stdout) == (1, True)


def test_a_missing_file() -> None:
    ran = validate("/no/such.yaml")
    assert (ran.exit_code, ran.stdout) == (1, "/no/such.yaml: error: cannot be read: No such file or directory\n")


@pytest.mark.parametrize("text", ["", "---\n", "just text", "[1, 2]", "kind: Model", "apiVersion: 7"])
def test_what_is_no_object_of_ours(text: str) -> None:
    ran = validate("-", stdin=text)
    assert (ran.exit_code, ran.stderr) == (0, "no object of group littoral.dev\n")


def test_lists_and_anchors_are_followed() -> None:
    text = """\
apiVersion: v1
kind: List
items:
- apiVersion: littoral.dev/v1alpha1
  kind: Model
  metadata: {name: digits}
  spec:
    variants:
    - &first {name: a, accelerator: cpu, backend: onnxruntime, artifact: {uri: "https://m.example/a", digest: bad}}
    - {<<: *first, name: b}
"""
    found = json.loads(validate("-", "-o", "json", "-n", "mine", stdin=text).stdout)["findings"]
    assert [(it["line"], it["object"], it["field"]) for it in found] == [
        (9, "Model mine/digits", "spec.variants[0].artifact.digest"),
        (9, "Model mine/digits", "spec.variants[1].artifact.digest"),
    ]


def test_directories_are_not_searched_unless_asked(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "m.yml").write_text(yaml.safe_dump(model_object()))
    assert "no object" in validate(str(tmp_path)).stderr
    assert validate(str(tmp_path), "-R").stderr == "1 object: all valid\n"


def test_a_device_table_of_one_s_own(tmp_path: Path) -> None:
    table, manifest = tmp_path / "table.yaml", tmp_path / "m.yaml"
    table.write_text("classes: [{name: tpu, backends: [python]}]")
    manifest.write_text(yaml.safe_dump(model_object(variants=[variant(accelerator="tpu", backend="python")])))
    assert validate(str(manifest), "--strict").exit_code == 1
    assert validate(str(manifest), "--strict", "--device-table", str(table)).exit_code == 0
    table.write_text("classes: 7")
    assert validate(str(manifest), "--device-table", str(table)).exit_code == 1
