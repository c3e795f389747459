"""``python -m lab``: the commands."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from lab import links, programs
from lab import status as lab_status
from lab.cluster import ENGINES, Lab, Wish
from lab.devices import device_classes
from lab.errors import LabError
from lab.nodes import parse_nodes
from lab.progress import say
from lab.state import LabFiles, cache_directory

_name = click.option("--name", default="lab", show_default=True, help="Which lab; several can be up at a time.")


class _Commands(click.Group):
    """Shows a ``LabError`` as its message alone."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except LabError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def main() -> None:
    """A real Kubernetes cluster with edge and cloud nodes on this machine, without a container engine.

    \b
    Examples:
      python -m lab up
      export KUBECONFIG=$(python -m lab kubeconfig)
      python -m lab status
      python -m lab down
    """


@main.command()
@_name
@click.option(
    "--node",
    "nodes",
    multiple=True,
    metavar="NAME[:DEVICE=N,...][@TIER[/SITE]]",
    help=f"A real node, with devices to announce ({', '.join(device_classes())}). Default: edge and cloud.",
)
@click.option("--kwok", type=click.IntRange(0, 5000), default=0, metavar="N", help="Also N fake nodes.")
@click.option("--engine", type=click.Choice(list(ENGINES)), default="embedded", show_default=True)
@click.option("--control-plane-only", is_flag=True, help="No real node: an API server to test against.")
@click.option("--no-images", is_flag=True, help="Build and load no image but the pods' sandbox.")
def up(name: str, nodes: tuple[str, ...], kwok: int, engine: str, control_plane_only: bool, no_images: bool) -> None:
    """Bring a lab up, or make sure that it is up and ready.

    The first time it builds the programs (minutes) and the images; later it takes seconds.

    \b
    Examples:
      python -m lab up
      python -m lab up --node edge-1:intel-npu=1 --node edge-2:nvidia-gpu=2@edge/store-12 --node cloud
      python -m lab up --name scale --control-plane-only --kwok 1000
    """
    if control_plane_only and nodes:
        raise LabError("--control-plane-only and --node exclude each other")
    specs = () if control_plane_only else parse_nodes(nodes, device_classes=device_classes())
    lab = _lab(name)
    explicit = bool(nodes or kwok or control_plane_only)
    lab.up(Wish(nodes=specs, kwok=kwok, engine=engine, images=not no_images, explicit=explicit))
    say(f"export KUBECONFIG={lab.files.kubeconfig}")


@main.command()
@_name
@click.option("--purge", is_flag=True, help="Also remove its files: the nodes' images, certificates, logs.")
def down(name: str, purge: bool) -> None:
    """Take a lab down, whatever is left of it, and say what was stopped.

    \b
    Examples:
      python -m lab down
      python -m lab down --name scale --purge
    """
    for line in _lab(name).down(purge=purge) or [f"lab {name} is not up"]:
        say(line)


@main.command()
@_name
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def status(name: str, output: str) -> None:
    """Show how a lab is. Exits with 1 when it is not up and ready.

    \b
    Examples:
      python -m lab status
      python -m lab status --name scale -o json
    """
    found = lab_status.read_status(_lab(name))
    if found is None:
        raise LabError(f"there is no lab {name}: python -m lab up --name {name}")
    click.echo(json.dumps(asdict(found), indent=2) if output == "json" else lab_status.render(found))
    sys.exit(0 if found.ready else 1)


@main.command()
@_name
def kubeconfig(name: str) -> None:
    """Print the path of the administrator's kubeconfig.

    \b
    Example:
      export KUBECONFIG=$(python -m lab kubeconfig)
    """
    path = _lab(name).files.kubeconfig
    if not path.exists():
        raise LabError(f"lab {name} has not been up: python -m lab up --name {name}")
    click.echo(str(path))


@main.command("load-images")
@_name
@click.argument("archives", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def load_images(name: str, archives: tuple[Path, ...]) -> None:
    """Import OCI image archives into every node of a running lab.

    \b
    Example:
      buildah push localhost/mine:1 oci-archive:mine.tar:localhost/mine:1
      python -m lab load-images mine.tar
    """
    for line in _lab(name).load_images(archives) or ["every image is there already"]:
        say(line)


@main.command()
@_name
@click.argument("node")
def reboot(name: str, node: str) -> None:
    """Cut a node's power and start it again: its disk stays, everything that ran on it is gone.

    \b
    Example:
      python -m lab reboot edge
    """
    _lab(name).reboot(node)


@main.command()
@_name
@click.argument("node")
def cut(name: str, node: str) -> None:
    """Cut a node's cable: it reaches neither the API server nor anything else, and runs on.

    \b
    Example:
      python -m lab cut edge
    """
    _lab(name).connect(node, connected=False)


@main.command()
@_name
@click.argument("node")
def mend(name: str, node: str) -> None:
    """Mend the cable of a node that was cut off.

    \b
    Example:
      python -m lab mend edge
    """
    _lab(name).connect(node, connected=True)


@main.command()
@click.argument("site")
@click.argument("hub")
@click.option("--cut", is_flag=True, help="Cut the link instead: it stays, and nothing passes.")
def link(site: str, hub: str, cut: bool) -> None:
    """Link the lab SITE to the lab HUB, or mend their link: SITE reaches HUB, and HUB opens no connection into SITE.

    Pods, nodes and programs of SITE reach the machines and pods of HUB at their own addresses. What is under way when
    the link is cut hangs, as on an uplink that fails somewhere on its way.

    \b
    Examples:
      python -m lab link store hub
      python -m lab link store hub --cut
      python -m lab unlink store hub
    """
    (links.cut if cut else links.link)(site=_lab(site), hub=_lab(hub))


@main.command()
@click.argument("site")
@click.argument("hub")
def unlink(site: str, hub: str) -> None:
    """Remove the link of the lab SITE to the lab HUB, if there is one.

    \b
    Example:
      python -m lab unlink store hub
    """
    links.unlink(site=_lab(site), hub=_lab(hub))


@main.command("programs")
@click.argument("modules", nargs=-1, metavar="[MODULE]...")
def build_programs(modules: tuple[str, ...]) -> None:
    """Build programs of the lab (the folders of tools/) into the cache, and print where they are.

    \b
    Example:
      python -m lab programs helm
    """
    known = (*programs.MODULES, *programs.SERVERS)
    unknown = set(modules) - set(known)
    if unknown:
        raise LabError(f"{', '.join(sorted(unknown))}: no such module; there are {', '.join(known)}")
    built = programs.ensure(modules or programs.MODULES, cache=cache_directory())
    for directory in built.directories.values():
        click.echo(directory)


def _lab(name: str) -> Lab:
    return Lab(files=LabFiles(name=name, cache=cache_directory()))
