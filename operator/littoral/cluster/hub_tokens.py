"""Tokens of a member: how it gets one, for its invitation and from then on, and how its invitation ends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from littoral.cluster.client import Client, Object
from littoral.cluster.membership import Credentials, Lifetime, join_secret_name, member_name
from littoral.cluster.resources import LEASES, SECRETS, SERVICE_ACCOUNTS

TOKEN_SECONDS: Final = 30 * 24 * 3600
"""The life that is asked for. Many clouds grant a day, whatever is asked: the answer counts."""


@dataclass(frozen=True, kw_only=True)
class Grant:
    """A token that the hub has issued."""

    token: str
    lifetime: Lifetime

    def __repr__(self) -> str:
        """Without the token, which must not get into a log."""
        return f"Grant(lifetime={self.lifetime})"


async def request_token(
    hub: Client, member: str, *, namespace: str, seconds: int = TOKEN_SECONDS, bound_to: Object | None = None
) -> Grant:
    """Ask for a token of a member's ServiceAccount.

    Args:
        hub: the hub, as the member itself or as whoever invites it.
        namespace: that of the hub's release.
        seconds: the life that is asked for, 600 at least.
        bound_to: a Secret of the hub without which the token is void; None for a token that is bound to nothing else.

    Raises:
        ApiError: 401 where the token of `hub` is expired or revoked.
        UNREACHABLE: the hub is away.
    """
    spec: Object = {"expirationSeconds": seconds}
    if bound_to is not None:
        named = {key: bound_to["metadata"][key] for key in ("name", "uid")}
        spec["boundObjectRef"] = {"apiVersion": SECRETS.api_version, "kind": SECRETS.kind, **named}
    answer = await hub.create(
        SERVICE_ACCOUNTS,
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec},
        namespace=namespace,
        name=member_name(member),
        subresource="token",
    )
    status = answer["status"]
    issued = datetime.fromisoformat(answer["metadata"]["creationTimestamp"])
    expires = datetime.fromisoformat(status["expirationTimestamp"])
    return Grant(token=status["token"], lifetime=Lifetime(issued=issued.timestamp(), expires=expires.timestamp()))


async def end_invitation(hub: Client, credentials: Credentials) -> None:
    """Delete the Secret that the invitation's token is bound to, so that nobody else can use it. A later invitation has
    another uid, and is left alone."""
    await hub.delete(
        SECRETS,
        namespace=credentials.namespace,
        name=join_secret_name(credentials.member),
        uid=credentials.secret,
    )


async def is_invited(hub: Client, credentials: Credentials) -> bool:
    """Whether the hub keeps a Lease of this member; asking is also how to find out whether the token is good."""
    lease = await hub.get(LEASES, namespace=credentials.namespace, name=member_name(credentials.member))
    return lease is not None
