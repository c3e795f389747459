"""`littoral snapshot`: what the planner reads of a cluster, as one file."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from littoral.cli import style
from littoral.cli.access import Access, Object, Reader
from littoral.cli.failures import Failure
from littoral.cli.options import EndsWithOne, cluster_options

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command(cls=EndsWithOne)
@cluster_options
def snapshot(access: Access) -> None:
    """Write down what the planner reads of the cluster.

    The Models, LatencySLOs, NodePools, Assignments and Nodes of the whole cluster, and the operator's device table if
    it has its own, as a Kubernetes List in JSON on standard output. It holds no Secret and nothing of one: annotations,
    conditions, messages and the query strings of URIs are left out, and of a Node all but its labels, its taints, its
    allocatable resources and whether it is ready.

    \b
    Examples:
      littoral snapshot > world.json
      littoral plan --world world.json -f manifests/
    """
    click.echo(json.dumps(as_list(access.read(live_objects)), indent=1))


async def live_objects(reader: Reader, *, table: bool = True) -> list[Object]:
    """All that the planner reads of the live cluster, trimmed to that.

    Args:
        table: whether the operator's device table is among it. Where it may not be read, a warning is printed.
    """
    from littoral.cli.worlds import trimmed
    from littoral.cluster.resources import ASSIGNMENTS, LATENCY_SLOS, MODELS, NODE_POOLS, NODES

    resources = (MODELS, LATENCY_SLOS, NODE_POOLS, ASSIGNMENTS, NODES)
    lists = await asyncio.gather(*(reader.objects(resource) for resource in resources))
    tables = await _tables(reader) if table else []
    return [trimmed(body) for bodies in (*lists, tables) for body in bodies]


async def _tables(reader: Reader) -> list[Object]:
    """The ConfigMaps with device tables: of the whole cluster, or of the operator's usual namespace."""
    from littoral.cli.worlds import OPERATOR_LABELS, OPERATOR_NAMESPACE, holds_table
    from littoral.cluster.resources import CONFIG_MAPS

    selector = ",".join(f"{key}={value}" for key, value in OPERATOR_LABELS.items())
    for namespace in (None, OPERATOR_NAMESPACE):
        found = await reader.objects_if_allowed(CONFIG_MAPS, namespace=namespace, label_selector=selector)
        if found is not None:
            return [body for body in found if holds_table(body)]
    warn(
        "you may not list the ConfigMaps of the operator, where it would have a device table of its own: the built-in "
        "one is taken; name another one with --device-table, or ask for the right to list ConfigMaps in "
        f"{OPERATOR_NAMESPACE}"
    )
    return []


def warn(message: str) -> None:
    """Say something on standard error that does not end the command."""
    click.echo(f"{style.warn('warning')}: {message}", err=True)


def as_list(objects: Sequence[Object]) -> dict[str, Any]:
    """The snapshot: a Kubernetes List."""
    return {"apiVersion": "v1", "kind": "List", "items": list(objects)}


def read_snapshot(path: Path) -> list[Object]:
    """The objects of a snapshot, or of any other JSON or YAML file with such objects; others are passed over.

    Raises:
        Failure: the file cannot be read, or is neither.
    """
    from littoral.cli.manifests import UnreadableManifest, parse_manifests
    from littoral.cli.worlds import KINDS, holds_table, trimmed

    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{path}: cannot be read: {error}") from error
    try:
        # JSON is YAML, too; but its own reader is many times faster, and snapshots are large.
        documents = list(json.loads(text)["items"])
    except (ValueError, KeyError, TypeError):
        try:
            documents = [manifest.body for manifest in parse_manifests(text, source=str(path))]
        except UnreadableManifest as error:
            raise Failure(f"{path}: {error}") from error
    objects = [
        body
        for body in documents
        if isinstance(body, dict)
        and (body.get("kind") in KINDS or holds_table(body))
        and isinstance(body.get("metadata"), dict)
        and isinstance(body["metadata"].get("name"), str)
    ]
    if not any(body["kind"] in KINDS for body in objects):
        raise Failure(f"{path}: no object that the planner reads is in it: make one with littoral snapshot > {path}")
    return [trimmed(body) for body in objects]
