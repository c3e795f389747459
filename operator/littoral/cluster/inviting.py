"""What whoever invites a member does on the hub: gives it rights and a join token, or takes them away again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from littoral.cluster.client import Client
from littoral.cluster.hub_tokens import request_token
from littoral.cluster.invitation import invitation, join_secret
from littoral.cluster.membership import Credentials, join_secret_name, member_name
from littoral.cluster.resources import (
    CLUSTER_ROLE_BINDINGS,
    LEASES,
    ROLE_BINDINGS,
    ROLES,
    SECRETS,
    SERVICE_ACCOUNTS,
    Resource,
)

MANAGER: Final = "littoral-invite"


@dataclass(frozen=True, kw_only=True)
class Invitation:
    """A join token, and when it ends, as the hub says."""

    credentials: Credentials
    expires: datetime


async def invite(hub: Client, member: str, *, namespace: str, server: str, ca: str, valid: float) -> Invitation:
    """Give a member its rights, and make a join token. An older one that is not used yet is void from now on.

    Args:
        hub: the hub, as somebody who may make these objects.
        namespace: that of the hub's release.
        server: URL under which the member reaches the hub's API server.
        ca: certificates (PEM) that the server's own leads to; empty for the system's.
        valid: seconds; the API server may grant fewer, and no fewer than 600 can be asked for.

    Raises:
        ApiError: something was refused.
        InvalidCredentials: `member`, `server` or `ca` cannot be right.
    """
    # What cannot be right is refused before anything is written.
    Credentials(server=server, ca=ca, member=member, namespace=namespace, token="-")  # noqa: S106
    for body in invitation(member, namespace=namespace):
        await hub.apply(body, manager=MANAGER)
    # A Secret of the same name has another uid, and that is what the token is bound to.
    await hub.delete(SECRETS, namespace=namespace, name=join_secret_name(member))
    secret = await hub.create(SECRETS, join_secret(member, namespace=namespace), namespace=namespace)
    grant = await request_token(hub, member, namespace=namespace, seconds=int(valid), bound_to=secret)
    return Invitation(
        credentials=Credentials(
            server=server,
            ca=ca,
            member=member,
            namespace=namespace,
            token=grant.token,
            secret=secret["metadata"]["uid"],
        ),
        expires=datetime.fromtimestamp(grant.lifetime.expires, UTC),
    )


async def revoke(hub: Client, member: str, *, namespace: str) -> list[str]:
    """Take away all that a member was given; its tokens are void with its ServiceAccount. Returns what was there, as
    `kind/name`, so nothing where it was not invited.

    The ClusterRole stays: the hub keeps it, and without its binding it lets nobody in.

    Raises:
        ApiError: something was refused.
    """
    name = member_name(member)
    places: list[tuple[Resource, str, str | None]] = [
        (SERVICE_ACCOUNTS, name, namespace),
        (CLUSTER_ROLE_BINDINGS, name, None),
        (ROLE_BINDINGS, name, namespace),
        (ROLES, name, namespace),
        (SECRETS, join_secret_name(member), namespace),
        (LEASES, name, namespace),
    ]
    return [
        f"{resource.kind.lower()}/{name}"
        for resource, name, namespace in places
        if await hub.delete(resource, name=name, namespace=namespace)
    ]
