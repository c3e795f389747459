"""The lab's `onnxruntime` backend: ONNX networks on the CPU, configured as NVIDIA's backend of that name."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from network_backend import NetworkModel, Tensor

DATA_TYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING",
}


class OnnxNetwork:
    """An ONNX Runtime session.

    Of the parameters of NVIDIA's backend it honours `intra_op_thread_count`, `inter_op_thread_count` and
    `execution_mode` ("1": parallel). Raises `ValueError` for a tensor that the Python backend cannot carry.
    """

    def __init__(self, *, path: Path, parameters: Mapping[str, str], describe_only: bool) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = int(parameters.get("intra_op_thread_count", 0))
        options.inter_op_num_threads = int(parameters.get("inter_op_thread_count", 0))
        if parameters.get("execution_mode") == "1":
            options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
        if describe_only:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.inputs = [_tensor(argument) for argument in self._session.get_inputs()]
        self.outputs = [_tensor(argument) for argument in self._session.get_outputs()]

    def run(self, feeds: Mapping[str, np.ndarray], names: Sequence[str]) -> Sequence[np.ndarray]:
        """See `Network`."""
        return self._session.run(names, feeds)


class TritonPythonModel(NetworkModel):
    """What Triton's Python backend looks for."""

    default_filename = "model.onnx"

    @classmethod
    def open(cls, *, path: Path, parameters: Mapping[str, str], describe_only: bool = False) -> OnnxNetwork:
        """See `NetworkModel`."""
        return OnnxNetwork(path=path, parameters=parameters, describe_only=describe_only)


def _tensor(argument: ort.NodeArg) -> Tensor:
    if argument.type not in DATA_TYPES:
        raise ValueError(f"{argument.name} is a {argument.type}, which Triton cannot carry")
    # A dimension of any size has a name, or none.
    shape = tuple(size if isinstance(size, int) else -1 for size in argument.shape)
    return Tensor(name=argument.name, data_type=DATA_TYPES[argument.type], shape=shape)
