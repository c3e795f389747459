"""The few requests that the lab makes to the API server: standard library, so that `up` starts at once."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from lab.addresses import AddressPlan

Json = dict[str, Any]

API_PORT = 6443


def api_url(plan: AddressPlan) -> str:
    """The API server's URL, for the host, the nodes and people."""
    return f"https://{plan.control_plane}:{API_PORT}"


class ApiError(Exception):
    """The API server's refusal: ``status`` is the HTTP code, 0 when it could not be reached."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Client:
    """One connection, kept open, with the credentials of a kubeconfig; one thread's own."""

    def __init__(self, kubeconfig: Path, *, timeout: float = 10.0) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        with tempfile.NamedTemporaryFile() as chain:
            chain.write(base64.b64decode(user["client-certificate-data"]))
            chain.write(base64.b64decode(user["client-key-data"]))
            chain.flush()
            context.load_cert_chain(chain.name)
        self._connection = http.client.HTTPSConnection(
            urlsplit(cluster["server"]).netloc, timeout=timeout, context=context
        )

    def get(self, path: str) -> Json:
        """Read an object or a list."""
        return self._request("GET", path)

    def create(self, path: str, body: Json) -> Json:
        """Create an object in the collection ``path``."""
        return self._request("POST", path, body=body)

    def apply(self, path: str, body: Json) -> Json:
        """Server-side apply of the object at ``path``."""
        return self._request(
            "PATCH",
            f"{path}?fieldManager=littoral-lab&force=true",
            body=body,
            content="application/apply-patch+yaml",
        )

    def patch(self, path: str, body: Json) -> Json:
        """JSON merge patch of the object at ``path``."""
        return self._request("PATCH", path, body=body, content="application/merge-patch+json")

    def delete(self, path: str) -> Json:
        """Delete the object at ``path``."""
        return self._request("DELETE", path)

    def ready(self) -> bool:
        """Whether the API server says that it is ready."""
        try:
            self._request("GET", "/readyz")
        except ApiError:
            return False
        return True

    def _request(self, method: str, path: str, *, body: Json | None = None, content: str = "application/json") -> Json:
        try:
            payload = None if body is None else json.dumps(body)
            self._connection.request(method, path, body=payload, headers={"Content-Type": content})
            response = self._connection.getresponse()
            text = response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()  # The next request opens it anew.
            raise ApiError(0, f"{method} {path}: {error}") from error
        if response.status >= 300:
            raise ApiError(response.status, f"{method} {path}: {_message(text)}")
        answer: Json = json.loads(text) if text.startswith("{") else {}
        return answer


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text.strip()
