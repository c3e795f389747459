"""Ask a Model over the KServe v2 protocol, as any program of the cluster would."""

from __future__ import annotations

from http.client import HTTPException
from types import TracebackType
from typing import Any, Self

import numpy as np
import tritonclient.http as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from examples.vision.kserve import Answer


class InferenceError(Exception):
    """A Model could not be reached, or refused the request."""


class ModelClient:
    """Sends tensors to one Model. Not for use by several threads: each takes its own.

    Args:
        url: host, port and path below which the protocol's `/v2` is, without `http://`.
        model: name of the Model.
        timeout: seconds to wait for a connection and for an answer.
    """

    def __init__(self, *, url: str, model: str, timeout: float = 30.0) -> None:
        self._model = model
        self._client = triton.InferenceServerClient(url, connection_timeout=timeout, network_timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def infer(self, tensor: NDArray[np.float32], *, input_name: str, output_name: str) -> Answer:
        """Send one float32 tensor, batch first, and return one output; raise InferenceError."""
        request = triton.InferInput(input_name, list(tensor.shape), "FP32")
        request.set_data_from_numpy(tensor)
        wanted = triton.InferRequestedOutput(output_name)
        try:
            result = self._client.infer(self._model, [request], outputs=[wanted])
        # Refused or cut connections come as OSError, answers cut short as HTTPException or, in JSON, ValueError.
        except (InferenceServerException, HTTPException, OSError, ValueError) as error:
            raise InferenceError(f"{self._model}: {error}") from error
        response: dict[str, Any] = result.get_response()
        return Answer(values=result.as_numpy(output_name), version=str(response.get("model_version", "")))
