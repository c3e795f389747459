"""What is wrong with one manifest of ours, by the rules that the API server obeys. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from functools import cache
from itertools import takewhile
from typing import Any, Final

from pydantic import ValidationError

from littoral.api import API_VERSION, GROUP, Assignment, LatencySLO, Model, NodePool
from littoral.api.meta import Resource
from littoral.api.schema import structural_schema
from littoral.cli.manifests import FieldPath, Manifest

KINDS: Final[Mapping[str, type[Resource]]] = {kind.KIND: kind for kind in (Model, LatencySLO, NodePool, Assignment)}

# `metav1.ObjectMeta`: the API server refuses others, and no schema of ours tells them.
_METADATA: Final = (
    "name",
    "generateName",
    "namespace",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
)


class Severity(StrEnum):
    """How bad it is."""

    ERROR = "error"
    """The API server would refuse the object."""
    WARNING = "warning"
    """The object would be accepted, and would not do what its author means."""
    NOTE = "note"
    """Nothing is wrong."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that somebody should know about a file.

    Attributes:
        subject: the object, as `Model shop/digits`; empty where it is about the file.
        field: JSON path in the object, such as `spec.variants[0].backend`; empty for the object as a whole.
    """

    severity: Severity
    source: str
    line: int
    message: str
    subject: str = ""
    field: str = ""

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}" if self.line else self.source
        return ": ".join(part for part in (place, self.severity, self.subject, self.field, self.message) if part)


def is_ours(body: Any) -> bool:
    """Whether a document claims to be of group littoral.dev, in whatever version."""
    version = body.get("apiVersion") if isinstance(body, Mapping) else None
    return isinstance(version, str) and version.partition("/")[0] == GROUP


def subject_of(body: Any, *, namespace: str) -> str:
    """An object's name for people; `namespace` is that of objects that name none."""
    metadata = body.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    kind = KINDS.get(body.get("kind"))
    own = f"{metadata.get('namespace') or namespace}/" if kind is not None and kind.NAMESPACED else ""
    return f"{body.get('kind')} {own}{metadata.get('name', '<no name>')}"


def check(manifest: Manifest, *, namespace: str) -> tuple[Resource | None, list[Finding]]:
    """Read one object of ours.

    Args:
        namespace: namespace of an object that names none.

    Returns:
        The object, where it can be read, with its namespace; and each error.
    """
    body = manifest.body
    subject = subject_of(body, namespace=namespace)

    def error(message: str, path: FieldPath = (), line: int | None = None) -> Finding:
        return Finding(
            severity=Severity.ERROR,
            source=manifest.source,
            line=manifest.line(path) if line is None else line,
            subject=subject,
            field=_text(path),
            message=message,
        )

    if body["apiVersion"] != API_VERSION:
        return None, [error(f"unknown version {body['apiVersion']}: write {API_VERSION}", ("apiVersion",))]
    kind = KINDS.get(body.get("kind"))
    if kind is None:
        return None, [error(f"unknown kind {body.get('kind')}{_hint(str(body.get('kind')), KINDS)}", ("kind",))]
    findings = [error(f"{key} stands here twice: remove one", line=line) for key, line in manifest.repeated]
    findings += [
        error(f"unknown field{hint}", path)
        for path, hint in _unknown(body, _schema(kind), at=())
        if path[0] != "status"
    ]
    try:
        parsed = kind.model_validate(body)
    except ValidationError as errors:
        told = dict.fromkeys(_told(item) for item in _causes(errors))
        return None, findings + [error(message, path) for path, message in told]
    if kind.NAMESPACED and parsed.namespace is None:
        parsed = parsed.model_copy(update={"metadata": parsed.metadata.model_copy(update={"namespace": namespace})})
    return parsed, findings


def _causes(errors: ValidationError) -> list[Any]:
    """The errors without those that only follow from others: a list is not too short because its items are wrong."""
    items = errors.errors(include_url=False)
    return [
        item
        for item in items
        if item["type"] != "too_short"
        or not any(len(other["loc"]) > len(item["loc"]) == _common(other["loc"], item["loc"]) for other in items)
    ]


def _common(one: FieldPath, two: FieldPath) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, two, strict=False)))


def _told(item: Any) -> tuple[FieldPath, str]:
    """The path and the message of one error of pydantic's; a rule adds the field that it is about."""
    below = re.findall(r"\[(\d+)\]|\.?([^.\[\]]+)", item.get("ctx", {}).get("field", ""))
    steps = (int(index) if index else name for index, name in below)
    return (*item["loc"], *steps), item["msg"].removeprefix("Value error, ")


def _unknown(body: Any, schema: Mapping[str, Any], *, at: FieldPath) -> Iterator[tuple[FieldPath, str]]:
    """Fields that the schema does not have, each with a hint at what was meant: the API server refuses them, too."""
    if isinstance(body, list) and "items" in schema:
        for index, item in enumerate(body):
            yield from _unknown(item, schema["items"], at=(*at, index))
    if not isinstance(body, Mapping):
        return
    extra = schema.get("additionalProperties")
    for name, value in body.items():
        if name in (known := schema.get("properties", {})):
            yield from _unknown(value, known[name], at=(*at, name))
        elif isinstance(extra, Mapping):
            yield from _unknown(value, extra, at=(*at, name))
        elif known:
            yield (*at, str(name)), _hint(str(name), known)


def _hint(name: str, known: Mapping[str, Any]) -> str:
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f": did you mean {close[0]}?" if close else f": one of {', '.join(sorted(known))} was expected"


@cache
def _schema(kind: type[Resource]) -> Mapping[str, Any]:
    schema = structural_schema(kind)
    metadata: dict[str, Any] = {"properties": {key: {} for key in _METADATA}}
    return schema | {"properties": schema["properties"] | {"metadata": metadata}}


def _text(path: FieldPath) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")
