"""Ask a Model over KServe v2 from asyncio, with tensors as bytes instead of JSON (the binary tensor data extension).

The address is the Model's Service, `http://NAME.NAMESPACE`: the same with and without the site's gateway in front.
What goes wrong is told apart by what a caller can do about it: wait, give up, or mend the request.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import numpy as np
from numpy.typing import NDArray

_HEADER_LENGTH = "Inference-Header-Content-Length"
_DEFAULT_RETRY = 1.0
_LONGEST_RETRY = 60.0
_LONGEST_MESSAGE = 300


class ModelError(Exception):
    """A Model gave no answer; the message names it and says why."""


class ModelUnavailable(ModelError):
    """Nobody serves the Model at the moment, or nobody has room; `retry_after`: seconds to wait before asking again."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ModelTimedOut(ModelError):
    """The Model did not answer in time."""


class ModelRefused(ModelError):
    """The Model, or what answers under its name, does not take this request; asking again would not help."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One output, and the version of the Model that gave it (empty where the server says none)."""

    values: NDArray[np.float32]
    version: str


class Model:
    """One Model at one address.

    Args:
        session: of the caller, who closes it.
        url: up to `/v2`, such as `http://text-detect.shop`.
        name: of the Model.
        timeout: seconds for a whole request.
        host: to send as `Host` where the address is not the Model's own, such as that of a tunnel: a site's gateway
            knows Models by it.
    """

    def __init__(
        self, *, session: aiohttp.ClientSession, url: str, name: str, timeout: float, host: str | None = None
    ) -> None:
        self.name = name
        self._headers = {} if host is None else {"Host": host}
        self._session = session
        self._url = f"{url.rstrip('/')}/v2/models/{name}/infer"
        self._timeout = aiohttp.ClientTimeout(total=timeout)

    async def infer(self, tensor: NDArray[np.float32], *, input_name: str, output_name: str) -> Answer:
        """Send one float32 tensor and return one float32 output; raise a ModelError."""
        body, header_length = encode(tensor, input_name=input_name, output_name=output_name)
        headers = self._headers | {_HEADER_LENGTH: str(header_length), "Content-Type": "application/octet-stream"}
        try:
            try:
                return await self._send(body, headers, output_name=output_name)
            except (aiohttp.ServerDisconnectedError, ConnectionResetError):
                # A connection that was kept open and closed by the other side just now. To infer twice does no harm.
                return await self._send(body, headers, output_name=output_name)
        except TimeoutError as error:
            raise ModelTimedOut(f"{self.name}: no answer within {self._timeout.total:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ModelUnavailable(f"{self.name}: {error}", retry_after=_DEFAULT_RETRY) from error

    async def _send(self, body: bytes, headers: Mapping[str, str], *, output_name: str) -> Answer:
        request = self._session.post(
            self._url, data=body, headers=headers, timeout=self._timeout, allow_redirects=False
        )
        async with request as response:
            content = await response.read()
            if response.status != 200:
                raise self._failure(response, content)
            try:
                return decode(content, header_length=response.headers.get(_HEADER_LENGTH), output_name=output_name)
            except (LookupError, TypeError, ValueError) as error:
                raise ModelRefused(f"{self.name}: not an answer of KServe v2: {error}") from error

    def _failure(self, response: aiohttp.ClientResponse, content: bytes) -> ModelError:
        said = content.decode(errors="replace").strip()[:_LONGEST_MESSAGE]
        message = f"{self.name}: {response.status} {said}".strip()
        if response.status == 504:
            return ModelTimedOut(message)
        # Triton says 400 and gateways 404 where the Model is not there at the moment, just as where it never was.
        gone = response.status == 400 and "unknown model" in said
        if response.status in (404, 408, 429, 502, 503) or gone:
            return ModelUnavailable(message, retry_after=parse_retry_after(response.headers.get("Retry-After")))
        return ModelRefused(message)


def encode(tensor: NDArray[np.float32], *, input_name: str, output_name: str) -> tuple[bytes, int]:
    """Return the body of a request, and how many of its bytes are JSON."""
    data = np.ascontiguousarray(tensor, dtype="<f4").tobytes()
    header = json.dumps(
        {
            "inputs": [
                {
                    "name": input_name,
                    "datatype": "FP32",
                    "shape": list(tensor.shape),
                    "parameters": {"binary_data_size": len(data)},
                }
            ],
            "outputs": [{"name": output_name, "parameters": {"binary_data": True}}],
        }
    ).encode()
    return header + data, len(header)


def decode(content: bytes, *, header_length: str | None, output_name: str) -> Answer:
    """Return the named output of an answer, in bytes or in JSON; raise LookupError, TypeError or ValueError."""
    length = len(content) if header_length is None else int(header_length)
    header: dict[str, Any] = json.loads(content[:length])
    offset = length
    for output in header["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if output["name"] != output_name:
            offset += size or 0
            continue
        if output["datatype"] != "FP32":
            raise ValueError(f"output {output_name} is {output['datatype']}, not FP32")
        flat = (
            np.array(output["data"], dtype=np.float32)
            if size is None
            else np.frombuffer(content[offset : offset + size], dtype="<f4").astype(np.float32)
        )
        return Answer(values=flat.reshape(output["shape"]), version=str(header.get("model_version", "")))
    raise LookupError(f"no output {output_name}")


def parse_retry_after(value: str | None) -> float:
    """Return the seconds of a Retry-After header, 1 where it is absent or a date, and at most a minute."""
    try:
        seconds = float(value or _DEFAULT_RETRY)
    except ValueError:
        return _DEFAULT_RETRY
    return min(max(seconds, 0.0), _LONGEST_RETRY) if math.isfinite(seconds) else _DEFAULT_RETRY
