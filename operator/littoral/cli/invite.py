"""`littoral invite` and `littoral revoke`: which clusters are members of this hub."""

from __future__ import annotations

import ipaddress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import click

from littoral.cli import style
from littoral.cli.durations import DurationType
from littoral.cli.failures import Failure
from littoral.cli.options import EndsWithOne, document, release_options

if TYPE_CHECKING:
    from littoral.cli.access import Access
    from littoral.cluster.client import ApiError, Client
    from littoral.cluster.inviting import Invitation

_DAY: Final = 86400.0
_REACH: Final = 5.0  # Seconds that the check of the address may take.
_LOCAL_NAMES: Final = ("localhost", "kubernetes", "host.docker.internal")


@click.command(cls=EndsWithOne)
@click.argument("member")
@click.option("--server", metavar="URL", help="Address of this hub's API server, as the site reaches it.  "
              "[default: that of the kubeconfig]")  # fmt: skip
@click.option("--certificate-authority", "authority", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              metavar="FILE", help="Certificates (PEM) that its own leads to.  [default: those of the kubeconfig]",
              )  # fmt: skip
@click.option("--valid", type=DurationType(least=600.0, most=30 * _DAY), default="24h", show_default=True,
              metavar="DURATION", help="How long the join token can be used.")  # fmt: skip
@click.option("-o", "--output", type=click.Choice(("token", "yaml", "json")), default="token", show_default=True,
              help="Form of the output.")  # fmt: skip
@release_options
def invite(access: Access, member: str, server: str | None, authority: Path | None, valid: float, output: str) -> None:
    """Invite a member cluster, and print the token with which it joins this hub.

    Needs cluster-admin on the hub. The MEMBER may read its own Assignments, report on them, say that it lives and renew
    its own token; nothing else. Assignments are a member's when their NodePool has spec.member: MEMBER.

    The token is good for one join. Inviting again makes another one, and the older is void; a site that has joined goes
    on. Whoever has the token can join as this member: hand it over as you would a password.

    \b
    Examples:
      littoral invite store-12 --server https://hub.example:6443
      littoral invite store-12 | ssh store-12 littoral join -
      littoral invite store-12 --valid 2h -o json
    """
    from littoral.cluster.membership import InvalidCredentials

    _check_name(member)
    if server is not None and not server.startswith("https://"):
        raise click.UsageError(f"--server {server}: it must begin with https://")
    ca = None if authority is None else authority.read_text("utf-8")
    try:
        made = access.act(lambda client: _invite(client, access, member=member, server=server, ca=ca, valid=valid))
    except InvalidCredentials as error:
        raise Failure(f"this cannot be an invitation: {error}") from error
    click.echo(_printed(made, output=output))


@click.command(cls=EndsWithOne)
@click.argument("member")
@release_options
def revoke(access: Access, member: str) -> None:
    """Take away a member cluster's access to this hub.

    All its tokens are void within seconds, a join token that was not used yet, too. What runs at the site goes on as it
    was assigned; to move its Models elsewhere, delete its NodePools. To let it in again, invite it.

    \b
    Examples:
      littoral revoke store-12
    """
    _check_name(member)
    removed = access.act(lambda client: _revoke(client, access, member))
    if not removed:
        raise Failure(f"{member} has no access: nothing was there to take away")
    for name in removed:
        click.echo(f"{name} deleted")


def _check_name(member: str) -> None:
    from littoral.cluster.membership import is_member_name

    if not is_member_name(member):
        raise Failure(
            f"{member!r} cannot be a member's name: take lower-case letters, digits and hyphens, 63 at most, such as "
            "store-12"
        )


async def _invite(
    client: Client, access: Access, *, member: str, server: str | None, ca: str | None, valid: float
) -> Invitation:
    from littoral.cli.failures import unreachable
    from littoral.cli.releases import find_release
    from littoral.cluster.client import UNREACHABLE, ApiError
    from littoral.cluster.inviting import invite

    release = await find_release(client, namespace=access.namespace)
    if not release.name:
        _warn(f"no operator of Littoral is to be seen in namespace {release.namespace}: name its namespace with -n")
    elif "hub" not in release.roles:
        raise Failure(
            f"the operator in namespace {release.namespace} is no hub: choose the hub's cluster with --context or "
            "--kubeconfig"
        )
    address = (server or client.server).rstrip("/")
    if server is None and (why := unreachable_from_elsewhere(address, in_pod=access.in_pod)):
        _warn(f"{address} {why}: name the address by which the site reaches this API server with --server")
    try:
        await _look_for_pools(client, member)
        made = await invite(
            client,
            member,
            namespace=release.namespace,
            server=address,
            ca=_authority(client) if ca is None else ca,
            valid=valid,
        )
    except ApiError as error:
        raise _refused(error, namespace=release.namespace) from error
    except UNREACHABLE as error:
        raise unreachable(error) from error
    await _try(made)
    return made


