"""URIs of a Model's manifest, replaced in its text: comments and layout stay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import yaml

from littoral.optimize.errors import OptimizeError


def with_uris(text: str, uris: Mapping[str, str]) -> tuple[str, int]:
    """The manifests with the `uri` of each artifact whose `digest` is a key of `uris` replaced by its value.

    Returns:
        The text, and how many artifacts there are whose URI is now as wanted.

    Raises:
        OptimizeError: it is not YAML.
    """
    try:
        documents = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise OptimizeError(f"not YAML: {error}") from error
    found = [
        (uri, uris[digest.value]) for root in documents for uri, digest in _artifacts(root) if digest.value in uris
    ]
    for uri, wanted in sorted(found, key=lambda it: it[0].start_mark.index, reverse=True):
        text = f"{text[: uri.start_mark.index]}{_scalar(wanted)}{text[uri.end_mark.index :]}"
    return text, len(found)


def digests(text: str) -> set[str]:
    """The digests of all artifacts that the manifests name.

    Raises:
        OptimizeError: it is not YAML.
    """
    try:
        documents = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise OptimizeError(f"not YAML: {error}") from error
    return {digest.value for root in documents for _, digest in _artifacts(root)}


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
