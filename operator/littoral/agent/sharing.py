"""What an agent gives to the others of its site: what its own server wants and it has verified, if that is public."""

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_request import BaseRequest

from littoral.agent import digest
from littoral.agent.peers import Coming, shareable
from littoral.agent.sources.peers import FETCHING, KIND, SLOWEST
from littoral.agent.store import Entry
from littoral.api.serving import ServedModel

AT_ONCE = 2
"""Peers that are served at a time: Triton's clients use the same network."""

GRACE = 60.0
"""Seconds that an answer may take besides the time that the slowest useful asker needs."""

_BUSY = {"Retry-After": "1"}


class Sharing:
    """The handlers. What may be had is decided at each request, from what is wanted at that moment."""

    def __init__(
        self,
        *,
        entry: Callable[[str], Entry | None],
        wanted: Callable[[], Iterable[ServedModel]],
        coming: Callable[[], Mapping[str, Coming]],
    ) -> None:
        """
        Args:
            entry: what is in the cache under a hex digest, if it was verified.
            wanted: what this agent's server is to serve.
            coming: what this agent fetches, by hex digest.
        """
        self._entry = entry
        self._wanted = wanted
        self._coming = coming
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._lists: dict[str, dict[str, str]] = {}
        self._hashing = asyncio.Lock()

    def routes(self) -> list[web.RouteDef]:
        """What is answered; see `littoral.agent.sources.peers`."""
        return [
            web.get("/v1/artifacts/{name:[0-9a-f]{64}}", self._artifact),
            web.get("/v1/artifacts/{name:[0-9a-f]{64}}/files/{file:[0-9a-f]{64}}", self._file),
        ]

    async def _artifact(self, request: web.Request) -> web.StreamResponse:
        entry = self._given(request.match_info["name"])
        if not entry.path.is_dir():
            return self._send(entry.path, entry.bytes)
        headers = {KIND: "directory"}
        if request.method == hdrs.METH_HEAD:
            return web.Response(headers=headers)
        hashes = await self._hashes(entry)
        files = [
            {"path": path, "bytes": os.stat(entry.path / path).st_size, "sha256": file} for path, file in hashes.items()
        ]
        return web.json_response({"files": files}, headers=headers)

    async def _file(self, request: web.Request) -> web.StreamResponse:
        entry, wanted = self._given(request.match_info["name"]), request.match_info["file"]
        hashes = await self._hashes(entry) if entry.path.is_dir() else {}
        path = next((path for path, file in hashes.items() if file == wanted), None)
        if path is None:
            raise web.HTTPNotFound
        return self._send(entry.path / path, entry.bytes)

    def _given(self, name: str) -> Entry:
        """
        Raises:
            web.HTTPNotFound: it is not to be had here; which of the reasons it is, is nobody's business.
            web.HTTPServiceUnavailable: not now.
        """
        named = [it.artifact for it in self._wanted() if it.artifact.digest == f"sha256:{name}"]
        if not named or not all(map(shareable, named)):
            raise web.HTTPNotFound
        entry = self._entry(name)
        if entry is None and (coming := self._coming().get(name)) is not None:
            said = f"{coming.ticket} {coming.progress.received}"
            raise web.HTTPServiceUnavailable(headers=_BUSY | {FETCHING: said})
        if entry is None:
            raise web.HTTPNotFound
        if self._slots.locked():
            raise web.HTTPServiceUnavailable(headers=_BUSY)
        return entry

    def _send(self, path: Path, size: int) -> web.StreamResponse:
        headers = {KIND: "file", "Content-Type": "application/octet-stream"}
        return _Sent(path, slots=self._slots, limit=GRACE + size / SLOWEST, headers=headers)

    async def _hashes(self, entry: Entry) -> dict[str, str]:
        """Relative path -> hex digest, of a directory. Taken once: an entry's bytes do not change."""
        async with self._hashing:
            if entry.name not in self._lists:
                wanted = {model.artifact.digest.removeprefix("sha256:") for model in self._wanted()}
                self._lists = {name: known for name, known in self._lists.items() if name in wanted}
                self._lists[entry.name] = await asyncio.to_thread(_hashes_of, entry.path)
            return self._lists[entry.name]


def _hashes_of(folder: Path) -> dict[str, str]:
    return {path: digest.of_file(folder / path) for path in digest.walk(folder)}


class _Sent(web.FileResponse):
    """A file that is sent while it holds a slot, and not for ever to somebody who does not read."""

    def __init__(self, path: Path, *, slots: asyncio.Semaphore, limit: float, headers: Mapping[str, str]) -> None:
        super().__init__(path, chunk_size=digest.CHUNK, headers=headers)
        self._slots = slots
        self._limit = limit

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Send it."""
        try:
            async with self._slots, asyncio.timeout(self._limit):
                return await super().prepare(request)
        except TimeoutError as error:
            raise ConnectionResetError("the asker is too slow") from error
