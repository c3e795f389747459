"""Credentials from Secrets that are mounted as folders: <root>/<name of the Secret>/<key>.

They are read anew for each fetch, since the kubelet follows a Secret that changes. Nothing here is ever logged, shown
in a message or part of a `repr`.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from littoral.agent.errors import FetchError

LARGEST = 1 << 20
"""Bytes of a value: Kubernetes allows no larger Secret."""

_DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")


@dataclass(frozen=True, kw_only=True)
class Login:
    """What a server or a registry is shown."""

    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    """A bearer token, sent as it is."""
    identity_token: str = field(default="", repr=False)
    """An OAuth2 refresh token, which a registry's token server changes for an access token."""

    @property
    def basic(self) -> str:
        """The value of an Authorization header (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()

    @property
    def header(self) -> str:
        """The value of an Authorization header: the token, where there is one."""
        return f"Bearer {self.token}" if self.token else self.basic


@dataclass(frozen=True, kw_only=True)
class Secret:
    """The keys of one Secret."""

    name: str
    _values: Mapping[str, str] = field(repr=False)

    def get(self, key: str) -> str:
        """The value without the space around it; empty if there is none."""
        return self._values.get(key, "").strip()

    def login(self) -> Login:
        """For an HTTPS server.

        Raises:
            FetchError: it holds neither a token nor a username and a password.
        """
        if token := self.get("token"):
            if not _sendable(token):
                raise FetchError(f"the Secret {self.name!r}: `token` is not one line of printable characters")
            return Login(token=token)
        if username := self.get("username"):
            return Login(username=username, password=self.get("password"))
        raise FetchError(f"the Secret {self.name!r} holds neither `token` nor `username` and `password`")

    def registry(self, host: str, repository: str) -> Login | None:
        """For a registry: the entry of `.dockerconfigjson` that names it most closely, None if none does; or what an
        HTTPS server would be shown.

        Args:
            host: of the registry, with its port if the URI has one.
            repository: the path behind the host: an entry may be for some repositories only, as in Kubernetes.

        Raises:
            FetchError: the Secret holds something else.
        """
        text = self.get(".dockerconfigjson")
        if not text:
            return self.login()
        try:
            entries = json.loads(text)["auths"]
            found = [(key, entry) for key, entry in entries.items() if _names(key, host, repository)]
            return _entry(max(found, key=lambda it: len(it[0]))[1]) if found else None
        except (ValueError, KeyError, TypeError, AttributeError):
            # The reason would quote it.
            raise FetchError(f"the Secret {self.name!r}: `.dockerconfigjson` is not a docker configuration") from None


def read(root: Path | None, name: str) -> Secret:
    """The Secret that is mounted as `<root>/<name>`.

    Raises:
        FetchError: it is not there, or empty, which is how a Secret that is missing is mounted.
    """
    if root is None:
        raise FetchError("the artifact names a secretRef, and this agent has no --credentials-root")
    if "/" in name or name.strip(".") == "":
        raise FetchError(f"{name!r} is not the name of a Secret")
    values = {}
    try:
        for path in (root / name).iterdir():
            if not path.name.startswith("..") and path.is_file() and path.stat().st_size <= LARGEST:
                values[path.name] = path.read_text()
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise FetchError(f"the Secret {name!r} cannot be read: {reason}") from None
    if not values:
        raise FetchError(f"the Secret {name!r} is not there: create it in the Model's namespace")
    return Secret(name=name, _values=values)


def _names(key: str, host: str, repository: str) -> bool:
    """Whether the key of an entry of docker's configuration is for that repository: `host`, `host/path`, or an old
    `https://host/v1/`; a label of the host may be `*`."""
    key = key.partition("://")[2] or key
    pattern, _, path = key.partition("/")
    if path.rstrip("/") in ("v1", "v2"):
        path = ""
    same = host == pattern or (host in _DOCKER_HUB and pattern in _DOCKER_HUB)
    if not same:
        labels, wanted = host.split("."), pattern.split(".")
        same = len(labels) == len(wanted) and all(map(fnmatchcase, labels, wanted))
    return same and (not path or f"{repository}/".startswith(f"{path.rstrip('/')}/"))


def _entry(entry: Mapping[str, str]) -> Login:
    username, password = entry.get("username", ""), entry.get("password", "")
    if entry.get("auth"):
        try:
            username, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise ValueError("auth") from None
    if not _sendable(entry.get("registrytoken", "")):
        raise ValueError("registrytoken")
    return Login(
        username=username,
        password=password,
        token=entry.get("registrytoken", ""),
        identity_token=entry.get("identitytoken", ""),
    )


def _sendable(token: str) -> bool:
    """Whether it may stand in a header."""
    return token.isascii() and token.isprintable()
