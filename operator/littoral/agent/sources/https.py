"""Artifacts from an HTTPS server, and the client that registries are asked with as well."""

import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from littoral.agent import digest
from littoral.agent.errors import ArtifactError, FetchError, NotFound
from littoral.agent.sources.limits import Limits
from littoral.agent.sources.transfer import BrokenError, ChangedError, Part

MAX_REDIRECTS = 5


class Access(Protocol):
    """Who asks: the headers that say so, and what can be done when they are not enough."""

    def headers(self, url: URL) -> Mapping[str, str]:
        """What proves who asks; nothing for a host that it is not meant for."""

    async def refused(self, response: aiohttp.ClientResponse) -> bool:
        """Whether it is worth asking again after this refusal."""

    @property
    def whose(self) -> str:
        """Whose credentials they are, for people."""


class HttpClient:
    """Asks HTTPS servers within the limits of one fetch.

    Proxies come from the environment (HTTPS_PROXY, NO_PROXY); redirects are followed to https only, and credentials
    are not carried to another host.
    """

    def __init__(self, session: aiohttp.ClientSession, *, read: float) -> None:
        self._session = session
        self.read_timeout = read

    @asynccontextmanager
    async def get(
        self, url: URL, *, access: Access, headers: Mapping[str, str] | None = None, also: tuple[int, ...] = ()
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response to a GET, after redirects; its body is still to come.

        Args:
            also: status codes beside 200 and 206 that the caller knows what to do with.

        Raises:
            ArtifactError: the server redirects away from https.
            FetchError: it does not answer, or with an error; `BrokenError` if that is how the body ends.
        """
        with _explained():
            response = await self._follow(url, access, headers or {}, also=also)
            try:
                yield response
            finally:
                response.close() if not response.content.at_eof() else response.release()

    @asynccontextmanager
    async def post(self, url: URL, *, data: Mapping[str, str], whose: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response to a form; its body is still to come.

        Raises:
            FetchError: the server does not answer, or with an error.
        """
        with _explained():
            async with self._session.post(url, data=data, allow_redirects=False) as response:
                if response.status != 200:
                    raise FetchError(f"the server answered {response.status} {response.reason} ({whose})")
                yield response

    async def _follow(
        self, url: URL, access: Access, headers: Mapping[str, str], *, also: tuple[int, ...]
    ) -> aiohttp.ClientResponse:
        asked_again = False
        for _ in range(MAX_REDIRECTS + 2):
            response = await self._session.get(url, headers={**headers, **access.headers(url)}, allow_redirects=False)
            if response.status in (200, 206, *also):
                return response
            try:
                if response.status in (301, 302, 303, 307, 308) and "Location" in response.headers:
                    url = url.join(as_written(response.headers["Location"]))
                    if url.scheme != "https":
                        raise ArtifactError(
                            f"the server redirects to {url.scheme}://{url.host}, and only https is followed"
                        )
                    continue
                if response.status == 401 and not asked_again and await access.refused(response):
                    asked_again = True
                    continue
                hint = f" ({access.whose})" if response.status in (401, 403) else ""
                kind = NotFound if response.status in (404, 410) else FetchError
                raise kind(f"the server answered {response.status} {response.reason}{hint}")
            finally:
                response.close()
        raise FetchError(f"more than {MAX_REDIRECTS} redirects")


@asynccontextmanager
async def http_client(*, ca_file: Path | None, limits: Limits) -> AsyncIterator[HttpClient]:
    """A client for one fetch.

    Raises:
        FetchError: the certificate authorities in `ca_file` cannot be read.
    """
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=limits.timeouts.connect, sock_read=limits.timeouts.read)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=trust(ca_file)),
        timeout=timeout,
        trust_env=True,
        auto_decompress=False,  # the digest is that of the bytes as they are stored
        headers={"Accept-Encoding": "identity"},
        read_bufsize=limits.pace.chunk(digest.CHUNK),
    ) as session:
        yield HttpClient(session, read=limits.timeouts.read)


def as_written(text: str) -> URL:
    """The URL with every escape as it is: who signed it has signed that.

    Raises:
        ValueError: it is none.
    """
    return URL(text, encoded=text.isascii() and text.isprintable() and " " not in text)


