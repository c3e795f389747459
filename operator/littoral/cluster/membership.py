"""How a member cluster and its hub know each other: names on the hub, the join token, the site's Secret. Pure."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Self

from littoral.cluster.secrets import decoded, encoded

Object = dict[str, Any]

MANAGED_BY: Final = {"app.kubernetes.io/managed-by": "littoral"}

MEMBER_LABEL: Final = "littoral.dev/member"
"""On all that the hub keeps of a member."""

ASSIGNMENTS_ANNOTATION: Final = "littoral.dev/assignments"
"""On a member's Lease: the names of its Assignments, sorted, with commas between. Absent: not known yet."""

HUB_SECRET: Final = "littoral-hub"  # noqa: S105 - a name
"""The Secret of a site that says how to reach its hub."""

_DNS_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SERVER: Final = re.compile(r"https://[^\s/]+(/\S*)?")
_KEYS: Final = {  # Of the site's Secret.
    "server": "server",
    "ca.crt": "ca",
    "member": "member",
    "namespace": "namespace",
    "token": "token",
    "joinSecret": "secret",
}
_MAY_BE_EMPTY: Final = ("ca", "secret")


class InvalidCredentials(ValueError):
    """What should give access to a hub cannot be read; the message says what is wrong with it."""


_PREFIX: Final = "littoral-member-"


def member_name(member: str) -> str:
    """Name of the ServiceAccount, the roles, their bindings and the Lease that a member has on the hub."""
    return f"{_PREFIX}{member}"


def member_of(name: str) -> str:
    """Whose Lease, role or ServiceAccount this is. A member may change its Lease's labels, so they do not tell."""
    return name.removeprefix(_PREFIX)


def join_secret_name(member: str) -> str:
    """Name of the hub's Secret that a member's join token is bound to."""
    return f"littoral-join-{member}"


def member_labels(member: str) -> dict[str, str]:
    """Labels of all that the hub keeps of a member."""
    return MANAGED_BY | {MEMBER_LABEL: member}


def is_member_name(name: str) -> bool:
    """Whether a member can have this name: a DNS label, as a NodePool's `spec.member` is."""
    return _DNS_LABEL.fullmatch(name) is not None


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What a site needs to talk to its hub: the content of a join token, and of the site's Secret.

    Attributes:
        server: URL of the hub's API server.
        ca: certificates (PEM) that its own must lead to; empty for the system's.
        member: the name that this site has on the hub.
        namespace: namespace of the hub's release.
        token: bearer token of the member's ServiceAccount.
        secret: uid of the hub's Secret that an invitation's token is bound to; empty once the site has a token of its
            own and that Secret is deleted.
    """

    server: str
    ca: str
    member: str
    namespace: str
    token: str
    secret: str = ""

    def __repr__(self) -> str:
        """Without the token, which must not get into a log."""
        return f"Credentials(server={self.server!r}, member={self.member!r}, namespace={self.namespace!r})"

    def __post_init__(self) -> None:
        """Check what would otherwise fail far from here.

        Raises:
            InvalidCredentials: a field is missing or cannot be right.
        """
        for name, value in asdict(self).items():
            if not isinstance(value, str) or not (value or name in _MAY_BE_EMPTY):
                raise InvalidCredentials(f"{name} is missing")
        if not is_member_name(self.member):
            raise InvalidCredentials(f"member {self.member!r} is not a DNS label")
        if not _SERVER.fullmatch(self.server):
            raise InvalidCredentials(f"server {self.server!r} is not an https:// URL")
        if self.ca and "-----BEGIN CERTIFICATE-----" not in self.ca:
            raise InvalidCredentials("ca is not a certificate in PEM")
        if any(character.isspace() for character in self.token):
            raise InvalidCredentials("token has spaces in it")

    def encode(self) -> str:
        """The join token: URL-safe base64 of JSON, without padding, so that a double click selects all of it."""
        return base64.urlsafe_b64encode(json.dumps(asdict(self)).encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read a join token; line breaks that a mail has put into it do no harm.

        Raises:
            InvalidCredentials: it is none.
        """
        packed = "".join(text.split())
        try:
            body = json.loads(_unpadded(packed))
        except ValueError as error:
            raise InvalidCredentials("it is not what littoral invite prints, or not all of it") from error
        if not isinstance(body, dict):
            raise InvalidCredentials("it is not what littoral invite prints")
        # What a later version adds is passed over.
        return cls(**{name: body.get(name, "") for name in _KEYS.values()})

    def with_token(self, token: str) -> Self:
        """The same access by another token."""
        return replace(self, token=token)

    def to_secret(self, *, namespace: str) -> Object:
        """The site's Secret, to apply."""
        data = {key: getattr(self, name) for key, name in _KEYS.items()}
        if not self.secret:
            del data["joinSecret"]
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": HUB_SECRET, "namespace": namespace, "labels": member_labels(self.member)},
            "type": "Opaque",
            "data": encoded(data),
        }

    @classmethod
    def from_secret(cls, body: Object) -> Self:
        """Read the site's Secret.

        Raises:
            InvalidCredentials: a key is missing or cannot be right.
        """
        try:
            fields = {name: decoded(body, key) or "" for key, name in _KEYS.items()}
        except ValueError as error:
            raise InvalidCredentials(f"it holds what is no text: {error}") from error
        return cls(**fields)


@dataclass(frozen=True, kw_only=True)
class Lifetime:
    """From when to when a token is valid, by the clock of who issued it: seconds since 1970."""

    issued: float
    expires: float

    def renew_at(self, *, most: float) -> float:
        """When to replace it: after half of its life, `most` seconds at the latest."""
        return self.issued + min(most, (self.expires - self.issued) / 2)


def lifetime_of(token: str) -> Lifetime | None:
    """The lifetime that a ServiceAccount's token states; None where it states none that can be read.

    Nothing is verified: whoever holds a token may know when to get another.
    """
    try:
        claims = json.loads(_unpadded(token.split(".")[1]))
        issued, expires = float(claims["iat"]), float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError):
        return None
    return Lifetime(issued=issued, expires=expires) if expires > issued else None


def _unpadded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
