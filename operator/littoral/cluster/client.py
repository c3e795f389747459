"""A thin asynchronous client: credentials and transport of the official `kubernetes` package, plain dicts in and out.

The generated models of that package are left out on purpose: decoding into them costs more time and memory than all
that Littoral does with a Pod.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self, cast

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException

from littoral.cluster.resources import Resource, resource_of

Object = dict[str, Any]

UNREACHABLE: Final = (aiohttp.ClientError, TimeoutError, OSError)
"""What a request raises when the API server is not there, or the link to it broke: wait, then try again."""


class ApiError(Exception):
    """The API server refused a request, or answered what is no answer.

    Attributes:
        status: the HTTP status code.
        reason: the `reason` of the returned `Status` object (`NotFound`, `Conflict`, ...), or the HTTP phrase.
    """

    def __init__(self, *, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class NoCluster(Exception):
    """There are no credentials for a cluster here; the message says where they were looked for."""


class Client:
    """One connection pool to one API server. Use it as an async context manager, or `close` it."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    @classmethod
    async def connect(cls, *, kubeconfig: str | None = None, context: str | None = None) -> Self:
        """Use the pod's service account where there is one, else the kubeconfig (`$KUBECONFIG`, `~/.kube/config`).

        Raises:
            NoCluster: neither is there, or the kubeconfig is broken.
        """
        configuration = Configuration()
        # A watch holds its connection for minutes: the pool must not be what limits the number of informers.
        configuration.connection_pool_maxsize = 0
        if kubeconfig is None and context is None:
            try:
                config.load_incluster_config(client_configuration=configuration)
                return cls(ApiClient(configuration))
            except ConfigException:
                pass
        try:
            await config.load_kube_config(
                config_file=kubeconfig,
                context=context,
                client_configuration=configuration,
                persist_config=False,
            )
        except (ConfigException, OSError) as error:
            raise NoCluster(f"no cluster to talk to: {error}. Set KUBECONFIG or name a context.") from error
        return cls(ApiClient(configuration))

    @classmethod
    def at(cls, server: str, *, ca: str, token: str) -> Self:
        """Use an API server by its URL, the certificates (PEM) that its own must lead to (empty: the system's), and a
        bearer token.

        Raises:
            ValueError: `ca` holds no certificate.
        """
        return cls(_api_at(server, ca=ca, token=token))

    @property
    def server(self) -> str:
        """URL of the API server."""
        return str(self._api.configuration.host)

    def ca(self) -> str | None:
        """Certificates (PEM) that the server's own must lead to: empty for the system's, None where nothing is checked.

        Raises:
            OSError: their file cannot be read.
        """
        configuration = self._api.configuration
        if not configuration.verify_ssl:
            return None
        if configuration.ca_cert_data:
            data = configuration.ca_cert_data
            return data.decode() if isinstance(data, bytes) else str(data)
        return Path(configuration.ssl_ca_cert).read_text("ascii") if configuration.ssl_ca_cert else ""

    def use_token(self, token: str) -> None:
        """Present another token from the next request on; connections stay, watches go on."""
        self._api.configuration.api_key["BearerToken"] = f"Bearer {token}"

    async def redirect(self, server: str, *, ca: str, token: str) -> None:
        """Go to another API server from the next request on. Watches of the old one break, as when a link does.

        Raises:
            ValueError: `ca` holds no certificate; nothing has changed then.
        """
        before, self._api = self._api, _api_at(server, ca=ca, token=token)
        await before.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._api.close()

    async def get(self, resource: Resource, *, name: str, namespace: str | None = None) -> Object | None:
        """One object, or None where it does not exist."""
        try:
            return await self._json("GET", resource.path(namespace=namespace, name=name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def list(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        page: int = 500,
    ) -> tuple[list[Object], str]:
        """All objects of a collection, read in pages, and the resourceVersion to watch from.

        Raises:
            ApiError: also 410 when the list took so long that its snapshot is gone: list again.
        """
        items: list[Object] = []
        query = {"limit": str(page), "labelSelector": label_selector, "fieldSelector": field_selector}
        while True:
            answer = await self._json("GET", resource.path(namespace=namespace), query=query)
            items += answer["items"]
            query["continue"] = answer["metadata"].get("continue", "")
            if not query["continue"]:
                return items, answer["metadata"]["resourceVersion"]

    async def create(
        self,
        resource: Resource,
        body: Object,
        *,
        namespace: str | None = None,
        name: str | None = None,
        subresource: str | None = None,
    ) -> Object:
        """Create one object; `ApiError` with status 409 when it is there already.

        With `name` and `subresource`, what is asked of an object by creating: `token` of a ServiceAccount.
        """
        path = resource.path(namespace=namespace, name=name, subresource=subresource)
        return await self._json("POST", path, body=body)

    async def replace(self, resource: Resource, body: Object) -> Object:
        """Replace one object; its resourceVersion guards against a lost update (`ApiError` 409)."""
        return await self._json("PUT", _path_of(resource, body), body=body)

    async def apply(self, body: Object, *, manager: str, subresource: str | None = None) -> Object:
        """Server-side apply: create the object, or take over and set exactly the fields in `body`.

        Fields that this manager set before and that `body` lacks are removed. With `subresource="status"` only the
        status is written, and the object must exist.
        """
        resource = resource_of(api_version=body["apiVersion"], kind=body["kind"])
        return await self._json(
            "PATCH",
            _path_of(resource, body, subresource=subresource),
            query={"fieldManager": manager, "force": "true"},
            body=body,
            content_type="application/apply-patch+yaml",
        )

    async def patch(
        self,
        resource: Resource,
        patch: Object,
        *,
        name: str,
        namespace: str | None = None,
        subresource: str | None = None,
        manager: str,
        strategic: bool = False,
    ) -> Object:
        """JSON merge patch (RFC 7386): a null removes a key, a list is replaced whole.

        With `strategic`, a strategic merge patch: lists of built-in kinds are merged by their keys.
        """
        return await self._json(
            "PATCH",
            resource.path(namespace=namespace, name=name, subresource=subresource),
            query={"fieldManager": manager},
            body=patch,
            content_type=f"application/{'strategic-' if strategic else ''}merge-patch+json",
        )

    async def delete(
        self, resource: Resource, *, name: str, namespace: str | None = None, uid: str | None = None
    ) -> bool:
        """Delete one object, its dependents in the background. False where it was gone already.

        `uid` guards against deleting a namesake that was created meanwhile.
        """
        body: Object = {"propagationPolicy": "Background"}
        if uid:
            body["preconditions"] = {"uid": uid}
        try:
            await self._json("DELETE", resource.path(namespace=namespace, name=name), body=body)
        except ApiError as error:
            if error.status in (404, 409):
                return False
            raise
        return True

    async def watch(
        self,
        resource: Resource,
        *,
        resource_version: str,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        seconds: int = 290,
    ) -> AsyncIterator[tuple[str, Object]]:
        """Changes since `resource_version` as (type, object), bookmarks included, until the server ends the watch.

        Raises:
            ApiError: 410 when that version is too old: list again.
        """
        query = {
            "watch": "true",
            "resourceVersion": resource_version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
        }
        # The client's own limit is only there for a link that died in silence.
        async with self._request("GET", resource.path(namespace=namespace), query=query, timeout=seconds + 15) as raw:
            async for line in raw.content:
                event = _parsed(line)
                if event["type"] == "ERROR":
                    raise _error(status=int(event["object"].get("code", 500)), text=json.dumps(event["object"]))
                yield event["type"], event["object"]

    async def _json(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        async with self._request(method, path, query=query, body=body, content_type=content_type) as raw:
            return _parsed(await raw.read())

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
        timeout: float = 30,  # noqa: ASYNC109 - the transport has its own
    ) -> AsyncIterator[Any]:
        api = self._api
        prepared = await api.param_serialize(
            method=method,
            resource_path=path,
            query_params=[(key, value) for key, value in (query or {}).items() if value],
            header_params={"Accept": "application/json", "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            response = await api.call_api(*prepared, _request_timeout=timeout, _preload_content=False)
        except RuntimeError as error:  # How aiohttp says that the session was closed, as by `redirect`.
            raise aiohttp.ClientConnectionError(str(error)) from error
        raw = getattr(response, "response", response)
        try:
            if raw.status >= 400:
                raise _error(status=raw.status, text=await raw.text())
            yield raw
        finally:
            raw.close() if not raw.content.at_eof() else raw.release()


def _api_at(server: str, *, ca: str, token: str) -> ApiClient:
    try:
        configuration = Configuration(host=server.rstrip("/"), ca_cert_data=ca or None)
        configuration.connection_pool_maxsize = 0
        configuration.api_key["BearerToken"] = f"Bearer {token}"
        return ApiClient(configuration)
    except ssl.SSLError as error:
        raise ValueError(f"no certificates in PEM: {error}") from error


def _path_of(resource: Resource, body: Object, *, subresource: str | None = None) -> str:
    metadata = body["metadata"]
    return resource.path(namespace=metadata.get("namespace"), name=metadata["name"], subresource=subresource)


def _parsed(text: bytes) -> Object:
    try:
        return cast(Object, json.loads(text))
    except ValueError as error:  # Not the API server, but something between: a proxy, a portal.
        raise ApiError(status=502, reason="", message=f"the answer is no JSON: {text[:80]!r}") from error


def _error(*, status: int, text: str) -> ApiError:
    try:
        answer = json.loads(text)
        return ApiError(status=status, reason=answer.get("reason", ""), message=answer.get("message", text))
    except (json.JSONDecodeError, AttributeError):
        return ApiError(status=status, reason="", message=text or f"HTTP {status}")