def trust(ca_file: Path | None) -> ssl.SSLContext:
    """A context that trusts the system's authorities and those in `ca_file`. Made anew for each fetch: files
    rotate."""
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise FetchError(f"the certificate authorities in {ca_file} cannot be read: {error}") from error
    return context


@dataclass(frozen=True, kw_only=True)
class HttpsSource:
    """The body at a URL."""

    client: HttpClient
    url: URL
    access: Access
    content: str | None = None
    """What the body is known to be, where its URL says so (a blob's digest); else its ETag or date tell."""

    @property
    def identity(self) -> str:
        """The URL."""
        return str(self.url)

    @asynccontextmanager
    async def open(self, *, start: int = 0, stop: int | None = None, version: str | None = None) -> AsyncIterator[Part]:
        """See `transfer.Source`."""
        headers = {}
        if start > 0 or stop is not None:
            headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
            if version is not None and self.content is None:
                headers["If-Range"] = version
        async with self.client.get(self.url, access=self.access, headers=headers, also=(416,)) as response:
            if response.status == 416 and start > 0:
                raise ChangedError("the source has become shorter while it was fetched")
            if response.status == 416:  # an empty file has no first byte
                yield Part(start=0, stop=0, size=0, version=None, chunks=_nothing())
                return
            yield self._part(response)

    def _part(self, response: aiohttp.ClientResponse) -> Part:
        version = self.content or _version(response.headers)
        chunks = _chunks(response)
        if response.status == 200:
            ranges = response.headers.get("Accept-Ranges", "").strip().lower() == "bytes"
            size = response.content_length
            return Part(start=0, stop=None, size=size, version=version if ranges and size else None, chunks=chunks)
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", "").strip())
        if match is None:
            raise FetchError("the server answered 206 without saying which bytes of how many these are")
        start, last, size = (int(number) for number in match.groups())
        return Part(start=start, stop=last + 1, size=size, version=version, chunks=chunks)


@dataclass(frozen=True, kw_only=True)
class HeaderAccess:
    """One Authorization header for one host, or none at all."""

    origin: URL
    value: str | None = field(default=None, repr=False)
    whose: str = "no credentials were sent"

    def headers(self, url: URL) -> Mapping[str, str]:
        """The header, for the host that it is meant for."""
        return {"Authorization": self.value} if self.value is not None and url.origin() == self.origin else {}

    async def refused(self, response: aiohttp.ClientResponse) -> bool:
        """There is nothing else to show."""
        return False


def _version(headers: CIMultiDictProxy[str]) -> str | None:
    """What may stand in If-Range (RFC 9110, section 13.1.5): a strong ETag, else the date of the last change. Littoral
    checks a digest in the end, so that a file that was changed twice within a second costs a download, not more."""
    etag = headers.get("ETag", "")
    return etag if etag.startswith('"') else headers.get("Last-Modified")


async def body_of(response: aiohttp.ClientResponse, *, limit: int) -> bytes:
    """The whole body of an answer that is not an artifact.

    Raises:
        FetchError: it has more than `limit` bytes.
    """
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            raise FetchError(f"the server's answer has more than {limit} bytes")
    return bytes(body)


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async for chunk in response.content.iter_any():
        yield chunk


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


class _explained:  # noqa: N801 - it is used as a statement
    """What aiohttp raises, in words for people."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        match error:
            case TimeoutError():
                raise BrokenError("the server was silent for too long") from error
            case aiohttp.ClientConnectorCertificateError():
                cause = error.certificate_error
                reason = getattr(cause, "verify_message", None) or cause
                raise FetchError(f"the certificate of {error.host} is not trusted: {reason}") from error
            case aiohttp.ClientResponseError():  # its text holds the URL, which may be signed
                raise FetchError(f"the server answered {error.status} {error.message}") from error
            case aiohttp.InvalidURL() | ValueError():
                raise FetchError("the URI is not a URL") from error
            case (
                aiohttp.ClientConnectorError()
                | aiohttp.ServerFingerprintMismatch()
                | aiohttp.ClientProxyConnectionError()
            ):
                raise FetchError(str(error)) from error
            case (
                aiohttp.ClientPayloadError() | aiohttp.ClientConnectionError() | ConnectionResetError() | ssl.SSLError()
            ):
                raise BrokenError("the connection broke") from error
            case aiohttp.ClientError():
                text = str(error)  # a URL in it may be signed
                raise FetchError(text if text and "://" not in text else type(error).__name__) from error
