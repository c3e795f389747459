"""TensorRT's builder is called as it wants to be, here and in the Job, whose script runs with a stand-in."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from littoral.agent import digest
from littoral.api.model import Variant
from littoral.optimize import tensorrt
from littoral.optimize.data import Dataset
from littoral.optimize.errors import Unfit
from littoral.optimize.network import Network, Tensor
from tests.unit.optimize.networks import images

# Writes its arguments into the plan.
STAND_IN = """#!/bin/sh
for each in "$@"; do
  case "$each" in --saveEngine=*) plan="${each#--saveEngine=}" ;; --fail) echo "[E] no kernel"; exit 1 ;; esac
done
printf '%s\\n' "$@" > "$plan"
"""


def network(*shape: int | None) -> Network:
    return Network(
        path=Path("n.onnx"),
        inputs=(Tensor(name="x", dtype="float32", shape=shape),),
        outputs=(Tensor(name="y", dtype="float32", shape=(shape[0], 2)),),
        operators=frozenset(),
    )


def data(*shapes: tuple[int, ...]) -> Dataset:
    return Dataset(items=tuple({"x": images(1).ravel()[:1].repeat(8).reshape(shape)} for shape in shapes))


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "bin/trtexec"
    program.parent.mkdir()
    program.write_text(STAND_IN)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program


def test_shapes_go_from_the_least_to_the_largest() -> None:
    options = tensorrt.arguments(network(None, None, None), data((1, 2, 4), (1, 4, 2)), max_batch=8)
    assert options == ["--fp16", "--minShapes=x:1x2x2", "--optShapes=x:8x4x4", "--maxShapes=x:8x4x4"]


def test_a_fixed_network_needs_no_shapes() -> None:
    assert tensorrt.arguments(network(1, 8), data((1, 8)), max_batch=8) == ["--fp16"]


def test_it_is_found_and_called(stand_in: Path, tmp_path: Path) -> None:
    assert tensorrt.trtexec() == str(stand_in)
    plan = tensorrt.build(str(stand_in), network(1, 8), ["--fp16"], folder=tmp_path)
    assert plan.read_text().splitlines()[0] == "--onnx=n.onnx"
    with pytest.raises(Unfit, match="no kernel"):
        tensorrt.build(str(stand_in), network(1, 8), ["--fail"], folder=tmp_path / "other")


def test_the_job_prints_the_variant(stand_in: Path, tmp_path: Path) -> None:
    job = tensorrt.job(
        model="detect",
        namespace="shop",
        variant="tensorrt-fp16-nvidia-gpu",
        claim="models",
        source="detect/jobs/model.onnx",
        target="detect/artifacts/tensorrt-fp16/model.plan",
        options=["--fp16", "--minShapes=x:1x2"],
    )
    (container,) = job["spec"]["template"]["spec"]["containers"]
    for folder in ("data", "scratch"):
        (tmp_path / folder).mkdir()
    command = [part.replace("/data/", f"{tmp_path}/data/").replace("/scratch/", f"{tmp_path}/scratch/")
               for part in container["command"]]  # fmt: skip
    env = {entry["name"]: entry["value"] for entry in container["env"]}
    ran = subprocess.run(command, env=os.environ | env, capture_output=True, text=True, check=True)
    (variant,) = yaml.safe_load(ran.stdout)
    plan = tmp_path / "data/detect/artifacts/tensorrt-fp16/model.plan"
    assert variant["artifact"] == {
        "uri": "pvc://models/detect/artifacts/tensorrt-fp16/model.plan",
        "digest": f"sha256:{digest.of_file(plan)}",
    }
    assert Variant.parse(variant).backend == "tensorrt"
    assert plan.read_text().splitlines()[-2:] == ["--fp16", "--minShapes=x:1x2"]


def test_the_job_s_name_is_one() -> None:
    job = tensorrt.job(
        model="m" * 50, namespace="shop", variant="tensorrt-fp16-nvidia-gpu", claim="c", source="s", target="t",
        options=[],
    )  # fmt: skip
    assert len(job["metadata"]["name"]) <= 63
