"""What `littoral optimize` makes serves in Triton: laid out by the agent, and with the answers that were measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from littoral.agent.layout import install
from littoral.api.serving import ServedModel
from littoral.optimize.data import Dataset
from littoral.optimize.engines import open_engine
from littoral.optimize.manifest import manifest
from littoral.optimize.pipeline import Settings, optimize
from littoral.optimize.recipes import targets_of
from tests.triton.server import Triton
from tests.unit.optimize.networks import images, write_classifier

NAMES = [
    "onnx-fp16-amd-gpu",
    "onnx-fp32-cpu",
    "onnx-int8-cpu",
    "openvino-fp16-cpu",
    "openvino-fp16-intel-npu",
    "openvino-int8-cpu",
    "openvino-int8-intel-npu",
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[ServedModel, Path]]:
    """Each variant as the agent is told of it, and the path of its artifact."""
    root = tmp_path_factory.mktemp("optimized")
    network = write_classifier(root / "classifier.onnx")
    data = Dataset(items=tuple({"image": image[np.newaxis]} for image in images(16)))
    report = optimize(
        network,
        targets_of(["cpu", "intel-npu", "amd-gpu"]),
        calibration=data,
        test=data,
        settings=Settings(seconds=0.001, max_batch=2, max_drop=0.5),
        artifacts=root / "artifacts",
    )
    model = manifest(report, name="m", namespace="shop", location="file:///models", root=root, threads=None)
    paths = {it.target.name: it.made.path for it in report.outcomes if it.made is not None}
    return {
        variant["name"]: (
            ServedModel.parse({
                "name": f"optimized-{variant['name']}",
                "variant": variant["name"],
                "backend": variant["backend"],
                "artifact": variant["artifact"],
                "parameters": variant.get("parameters", {}),
            }),
            paths[variant["name"]],
        )
        for variant in model["spec"]["variants"]
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_triton_answers_as_was_measured(triton: Triton, served: dict[str, tuple[ServedModel, Path]], name: str) -> None:
    model, path = served[name]
    installed = install(model, path, 1)
    folder = triton.repository / model.name
    for link, target in installed.links.items():
        (folder / link).parent.mkdir(parents=True, exist_ok=True)
        (folder / link).symlink_to(target)
    (folder / "config.pbtxt").write_text(installed.config)
    triton.load(model.name)
    engine = open_engine(path, outputs=["scores"])
    # What was made for one shape takes one item at a time.
    batch = 1 if name.endswith("npu") else 3
    assert (triton.config(model.name)["max_batch_size"] > 0) is (batch > 1)
    for seed in range(3):
        image = images(batch, seed=100 + seed)
        (wanted,) = engine({"image": image})
        scores = triton.infer(model.name, image=image)["scores"]
        assert scores.shape == (batch, 5)
        # Other threads, another order of adding up.
        np.testing.assert_allclose(scores, wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())


def test_all_variants_are_tried(served: dict[str, tuple[ServedModel, Path]]) -> None:
    assert sorted(set(served) - {"onnx-fp32-amd-gpu"}) == NAMES
