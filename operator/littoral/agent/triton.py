"""Triton, as the agent sees it: what is loaded, load, unload.

Over HTTP and not gRPC: the agent needs aiohttp for its own report anyway, and the gRPC library would add
about 30 MiB to each pod for a handful of calls a second.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, cast

import aiohttp
from tritonclient.http.aio import InferenceServerClient
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


class Triton:
    """A client of one Triton.

    No connection outlives its question. Triton waits with its shutdown for every open one, and says on them that it is
    well; to new ones it is gone the moment it is told to stop. On the loopback a connection costs next to nothing.
    """

    def __init__(self, address: str) -> None:
        """
        Args:
            address: host and port of Triton's HTTP endpoint.
        """
        self._address = address

    async def alive(self) -> bool:
        """Whether Triton answers."""
        try:
            async with self._client(PROBE_TIMEOUT) as client:
                return bool(await client.is_server_live())
        except _UNANSWERED:
            return False

    async def observe(self) -> Observation:
        """Ask Triton what it serves. A Triton that does not answer is an observation, not an error."""
        try:
            async with self._client(PROBE_TIMEOUT) as client:
                version = (await client.get_server_metadata())["version"]
                models: dict[str, dict[int, VersionState]] = {}
                for entry in await client.get_model_repository_index():
                    if entry.get("version") and entry.get("state"):
                        state = await _checked(client, entry)
                        models.setdefault(entry["name"], {})[int(entry["version"])] = state
        except (*_UNANSWERED, InferenceServerException):
            return Observation()
        return Observation(live=True, version=version, models=models)

    async def load(self, model: str) -> None:
        """Load the newest version in the repository; one that serves goes on until the new one is ready.

        Raises:
            LoadError: Triton's own words.
            TritonError: Triton went away.
        """
        with _explained():
            async with self._client(LOAD_TIMEOUT) as client:
                await client.load_model(model)

    async def unload(self, model: str) -> None:
        """Unload every version of the model, each after the requests it is at work on.

        Raises:
            LoadError: Triton's own words.
            TritonError: Triton went away.
        """
        with _explained():
            async with self._client(LOAD_TIMEOUT) as client:
                await client.unload_model(model)

    def _client(self, timeout: float) -> AbstractAsyncContextManager[Any]:
        client = InferenceServerClient(self._address, conn_limit=1, conn_timeout=timeout)
        return cast(AbstractAsyncContextManager[Any], client)


async def _checked(client: Any, entry: Mapping[str, str]) -> VersionState:
    """The index says what was loaded; whether the backend behind it still runs is known to the version itself."""
    state = VersionState(entry["state"])
    if state is VersionState.READY and not await client.is_model_ready(entry["name"], entry["version"]):
        return VersionState.UNAVAILABLE
    return state


_UNANSWERED = (aiohttp.ClientError, OSError, TimeoutError)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except InferenceServerException as error:
        raise LoadError(error.message() or "Triton does not say why") from error
    except _UNANSWERED as error:
        raise TritonError("Triton went away meanwhile") from error
