"""`littoral explain`: why here, why not there, why so many."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from littoral.cli.access import Access, Object, Reader, parsed
from littoral.cli.failures import Failure, not_found
from littoral.cli.options import (
    EndsWithOne,
    all_namespaces_option,
    cluster_options,
    complete_models,
    document,
    output_option,
    terminal_width,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from littoral.api import Model
    from littoral.cli.explanation import Explanation


@click.command(cls=EndsWithOne)
@click.argument("model", required=False, shell_complete=complete_models)
@all_namespaces_option
@cluster_options
@output_option("text", "wide", "json", "yaml")
def explain(access: Access, model: str | None, all_namespaces: bool, output: str) -> None:
    """Say why a Model runs where it does, and why not elsewhere.

    Why here, why not there, why so many replicas, and, where it is stalled, what to do first. Without a MODEL: a line
    for each Model of the namespace.

    \b
    Examples:
      littoral explain                             # every Model of the namespace
      littoral explain digits -n shop
      littoral explain digits -n shop -o wide      # with servers, rates, latencies and variants
      littoral explain -A -o json
    """
    if model is not None and all_namespaces:
        raise click.UsageError("name a Model, or ask for all namespaces with -A: not both")
    namespace = None if all_namespaces else access.default_namespace()
    found = access.read(lambda reader: _explanations(reader, namespace=namespace, name=model))
    click.echo(_overview(found, namespace=namespace, output=output) if model is None else _one(found[0], output=output))


async def _explanations(reader: Reader, *, namespace: str | None, name: str | None) -> list[Explanation]:
    """One for each Model of the namespace (None: of all), or for the named one alone."""
    from littoral.api import Assignment, LatencySLO, Model, NodePool
    from littoral.cli.explanation import Explanation
    from littoral.cluster.resources import ASSIGNMENTS, LATENCY_SLOS, MODELS, NODE_POOLS
    from littoral.core.world import World, key_of

    models, slos, pools, assignments = await asyncio.gather(
        reader.objects(MODELS, namespace=namespace),
        reader.objects_if_allowed(LATENCY_SLOS, namespace=namespace),
        reader.objects_if_allowed(NODE_POOLS),
        reader.objects_if_allowed(ASSIGNMENTS),
    )
    slos_by_model = World(slos=tuple(parsed(LatencySLO, slos or ()))).slos_by_model
    known_pools = None if pools is None else tuple(parsed(NodePool, pools))
    by_pool = {assignment.name: assignment for assignment in parsed(Assignment, assignments or ())}
    return [
        Explanation(
            model=model,
            slos=slos_by_model.get(key_of(model), ()),
            pools=known_pools,
            assignments=by_pool,
        )
        for model in (parsed(Model, models) if name is None else [_named(models, name=name, namespace=namespace)])
    ]


def _named(bodies: Sequence[Object], *, name: str, namespace: str | None) -> Model:
    from littoral.api import InvalidObject, Model

    by_name = {body["metadata"]["name"]: body for body in bodies}
    if name not in by_name:
        raise not_found("Model", name=name, known=by_name, where=f"in namespace {namespace}")
    try:
        return Model.parse(by_name[name])
    except InvalidObject as error:
        raise Failure(
            f"Model {namespace}/{name} cannot be read: {error}: correct these fields and apply again"
        ) from error


def _overview(found: Sequence[Explanation], *, namespace: str | None, output: str) -> str:
    from littoral.cli.explain_text import overview
    from littoral.cli.explanation import as_json

    if output in ("json", "yaml"):
        return document({"models": [as_json(it) for it in found]}, output=output)
    if not found:
        return f"There is no Model in {f'namespace {namespace}' if namespace else 'any namespace'}."
    models = [it.model for it in found]
    return overview(models, namespaces=namespace is None, wide=output == "wide", now=datetime.now(UTC))


def _one(it: Explanation, *, output: str) -> str:
    from littoral.cli.explain_text import as_text
    from littoral.cli.explanation import as_json

    if output in ("json", "yaml"):
        return document(as_json(it), output=output)
    return as_text(it, wide=output == "wide", now=datetime.now(UTC), width=terminal_width())
