"""`littoral export`: what other programs take, to keep in a repository."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from littoral.cli import style
from littoral.cli.access import Access, Reader, parsed
from littoral.cli.failures import Failure, not_found
from littoral.cli.options import EndsWithOne, cluster_options, complete_models, document, output_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from littoral.api import Assignment
    from littoral.render.server import Manifest


class _Group(EndsWithOne, click.Group):
    """A group whose usage errors end with 1."""


@click.group(cls=_Group)
def export() -> None:
    """Print what other programs take.

    \b
    Example:
      littoral export gateway-api -n shop --parent infra/web --hostname '{model}.{namespace}.example.com'
    """


@export.command("gateway-api", cls=EndsWithOne)
@click.argument("model", required=False, shell_complete=complete_models)
@click.option("--parent", "parents", multiple=True, required=True, metavar="NS/NAME[/LISTENER]",
              help="A Gateway that is to lead to the Models.")  # fmt: skip
@click.option("--hostname", required=True, metavar="TEMPLATE",
              help="Host name of each Model, such as {model}.{namespace}.example.com.")  # fmt: skip
@click.option("--grpc-hostname", default="", metavar="TEMPLATE",
              help="The same for gRPC, never the same host name; absent: no GRPCRoutes.")  # fmt: skip
@click.option("--member", metavar="NAME",
              help="What the pools of this member cluster serve.  [default: of the hub's own cluster]")  # fmt: skip
@cluster_options
@output_option("yaml", "json")
def gateway_api(
    access: Access,
    model: str | None,
    parents: tuple[str, ...],
    hostname: str,
    grpc_hostname: str,
    member: str | None,
    output: str,
) -> None:
    """Print Models as routes of the Gateway API.

    For each Model of the namespace, or for one: a Service for each pool that serves it, an HTTPRoute and a GRPCRoute
    that divide requests among them by the plan of this moment. They are for a repository; the operator leaves them
    alone. To have them follow the plan, set gatewayApi in the chart, and do without these.

    \b
    Examples:
      littoral export gateway-api -n shop --parent infra/web --hostname '{model}.{namespace}.example.com'
      littoral export gateway-api digits -n shop --parent infra/web/https -o json \\
        --hostname '{model}.{namespace}.example.com' --grpc-hostname '{model}.{namespace}.grpc.example.com'
    """
    from littoral.render.gateway_api import GatewayApiSettings, render_export

    try:
        settings = GatewayApiSettings.parse(parents=parents, http=hostname, grpc=grpc_hostname)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    namespace = access.default_namespace()
    assignments = [it for it in access.read(_assignments) if it.spec.member == member]
    found = render_export(assignments, settings=settings, namespace=namespace, model=model)
    for trouble in found.troubles:
        click.echo(f"{style.warn('warning')}: {trouble}", err=True)
    if not found.manifests:
        raise _nothing(assignments, namespace=namespace, model=model, member=member)
    click.echo(_text(found.manifests, output=output))


async def _assignments(reader: Reader) -> list[Assignment]:
    from littoral.api import Assignment
    from littoral.cluster.resources import ASSIGNMENTS

    return parsed(Assignment, await reader.objects(ASSIGNMENTS))


def _nothing(assignments: Sequence[Assignment], *, namespace: str, model: str | None, member: str | None) -> Failure:
    where = f"in namespace {namespace}, in {f'member cluster {member}' if member else 'this cluster'}"
    if model is None:
        return Failure(f"no Model is served {where}: littoral explain -n {namespace} says why")
    served = {
        it.name
        for assignment in assignments
        for server in assignment.spec.servers
        if server.namespace == namespace
        for it in server.models
    }
    return not_found("Model that is served", name=model, known=served, where=where)


def _text(manifests: Sequence[Manifest], *, output: str) -> str:
    if output == "json":
        return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)}, indent=2)
    return "\n---\n".join(document(manifest, output=output) for manifest in manifests)
