"""``python -m lab``: the commands."""

from __future__ import annotations

import sys

import click

from lab.cluster import Lab, Wish
from lab.errors import LabError
from lab.progress import say
from lab.state import LabFiles, cache_directory

_name = click.option(
    "--name", default="lab", show_default=True, help="Which lab: several can be up at a time."
)


class _Commands(click.Group):
    """Shows a ``LabError`` as its message alone."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except LabError as error:
            raise click.ClickException(str(error)) from error


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
def main() -> None:
    """A real Kubernetes cluster with edge and cloud nodes on this machine, without a container engine."""


@main.command()
@_name
@click.option(
    "--control-plane-only", is_flag=True, help="No nodes: an API server to test against, in seconds."
)
def up(name: str, control_plane_only: bool) -> None:
    """Bring a lab up."""
    del control_plane_only
    lab = _lab(name)
    lab.up(Wish())
    say(f"export KUBECONFIG={lab.files.kubeconfig}")


@main.command()
@_name
@click.option("--purge", is_flag=True, help="Also remove its files: images, certificates, logs.")
def down(name: str, purge: bool) -> None:
    """Take a lab down, whatever state it is in."""
    for line in _lab(name).down(purge=purge):
        say(f"stopped {line}")


@main.command()
@_name
def kubeconfig(name: str) -> None:
    """Print the path of the administrator's kubeconfig."""
    path = _lab(name).files.kubeconfig
    if not path.exists():
        raise LabError(f"lab {name} has never been up: python -m lab up --name {name}")
    click.echo(str(path))


def _lab(name: str) -> Lab:
    return Lab(files=LabFiles(name=name, cache=cache_directory()))


if __name__ == "__main__":
    sys.exit(main())
