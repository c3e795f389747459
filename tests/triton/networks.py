"""Small ONNX networks, each with the one property that a test is about."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

BATCH = "batch"
"""The name of a first dimension of any size."""

Shape = list[int | str]


def write_network(path: Path, nodes: list[onnx.NodeProto], *, inputs: dict, outputs: dict, constants: dict) -> None:
    """Save a network; tensors are name -> (type, shape), constants name -> (type, shape, values)."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, *described) for name, described in inputs.items()],
        [helper.make_tensor_value_info(name, *described) for name, described in outputs.items()],
        [helper.make_tensor(name, *described) for name, described in constants.items()],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    # The oldest format that has all this: also for runtimes older than the onnx package that writes it.
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def write_scaling(path: Path, *, factor: float, first: int | str = BATCH) -> None:
    """y = factor * x, for x of shape [first, 3]."""
    write_network(
        path,
        [helper.make_node("Mul", ["x", "factor"], ["y"])],
        inputs={"x": (TensorProto.FLOAT, [first, 3])},
        outputs={"y": (TensorProto.FLOAT, [first, 3])},
        constants={"factor": (TensorProto.FLOAT, [1], [factor])},
    )


def write_identity(path: Path, *, types: dict[str, int]) -> None:
    """One output `<name>_out` for each input `<name>`, equal to it, of shape [batch, 2] and the given ONNX types."""
    write_network(
        path,
        [helper.make_node("Identity", [name], [f"{name}_out"]) for name in types],
        inputs={name: (kind, [BATCH, 2]) for name, kind in types.items()},
        outputs={f"{name}_out": (kind, [BATCH, 2]) for name, kind in types.items()},
        constants={},
    )


def write_sum(path: Path) -> None:
    """The sum of each row of x [batch, 3]: one number for each item, without a dimension of its own."""
    write_network(
        path,
        [helper.make_node("ReduceSum", ["x", "axes"], ["sum"], keepdims=0)],
        inputs={"x": (TensorProto.FLOAT, [BATCH, 3])},
        outputs={"sum": (TensorProto.FLOAT, [BATCH])},
        constants={"axes": (TensorProto.INT64, [1], [1])},
    )


def write_lookup(path: Path) -> None:
    """Look rows up in a table of 10: an index of 10 or more is an error only when the network runs."""
    write_network(
        path,
        [helper.make_node("Gather", ["table", "index"], ["row"])],
        inputs={"index": (TensorProto.INT64, [BATCH, 1])},
        outputs={"row": (TensorProto.FLOAT, [BATCH, 1])},
        constants={"table": (TensorProto.FLOAT, [10], [float(value) for value in range(10)])},
    )
