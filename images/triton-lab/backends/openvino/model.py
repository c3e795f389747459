"""The lab's `openvino` backend: OpenVINO IR or ONNX networks, configured as NVIDIA's backend of that name.

It knows the CPU only. A model that asks for another device (`TARGET_DEVICE`) runs on the CPU too, with a word in
the log: so the lab can play a node with an NPU or a GPU that the machine does not have.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import openvino as ov
import triton_python_backend_utils as pb
from network_backend import NetworkModel, Tensor

DATA_TYPES = {
    "boolean": "TYPE_BOOL",
    "u8": "TYPE_UINT8",
    "u16": "TYPE_UINT16",
    "u32": "TYPE_UINT32",
    "u64": "TYPE_UINT64",
    "i8": "TYPE_INT8",
    "i16": "TYPE_INT16",
    "i32": "TYPE_INT32",
    "i64": "TYPE_INT64",
    "f16": "TYPE_FP16",
    "f32": "TYPE_FP32",
    "f64": "TYPE_FP64",
    "string": "TYPE_STRING",
}

# Parameters of NVIDIA's backend that are properties of OpenVINO under the same name.
PROPERTIES = ("INFERENCE_NUM_THREADS", "COMPILATION_NUM_THREADS", "NUM_STREAMS", "PERFORMANCE_HINT")


class OpenVinoNetwork:
    """A network, compiled by OpenVINO for the CPU; raises `ValueError` for a tensor Triton cannot carry."""

    def __init__(self, *, path: Path, parameters: Mapping[str, str], describe_only: bool) -> None:
        core = ov.Core()
        model = core.read_model(path)
        self.inputs = [_tensor(port) for port in model.inputs]
        self.outputs = [_tensor(port) for port in model.outputs]
        if describe_only:
            return
        device = parameters.get("TARGET_DEVICE", "CPU")
        if device != "CPU":
            pb.Logger.log_warn(f"{path} asks for {device}, which this image does not have: it runs on the CPU")
        properties = {key: parameters[key] for key in PROPERTIES if key in parameters}
        self._compiled = core.compile_model(model, "CPU", properties)
        self._request = self._compiled.create_infer_request()

    def run(self, feeds: Mapping[str, np.ndarray], names: Sequence[str]) -> Sequence[np.ndarray]:
        """See `Network`."""
        results = self._request.infer(feeds)
        return [results[name] for name in names]


class TritonPythonModel(NetworkModel):
    """What Triton's Python backend looks for."""

    default_filename = "model.xml"

    @classmethod
    def open(cls, *, path: Path, parameters: Mapping[str, str], describe_only: bool = False) -> OpenVinoNetwork:
        """See `NetworkModel`."""
        return OpenVinoNetwork(path=path, parameters=parameters, describe_only=describe_only)


def _tensor(port: ov.Output) -> Tensor:
    kind = port.element_type.get_type_name()
    if kind not in DATA_TYPES:
        raise ValueError(f"{port.any_name} is a {kind}, which Triton cannot carry")
    shape = tuple(-1 if size.is_dynamic else size.get_length() for size in port.partial_shape)
    return Tensor(name=port.any_name, data_type=DATA_TYPES[kind], shape=shape)
