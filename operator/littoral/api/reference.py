"""The API reference in Markdown, out of the same schemas that the API server gets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

Schema = dict[str, Any]

_INTRODUCTION = """\
<!-- Generated from operator/littoral/api by `make generate`: edit the models, not this file. -->
# API reference

Group `littoral.dev`, version `v1alpha1`. `kubectl explain <kind> --recursive` says the same. How the kinds relate
is told in [concepts](../concepts.md).
"""


def reference(crds: Sequence[Schema]) -> str:
    """One chapter for each CustomResourceDefinition: its fields, then its rules."""
    return "\n".join([_INTRODUCTION, *(_chapter(crd) for crd in crds)])


def _chapter(crd: Schema) -> str:
    names, version = crd["spec"]["names"], crd["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    name = schema["properties"]["metadata"]["properties"]["name"]
    lines = [
        f"## {names['kind']}",
        "",
        schema["description"],
        "",
        f"{crd['spec']['scope']}; short name `{names['shortNames'][0]}`. "
        f"Its name has at most {name['maxLength']} characters and matches `{name['pattern']}`.",
        "",
    ]
    for part in ("spec", "status"):
        lines += [f"### {names['kind']} {part}", "", "| field | type | |", "|---|---|---|"]
        lines += [_row(path, field, required) for path, field, required in _fields(schema["properties"][part])]
        lines.append("")
    rules = list(_rules("", schema))
    if rules:
        lines += [f"### {names['kind']} rules", "", "| field | what is asked |", "|---|---|"]
        lines += [f"| `{path}` | {_cell(message)} |" for path, message in rules]
        lines.append("")
    return "\n".join(lines)


def _fields(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema, bool]]:
    """Every field below, depth first, with its path and whether it must be there."""
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        yield here, field, name in required
        yield from _fields(field, here)
        yield from _fields(field.get("items", {}), f"{here}[]")


def _row(path: str, field: Schema, required: bool) -> str:
    notes = [field.get("description", "")]
    if required:
        notes.append("**Required.**")
    if "default" in field:
        notes.append(f"Default: `{json.dumps(field['default'])}`.")
    notes += _bounds(field)
    return f"| `{path}` | {_type(field)} | {_cell(' '.join(note for note in notes if note))} |"


def _type(field: Schema) -> str:
    if field.get("x-kubernetes-int-or-string"):
        return "quantity"
    if "enum" in field:
        return "enum"
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}"
    if "additionalProperties" in field:
        return f"map to {_type(field['additionalProperties'])}"
    return str(field.get("type", "object"))


def _bounds(field: Schema) -> Iterator[str]:
    if "enum" in field:
        yield f"One of {', '.join(f'`{value}`' for value in field['enum'])}."
    if "maximum" in field and field["maximum"] < 2**31 - 1:
        yield f"From {field['minimum']} to {field['maximum']}."
    if "maxItems" in field:
        yield f"At most {field['maxItems']} items."
    if "maxLength" in field and "pattern" not in field:
        yield f"At most {field['maxLength']} characters."


def _rules(path: str, schema: Schema) -> Iterator[tuple[str, str]]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield (path + rule.get("fieldPath", "")).lstrip("."), rule["message"]
    for name, field in schema.get("properties", {}).items():
        yield from _rules(f"{path}.{name}", field)
    for key, suffix in (("items", "[]"), ("additionalProperties", "[*]")):
        if key in schema:
            yield from _rules(path + suffix, schema[key])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
