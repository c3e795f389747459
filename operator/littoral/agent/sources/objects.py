"""Artifacts from object stores: S3 and what speaks its protocol, and Google Cloud Storage.

By `obstore` (docs/decisions/0009-sources.md), which signs requests, lists and retries. What it does not know is which
credentials count: only those of the Secret that the artifact names. Those of the node, which its environment or its
metadata service would give to anybody, are a tenant's no more than another tenant's are.
"""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
from obstore import exceptions
from obstore.store import GCSStore, S3Store

from littoral.agent.errors import FetchError, NotFound
from littoral.agent.sources.credentials import Secret
from littoral.agent.sources.limits import Limits
from littoral.agent.sources.transfer import BrokenError, ChangedError, Part, Transfer
from littoral.agent.sources.tree import RemoteFile, fetch_file, fetch_tree

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult, ObjectMeta
    from obstore.store import ClientConfig, RetryConfig

Store = GCSStore | S3Store

# A request that fails at once is tried again at once; what takes longer is for the reconcile loop.
_RETRY: "RetryConfig" = {"max_retries": 2, "retry_timeout": timedelta(seconds=10)}

CHUNK = 256 << 10
"""Bytes that come at a time, and that a break costs: more would be lost, fewer cost time."""

_LONG = timedelta(days=7)
"""The limit on a whole request, which a slow uplink must not meet."""


def s3(bucket: str, secret: Secret | None, *, ca_file: Path | None, limits: Limits) -> Store:
    """An S3 bucket; the Secret also says at which endpoint, if not Amazon's, and in which region.

    Raises:
        FetchError: the Secret is not for S3, or the authorities cannot be read.
    """
    get = secret.get if secret is not None else _empty
    options: dict[str, Any] = {"region": get("region") or "us-east-1"}
    if endpoint := get("endpoint").rstrip("/"):
        options["endpoint"] = endpoint
    if key := get("accessKeyId"):
        options |= {"access_key_id": key, "secret_access_key": get("secretAccessKey")}
        if token := get("sessionToken"):
            options["session_token"] = token
    elif secret is not None and not endpoint:
        raise FetchError(f"the Secret {secret.name!r} holds neither `accessKeyId` nor `endpoint`")
    else:
        options["skip_signature"] = True
    client = _client(ca_file, limits, plain=endpoint.startswith("http://"))
    with _valid(secret):
        return S3Store(bucket, client_options=client, retry_config=_RETRY, **options)


def gs(bucket: str, secret: Secret | None, *, ca_file: Path | None, limits: Limits) -> Store:
    """A bucket of Google Cloud Storage.

    Raises:
        FetchError: the Secret holds no service account's key, or the authorities cannot be read.
    """
    options: dict[str, Any] = {"skip_signature": True}
    if secret is not None:
        options = {"service_account_key": secret.get("key.json")}
        if not options["service_account_key"]:
            raise FetchError(f"the Secret {secret.name!r} holds no `key.json`, the key of a service account")
    client = _client(ca_file, limits, plain=False)
    with _valid(secret):
        return GCSStore(bucket, client_options=client, retry_config=_RETRY, **options)


async def fetch_objects(store: Store, key: str, target: Path, *, uri: str, whose: str, transfer: Transfer) -> str:
    """Bring the object `key` to the file `target`; or, if it ends with a slash, all below it as a directory.

    Returns:
        The hex digest of what was written.

    Raises:
        FetchError: the store does not give it now.
        ArtifactError: it is no artifact.
    """
    if not key.endswith("/"):
        source = ObjectSource(store=store, key=key, identity=uri, whose=whose, limits=transfer.limits)
        return await fetch_file(transfer, target, source)
    found: list[ObjectMeta] = []
    with _explained(whose):
        async for batch in obstore.list(store, prefix=key):
            found += batch
    files = [
        RemoteFile(
            path=meta["path"].removeprefix(key),
            size=meta["size"],
            source=ObjectSource(
                store=store,
                key=meta["path"],
                identity=f"{uri} {meta['path']} {meta['e_tag']}",
                whose=whose,
                limits=transfer.limits,
            ),
        )
        for meta in found
    ]
    if not files:
        raise FetchError("there is nothing below this prefix")
    # What consoles create as a folder is an empty object with the folder's name.
    folders = {parent.as_posix() for file in files for parent in Path(file.path).parents}
    return await fetch_tree(transfer, target, [it for it in files if it.size or it.path not in folders])


