"""Triton, as the agent sees it: what is loaded, load, unload.

Over HTTP and not gRPC: the agent needs aiohttp for its own report anyway, and the gRPC library would add
about 30 MiB to each pod for a handful of calls a second.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Self

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
    ready: bool = False
    version: str = ""
    """Triton's version, as `2.60.0`."""
    models: Mapping[str, Mapping[int, VersionState]] = field(default_factory=dict)
    """Model -> version -> state, of the versions that Triton knows."""

    def serving(self, model: str) -> int | None:
        """The version that answers requests for the model."""
        versions = self.models.get(model, {})
        return max((number for number, state in versions.items() if state is VersionState.READY), default=None)


class Triton:
    """A client of one Triton, to be used as a context manager."""

    def __init__(self, address: str) -> None:
        """
        Args:
            address: host and port of Triton's HTTP endpoint.
        """
        self._address = address

    async def __aenter__(self) -> Self:
        # One connection is kept for the looks; loads have their own, as they take long.
        self._probe = InferenceServerClient(self._address, conn_limit=1, conn_timeout=PROBE_TIMEOUT)
        self._control = InferenceServerClient(self._address, conn_timeout=LOAD_TIMEOUT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._probe.close()
        await self._control.close()

    async def observe(self) -> Observation:
        """Ask Triton what it serves. A Triton that does not answer is an observation, not an error."""
        try:
            if not await self._probe.is_server_live():
                return Observation()
            ready = await self._probe.is_server_ready()
            version = (await self._probe.get_server_metadata())["version"]
            models: dict[str, dict[int, VersionState]] = {}
            for entry in await self._probe.get_model_repository_index():
                if entry.get("version") and entry.get("state"):
                    state = VersionState(entry["state"])
                    models.setdefault(entry["name"], {})[int(entry["version"])] = await self._checked(entry, state)
        except (aiohttp.ClientError, OSError, TimeoutError, InferenceServerException, ValueError):
            return Observation()
        return Observation(live=True, ready=ready, version=version, models=models)

    async def _checked(self, entry: Mapping[str, str], state: VersionState) -> VersionState:
        """The index says what was loaded; whether the backend behind it still runs is known to the version
        itself."""
        if state is VersionState.READY and not await self._probe.is_model_ready(entry["name"], entry["version"]):
            return VersionState.UNAVAILABLE
        return state

    async def load(self, model: str) -> None:
        """Load the newest version in the repository; one that serves goes on until the new one is ready.

        Raises:
            LoadError: Triton's own words.
            TritonError: Triton went away.
        """
        try:
            await self._control.load_model(model)
        except InferenceServerException as error:
            raise LoadError(error.message() or "Triton does not say why") from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise TritonError("Triton went away while it loaded the model") from error

    async def unload(self, model: str) -> None:
        """Unload every version of the model, after the requests it is at work on.

        Raises:
            LoadError: Triton's own words.
            TritonError: Triton went away.
        """
        try:
            await self._control.unload_model(model)
        except InferenceServerException as error:
            raise LoadError(error.message() or "Triton does not say why") from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise TritonError("Triton went away while it unloaded the model") from error

    async def gone(self) -> None:
        """Return when Triton closes a connection on which nothing is asked: at the moment it dies, or if it
        never lived."""
        host, _, port = self._address.rpartition(":")
        try:
            reader, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            return
        try:
            await reader.read()
        except OSError:
            pass
        finally:
            writer.close()
