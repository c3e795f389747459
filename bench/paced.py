"""A network of known speed: it waits where others compute, as a request waits for an accelerator.

So that a lab on two cores can have several replicas under load, each as fast as it would be on a node of its own. All
else is real: the artifact, its digest, Triton, its dynamic batching and what it counts.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from lab.state import LabFiles, cache_directory
from littoral.api.quantity import format_duration

INPUT: Final = "x"
OUTPUT: Final = "y"

_FILES: Final = "var/lib/littoral/files"  # Where the operator's `file://` leads to, below a machine's directory.

_SOURCE: Final = '''\
"""Waits for {base:g} s and {per_item:g} s more for each request of the batch; answers with what it was asked."""

import time

import triton_python_backend_utils as pb


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        config.add_input({{"name": "{input}", "data_type": "TYPE_FP32", "dims": [1]}})
        config.add_output({{"name": "{output}", "data_type": "TYPE_FP32", "dims": [1]}})
        config.set_max_batch_size({max_batch})
        config.set_dynamic_batching()
        return config

    def execute(self, requests):
        time.sleep({base!r} + {per_item!r} * len(requests))
        return [
            pb.InferenceResponse(
                [pb.Tensor("{output}", pb.get_input_tensor_by_name(request, "{input}").as_numpy())]
            )
            for request in requests
        ]
'''


@dataclass(frozen=True, kw_only=True)
class PacedNetwork:
    """A network whose batch of n requests takes `base + per_item * n` seconds, `max_batch` at most in a batch."""

    base: float
    per_item: float
    max_batch: int = 8

    @property
    def source(self) -> str:
        """Its file: a model of Triton's Python backend."""
        return _SOURCE.format(
            base=self.base, per_item=self.per_item, max_batch=self.max_batch, input=INPUT, output=OUTPUT
        )

    @property
    def digest(self) -> str:
        """The digest as `artifact.digest` of a Model spells it."""
        return f"sha256:{hashlib.sha256(self.source.encode()).hexdigest()}"

    @property
    def file_name(self) -> str:
        """The name of its file on the nodes."""
        return f"paced-{self.digest[7:19]}.py"

    def place(self, *, lab: str, node: str) -> None:
        """Put its file onto a node of a lab, as somebody with a memory stick would."""
        folder = LabFiles(name=lab, cache=cache_directory()).machine(node) / _FILES
        folder.mkdir(parents=True, exist_ok=True)
        (folder / self.file_name).write_text(self.source)
        (folder / self.file_name).chmod(0o644)

    def variant(self, **fields: Any) -> dict[str, Any]:
        """The variant of a Model that serves it on the CPU; `fields` are added."""
        return {
            "name": "paced",
            "accelerator": "cpu",
            "backend": "python",
            "artifact": {"uri": f"file:///{_FILES}/{self.file_name}", "digest": self.digest},
            "cpu": "100m",
            "memory": "128Mi",
            "profile": {"base": format_duration(self.base), "perItem": format_duration(self.per_item)},
        } | fields


def request() -> tuple[bytes, dict[str, str]]:
    """The body and the headers of a request for it."""
    body = {"inputs": [{"name": INPUT, "shape": [1, 1], "datatype": "FP32", "data": [1.0]}]}
    return json.dumps(body).encode(), {"Content-Type": "application/json"}
