"""Triton, as the agent sees it: whether it answers, what is loaded, load, unload.

Whether it answers is asked as a client would, over HTTP and with a new connection each time. The moment that Triton is
told to stop, it resets new HTTP connections; on those that are open, and by gRPC, it says for up to 30 seconds that all
is well, and an HTTP connection that stays open keeps it from stopping.

Everything else is asked by gRPC: Triton's HTTP endpoint loads a model on a thread that also serves inference
connections, which then wait as long as the load takes.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

import aiohttp
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from littoral.agent.errors import LoadError, TritonError

PROBE_TIMEOUT = 5.0
"""Seconds after which a Triton that is silent counts as gone."""

LOAD_TIMEOUT = 3600.0
"""Seconds that a load may take: engines of large networks are built while they load."""


class VersionState(StrEnum):
    """The state of a version in Triton's repository index."""

    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What Triton said at one moment."""

    live: bool = False
    version: str = ""
    """Triton's version, as `2.60.0`."""
    models: Mapping[str, Mapping[int, VersionState]] = field(default_factory=dict)
    """Model -> version -> state, of the versions that Triton knows."""


_CHANNEL = [
    ("grpc.enable_http_proxy", 0),  # the proxy in the environment is for artifacts
    # The channel's own pauses between attempts to connect grow to two minutes; a new Triton is to be seen at once.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 250),
    ("grpc.max_receive_message_length", 16 << 20),
]

_GONE = ("StatusCode.UNAVAILABLE", "StatusCode.CANCELLED", "StatusCode.DEADLINE_EXCEEDED")


class Triton:
    """A client of one Triton, to be used as a context manager."""

    def __init__(self, *, http: str, grpc: str) -> None:
        """
        Args:
            http: host and port of Triton's HTTP endpoint.
            grpc: host and port of Triton's gRPC endpoint.
        """
        self._health = f"http://{http}/v2/health/live"
        self._grpc = grpc

    async def __aenter__(self) -> Self:
        self._client = InferenceServerClient(self._grpc, channel_args=_CHANNEL)
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True), timeout=aiohttp.ClientTimeout(total=PROBE_TIMEOUT)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()
        await self._client.close()

    async def alive(self) -> bool:
        """Whether Triton answers new clients; one connection that is lost in a burst of others is no outage."""
        return await self._answers() or await self._answers()

    async def _answers(self) -> bool:
        try:
            async with self._http.get(self._health) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def observe(self) -> Observation:
        """Ask Triton what it serves. A Triton that does not answer is an observation, not an error."""
        try:
            metadata = await self._client.get_server_metadata(client_timeout=PROBE_TIMEOUT)
            index = await self._client.get_model_repository_index(client_timeout=PROBE_TIMEOUT)
            models: dict[str, dict[int, VersionState]] = {}
            for entry in index.models:
                if entry.version and entry.state:
                    models.setdefault(entry.name, {})[int(entry.version)] = await self._checked(entry)
        except InferenceServerException:
            return Observation()
        return Observation(live=True, version=metadata.version, models=models)

    async def _checked(self, entry: Any) -> VersionState:
        """The index says what was loaded; whether the backend behind it still runs is known to the version itself."""
        state = VersionState(entry.state)
        if state is VersionState.READY and not await self._client.is_model_ready(
            entry.name, entry.version, client_timeout=PROBE_TIMEOUT
        ):
            return VersionState.UNAVAILABLE
        return state

    async def load(self, model: str) -> None:
        """Load the newest version in the repository; one that serves goes on until the new one is ready.

        Raises:
            LoadError: Triton's own words.
            TritonError: Triton went away.
        """
        with _explained():
            await self._client.load_model(model, client_timeout=LOAD_TIMEOUT)

    async def unload(self, model: str) -> None:
        """Unload every version of the model, each after the requests it is at work on.

        Raises:
            LoadError: Triton's own words.
            TritonError: Triton went away.
        """
        with _explained():
            await self._client.unload_model(model, client_timeout=LOAD_TIMEOUT)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except InferenceServerException as error:
        if error.status() in _GONE:
            raise TritonError("Triton went away meanwhile") from error
        raise LoadError(error.message() or "Triton does not say why") from error
