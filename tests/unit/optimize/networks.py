"""A small network with what quantisation is for, and inputs to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from littoral.optimize.data import Array
from littoral.optimize.network import Network, read_network

CLASSES = 5


def write_classifier(path: Path, *, hidden: int = 64, batch: int | str = "batch") -> Network:
    """image [batch, 1, 8, 8] -> scores [batch, 5]: a convolution, a matrix product of some size, another one."""
    numbers = np.random.default_rng(1)

    def constant(name: str, *shape: int) -> TensorProto:
        return numpy_helper.from_array(numbers.normal(scale=0.3, size=shape).astype(np.float32), name)

    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "kernel"], ["edges"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["edges"], ["seen"]),
            helper.make_node("Flatten", ["seen"], ["flat"], axis=1),
            helper.make_node("MatMul", ["flat", "first"], ["hidden"]),
            helper.make_node("Relu", ["hidden"], ["active"]),
            helper.make_node("MatMul", ["active", "second"], ["scores"]),
        ],
        "classifier",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 1, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, CLASSES])],
        [constant("kernel", 4, 1, 3, 3), constant("first", 256, hidden), constant("second", hidden, CLASSES)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return read_network(path)


def images(count: int, *, seed: int = 0) -> Array:
    """float32 [count, 1, 8, 8]."""
    return np.random.default_rng(seed).uniform(size=(count, 1, 8, 8)).astype(np.float32)
