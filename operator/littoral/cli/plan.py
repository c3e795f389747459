"""`littoral plan`: what if, by the operator's own planner; nothing is ever written."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click

from littoral.cli import style
from littoral.cli.access import Access
from littoral.cli.options import EndsWithOne, cluster_options, document, output_option, terminal_width

_CHANGED: Final = 2


@click.command(cls=EndsWithOne)
@click.option("-f", "--filename", "files", multiple=True, metavar="FILE|DIRECTORY|-",
              help="Manifests to lay over the world. Can be repeated.")  # fmt: skip
@click.option("-R", "--recursive", is_flag=True, help="Look into the directories of a DIRECTORY, too.")
@click.option("--without", multiple=True, metavar="KIND/NAME",
              help="Leave an object out: node/edge-1, nodepool/cloud, model/digits. Can be repeated.")  # fmt: skip
@click.option("--world", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="SNAPSHOT",
              help="Plan for the world of a snapshot, not for the live cluster.")  # fmt: skip
@click.option("--live", is_flag=True, help="Plan for the live cluster (the default).")
@click.option("--device-table", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE",
              help="Device classes (YAML) to plan with, instead of the operator's own.")  # fmt: skip
@click.option("--exit-code", is_flag=True, help="Exit with 2 if anything would change.")
@cluster_options
@output_option("text", "json", "yaml")
def plan(
    access: Access,
    files: tuple[str, ...],
    recursive: bool,
    without: tuple[str, ...],
    world: Path | None,
    live: bool,
    device_table: Path | None,
    exit_code: bool,
    output: str,
) -> None:
    """Show what would change, and change nothing.

    The operator's own planner plans for the live cluster, or for a snapshot of one, with the manifests of -f laid over
    it; what differs from what runs now is shown: servers that appear (+), change (~) or go (-), and Models that move,
    with the reasons. A snapshot without Assignments tells not what runs; then the manifests are compared with the plan
    for the snapshot alone. Only reading rights are needed, and nothing is written.

    \b
    Exit code:
      0  nothing would change, or --exit-code was not given
      1  an error
      2  with --exit-code: something would change (kubectl diff says 1)

    \b
    Examples:
      littoral plan                                # what is the operator about to do?
      littoral plan -f manifests/                  # what if I applied these?
      littoral plan --without node/edge-1          # what if this node were gone?
      littoral plan --world world.json -f model.yaml -o json
      kustomize build . | littoral plan -f - --exit-code
    """
    from littoral.cli.difference import as_json
    from littoral.cli.plan_text import as_text
    from littoral.cli.snapshot import live_objects, read_snapshot, warn
    from littoral.cli.validate import devices_of
    from littoral.cli.whatif import changes_of, key_from, what_if
    from littoral.cli.worlds import holds_table, table_in

    if live and world is not None:
        raise click.UsageError("--live and --world exclude each other: say for which world to plan")
    everything = (
        access.read(lambda reader: live_objects(reader, table=device_table is None))
        if world is None
        else read_snapshot(world)
    )
    objects = [body for body in everything if not holds_table(body)]
    devices, doubt = table_in(filter(holds_table, everything))
    if device_table is not None:
        devices, doubt = devices_of(device_table), ""
    if doubt:
        warn(doubt)
    namespace = access.namespace or ("default" if world is not None else access.default_namespace())
    found, skipped = what_if(
        objects,
        changes=changes_of(files, recursive=recursive, namespace=namespace),
        without=[key_from(text, namespace=namespace) for text in without],
        namespace=namespace,
        devices=devices,
        runs=world is None,
    )
    for problem in skipped:
        click.echo(f"{style.warn('passed over')}: {problem}", err=True)
    if output == "text":
        click.echo(as_text(found, width=terminal_width()))
    else:
        click.echo(document(as_json(found), output=output))
    sys.exit(_CHANGED if exit_code and found else 0)
