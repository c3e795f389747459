"""`littoral snapshot`: what the planner reads of a cluster, as one file."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from littoral.cli.access import Access, Object, Reader
from littoral.cli.failures import Failure
from littoral.cli.options import EndsWithOne, cluster_options

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command(cls=EndsWithOne)
@cluster_options
def snapshot(access: Access) -> None:
    """Write down what the planner reads of the cluster.

    The Models, LatencySLOs, NodePools, Assignments and Nodes of the whole cluster, as a Kubernetes List in JSON on
    standard output. It holds no Secret and nothing of one: annotations, conditions, messages and the query strings of
    URIs are left out, and of a Node all but its labels, its allocatable resources and whether it is ready.

    \b
    Examples:
      littoral snapshot > world.json
      littoral plan --world world.json -f manifests/
    """
    click.echo(json.dumps(as_list(access.read(live_objects)), indent=1))


async def live_objects(reader: Reader) -> list[Object]:
    """All that the planner reads of the live cluster, trimmed to that."""
    from littoral.cli.worlds import trimmed
    from littoral.cluster.resources import ASSIGNMENTS, LATENCY_SLOS, MODELS, NODE_POOLS, NODES

    resources = (MODELS, LATENCY_SLOS, NODE_POOLS, ASSIGNMENTS, NODES)
    lists = await asyncio.gather(*(reader.objects(resource) for resource in resources))
    return [trimmed(body) for bodies in lists for body in bodies]


def as_list(objects: Sequence[Object]) -> dict[str, Any]:
    """The snapshot: a Kubernetes List."""
    return {"apiVersion": "v1", "kind": "List", "items": list(objects)}


def read_snapshot(path: Path) -> list[Object]:
    """The objects of a snapshot, or of any other JSON or YAML file with such objects; others are passed over.

    Raises:
        Failure: the file cannot be read, or is neither.
    """
    from littoral.cli.manifests import UnreadableManifest, parse_manifests
    from littoral.cli.worlds import KINDS, trimmed

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
        and body.get("kind") in KINDS
        and isinstance(body.get("metadata"), dict)
        and isinstance(body["metadata"].get("name"), str)
    ]
    if not objects:
        raise Failure(f"{path}: no object that the planner reads is in it: make one with littoral snapshot > {path}")
    return [trimmed(body) for body in objects]
