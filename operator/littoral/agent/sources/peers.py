"""Artifacts from other agents of the site, by their digest, over plain HTTP: the digest proves the bytes.

HEAD /v1/artifacts/<hex>                       200: it has it; 503: it is on its way, or others are being served
GET  /v1/artifacts/<hex>                       the file, with ranges; of a directory the list of its files
GET  /v1/artifacts/<hex>/files/<hex>           one file of the directory, by its own digest
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
from yarl import URL

from littoral.agent import digest
from littoral.agent.errors import ArtifactError, FetchError
from littoral.agent.sources.https import Access, HeaderAccess, HttpClient, HttpsSource, body_of
from littoral.agent.sources.transfer import Part, Transfer
from littoral.agent.sources.tree import RemoteFile, fetch_file, fetch_tree

KIND = "Littoral-Artifact"
"""Header: `file` or `directory`."""

FETCHING = "Littoral-Fetching"
"""Header of an agent that fetches the artifact itself: its ticket and the bytes that it has."""

CONNECT = 2.0
"""Seconds for a connection, and for the answer whether it has the artifact: it is in the same building."""

PATIENCE = 5.0
"""Seconds of silence after which another one is asked, and over which its speed is taken."""

SLOWEST = 256 << 10
"""Bytes per second below which another one is asked: no LAN is that slow, but a node in trouble may be."""

LONGEST_LIST = 4 << 20
"""Bytes of the list of a directory's files."""

LIST_TIME = 120.0
"""Seconds for that list: a peer that was not asked before hashes the files for it."""


_NOBODY = HeaderAccess(origin=URL())


class BusyError(FetchError):
    """The peer has it, and serves as many others as it does at a time."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a peer says of an artifact that it has, or will have."""

    address: str
    has: bool = False
    busy: bool = False
    directory: bool = False
    ticket: str = ""
    """Orders those that fetch it from the source; empty: it does not."""
    received: int = 0
    """Bytes that it has fetched."""


class PeerClient(HttpClient):
    """Asks agents. There is nothing that one could redirect to."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        super().__init__(session, read=PATIENCE)

    async def ask(self, addresses: Iterable[str], name: str) -> list[Answer]:
        """What those who answer within `CONNECT` say; who does not have it is left out."""
        answers = await asyncio.gather(*(self._ask(address, name) for address in addresses))
        return [answer for answer in answers if answer is not None]

    async def _ask(self, address: str, name: str) -> Answer | None:
        with suppress(aiohttp.ClientError, TimeoutError, ValueError, OSError):
            async with (
                asyncio.timeout(CONNECT),
                self._session.head(url_of(address, name), allow_redirects=False) as response,
            ):
                if response.status == 200:
                    return Answer(address=address, has=True, directory=response.headers.get(KIND) == "directory")
                if response.status == 503:
                    ticket, _, received = response.headers.get(FETCHING, "").partition(" ")
                    return Answer(address=address, busy=not ticket, ticket=ticket, received=int(received or 0))
        return None

    async def _follow(
        self, url: URL, access: Access, headers: Mapping[str, str], *, also: tuple[int, ...]
    ) -> aiohttp.ClientResponse:
        response = await self._session.get(url, headers=headers, allow_redirects=False)
        if response.status in (200, 206, *also):
            return response
        response.close()
        raise (BusyError if response.status == 503 else FetchError)(f"the agent answered {response.status}")


@asynccontextmanager
async def peer_client() -> AsyncIterator[PeerClient]:
    """A client for one fetch; no proxy stands between the nodes of a site."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT),
        trust_env=False,
        auto_decompress=False,
        headers={"Accept-Encoding": "identity"},
        read_bufsize=digest.CHUNK,
    ) as session:
        yield PeerClient(session)


def url_of(address: str, name: str, file: str | None = None) -> URL:
    """Where the agent at `address` (host:port) has the artifact, or one file of the directory that it is.

    Raises:
        ValueError: that is no address.
    """
    return URL(f"http://{address}/v1/artifacts/{name}" + ("" if file is None else f"/files/{file}"))


@dataclass(frozen=True, kw_only=True)
class PeerSource:
    """A file that an agent has. Which one does not matter: they have the same, and the next goes on where one broke."""

    inner: HttpsSource
    hex: str

    @property
    def identity(self) -> str:
        """The digest."""
        return f"sha256:{self.hex}"

    @asynccontextmanager
    async def open(self, *, start: int = 0, stop: int | None = None, version: str | None = None) -> AsyncIterator[Part]:
        """See `transfer.Source`."""
        async with AsyncExitStack() as stack:
            with _patience():
                async with asyncio.timeout(PATIENCE):
                    part = await stack.enter_async_context(self.inner.open(start=start, stop=stop, version=version))
            yield replace(part, chunks=_lively(part.chunks))


async def fetch(client: PeerClient, peer: Answer, name: str, target: Path, transfer: Transfer) -> str:
    """Bring what the peer calls `name` to `target`.

    Returns:
        The hex digest of what came, be it `name` or not.

    Raises:
        ArtifactError: what it gives cannot be the artifact.
        FetchError: it does not give it now, or too slowly. What has come is left, for another peer to go on from.
    """
    if not peer.directory:
        return await fetch_file(transfer, target, _source(client, peer, name, None))
    files = [
        RemoteFile(path=path, size=size, hex=file, source=_source(client, peer, name, file))
        for path, size, file in await _list(client, peer.address, name)
    ]
    return await fetch_tree(transfer, target, files)


def _source(client: PeerClient, peer: Answer, name: str, file: str | None) -> PeerSource:
    hex_digest = name if file is None else file
    inner = HttpsSource(client=client, url=url_of(peer.address, name, file), access=_NOBODY, content=hex_digest)
    return PeerSource(inner=inner, hex=hex_digest)


async def _list(client: PeerClient, address: str, name: str) -> list[tuple[str, int, str]]:
    """Path, size and hex digest of each file of a directory.

    Raises:
        ArtifactError: it is not the list of the directory with the digest `name`, so nothing of it is fetched.
        FetchError: it does not come.
    """
    try:
        async with asyncio.timeout(LIST_TIME), client.get(url_of(address, name), access=_NOBODY) as response:
            body = await body_of(response, limit=LONGEST_LIST)
    except TimeoutError as error:
        raise FetchError("the list of files does not come") from error
    try:
        files = [(str(it["path"]), int(it["bytes"]), str(it["sha256"])) for it in json.loads(body)["files"]]
        actual = digest.of_manifest({path: file for path, _, file in files})
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError("the list of files is none") from error
    if actual != name:
        raise ArtifactError(f"the list of files is that of sha256:{actual}")
    return files


@contextmanager
def _patience() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise FetchError(f"the agent was silent for {PATIENCE:g} s") from error


async def _lively(chunks: AsyncIterator[bytes | memoryview]) -> AsyncIterator[bytes | memoryview]:
    """The chunks, while they come fast enough. The time in which nobody asks for one does not count."""
    waited, received = 0.0, 0
    while True:
        began = time.monotonic()
        with _patience():
            async with asyncio.timeout(PATIENCE):
                chunk = await anext(chunks, None)
        if chunk is None:
            return
        waited, received = waited + time.monotonic() - began, received + len(chunk)
        if waited > PATIENCE:
            if received < SLOWEST * waited:
                raise FetchError(f"the agent gives {received / waited:.0f} bytes per second")
            waited, received = 0.0, 0
        yield chunk