@dataclass(frozen=True, kw_only=True)
class ObjectSource:
    """One object of a bucket."""

    store: Store
    key: str
    identity: str
    whose: str
    limits: Limits

    @asynccontextmanager
    async def open(self, *, start: int = 0, stop: int | None = None, version: str | None = None) -> AsyncIterator[Part]:
        """See `transfer.Source`."""
        options: GetOptions = {"if_match": version} if version is not None else {}
        if stop is not None:
            options["range"] = (start, stop)
        elif start > 0:
            options["range"] = {"offset": start}
        result = await self._get(options, whole=start == 0)
        if result is None:
            yield Part(start=0, stop=0, size=0, version=None, chunks=_nothing())
            return
        begin, end = result.range
        chunks = _chunks(result, self.limits.pace.chunk(CHUNK))
        yield Part(start=begin, stop=end, size=result.meta["size"], version=result.meta["e_tag"], chunks=chunks)

    async def _get(self, options: "GetOptions", *, whole: bool) -> "GetResult | None":
        """The answer; None if the object is empty: it has no first byte to give."""
        with _explained(self.whose):
            try:
                return await obstore.get_async(self.store, self.key, options=options)
            except exceptions.GenericError:
                if not whole or (await obstore.head_async(self.store, self.key))["size"] > 0:
                    raise
        return None


async def _chunks(result: "GetResult", size: int) -> AsyncIterator[memoryview]:
    try:
        async for chunk in result.stream(min_chunk_size=size):
            yield memoryview(chunk)
    except exceptions.BaseError as error:
        raise BrokenError("the connection broke") from error


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


@contextmanager
def _explained(whose: str) -> Iterator[None]:
    """What obstore raises, in words for people; its own hold the whole answer and the settings of its retries."""
    try:
        yield
    except (exceptions.NotFoundError, FileNotFoundError) as error:
        raise NotFound("the store has no such object, or no such bucket") from error
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise FetchError(f"the store refuses to give it ({whose})") from error
    except exceptions.PreconditionError as error:
        raise ChangedError("the source has changed while it was fetched") from error
    except exceptions.BaseError as error:
        raise FetchError(f"the store does not give it: {_reason(str(error))}") from error


@contextmanager
def _valid(secret: Secret | None) -> Iterator[None]:
    """What a store cannot be made of. The reason may quote the Secret, so it is not given."""
    try:
        yield
    except (exceptions.BaseError, ValueError):
        name = f"the Secret {secret.name!r}" if secret is not None else "the URI"
        raise FetchError(f"{name} holds something that the object store's client does not take") from None


def _reason(text: str) -> str:
    """What went wrong, out of a text that ends with the whole error as Rust prints it."""
    first = text.splitlines()[0].rpartition(" - ")[2]
    if untrusted := re.search(r"InvalidCertificate\(\s*(\w+)", text):
        return f"its certificate is not trusted: {untrusted[1]}"
    cause = re.search(r'(?:message|error): "([^"]+)"', text)
    return f"{first}: {cause[1]}" if cause is not None else first


def _client(ca_file: Path | None, limits: Limits, *, plain: bool) -> "ClientConfig":
    client: ClientConfig = {
        "connect_timeout": timedelta(seconds=limits.timeouts.connect),
        "read_timeout": timedelta(seconds=limits.timeouts.read),
        "timeout": _LONG,
        "allow_http": plain,
    }
    if ca_file is not None:
        try:
            client["root_certificate"] = ca_file.read_bytes()
        except OSError as error:
            raise FetchError(f"the certificate authorities in {ca_file} cannot be read: {error}") from error
    return client


def _empty(key: str) -> str:
    return ""
