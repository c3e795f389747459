"""What every object of the API is built on: immutable pydantic models that carry their own CEL rules.

A rule is written once, as CEL for the API server and as a Python predicate for `littoral validate` and for
the operator, so that both refuse the same objects with the same words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

GROUP = "littoral.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

# A condition's message may be longer, but nobody reads more, and the object stays small.
MESSAGE_LIMIT = 1024


def shorten(text: str) -> str:
    """The text, cut where a message of a status has to end (`MESSAGE_LIMIT` characters)."""
    return text if len(text) <= MESSAGE_LIMIT else text[: MESSAGE_LIMIT - 1] + "…"


class InvalidObject(ValueError):
    """An object that does not obey its schema; `str()` names each wrong field and fits a condition's
    message."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A validation rule of a field or of an object.

    Use it in `Annotated[...]` for a field, or in `ApiModel.rules` where fields depend on each other.

    Args:
        cel: the expression the API server evaluates; `self` is the value.
        message: what the user is told; says what to do.
        holds: the same rule in Python; absent for transition rules, which need the old object.
        field: JSON path below `self` that the error points to, such as `.minReplicas`.
        reason: what kind of error it is, where it is another than `FieldValueInvalid`.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool] | None = None
    field: str = ""
    reason: str = ""

    def check(self, value: Any) -> Any:
        """Return `value`, or raise the error that pydantic collects."""
        if self.holds is not None and not self.holds(value):
            raise PydanticCustomError("rule", "{message}", {"message": self.message, "field": self.field})
        return value

    def schema(self) -> dict[str, str]:
        """The entry of `x-kubernetes-validations`."""
        entry = {"rule": self.cel, "message": self.message, "fieldPath": self.field, "reason": self.reason}
        return {key: value for key, value in entry.items() if value}

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return _with_rules(handler(schema), (self,))


@dataclass(frozen=True, init=False)
class ListMap:
    """Marks a list whose items are told apart by `keys`: merged by key on server-side apply, no
    duplicates."""

    keys: tuple[str, ...]

    def __init__(self, *keys: str) -> None:
        object.__setattr__(self, "keys", keys)

    def check(self, items: tuple[ApiModel, ...]) -> tuple[ApiModel, ...]:
        """Return `items`, or raise the error that pydantic collects."""
        fields = {field.alias: name for name, field in type(items[0]).model_fields.items()} if items else {}
        _refuse_duplicates([tuple(getattr(item, fields[key]) for key in self.keys) for item in items])
        return items

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        marks = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(self.keys)}
        return handler(schema) | marks


@dataclass(frozen=True)
class ListSet:
    """Marks a list of scalars without duplicates and without order."""

    def check(self, items: tuple[str, ...]) -> tuple[str, ...]:
        """Return `items`, or raise the error that pydantic collects."""
        _refuse_duplicates([(item,) for item in items])
        return items

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(schema) | {"x-kubernetes-list-type": "set"}


def _refuse_duplicates(keys: list[tuple[Any, ...]]) -> None:
    seen: set[tuple[Any, ...]] = set()
    for index, key in enumerate(keys):
        if key in seen:
            name = "/".join(str(part) for part in key)
            raise PydanticCustomError("duplicate", "Duplicate value: {name}", {"name": name, "field": f"[{index}]"})
        seen.add(key)


def _with_rules(schema: JsonSchemaValue, rules: tuple[Rule, ...]) -> JsonSchemaValue:
    entries = [rule.schema() for rule in rules]
    return schema | {"x-kubernetes-validations": schema.get("x-kubernetes-validations", []) + entries}


class ApiModel(BaseModel):
    """An immutable part of an object: snake_case here, camelCase in JSON; unknown fields are ignored on
    reading."""

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
        json_schema = handler(schema)
        target = handler.resolve_ref_schema(json_schema)
        if cls.rules:
            target.update(_with_rules(target, cls.rules))
        if cls.atomic:
            target["x-kubernetes-map-type"] = "atomic"
        return json_schema

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


def _explain(error: ValidationError) -> str:
    lines = []
    for item in error.errors(include_url=False):
        path = _path(item["loc"]) + item.get("ctx", {}).get("field", "")
        lines.append(f"{path.lstrip('.') or 'object'}: {item['msg'].removeprefix('Value error, ')}")
    return shorten("; ".join(dict.fromkeys(lines)))


def _path(location: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
