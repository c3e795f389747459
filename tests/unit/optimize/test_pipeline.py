"""Real quantisation of a small network: what is made, what is refused, and what the manifest says."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from littoral.agent import digest
from littoral.optimize import onnx_forms, openvino_forms
from littoral.optimize.data import Dataset
from littoral.optimize.engines import open_engine
from littoral.optimize.errors import OptimizeError, Unfit
from littoral.optimize.extras import extra
from littoral.optimize.manifest import as_json, manifest, name_of, remarks
from littoral.optimize.network import Network, read_network
from littoral.optimize.pipeline import Report, Settings, optimize
from littoral.optimize.recipes import ORIGINAL, Form, targets_of
from tests.unit.optimize.networks import images, write_classifier

QUICK = Settings(seconds=0.001, max_batch=2, max_drop=0.2)


def items(count: int, *, seed: int = 0) -> Dataset:
    return Dataset(items=tuple({"image": image[np.newaxis]} for image in images(count, seed=seed)))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    return write_classifier(tmp_path_factory.mktemp("network") / "Small Classifier.onnx")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def report(network: Network, root: Path) -> Report:
    targets = targets_of(["cpu", "intel-npu", "amd-gpu"])
    return optimize(
        network, targets, calibration=items(16), test=items(24, seed=1), settings=QUICK, artifacts=root / "artifacts"
    )


def test_every_form_that_fits_becomes_a_variant(report: Report) -> None:
    assert {outcome.target.name: outcome.refusal for outcome in report.outcomes} == dict.fromkeys(
        [
            "onnx-fp32-cpu",
            "onnx-int8-cpu",
            "openvino-fp16-cpu",
            "openvino-int8-cpu",
            "openvino-int8-intel-npu",
            "openvino-fp16-intel-npu",
            "onnx-fp16-amd-gpu",
            "onnx-fp32-amd-gpu",
        ],
        "",
    )
    assert report.original_accuracy == 1, "without labels the original is right"


def test_what_is_written_is_what_was_measured(report: Report) -> None:
    for outcome in report.outcomes:
        assert outcome.made is not None
        assert outcome.made.digest == f"sha256:{digest.of_path(outcome.made.path)}"


def test_integers_are_smaller(report: Report) -> None:
    sizes = {it.target.name: it.made.size for it in report.outcomes if it.made is not None}
    assert sizes["onnx-int8-cpu"] < sizes["onnx-fp32-cpu"] / 2
    assert sizes["onnx-fp16-amd-gpu"] < sizes["onnx-fp32-cpu"]


def test_only_what_this_machine_has_is_timed(report: Report) -> None:
    assert {it.target.device for it in report.outcomes if it.speed is not None} == {"cpu"}
    assert all(set(it.speed) == {1, 2} for it in report.outcomes if it.speed is not None)


def test_the_fastest_of_a_class_comes_first(report: Report) -> None:
    p50 = [it.speed[1].quantile(0.5) for it in report.outcomes if it.speed is not None]
    assert p50 == sorted(p50)
    assert [it.target.device for it in report.outcomes] == ["cpu"] * 4 + ["intel-npu"] * 2 + ["amd-gpu"] * 2


def test_an_npu_gets_one_shape(report: Report, network: Network) -> None:
    (made,) = [it.made for it in report.outcomes if it.target.name == "openvino-int8-intel-npu"]
    assert made is not None
    model = extra("openvino").Core().read_model(str(made.path / "model.xml"))
    assert [list(port.shape) for port in (*model.inputs, *model.outputs)] == [[1, 1, 8, 8], [1, 5]]


def test_the_manifest_is_a_model(report: Report, root: Path) -> None:
    model = manifest(report, name="small", namespace=None, location="pvc://models/small/", root=root, threads=2)
    variants = {variant["name"]: variant for variant in model["spec"]["variants"]}
    assert variants["onnx-int8-cpu"]["artifact"]["uri"] == "pvc://models/small/artifacts/onnx-int8/model.onnx"
    assert variants["openvino-int8-cpu"]["artifact"]["uri"] == "pvc://models/small/artifacts/openvino-int8"
    assert variants["onnx-int8-cpu"]["parameters"] == {"intra_op_thread_count": "2"}
    assert variants["openvino-int8-cpu"]["cpu"] == "2"
    assert variants["openvino-int8-intel-npu"]["parameters"] == {"TARGET_DEVICE": "NPU"}
    assert "profile" not in variants["openvino-int8-intel-npu"]
    assert "profile" in variants["openvino-int8-cpu"]
    assert float(variants["onnx-fp32-cpu"]["accuracy"]) == 1


def test_a_manifest_that_the_api_refuses_is_never_written(report: Report, root: Path) -> None:
    with pytest.raises(OptimizeError, match=r"metadata\.name"):
        manifest(report, name="No Name", namespace=None, location="pvc://models", root=root, threads=None)
    with pytest.raises(OptimizeError, match="must start with"):
        manifest(report, name="small", namespace=None, location="ftp://models", root=root, threads=None)


def test_the_report_says_what_was_measured(report: Report) -> None:
    told = as_json(report)
    assert (told["labelled"], told["metric"], told["items"]) == (False, "top1", 24)
    assert {it["name"]: bool(it["latency"]) for it in told["variants"]}["onnx-fp16-amd-gpu"] is False
    assert remarks(report)[0].startswith("accuracy: agreement with the original (top1)")


def test_what_lost_too_much_is_refused(network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: object, folder: Path) -> object:
        other = write_classifier(folder / "other.onnx", hidden=8)
        yield onnx_forms.Attempt(method="static", path=other.path)

    monkeypatch.setattr(onnx_forms, "int8", wrong)
    test = items(24, seed=1)
    answers = [open_engine(network.path, outputs=["scores"])(item)[0] for item in test.items]
    labelled = replace(test, labels=tuple(answer.argmax(axis=-1)[0] for answer in answers))
    targets = [target for target in targets_of(["cpu"]) if target.form.format == "onnx"]
    settings = replace(QUICK, max_drop=0.01)
    report = optimize(
        network, targets, calibration=test, test=labelled, settings=settings, artifacts=tmp_path / "artifacts"
    )
    refused = {it.target.name: it.refusal for it in report.outcomes}
    assert list(refused) == ["onnx-fp32-cpu", "onnx-int8-cpu"], "what was refused comes last"
    assert refused["onnx-fp32-cpu"] == ""
    assert "below the original's 1.0000, and 0.01 is allowed (static)" in refused["onnx-int8-cpu"]
    assert [path.name for path in (tmp_path / "artifacts").iterdir()] == ["onnx-fp32"]
    assert [it["name"] for it in manifest(
        report, name="small", namespace="shop", location="pvc://models", root=tmp_path, threads=None
    )["spec"]["variants"]] == ["onnx-fp32-cpu"]  # fmt: skip
    assert any(line.startswith("onnx-int8-cpu is left out: accuracy") for line in remarks(report))


def test_static_comes_before_dynamic(network: Network, tmp_path: Path) -> None:
    attempts = list(onnx_forms.int8(network, items(4).items, folder=tmp_path))
    assert [attempt.method for attempt in attempts] == ["static, 4 items", "dynamic"]


def test_a_network_of_convolutions_only_is_not_quantised_dynamically(network: Network, tmp_path: Path) -> None:
    convolutions = replace(network, operators=frozenset({"Conv", "Relu"}))
    (attempt,) = onnx_forms.int8(convolutions, items(4).items, folder=tmp_path)
    assert attempt.method == "static, 4 items"


def test_openvino_s_integers_are_made_in_several_ways(network: Network, tmp_path: Path) -> None:
    attention = replace(network, operators=network.operators | {"Softmax"})
    form, data = Form(format="openvino", precision="int8"), items(4)
    attempts = list(openvino_forms.intermediate(attention, form, data, data.items, folder=tmp_path))
    assert [attempt.method for attempt in attempts] == [
        "NNCF, 4 items",
        "NNCF, whole ranges, 4 items",
        "NNCF, as a transformer, 4 items",
    ]
    assert len({digest.of_directory(attempt.path) for attempt in attempts}) == 3


def test_one_shape_cannot_be_made_of_several(network: Network, tmp_path: Path) -> None:
    form = Form(format="openvino", precision="fp16", fixed=True)
    data = Dataset(items=({"image": np.ones((1, 1, 8, 8), "f4")}, {"image": np.ones((1, 1, 8, 9), "f4")}))
    wide = replace(network, inputs=(replace(network.inputs[0], shape=(None, 1, 8, None)),))
    with pytest.raises(Unfit, match="takes one shape, and the data have 2"):
        list(openvino_forms.intermediate(wide, form, data, data.items, folder=tmp_path))


def test_a_fixed_network_is_measured_as_it_is(tmp_path: Path) -> None:
    fixed = write_classifier(tmp_path / "fixed.onnx", batch=3)
    data = Dataset(items=({"image": images(3)}, {"image": images(3, seed=1)}))
    report = optimize(
        fixed, targets_of(["cpu"])[:1], calibration=data, test=data, settings=QUICK, artifacts=tmp_path / "artifacts"
    )
    (outcome,) = report.outcomes
    assert outcome.speed is not None
    assert set(outcome.speed) == {1}


def test_data_that_the_network_does_not_take(network: Network, tmp_path: Path) -> None:
    data = Dataset(items=({"image": np.ones((1, 1, 4, 4), "f4")},))
    with pytest.raises(OptimizeError, match="does not run on the data"):
        optimize(network, targets_of(["cpu"]), calibration=data, test=data, settings=QUICK, artifacts=tmp_path / "a")


def test_an_output_that_is_not_there(network: Network, tmp_path: Path) -> None:
    settings = replace(QUICK, output="boxes")
    with pytest.raises(OptimizeError, match="no output boxes, but scores"):
        optimize(
            network, targets_of(["cpu"]), calibration=items(1), test=items(1), settings=settings, artifacts=tmp_path
        )


def test_what_is_no_network_is_said(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(OptimizeError, match="is not an ONNX network"):
        read_network(tmp_path / "text.onnx")


def test_the_signature(network: Network) -> None:
    assert [str(tensor) for tensor in (*network.inputs, *network.outputs)] == [
        "image float32 [any, 1, 8, 8]",
        "scores float32 [any, 5]",
    ]
    assert network.batchable
    assert ORIGINAL.name == "onnx-fp32"


def test_a_missing_extra_says_what_to_install() -> None:
    with pytest.raises(OptimizeError, match=r"^no_such_package is not installed: pip install 'littoral\[optimize\]'$"):
        extra("no_such_package.part")


def test_nothing_is_reported_to_anybody() -> None:
    # In a process of its own: under pytest NNCF reports nothing anyway.
    script = """
from littoral.optimize.extras import extra
extra("nncf"), extra("openvino")
print(type(extra("nncf.telemetry.wrapper").telemetry).__name__)
"""
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    ran = subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True)
    assert ran.stdout.split() != ["NNCFTelemetry"], "the one that sends"


@pytest.mark.parametrize(
    ("file", "name"),
    [("digits.onnx", "digits"), ("Text Detect.v2.onnx", "text-detect-v2"), ("3d_pose.onnx", "d-pose")],
)
def test_a_model_is_named_for_its_file(file: str, name: str) -> None:
    assert name_of(Path(file)) == name


def test_a_file_without_a_name() -> None:
    with pytest.raises(OptimizeError, match="give one with --name"):
        name_of(Path("42.onnx"))
