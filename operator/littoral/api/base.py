"""What every object of the API is built on: immutable pydantic models that explain what is wrong with an object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from littoral.api.rules import Rule

GROUP = "littoral.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

# A condition's message may be longer, but nobody reads more, and the object stays small.
MESSAGE_LIMIT = 1024


class InvalidObject(ValueError):
    """An object does not obey its schema. `str()` names each wrong field, and fits a condition's message."""


class ApiModel(BaseModel):
    """An immutable part of an object: snake_case here, camelCase in JSON."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        serialize_by_alias=True,
        frozen=True,
        # A newer object must not break an older operator; the API server's field validation catches typos.
        extra="ignore",
        use_attribute_docstrings=True,
    )

    rules: ClassVar[tuple[Rule, ...]] = ()
    # Whether server-side apply takes the object as a whole: parts of a selector mean nothing by themselves.
    atomic: ClassVar[bool] = False

    @model_validator(mode="after")
    def _obey_rules(self) -> Self:
        for rule in self.rules:
            rule.check(self)
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        reference = handler(schema)
        definition = handler.resolve_ref_schema(reference)
        for rule in cls.rules:
            definition.update(rule.extend(definition))
        if cls.atomic:
            definition["x-kubernetes-map-type"] = "atomic"
        return reference

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Self:
        """Read a JSON object.

        Raises:
            InvalidObject: names each wrong field, as in `spec.variants[0].artifact.digest: ...`.
        """
        try:
            return cls.model_validate(body)
        except ValidationError as error:
            raise InvalidObject(_explain(error)) from error

    def dump(self) -> dict[str, Any]:
        """The JSON object, without the fields that are absent."""
        return self.model_dump(mode="json", exclude_none=True)


def shorten(text: str) -> str:
    """The text, cut where a message of a status has to end (`MESSAGE_LIMIT` characters)."""
    return text if len(text) <= MESSAGE_LIMIT else text[: MESSAGE_LIMIT - 1] + "…"


def _explain(error: ValidationError) -> str:
    lines = []
    for item in error.errors(include_url=False):
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in item["loc"])
        path = (path + item.get("ctx", {}).get("field", "")).lstrip(".")
        lines.append(f"{path or 'object'}: {item['msg'].removeprefix('Value error, ')}")
    return shorten("; ".join(dict.fromkeys(lines)))
