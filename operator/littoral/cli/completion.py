"""`littoral completion`, and the names that it completes: quick, and silent about whatever goes wrong."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import click

from littoral.cli.access import Access, Reader
from littoral.cli.options import EndsWithOne

if TYPE_CHECKING:
    from littoral.cluster.resources import Resource

_PATIENCE: Final = 1.5
"""Seconds: who presses Tab does not wait longer for names."""

_SHELLS: Final = ("bash", "zsh", "fish")
_PROGRAM: Final = "littoral"


@click.command(cls=EndsWithOne)
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands in a shell.

    Commands, options and, from the cluster, the names of Models, namespaces and contexts.

    \b
    Examples:
      source <(littoral completion bash)                                   # in ~/.bashrc
      source <(littoral completion zsh)                                    # in ~/.zshrc, after compinit
      littoral completion fish > ~/.config/fish/completions/littoral.fish
    """
    from click.shell_completion import get_completion_class

    generator = get_completion_class(shell)
    assert generator is not None
    click.echo(generator(ctx.find_root().command, {}, _PROGRAM, f"_{_PROGRAM.upper()}_COMPLETE").source())


def names_of_models(access: Access) -> list[str]:
    """The Models of the namespace; none where they cannot be had in time."""
    from littoral.cluster.resources import MODELS

    return _names(access, MODELS)


def names_of_namespaces(access: Access) -> list[str]:
    """The namespaces; none where they cannot be had in time."""
    from littoral.cluster.resources import Resource

    resource = Resource(group="", version="v1", plural="namespaces", kind="Namespace", namespaced=False)
    return _names(access, resource)


def names_of_contexts(access: Access) -> list[str]:
    """The contexts of the kubeconfig; none where it cannot be read."""
    return sorted(str(context["name"]) for context in access.contexts())


def _names(access: Access, resource: Resource) -> list[str]:
    async def read(reader: Reader) -> list[str]:
        namespace = access.default_namespace() if resource.namespaced else None
        async with asyncio.timeout(_PATIENCE):
            return sorted(body["metadata"]["name"] for body in await reader.objects(resource, namespace=namespace))

    try:
        return access.read(read)
    except Exception:  # A Tab has no place to complain in.
        return []
