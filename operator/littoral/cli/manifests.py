"""Manifests with their lines: YAML or JSON from files, directories and standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

FieldPath = tuple[str | int, ...]

STDIN: Final = "-"
_ENDINGS: Final = (".yaml", ".yml", ".json")


class UnreadableManifest(Exception):
    """A file that cannot be read, or that is neither YAML nor JSON.

    Attributes:
        source: the file.
        line: where reading ended, from 1; 0 where nothing was read.
    """

    def __init__(self, message: str, *, source: str, line: int = 0) -> None:
        super().__init__(message)
        self.source = source
        self.line = line


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One object as it stands in a file.

    Attributes:
        source: the file, `-` for standard input.
        body: the object; whatever else the document held where it is none.
        node: the parsed YAML that `body` was made of: it knows the lines.
        repeated: keys that a mapping has twice, of which YAML readers keep only the last, each with its later line.
    """

    source: str
    body: Any
    node: yaml.Node
    repeated: tuple[tuple[str, int], ...] = ()

    def line(self, path: FieldPath = ()) -> int:
        """The line, from 1, of the field at `path`, or of the nearest thing around it that the file has."""
        node, mark = self.node, self.node.start_mark
        for step in path:
            key, child = _child(node, step)
            if child is None:
                break
            node, mark = child, (key or child).start_mark
        return int(mark.line) + 1


def _child(node: yaml.Node, step: str | int) -> tuple[yaml.Node | None, yaml.Node | None]:
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == step), (None, None))
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return None, node.value[step]
    return None, None


def _repeated(node: yaml.Node, visited: set[int]) -> Iterator[tuple[str, int]]:
    if id(node) in visited:  # An alias.
        return
    visited.add(id(node))
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    yield key.value, int(key.start_mark.line) + 1
                seen.add(key.value)
            yield from _repeated(value, visited)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repeated(item, visited)


def read_manifests(places: Sequence[str], *, recursive: bool = False) -> Iterator[Manifest]:
    """The objects of files, directories and (`-`) standard input, in their order. A `List` counts as its items.

    Args:
        recursive: look into the directories of directories, too.

    Raises:
        UnreadableManifest: at the first file that cannot be read; what came before has been yielded.
    """
    for place in places:
        if place == STDIN:
            yield from parse_manifests(sys.stdin.read(), source=STDIN)
            continue
        for path in _files(Path(place), recursive=recursive):
            try:
                text = path.read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
                raise UnreadableManifest(f"cannot be read: {reason}", source=str(path)) from error
            yield from parse_manifests(text, source=str(path))


def _files(path: Path, *, recursive: bool) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = path.rglob("*") if recursive else path.iterdir()
    return sorted(file for file in found if file.suffix in _ENDINGS and file.is_file())


def parse_manifests(text: str, *, source: str) -> Iterator[Manifest]:
    """The objects of one text of YAML documents.

    Raises:
        UnreadableManifest: it is not YAML.
    """
    # libyaml's parser where it is there: several times faster.
    loader: Any = yaml.CSafeLoader(text) if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            # Before the object is made: that fills merged keys (`<<`) in.
            repeated = tuple(_repeated(node, set()))
            body = loader.construct_document(node)
            if body is not None:
                yield from _expand(Manifest(source=source, body=body, node=node, repeated=repeated))
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        raise UnreadableManifest(f"is not YAML: {problem}", source=source, line=mark.line + 1 if mark else 0) from error
    finally:
        loader.dispose()


def _expand(manifest: Manifest) -> Iterator[Manifest]:
    body = manifest.body
    if not (isinstance(body, Mapping) and body.get("kind") == "List" and isinstance(body.get("items"), list)):
        yield manifest
        return
    _, items = _child(manifest.node, "items")
    assert isinstance(items, yaml.SequenceNode)
    for item, node in zip(body["items"], items.value, strict=True):
        own = range(node.start_mark.line + 1, node.end_mark.line + 2)
        repeated = tuple((key, line) for key, line in manifest.repeated if line in own)
        yield from _expand(Manifest(source=manifest.source, body=item, node=node, repeated=repeated))
