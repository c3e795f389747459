"""From a pydantic model to the structural OpenAPI v3 schema that a CustomResourceDefinition holds.

What pydantic writes is valid JSON Schema, but a CRD allows neither `$ref` nor a null type, and wants to know how
lists merge. Absent is the only way to say null, as in the rest of Kubernetes.
"""

from __future__ import annotations

from typing import Any

from littoral.api.meta import Resource

Schema = dict[str, Any]

# The API server owns metadata: a CRD may bound the name, and nothing else.
_METADATA_KEYS = ("type", "maxLength", "pattern")
_IN_EVERY_OBJECT: dict[str, Schema] = {
    "apiVersion": {
        "type": "string",
        "description": "Version of the schema of this object, such as littoral.dev/v1alpha1.",
    },
    "kind": {"type": "string", "description": "Kind of this object, in CamelCase."},
}
# What a reader of the YAML looks for first stands first.
_ORDER = ("description", "type", "format", "enum", "pattern", "minLength", "maxLength", "minimum", "maximum", "default")
_NOT_COPIED = ("title", "$defs", "const", "default", "required", "readOnly")
# Spares a client the question whether the controller has seen the object yet.
_STATUS_DEFAULT = {"observedGeneration": -1}


def structural_schema(resource: type[Resource]) -> Schema:
    """The structural schema of a kind, ready for `spec.versions[].schema.openAPIV3Schema`."""
    # As written rather than as read: that includes what a status computes from its other fields.
    source = resource.model_json_schema(by_alias=True, mode="serialization")
    schema = _structural(source, source.get("$defs", {}))
    fields = schema["properties"]
    name = fields["metadata"]["properties"]["name"]
    properties = {
        **_IN_EVERY_OBJECT,
        "metadata": {
            "type": "object",
            "properties": {"name": {key: name[key] for key in _METADATA_KEYS}},
        },
        "spec": fields["spec"],
        "status": _without_defaults(fields["status"]) | {"default": _STATUS_DEFAULT},
    }
    return schema | {"properties": properties, "required": ["spec"]}


def _structural(node: Schema, definitions: Schema) -> Schema:
    node = _resolved(node, definitions)
    schema = {key: value for key, value in node.items() if key not in _NOT_COPIED}
    if "const" in node:
        schema["enum"] = [node["const"]]
    if "description" in node:
        schema["description"] = " ".join(node["description"].split())
    if (default := _without_absent(node.get("default"))) is not None:
        schema["default"] = default
    if "properties" in node:
        schema["properties"] = {name: _structural(child, definitions) for name, child in node["properties"].items()}
        required = [name for name in node.get("required", ()) if not node["properties"][name].get("readOnly")]
        schema |= {"required": required} if required else {}
    if "items" in node:
        schema["items"] = _structural(node["items"], definitions)
        schema.setdefault("x-kubernetes-list-type", "atomic")
    if node.get("additionalProperties") is True:
        del schema["additionalProperties"]
        schema["x-kubernetes-preserve-unknown-fields"] = True
    elif "additionalProperties" in node:
        schema["additionalProperties"] = _structural(node["additionalProperties"], definitions)
    return {key: schema[key] for key in sorted(schema, key=_rank)}


def _rank(key: str) -> int:
    return _ORDER.index(key) if key in _ORDER else len(_ORDER)


def _resolved(node: Schema, definitions: Schema) -> Schema:
    """The node without references and optional types: what they stand for, below what stands beside them."""
    if "$ref" in node:
        target = definitions[node["$ref"].rpartition("/")[2]]
        return _resolved(target | {key: value for key, value in node.items() if key != "$ref"}, definitions)
    choices = [choice for choice in node.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        return _resolved(choices[0] | {key: value for key, value in node.items() if key != "anyOf"}, definitions)
    return node


def _without_absent(default: Any) -> Any:
    """A default without the parts that say nothing, since absent says it."""
    if isinstance(default, dict):
        kept = {key: _without_absent(value) for key, value in default.items()}
        default = {key: value for key, value in kept.items() if value is not None}
    return None if default in ("", [], {}) else default


def _without_defaults(schema: Schema) -> Schema:
    """A controller writes the whole status: a default there would claim what nobody has observed."""
    result = {key: value for key, value in schema.items() if key != "default"}
    if "properties" in result:
        result["properties"] = {name: _without_defaults(child) for name, child in result["properties"].items()}
    if "items" in result:
        result["items"] = _without_defaults(result["items"])
    return result
