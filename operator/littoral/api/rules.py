"""What a field or an object must obey beyond its type: annotations that pydantic and the CRDs both understand.

A rule is written once, as CEL for the API server and as a Python predicate for `littoral validate` and for the
operator, so that both refuse the same objects with the same words.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


class _Annotation(ABC):
    """Checks a value after its type, and adds what the API server has to know to its schema."""

    @abstractmethod
    def check(self, value: Any) -> Any:
        """Return `value`, or raise the error that pydantic collects."""

    @abstractmethod
    def extend(self, schema: JsonSchemaValue) -> JsonSchemaValue:
        """The schema with this annotation in it."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return self.extend(handler(schema))


@dataclass(frozen=True, kw_only=True)
class Rule(_Annotation):
    """A validation rule of a field (in `Annotated[...]`) or, where fields depend on each other, of an object.

    Args:
        cel: the expression that the API server evaluates; `self` is the value.
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
        if self.holds is not None and not self.holds(value):
            raise refusal(self.message, field=self.field)
        return value

    def extend(self, schema: JsonSchemaValue) -> JsonSchemaValue:
        entry = {"rule": self.cel, "message": self.message, "fieldPath": self.field, "reason": self.reason}
        said = {key: value for key, value in entry.items() if value}
        return schema | {"x-kubernetes-validations": [*schema.get("x-kubernetes-validations", ()), said]}


class ListMap(_Annotation):
    """A list whose items are told apart by `keys`: no duplicates, and server-side apply merges by key."""

    def __init__(self, *keys: str) -> None:
        self.keys = keys

    def check(self, items: Sequence[BaseModel]) -> Sequence[BaseModel]:
        fields = {field.alias: name for name, field in type(items[0]).model_fields.items()} if items else {}
        _refuse_duplicates([tuple(getattr(item, fields[key]) for key in self.keys) for item in items])
        return items

    def extend(self, schema: JsonSchemaValue) -> JsonSchemaValue:
        return schema | {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(self.keys)}


class ListSet(_Annotation):
    """A list of scalars without duplicates and without order."""

    def check(self, items: Sequence[str]) -> Sequence[str]:
        _refuse_duplicates([(item,) for item in items])
        return items

    def extend(self, schema: JsonSchemaValue) -> JsonSchemaValue:
        return schema | {"x-kubernetes-list-type": "set"}


def refusal(message: str, *, field: str = "") -> PydanticCustomError:
    """The error that pydantic collects; `field` is the JSON path below the value that it is about."""
    return PydanticCustomError("refusal", "{message}", {"message": message, "field": field})


def _refuse_duplicates(keys: Iterable[tuple[str, ...]]) -> None:
    seen: set[tuple[str, ...]] = set()
    for index, key in enumerate(keys):
        if key in seen:
            raise refusal(f"Duplicate value: {'/'.join(key)}", field=f"[{index}]")
        seen.add(key)
