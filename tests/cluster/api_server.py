"""Plain HTTP to an API server: JSON in, status and JSON out, so that a test sees exactly what was answered."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import yaml
from kubernetes.client import ApiClient, Configuration
from kubernetes.config import load_kube_config

Object = dict[str, Any]

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_PLURALS = {"Model": "models", "NodePool": "nodepools", "LatencySLO": "latencyslos", "Assignment": "assignments"}


@dataclass(frozen=True)
class Answer:
    """What the API server answered."""

    status: int
    body: Object

    @property
    def accepted(self) -> bool:
        """Whether the request was granted."""
        return self.status < 300

    @property
    def refusals(self) -> list[str]:
        """`<field>: <message>` for each cause of a refusal."""
        causes = self.body.get("details", {}).get("causes", [])
        return [f"{cause.get('field')}: {cause.get('message')}" for cause in causes]

    def granted(self) -> Object:
        """The body of a request that must have been granted."""
        assert self.accepted, self.body.get("message")
        return self.body


class ApiServer:
    """One API server, as its administrator."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    @classmethod
    def connect(cls, kubeconfig: Path) -> Self:
        """Use the current context of a kubeconfig."""
        configuration = Configuration()
        load_kube_config(config_file=str(kubeconfig), client_configuration=configuration, persist_config=False)
        return cls(ApiClient(configuration))

    def close(self) -> None:
        """Drop the connections."""
        self._client.close()

    def request(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        *,
        accept: str = "application/json",
        content: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        """Any request; `query` are its parameters."""
        response = self._client.rest_client.pool_manager.request(
            method,
            f"{self._client.configuration.host}{path}?{urlencode(query or {})}",
            body=None if body is None else json.dumps(body),
            headers={"Accept": accept, "Content-Type": content},
        )
        # What is not served at all is answered in plain text.
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        body = json.loads(response.data) if is_json else {"message": response.data.decode()}
        return Answer(response.status, body)

    def get(self, path: str, *, accept: str = "application/json") -> Answer:
        """Read the object or the collection at `path`."""
        return self.request("GET", path, accept=accept)

    def dry_create(self, body: Object) -> Answer:
        """Ask what creating the object would do, without doing it; unknown fields are refused."""
        query = {"dryRun": "All", "fieldValidation": "Strict"}
        return self.request("POST", collection(body), body, query=query)

    def create(self, body: Object) -> Object:
        """Create the object."""
        return self.request("POST", collection(body), body).granted()

    def merge(self, path: str, change: Object) -> Answer:
        """Change the object at `path` by a JSON merge patch."""
        return self.request("PATCH", path, change, content=_MERGE)

    def apply(self, body: Object, *, manager: str, path: str | None = None) -> Answer:
        """Server-side apply of the object, at its own path unless told, as a field manager."""
        query = {"fieldManager": manager}
        return self.request("PATCH", path or location(body), body, content=_APPLY, query=query)

    def delete(self, path: str) -> Answer:
        """Delete the object at `path`."""
        return self.request("DELETE", path)


def collection(body: Object) -> str:
    """The path of the collection that an object of group littoral.dev belongs to."""
    namespace = body["metadata"].get("namespace")
    scope = f"/namespaces/{namespace}" if namespace else ""
    return f"/apis/{body['apiVersion']}{scope}/{_PLURALS[body['kind']]}"


def location(body: Object) -> str:
    """The path of an object of group littoral.dev."""
    return f"{collection(body)}/{body['metadata']['name']}"


def wait_until(holds: Callable[[], bool], *, what: str, within: float = 30.0) -> None:
    """Return as soon as `holds()` is true.

    Raises:
        TimeoutError: naming `what`, after `within` seconds.
    """
    end = time.monotonic() + within
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {within:g} s")
        time.sleep(0.05)


async def until(holds: Callable[[], Awaitable[bool] | bool], what: str, *, within: float = 30.0) -> None:
    """The same as `wait_until`, for what runs on this event loop.

    Raises:
        TimeoutError: naming `what`, after `within` seconds.
    """
    end = time.monotonic() + within
    while True:
        held = holds()
        if await held if isinstance(held, Awaitable) else held:
            return
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {within:g} s")
        await asyncio.sleep(0.05)


def cluster_of(kubeconfig: Path) -> dict[str, str]:
    """Where a kubeconfig leads to: `server` and `certificate-authority-data`."""
    cluster: dict[str, str] = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]
    return cluster
