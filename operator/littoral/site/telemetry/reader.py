"""Asks one Triton: its metrics every time, its statistics when there is something new in them, configurations once."""

from __future__ import annotations

from typing import Final, Self
from urllib.parse import quote

import aiohttp

from littoral.render.names import HTTP_PORT, METRICS_PORT
from littoral.site.telemetry.configuration import Configuration, parse_configuration
from littoral.site.telemetry.exposition import Exposition, ExpositionParser, ModelVersion
from littoral.site.telemetry.statistics import Statistics, parse_statistics

UNREADABLE: Final = (aiohttp.ClientError, TimeoutError, ValueError)
"""What reading raises: no answer, none in time, or one that makes no sense."""

_TIMEOUT: Final = aiohttp.ClientTimeout(total=2.0)


class Reader:
    """Reads Tritons; to be closed.

    The connection to the metrics is kept. One to the inference endpoint is not, since Triton, when it is told to stop,
    waits for its HTTP clients to leave.
    """

    def __init__(self, *, metrics_port: int = METRICS_PORT, http_port: int = HTTP_PORT) -> None:
        self._metrics_port = metrics_port
        self._http_port = http_port
        self._parser = ExpositionParser()
        self._kept = _session(aiohttp.TCPConnector(limit=0, limit_per_host=1))
        self._passing = _session(aiohttp.TCPConnector(limit=0, force_close=True))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Drop all connections."""
        await self._kept.close()
        await self._passing.close()

    async def metrics(self, address: str) -> Exposition:
        """What Triton counts.

        Raises:
            UNREADABLE: any of these.
        """
        async with self._kept.get(_url(address, self._metrics_port, "/metrics")) as answer:
            return self._parser.parse(await answer.text("utf-8", "replace"))

    async def configuration(self, address: str, key: ModelVersion) -> Configuration:
        """How a loaded version forms batches.

        Raises:
            UNREADABLE: any of these.
        """
        path = f"/v2/models/{quote(key.model, safe='')}/versions/{quote(key.version, safe='')}/config"
        async with self._passing.get(_url(address, self._http_port, path)) as answer:
            return parse_configuration(await answer.read())

    async def statistics(self, address: str) -> Statistics:
        """Batch times and memory of all models, in one request.

        Raises:
            UNREADABLE: any of these.
        """
        async with self._passing.get(_url(address, self._http_port, "/v2/models/stats")) as answer:
            return parse_statistics(await answer.read())


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector, timeout=_TIMEOUT, raise_for_status=True, cookie_jar=aiohttp.DummyCookieJar()
    )


def _url(address: str, port: int, path: str) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{port}{path}"
