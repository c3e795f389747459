"""What the lab's Python-based backends share: everything of a backend but the engine that runs the network.

A backend is a `model.py` that gives `NetworkModel` a way to open a file. Configuration follows NVIDIA's ONNX
Runtime backend, so that a model repository behaves the same in NVIDIA's image: an absent `input`, `output`,
`max_batch_size` or `dynamic_batching` is completed out of the network.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import triton_python_backend_utils as pb

# What NVIDIA's backends give a network that can be batched and does not say how far.
DEFAULT_MAX_BATCH_SIZE = 4


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An input or output of a network.

    `data_type` is in Triton's words ("TYPE_FP32"); in `shape`, -1 stands for a dimension of any size.
    """

    name: str
    data_type: str
    shape: tuple[int, ...]


class Network(Protocol):
    """A network that has been opened by its engine."""

    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]

    def run(self, feeds: Mapping[str, np.ndarray], names: Sequence[str]) -> Sequence[np.ndarray]:
        """Compute the outputs `names`; `feeds` has an array for every input. Raises the engine's errors."""


class NetworkModel:
    """The `TritonPythonModel` of a backend, less the engine: a subclass says how a file is opened."""

    default_filename: ClassVar[str]

    @classmethod
    def open(cls, *, path: Path, parameters: Mapping[str, str], describe_only: bool = False) -> Network:
        """Open the network at `path`.

        `parameters` are those of the model's configuration; `describe_only` asks for `inputs` and `outputs` as
        cheaply as the engine can, for a network that will not run. Raises the engine's errors.
        """
        raise NotImplementedError

    @classmethod
    def auto_complete_config(cls, config: Any) -> Any:
        """Complete a model's configuration out of its network; called by Triton in a process of its own."""
        known = config.as_dict()
        if known["input"] and known["output"]:
            return config
        network = cls._load(Path(pb.get_model_dir()), known, describe_only=True)
        tensors = [*network.inputs, *network.outputs]
        if all(tensor.shape and tensor.shape[0] == -1 for tensor in tensors):
            if known["max_batch_size"] == 0:
                config.set_max_batch_size(DEFAULT_MAX_BATCH_SIZE)
            if known["max_batch_size"] > 1 and "sequence_batching" not in known:
                config.set_dynamic_batching()
        elif known["max_batch_size"] > 0:
            raise pb.TritonModelException(
                f"model '{known['name']}' sets max_batch_size, but its network cannot be batched: the first"
                f" dimension of every input and output must be of any size, not so in {_signature(tensors)}"
            )
        # The library's own add_input() knows no `reshape`, so the entries are made here.
        batched = known["max_batch_size"] > 0
        known["input"] = known["input"] or [_entry(tensor, batched=batched) for tensor in network.inputs]
        known["output"] = known["output"] or [_entry(tensor, batched=batched) for tensor in network.outputs]
        return config

    def initialize(self, args: Mapping[str, str]) -> None:
        """Open the network for one instance."""
        config = json.loads(args["model_config"])
        self.network = self._load(Path(args["model_repository"], args["model_version"]), config)
        self.batched = config["max_batch_size"] > 0
        self._check("input", config["input"], self.network.inputs)
        self._check("output", config["output"], self.network.outputs)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer `requests`; those whose inputs differ in nothing but the batch dimension run together."""
        responses: list[Any] = [None] * len(requests)
        groups: dict[object, list[int]] = {}
        feeds = [self._feed(request) for request in requests]
        for index, feed in enumerate(feeds):
            alike = tuple(array.shape[1:] for array in feed.values()) if self.batched else index
            groups.setdefault(alike, []).append(index)
        for indices in groups.values():
            try:
                answers = self._run([requests[i] for i in indices], [feeds[i] for i in indices])
            except Exception as error:  # Whatever an engine throws is an answer to these requests and no others.
                answers = [
                    pb.InferenceResponse(error=pb.TritonError(f"{type(error).__name__}: {error}")) for _ in indices
                ]
            for index, answer in zip(indices, answers, strict=True):
                responses[index] = answer
        return responses

    def finalize(self) -> None:
        """Let go of the network's memory before the process ends."""
        del self.network

    @classmethod
    def _load(cls, directory: Path, config: Mapping[str, Any], *, describe_only: bool = False) -> Network:
        path = directory / (config.get("default_model_filename") or cls.default_filename)
        if not path.exists():
            raise pb.TritonModelException(f"model '{config['name']}' has no file {path}")
        parameters = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
        try:
            return cls.open(path=path, parameters=parameters, describe_only=describe_only)
        except Exception as error:
            raise pb.TritonModelException(f"model '{config['name']}' cannot load {path}: {error}") from error

    def _feed(self, request: Any) -> dict[str, np.ndarray]:
        return {
            tensor.name: _decoded(pb.get_input_tensor_by_name(request, tensor.name).as_numpy())
            for tensor in self.network.inputs
        }

    def _run(self, requests: Sequence[Any], feeds: Sequence[Mapping[str, np.ndarray]]) -> list[Any]:
        """Run `feeds` as one batch and cut its outputs up into one response for each request."""
        wanted = {name for request in requests for name in request.requested_output_names()}
        names = [tensor.name for tensor in self.network.outputs if tensor.name in wanted]
        if len(feeds) == 1:
            outputs = [self.network.run(feeds[0], names)]
        else:
            joined = {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
            ends = np.cumsum([len(next(iter(feed.values()))) for feed in feeds])[:-1]
            parts = [np.split(array, ends) for array in self.network.run(joined, names)]
            outputs = list(zip(*parts, strict=True))
        return [
            pb.InferenceResponse(
                [
                    pb.Tensor(name, np.ascontiguousarray(array))
                    for name, array in zip(names, arrays, strict=True)
                    if name in set(request.requested_output_names())
                ]
            )
            for request, arrays in zip(requests, outputs, strict=True)
        ]

    @staticmethod
    def _check(kind: str, entries: Sequence[Mapping[str, Any]], tensors: Sequence[Tensor]) -> None:
        """Refuse a configuration that names tensors, or types of them, which the network does not have."""
        types = {tensor.name: tensor.data_type for tensor in tensors}
        for entry in entries:
            if types.get(entry["name"]) != entry["data_type"]:
                raise pb.TritonModelException(
                    f"the configuration's {kind} {entry['name']} {entry['data_type']} is none of the"
                    f" network's: {_signature(tensors)}"
                )


def _entry(tensor: Tensor, *, batched: bool) -> dict[str, Any]:
    """Describe `tensor` for a configuration, whose `dims` leave out the batch dimension."""
    dims = list(tensor.shape[1:] if batched else tensor.shape)
    entry: dict[str, Any] = {"name": tensor.name, "data_type": tensor.data_type, "dims": dims or [1]}
    if not dims and batched:
        # `dims` may not be empty: clients see one element for each item where the network has none.
        entry["reshape"] = {"shape": []}
    return entry


def _signature(tensors: Sequence[Tensor]) -> str:
    return ", ".join(f"{tensor.name} {tensor.data_type} {list(tensor.shape)}" for tensor in tensors)


def _decoded(array: np.ndarray) -> np.ndarray:
    """Turn Triton's byte strings into the text that engines want; other arrays stay as they are."""
    if array.dtype != np.object_:
        return array
    text = [item.decode() if isinstance(item, bytes) else item for item in array.ravel()]
    return np.array(text, dtype=np.object_).reshape(array.shape)
