"""What the tests ask of a running Triton, over gRPC and, where the way matters, HTTP."""

import http.client
import json
from types import TracebackType
from typing import Any, Self

import numpy as np
import tritonclient.grpc as grpc

from lab.triton import TritonServer


class Triton:
    """A running server, with clients."""

    def __init__(self, server: TritonServer) -> None:
        self.repository = server.repository
        self._http_port = server.http_port
        self._metrics_port = server.metrics_port
        self._grpc = grpc.InferenceServerClient(f"127.0.0.1:{server.grpc_port}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._grpc.close()

    def load(self, model: str) -> None:
        """Load or reload; raises `tritonclient.utils.InferenceServerException` with Triton's reason."""
        self._grpc.load_model(model)

    def is_ready(self, model: str, version: int | str = "") -> bool:
        return bool(self._grpc.is_model_ready(model, str(version)))

    def config(self, model: str) -> dict[str, Any]:
        """The configuration as Triton completed it."""
        return self._get(f"/v2/models/{model}/config")

    def executions(self, model: str) -> dict[int, int]:
        """How many times the network has run, by batch size."""
        (stats,) = self._get(f"/v2/models/{model}/stats")["model_stats"]
        return {batch["batch_size"]: batch["compute_infer"]["count"] for batch in stats["batch_stats"]}

    def counted(self, model: str) -> int:
        """How many requests the metrics say that it has answered, failed or refused, in all its versions."""
        connection = http.client.HTTPConnection("127.0.0.1", self._metrics_port, timeout=60)
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
        connection.close()
        names = ("nv_inference_request_success{", "nv_inference_request_failure{")
        mine = [line for line in lines if line.startswith(names) and f'model="{model}"' in line]
        return sum(int(float(line.rpartition(" ")[2])) for line in mine)

    def infer(self, model: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """All outputs by name; raises `tritonclient.utils.InferenceServerException` with Triton's reason."""
        tensors = []
        for name, array in inputs.items():
            tensor = grpc.InferInput(name, array.shape, grpc.np_to_triton_dtype(array.dtype))
            tensor.set_data_from_numpy(array)
            tensors.append(tensor)
        result = self._grpc.infer(model, tensors)
        return {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}

    def connect(self) -> http.client.HTTPConnection:
        """A connection of one's own, to be kept open, as a client of the HTTP API has."""
        return http.client.HTTPConnection("127.0.0.1", self._http_port, timeout=60)

    def _get(self, path: str) -> dict[str, Any]:
        connection = self.connect()
        connection.request("GET", path)
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
        connection.close()
        return answer
