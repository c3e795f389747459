"""`littoral optimize`: what it prints and writes, and its exit codes. The work itself is tested in unit/optimize."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from littoral.cli.main import main
from littoral.cli.optimize_text import seconds, size
from tests.unit.optimize.networks import images, write_classifier

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    write_classifier(root / "classifier.onnx")
    np.save(root / "calib.npy", images(8))
    (root / "labels.txt").write_text("0\n" * 8)
    return root


def optimize(folder: Path, *arguments: str) -> Result:
    paths = [str(folder / "classifier.onnx"), "--data", str(folder / "calib.npy")]
    return CliRunner().invoke(main, ["optimize", *paths, "--seconds", "0.001", "--max-batch", "2", *arguments])


def test_the_model_is_printed_and_written(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = optimize(
        folder, "--for", "cpu", "--max-accuracy-drop", "0.5", "--output", str(out), "-n", "shop", "-o", "yaml"
    )
    assert ran.exit_code == 0, ran.stderr
    model = yaml.safe_load(ran.stdout)
    text = (out / "model.yaml").read_text()
    assert yaml.safe_load(text) == model
    assert text.startswith("# accuracy: agreement with the original")
    assert (model["metadata"], len(model["spec"]["variants"])) == ({"name": "classifier", "namespace": "shop"}, 4)
    assert all(it["artifact"]["uri"].startswith(f"file://{out}/artifacts/") for it in model["spec"]["variants"])
    assert "accuracy" in ran.stderr, "progress"
    valid = CliRunner().invoke(main, ["validate", "--strict", str(out / "model.yaml")])
    assert valid.exit_code == 0, valid.output
    assert json.loads((out / "report.json").read_text())["items"] == 8


def test_the_table_says_what_was_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    arguments = ["--labels", str(folder / "labels.txt"), "--output", str(tmp_path / "out"), "--quiet", "-o", "wide"]
    ran = optimize(folder, "--for", "nvidia-gpu", *arguments)
    assert (ran.exit_code, ran.stderr) == (0, "")
    lines = ran.stdout.splitlines()
    assert lines[0].split()[:4] == ["VARIANT", "BACKEND", "SIZE", "ACCURACY"]
    assert [line.split()[0] for line in lines[1:3]] == ["onnx-fp16-nvidia-gpu", "onnx-fp32-nvidia-gpu"]
    assert "not measured here" in lines[1]
    assert "accuracy: share of right answers, 8 items, on this machine's CPU" in lines
    assert "refused tensorrt-fp16-nvidia-gpu: there is no trtexec here: see the Job" in lines


def test_a_job_is_written_for_what_cannot_be_made_here(folder: Path, tmp_path: Path) -> None:
    arguments = ["--for", "nvidia-gpu", "--output", str(tmp_path / "o"), "--uri", "pvc://models/shop", "--name", "tiny"]
    assert optimize(folder, *arguments, "-n", "shop").exit_code == 0
    job = yaml.safe_load((tmp_path / "o/jobs/tensorrt-fp16-nvidia-gpu.yaml").read_text())
    pod = job["spec"]["template"]["spec"]
    assert (job["metadata"]["name"], job["metadata"]["namespace"]) == ("tiny-tensorrt-fp16-nvidia-gpu", "shop")
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == "models"
    env = {entry["name"]: entry["value"] for entry in pod["containers"][0]["env"]}
    assert env == {"SOURCE": "shop/jobs/model.onnx", "TARGET": "shop/artifacts/tensorrt-fp16/model.plan"}
    assert (tmp_path / "o/jobs/model.onnx").read_bytes() == (folder / "classifier.onnx").read_bytes()
    assert pod["containers"][0]["command"][-1] == "--maxShapes=image:2x1x8x8"


def test_a_class_without_a_variant_is_an_error(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from littoral.optimize import openvino_forms
    from littoral.optimize.errors import Unfit

    def unfit(*_: object, **__: object) -> None:
        raise Unfit("it has no shape")

    monkeypatch.setattr(openvino_forms, "intermediate", unfit)
    ran = optimize(folder, "--for", "amd-gpu,intel-npu", "--output", str(tmp_path / "o"), "--quiet")
    assert ran.exit_code == 1
    assert ran.stderr.startswith("Error: there is no variant for intel-npu: openvino-int8-intel-npu: it has no shape;")
    assert (tmp_path / "o/model.yaml").exists(), "what there is, is written"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--for", "hailo"], "Error: nothing is made for device class 'hailo': known are cpu"),
        (["--for", "cpu", "--labels", "calib.npy"], "Error: a label has the shape [1, 8, 8]"),
        (["--for", "cpu", "--output-name", "boxes"], "Error: the network has no output boxes, but scores"),
        (["--for", "cpu", "--uri", "ftp://x", "--max-accuracy-drop", "1"], "must start with oci://"),
    ],
)
def test_errors_are_one_line(folder: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    paths = [str(folder / it) if it == "calib.npy" else it for it in arguments]
    ran = optimize(folder, *paths, "--output", str(tmp_path / "o"), "--quiet")
    assert ran.exit_code == 1
    assert message in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_without_the_extra_it_says_how_to_get_it(folder: Path, tmp_path: Path) -> None:
    script = f"""
