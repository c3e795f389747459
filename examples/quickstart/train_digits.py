"""Train the digit networks and write them as ONNX: `python -m examples.quickstart.train_digits [directory]`.

The files in `weights/` were made by this script. They are committed because a manifest names an artifact by
its digest, and processors differ in how they round: trained elsewhere they are as accurate, but other files.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from .digits import INPUT, MAX_LEVEL, OUTPUT, Digits, load
from .networks import WEIGHTS


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is made: units of the hidden layer, and whether scans moved by a pixel join in."""

    hidden_units: int
    shifted: bool


# The demo replaces the first by the second while requests run: wider, trained on more, and more accurate.
RECIPES = {
    "digits": Recipe(hidden_units=32, shifted=False),
    "digits-v2": Recipe(hidden_units=128, shifted=True),
}
# Both are old enough for every ONNX runtime that a released Triton carries.
_OPSET = 13
_IR_VERSION = 8


def train(digits: Digits, *, recipe: Recipe) -> MLPClassifier:
    """Fit a perceptron with one hidden layer; on one machine the same scans give the same network."""
    images, labels = digits.images, digits.labels
    if recipe.shifted:
        moved = [_shift(images, down=down, right=right) for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0))]
        images, labels = np.concatenate([images, *moved]), np.tile(labels, 5)
    network = MLPClassifier(
        hidden_layer_sizes=(recipe.hidden_units,),
        alpha=1e-3,
        learning_rate_init=3e-3,
        max_iter=400,
        random_state=0,
    )
    # The order in which BLAS adds up, and so the last bit of a weight, depends on its number of threads.
    with threadpool_limits(limits=1):
        network.fit(images.reshape(len(images), -1) / MAX_LEVEL, labels)
    return network


def _shift(images: NDArray[np.float32], *, down: int, right: int) -> NDArray[np.float32]:
    """Move what images of shape (n, 8, 8) show by one pixel at most; paper moves in from the edge."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    return padded[:, 1 - down : 9 - down, 1 - right : 9 - right]


def export(network: MLPClassifier) -> bytes:
    """Return the content of an ONNX file: image FP32 [batch, 8, 8] -> probabilities FP32 [batch, 10].

    Grey levels 0..16 are scaled inside the network, so that a client sends pixels as they were scanned.
    """
    hidden, output = network.coefs_
    constants = [
        _constant("scale", np.array(1 / MAX_LEVEL)),
        _constant("hidden_weights", hidden),
        _constant("hidden_bias", network.intercepts_[0]),
        _constant("output_weights", output),
        _constant("output_bias", network.intercepts_[1]),
    ]
    nodes = [
        helper.make_node("Flatten", [INPUT], ["pixels"], axis=1),
        helper.make_node("Mul", ["pixels", "scale"], ["scaled"]),
        helper.make_node("Gemm", ["scaled", "hidden_weights", "hidden_bias"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Gemm", ["active", "output_weights", "output_bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], [OUTPUT], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        inputs=[helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", 8, 8])],
        outputs=[helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", output.shape[1]])],
        initializer=constants,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="littoral-quickstart",
    )
    onnx.checker.check_model(model, full_check=True)
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


def _constant(name: str, values: NDArray[np.float64]) -> TensorProto:
    return numpy_helper.from_array(values.astype(np.float32), name)


def main(directory: Path) -> None:
    """Train both networks into the directory; print accuracy on the held-out scans, size and digest."""
    training, test = load()
    test_rows = test.images.reshape(len(test.images), -1) / MAX_LEVEL
    for name, recipe in RECIPES.items():
        network = train(training, recipe=recipe)
        content = export(network)
        (directory / f"{name}.onnx").write_bytes(content)
        score, digest = network.score(test_rows, test.labels), hashlib.sha256(content).hexdigest()
        print(f"{name}: accuracy {score:.4f}, {len(content)} bytes, sha256:{digest}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else WEIGHTS)
