"""``python -m lab``: the commands."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lab.cluster import Lab, Wish
from lab.devices import device_classes
from lab.errors import LabError
from lab.nodes import parse_nodes
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
    "--node", "nodes", multiple=True, metavar="NAME[:DEVICE=N,...][@TIER[/SITE]]", help="A real node."
)
@click.option("--kwok", type=click.IntRange(0, 5000), default=0, help="Fake nodes.")
@click.option("--engine", type=click.Choice(["embedded", "k3s"]), default="embedded", show_default=True)
@click.option(
    "--control-plane-only", is_flag=True, help="No nodes: an API server to test against, in seconds."
)
@click.option("--no-images", is_flag=True, help="Build and load no image but the pods' sandbox.")
def up(
    name: str, nodes: tuple[str, ...], kwok: int, engine: str, control_plane_only: bool, no_images: bool
) -> None:
    """Bring a lab up."""
    if control_plane_only and nodes:
        raise LabError("--control-plane-only and --node exclude each other")
    specs = () if control_plane_only else parse_nodes(nodes, device_classes=device_classes())
    lab = _lab(name)
    explicit = bool(nodes or kwok or control_plane_only)
    lab.up(Wish(nodes=specs, kwok=kwok, engine=engine, images=not no_images, explicit=explicit))
    say(f"export KUBECONFIG={lab.files.kubeconfig}")


@main.command("load-images")
@_name
@click.argument(
    "archives", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
def load_images(name: str, archives: tuple[Path, ...]) -> None:
    """Import OCI image archives into every node of a running lab."""
    for line in _lab(name).load_images(archives) or ["everything is there already"]:
        say(line)


@main.command()
@_name
@click.option("--purge", is_flag=True, help="Also remove its files: images, certificates, logs.")
def down(name: str, purge: bool) -> None:
    """Take a lab down, whatever state it is in."""
    for line in _lab(name).down(purge=purge):
        say(line)


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
