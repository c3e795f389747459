"""`littoral join`: make this cluster a member of a hub."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from littoral.cli import style
from littoral.cli.durations import DurationType
from littoral.cli.failures import Failure
from littoral.cli.options import EndsWithOne, document, release_options

if TYPE_CHECKING:
    from littoral.cli.access import Access
    from littoral.cli.releases import Release
    from littoral.cluster.client import ApiError, Client
    from littoral.cluster.membership import Credentials

_REACH: Final = 5.0  # Seconds that the check of the hub may take.
_POLL: Final = 0.25  # Seconds.
_MANAGER: Final = "littoral-join"


@click.command(cls=EndsWithOne)
@click.argument("token", metavar="TOKEN|-")
@click.option("--wait", type=DurationType(), default="2m", show_default=True, metavar="DURATION",
              help="How long to wait until the operator has taken the invitation up; 0: not at all.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Check everything, and change nothing.")
@click.option("-o", "--output", type=click.Choice(("text", "yaml")), default="text", show_default=True,
              help="yaml: print the Secret for whoever applies it, and contact no cluster.")  # fmt: skip
@release_options
def join(access: Access, token: str, wait: float, dry_run: bool, output: str) -> None:
    """Join a hub, with what littoral invite has printed there.

    TOKEN is that; `-` reads it from standard input, where no process list shows it. Run it with access to the site's
    cluster, where Littoral is installed with roles {site} and a member's name, before that or after. It writes the
    Secret littoral-hub beside the operator, which exchanges the token for one of its own and renews that. Joining
    again, for another address of the hub or after access was revoked, needs no restart.

    For GitOps, -o yaml prints the Secret to seal or encrypt. The operator replaces the token in it: have your tool
    create it once and then leave its data alone.

    \b
    Examples:
      littoral join eyJzZXJ2ZXIi...
      littoral invite store-12 --context hub | littoral join - --context store-12
      littoral join - -o yaml -n littoral-system < token | kubeseal -o yaml > littoral-hub.yaml
    """
    credentials = _decoded(sys.stdin.read() if token == "-" else token)  # noqa: S105 - a mark
    if output == "yaml":
        from littoral.cli.releases import DEFAULT_NAMESPACE

        body = credentials.to_secret(namespace=access.namespace or DEFAULT_NAMESPACE)
        click.echo(document(body, output="yaml"))
        return
    access.act(lambda client: _join(client, access, credentials, wait=wait, dry_run=dry_run))


def _decoded(text: str) -> Credentials:
    from littoral.cli.times import age, local
    from littoral.cluster.membership import Credentials, InvalidCredentials, lifetime_of

    try:
        credentials = Credentials.decode(text)
    except InvalidCredentials as error:
        raise Failure(f"this is no join token: {error}") from error
    lifetime = lifetime_of(credentials.token)
    now = datetime.now(UTC)
    if lifetime is not None and lifetime.expires <= now.timestamp():
        end = datetime.fromtimestamp(lifetime.expires, UTC)
        raise Failure(
            f"this join token has expired {age(end, now=now)} ago, at {local(end)}: run littoral invite "
            f"{credentials.member} on the hub again"
        )
    return credentials


async def _join(client: Client, access: Access, credentials: Credentials, *, wait: float, dry_run: bool) -> None:
    from littoral.cli.failures import unreachable
    from littoral.cli.releases import find_release
    from littoral.cluster.client import UNREACHABLE, ApiError

    release = await find_release(client, namespace=access.namespace)
    _check_operator(release, credentials)
    await _try(credentials)
    where = f"Secret {release.namespace}/littoral-hub"
    if dry_run:
        click.echo(f"{where} would be written: member {credentials.member} of {credentials.server} (dry run)")
        return
    try:
        await _say_what_it_replaces(client, release, credentials)
        await client.apply(credentials.to_secret(namespace=release.namespace), manager=_MANAGER)
        click.echo(f"{where} written: member {credentials.member} of {credentials.server}")
        if not release.name:
            click.echo(
                f"No operator is to be seen in namespace {release.namespace} yet. It joins when it starts: "
                f"helm install littoral ... --namespace {release.namespace} {_values(credentials)}"
            )
        elif wait:
            await _wait(client, release, credentials, seconds=wait)
    except ApiError as error:
        raise _refused(error, namespace=release.namespace) from error
    except UNREACHABLE as error:
        raise unreachable(error) from error


def _check_operator(release: Release, credentials: Credentials) -> None:
    """An operator that would not take the Secret up should be told now, and not by its log.

    Raises:
        Failure: it is a hub, or another member.
    """
    if not release.name or release.member == credentials.member:
        return
    upgrade = f"helm upgrade {release.name} ... {_values(credentials)}"
    if release.member:
        raise Failure(
            f"the operator in namespace {release.namespace} runs as member {release.member}, and this token is for "
            f"{credentials.member}: invite {release.member}, or change it: {upgrade}"
        )
    raise Failure(
        f"the operator in namespace {release.namespace} is no member of anything"
        f"{', but a hub itself' if 'hub' in release.roles else ''}: if this is the site's cluster, make it one first: "
        f"{upgrade}; else choose the site's cluster with --context or --kubeconfig"
    )


def _values(credentials: Credentials) -> str:
    return f"--set 'roles={{site}}' --set member={credentials.member}"


async def _try(credentials: Credentials) -> None:
    """Ask the hub, by the token, whether it is good. That this machine does not reach it proves little.

    Raises:
        Failure: the hub says that the token is void.
    """
    from littoral.cluster.client import UNREACHABLE, ApiError, Client
    from littoral.cluster.membership import member_name
    from littoral.cluster.resources import LEASES

    try:
        async with (
            Client.at(credentials.server, ca=credentials.ca, token=credentials.token) as hub,
            asyncio.timeout(_REACH),
        ):
            await hub.get(LEASES, namespace=credentials.namespace, name=member_name(credentials.member))
    except ValueError as error:
        raise Failure(f"this is no join token: {error}") from error
    except ApiError as error:
        if error.status == 401:
            raise Failure(
                "the hub does not accept this join token: it has been used, or there is a later invitation, or access "
                f"was revoked: run littoral invite {credentials.member} on the hub again"
            ) from error
        # What the member may do, its operator will find out.
    except UNREACHABLE as error:
        said = str(error) or "no answer"
        click.echo(
            f"{style.warn('warning')}: the hub {credentials.server} cannot be reached from here: {said}. The operator "
            "tries by itself; if it cannot either, name another address in littoral invite --server",
            err=True,
        )


async def _say_what_it_replaces(client: Client, release: Release, credentials: Credentials) -> None:
    """A site that changes its hub drops what the other one has assigned, once the new one has spoken."""
    from littoral.cluster.membership import HUB_SECRET, Credentials, InvalidCredentials
    from littoral.cluster.resources import SECRETS

    body = await client.get(SECRETS, namespace=release.namespace, name=HUB_SECRET)
    if body is None:
        return
    try:
        before = Credentials.from_secret(body)
    except InvalidCredentials:
        return
    if (before.server, before.member) != (credentials.server, credentials.member):
        click.echo(
            f"{style.warn('warning')}: until now this site was member {before.member} of {before.server}; if that is "
            "another hub, what it has assigned ends when the new one has said what is to run",
            err=True,
        )


async def _wait(client: Client, release: Release, credentials: Credentials, *, seconds: float) -> None:
    """Until the operator has a token of its own.

    Raises:
        Failure: it has none in time.
    """
    from littoral.cluster.membership import HUB_SECRET
    from littoral.cluster.resources import SECRETS

    end = time.monotonic() + seconds
    while True:
        body = await client.get(SECRETS, namespace=release.namespace, name=HUB_SECRET)
        if body is not None and "joinSecret" not in body.get("data", {}):
            click.echo(f"{style.good('joined')}: {credentials.member} is a member of {credentials.server}")
            return
        if time.monotonic() >= end:
            raise Failure(
                f"the operator has not joined within {seconds:g} s; its log says why: kubectl logs -n "
                f"{release.namespace} deployment/{release.name} | grep hub"
            )
        await asyncio.sleep(_POLL)


def _refused(error: ApiError, *, namespace: str) -> Failure:
    if error.status == 403:
        return Failure(f"{error}: ask somebody who may write Secrets in namespace {namespace} of this cluster")
    if error.status == 404:
        return Failure(
            f"there is no namespace {namespace}: install Littoral there first (helm install --create-namespace), or "
            "name its namespace with -n"
        )
    return Failure(f"the API server answered {error.status}: {error}: try again")
