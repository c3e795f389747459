"""Artifacts from an HTTPS server: streamed to disk and hashed on the way."""

import asyncio
import hashlib
import ssl
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from yarl import URL

from littoral.agent import digest
from littoral.agent.errors import ArtifactError, FetchError
from littoral.agent.local import check_size, too_large
from littoral.agent.progress import Progress

MAX_REDIRECTS = 5


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """How long a server may be silent, in seconds. There is no limit on the whole: a slow uplink is still an
    uplink."""

    connect: float = 15.0
    read: float = 60.0


async def download(
    uri: str, target: Path, progress: Progress, *, ca_file: Path | None, max_bytes: int, timeouts: Timeouts
) -> str:
    """Write the body at `uri` to the file `target` and return its hex SHA-256.

    Proxies come from the environment (HTTPS_PROXY, NO_PROXY); redirects are followed to https only.

    Raises:
        ArtifactError: the server redirects away from https, or the body is larger than `max_bytes`.
        FetchError: anything that may be different next time.
    """
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect, sock_read=timeouts.read)
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=trust(ca_file)),
                timeout=timeout,
                trust_env=True,
                auto_decompress=False,  # the digest is that of the bytes as they are stored
                headers={"Accept-Encoding": "identity"},
                read_bufsize=digest.CHUNK,
            ) as session,
            await _get(session, URL(uri)) as response,
        ):
            progress.total = response.content_length
            check_size(response.content_length or 0, max_bytes=max_bytes, folder=target.parent)
            return await _save(response, target, progress, max_bytes=max_bytes)
    except TimeoutError as error:
        raise FetchError(f"the server was silent for too long after {progress.received} bytes") from error
    except aiohttp.ClientPayloadError as error:
        size = progress.total if progress.total is not None else "?"
        raise FetchError(f"the connection broke after {progress.received} of {size} bytes") from error
    except aiohttp.ClientConnectorCertificateError as error:
        cause = error.certificate_error
        reason = getattr(cause, "verify_message", None) or cause
        raise FetchError(f"the certificate of {error.host} is not trusted: {reason}") from error
    except (aiohttp.ClientError, ValueError) as error:  # ValueError: what yarl says of a URI that is none
        raise FetchError(str(error) or type(error).__name__) from error
    except OSError as error:
        raise FetchError(error.strerror or str(error)) from error


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


async def _get(session: aiohttp.ClientSession, url: URL) -> aiohttp.ClientResponse:
    """The response with the body, after redirects, each of which must stay with https."""
    for _ in range(MAX_REDIRECTS + 1):
        response = await session.get(url, allow_redirects=False)
        if response.status == 200:
            return response
        response.close()
        if response.status not in (301, 302, 303, 307, 308) or "Location" not in response.headers:
            raise FetchError(f"the server answered {response.status} {response.reason}")
        url = url.join(URL(response.headers["Location"]))
        if url.scheme != "https":
            raise ArtifactError(f"the server redirects to {url.scheme}://{url.host}, and only https is followed")
    raise FetchError(f"more than {MAX_REDIRECTS} redirects")


async def _save(response: aiohttp.ClientResponse, target: Path, progress: Progress, *, max_bytes: int) -> str:
    sha256 = hashlib.sha256()
    with target.open("xb") as writer:

        def write(chunk: bytes) -> None:
            sha256.update(chunk)
            writer.write(chunk)

        writing: asyncio.Future[None] | None = None
        try:
            async for chunk in response.content.iter_any():
                if progress.received + len(chunk) > max_bytes:
                    raise too_large(progress.received + len(chunk), max_bytes=max_bytes)
                if writing is not None:
                    await writing
                # One chunk is hashed and written by a thread while the next one arrives.
                writing = asyncio.ensure_future(asyncio.to_thread(write, chunk))
                progress.received += len(chunk)
        finally:
            if writing is not None:
                await asyncio.wait([writing])
        if writing is not None:
            writing.result()
    return sha256.hexdigest()