import sys
sys.modules["onnx"] = None
from littoral.cli.main import main
main(["optimize", {str(folder / "classifier.onnx")!r}, "--for", "cpu", "--data", {str(folder / "calib.npy")!r},
      "--output", {str(tmp_path / "o")!r}])
"""
    ran = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (1, "Error: onnx is not installed: pip install 'littoral[optimize]'\n")


def test_the_command_itself_imports_nothing_heavy() -> None:
    script = """
import sys
import littoral.cli.optimize, littoral.cli.publish
print([name for name in ("numpy", "onnx", "onnxruntime", "openvino", "nncf", "aiohttp") if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert ran.stdout == "[]\n"


@pytest.mark.parametrize(
    ("value", "text"), [(532, "532 B"), (10_115, "9.9 KiB"), (4_745_517, "4.5 MiB"), (3 << 30, "3.0 GiB")]
)
def test_sizes(value: int, text: str) -> None:
    assert size(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.0000285, "28.5us"), (0.123456, "123ms"), (2.5, "2.5s")])
def test_latencies(value: float, text: str) -> None:
    assert seconds(value) == text


def test_the_sample_job_runs(folder: Path, tmp_path: Path) -> None:
    job = yaml.safe_load((ROOT / "manifests/samples/optimize-job.yaml").read_text())
    (container,) = job["spec"]["template"]["spec"]["containers"]
    (tmp_path / "in/calib").mkdir(parents=True)
    (tmp_path / "in/digits.onnx").write_bytes((folder / "classifier.onnx").read_bytes())
    (tmp_path / "in/calib/a.npy").write_bytes((folder / "calib.npy").read_bytes())
    np.save(tmp_path / "in/labels.npy", np.zeros(8, int))
    arguments = [re.sub("(^|=)/(in|out)/", rf"\1{tmp_path}/\2/", argument) for argument in container["args"]]
    quick = ["--seconds", "0.001", "--max-accuracy-drop", "1"]
    ran = CliRunner().invoke(main, [*arguments, *quick])
    assert (ran.exit_code, ran.stderr) == (0, "")
    model = yaml.safe_load(ran.stdout)
    assert model["metadata"] == {"name": "digits", "namespace": "shop"}
    uris = {variant["artifact"]["uri"] for variant in model["spec"]["variants"]}
    assert "pvc://networks/digits/artifacts/onnx-int8/model.onnx" in uris
    volumes = {volume["name"]: volume for volume in job["spec"]["template"]["spec"]["volumes"]}
    assert volumes["out"]["persistentVolumeClaim"]["claimName"] == "networks"
