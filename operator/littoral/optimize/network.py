"""What an ONNX network takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from littoral.optimize.errors import OptimizeError
from littoral.optimize.extras import extra


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An input or output: numpy's name of its type, and its shape, where None is a dimension of any size."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join('any' if size is None else str(size) for size in self.shape)}]"


@dataclass(frozen=True, kw_only=True)
class Network:
    """An ONNX file.

    Attributes:
        operators: names of the operators that it is made of.
    """

    path: Path
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operators: frozenset[str]

    @property
    def batchable(self) -> bool:
        """Whether Triton can batch it: the first dimension of every input and output is of any size."""
        return all(tensor.shape and tensor.shape[0] is None for tensor in (*self.inputs, *self.outputs))


def read_network(path: Path) -> Network:
    """Read the signature of an ONNX file.

    Raises:
        OptimizeError: it is no ONNX network, or keeps its weights in other files.
    """
    onnx = extra("onnx")
    try:
        model = onnx.load(str(path), load_external_data=False)
        onnx.checker.check_model(model)
    except OSError as error:
        raise OptimizeError(f"{path}: {error.strerror or error}") from error
    except Exception as error:  # protobuf's and onnx's own, which share no base.
        raise OptimizeError(f"{path} is not an ONNX network: {str(error).splitlines()[0][:200]}") from error
    graph = model.graph
    if any(weights.data_location == onnx.TensorProto.EXTERNAL for weights in graph.initializer):
        raise OptimizeError(f"{path} keeps its weights in other files: save it as one (onnx.save(onnx.load(...), ...))")
    weights = {tensor.name for tensor in graph.initializer}
    return Network(
        path=path,
        inputs=tuple(_tensor(onnx, value) for value in graph.input if value.name not in weights),
        outputs=tuple(_tensor(onnx, value) for value in graph.output),
        operators=frozenset(node.op_type for node in graph.node),
    )


def _tensor(onnx: Any, value: Any) -> Tensor:
    described = value.type.tensor_type
    if not described.elem_type:
        raise OptimizeError(f"{value.name} is no tensor, and Triton can carry nothing else")
    return Tensor(
        name=value.name,
        dtype=onnx.helper.tensor_dtype_to_np_dtype(described.elem_type).name,
        shape=tuple(size.dim_value if size.HasField("dim_value") else None for size in described.shape.dim),
    )
