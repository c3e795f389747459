"""Artifacts of a Model's manifest, given new places in its text: comments and layout stay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import yaml

from littoral.optimize.errors import OptimizeError


@dataclass(frozen=True, kw_only=True)
class Location:
    """What an artifact of a manifest shall be: where it is, and its digest there."""

    uri: str
    digest: str


def relocated(text: str, places: Mapping[str, Location]) -> tuple[str, int]:
    """The manifests with each artifact whose `digest` is a key of `places` where that says.

    Returns:
        The text, and how many artifacts there are that are now as wanted.

    Raises:
        OptimizeError: it is not YAML.
    """
    found = [(uri, digest, places[digest.value]) for uri, digest in _read(text) if digest.value in places]
    changes = [
        change
        for uri, digest, place in found
        for change in ((uri, place.uri), (digest, place.digest))
        if change[0].value != change[1]
    ]
    for node, wanted in sorted(changes, key=lambda change: change[0].start_mark.index, reverse=True):
        text = f"{text[: node.start_mark.index]}{_scalar(wanted)}{text[node.end_mark.index :]}"
    return text, len(found)


def digests(text: str) -> set[str]:
    """The digests of all artifacts that the manifests name.

    Raises:
        OptimizeError: it is not YAML.
    """
    return {digest.value for _, digest in _read(text)}


def _read(text: str) -> list[tuple[yaml.ScalarNode, yaml.ScalarNode]]:
    try:
        return [pair for root in yaml.compose_all(text, Loader=yaml.SafeLoader) for pair in _artifacts(root)]
    except yaml.YAMLError as error:
        raise OptimizeError(f"not YAML: {error}") from error


def _artifacts(node: yaml.Node | None) -> Iterator[tuple[yaml.ScalarNode, yaml.ScalarNode]]:
    """The nodes (uri, digest) of each mapping that has both."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _artifacts(item)
    elif isinstance(node, yaml.MappingNode):
        fields = {key.value: value for key, value in node.value if isinstance(key, yaml.ScalarNode)}
        uri, digest = fields.get("uri"), fields.get("digest")
        if isinstance(uri, yaml.ScalarNode) and isinstance(digest, yaml.ScalarNode):
            yield uri, digest
        for value in fields.values():
            yield from _artifacts(value)


def _scalar(text: str) -> str:
    # Within braces a URI may stand bare, too: it has neither commas nor brackets.
    return str(yaml.safe_dump(text, width=10_000)).removesuffix("...\n").strip()