async def _revoke(client: Client, access: Access, member: str) -> list[str]:
    from littoral.cli.failures import unreachable
    from littoral.cli.releases import find_release
    from littoral.cluster.client import UNREACHABLE, ApiError
    from littoral.cluster.inviting import revoke

    release = await find_release(client, namespace=access.namespace)
    try:
        return await revoke(client, member, namespace=release.namespace)
    except ApiError as error:
        raise _refused(error, namespace=release.namespace) from error
    except UNREACHABLE as error:
        raise unreachable(error) from error


def unreachable_from_elsewhere(server: str, *, in_pod: bool) -> str:
    """Why no other cluster can reach an API server by this address; empty where one may."""
    host = urlsplit(server).hostname or ""
    if in_pod:
        return "is an address inside this cluster"
    if host in _LOCAL_NAMES or host.endswith((".localhost", ".svc", ".cluster.local")):
        return "means something else on every machine"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ""
    return "is an address of this machine alone" if address.is_loopback or address.is_unspecified else ""


def _authority(client: Client) -> str:
    try:
        ca = client.ca()
    except OSError as error:
        raise Failure(f"the certificates of the kubeconfig cannot be read: {error}") from error
    if ca is None:
        raise Failure(
            "the kubeconfig does not check the API server's certificate (insecure-skip-tls-verify), which a site must: "
            "name the certificates that it leads to with --certificate-authority"
        )
    return ca


async def _look_for_pools(client: Client, member: str) -> None:
    from littoral.cluster.client import ApiError
    from littoral.cluster.resources import NODE_POOLS

    try:
        pools, _ = await client.list(NODE_POOLS)
    except ApiError as error:
        if error.status != 403:
            raise
        return
    if not any(pool["spec"].get("member") == member for pool in pools):
        _warn(
            f"no NodePool has spec.member: {member}, so that nothing will run there: make one with that, with "
            "spec.site, and with a nodeSelector that selects the site's nodes"
        )


async def _try(made: Invitation) -> None:
    """Use the address and the certificates as the site will. That this machine does not reach it proves little."""
    import asyncio

    from littoral.cluster.client import UNREACHABLE, ApiError, Client
    from littoral.cluster.membership import member_name
    from littoral.cluster.resources import LEASES

    it = made.credentials
    try:
        async with Client.at(it.server, ca=it.ca, token=it.token) as client, asyncio.timeout(_REACH):
            await client.get(LEASES, namespace=it.namespace, name=member_name(it.member))
    except ValueError as error:
        raise Failure(f"the certificate authority cannot be used: {error}") from error
    except ApiError as error:
        if error.status == 401:
            _warn(f"{it.server} does not accept the token: is it this cluster's API server?")
    except UNREACHABLE as error:
        said = str(error) or "no answer"
        hint = ""
        if "certificate" in said.lower():
            hint = "; its certificate must name that host (k3s: --tls-san) and lead to the given authority"
        _warn(f"{it.server} cannot be reached from here: {said}{hint}")


def _printed(made: Invitation, *, output: str) -> str:
    from littoral.cli.times import local
    from littoral.core.world import rfc3339

    it = made.credentials
    if output != "token":
        body = {
            "member": it.member,
            "server": it.server,
            "namespace": it.namespace,
            "expires": rfc3339(made.expires),
            "token": it.encode(),
        }
        return document(body, output=output)
    click.echo(_what_to_do(it.member, until=local(made.expires), soon=_is_soon(made.expires)), err=True)
    return it.encode()


def _is_soon(expires: datetime) -> bool:
    return (expires - datetime.now(expires.tzinfo)).total_seconds() < _DAY / 24


def _what_to_do(member: str, *, until: str, soon: bool) -> str:
    return (
        f"{style.good('invited')}: {member} may join once, until {style.warn(until) if soon else until}. "
        f"With access to its cluster:\n"
        f"  helm upgrade --install littoral ... --set 'roles={{site}}' --set member={member}\n"
        f"  littoral join TOKEN"
    )


def _refused(error: ApiError, *, namespace: str) -> Failure:
    if error.status == 403:
        return Failure(f"{error}: ask a cluster administrator of the hub to do this")
    if error.status == 404:
        return Failure(
            f"{error}: is Littoral's hub in namespace {namespace} of this cluster? Else use -n and --context"
        )
    if error.status == 401:
        return Failure(
            "the API server does not accept these credentials: log in again, or choose others with --context or "
            "--kubeconfig"
        )
    return Failure(f"the API server answered {error.status}: {error}: try again")


def _warn(message: str) -> None:
    click.echo(f"{style.warn('warning')}: {message}", err=True)
