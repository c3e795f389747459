"""The operator reads what the API server accepts, and refuses what it refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from littoral.api import InvalidObject
from littoral.api.crds import KINDS, Kind, crd
from tests.unit.api.cases import CASES
from tests.unit.api.cases.case import Case

# What the API server says of each keyword of a schema.
ANSWERS = {
    "pattern": "should match",
    "maxLength": "Too long",
    "enum": "Unsupported value",
    "minimum": "should be greater than or equal",
    "maximum": "should be less than or equal",
    "minItems": "should have at least",
    "maxItems": "at most",
    "maxProperties": "at most",
}


def schema_of(kind: Kind) -> dict[str, Any]:
    schema: dict[str, Any] = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def constraints(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Each bound, pattern, required field and rule below, as the path it speaks of and what the API server answers."""
    for keyword, answer in ANSWERS.items():
        if keyword in schema:
            yield path, answer
    for rule in schema.get("x-kubernetes-validations", ()):
        if "oldSelf" not in rule["rule"]:
            yield path + rule.get("fieldPath", ""), rule["message"]
    for name in schema.get("required", ()):
        yield f"{path}.{name}", "Required value"
    for name, child in schema.get("properties", {}).items():
        yield from constraints(child, f"{path}.{name}")
    if "items" in schema:
        yield from constraints(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from constraints(schema["additionalProperties"], f"{path}.*")


def covers(case: Case, path: str, answer: str) -> bool:
    """Whether the case is about this answer to the field of the schema at `path`."""
    pattern = re.escape(path).replace(r"\[\]", r"\[\d+\]").replace(r"\*", r"[^.]+")
    same_answer = answer in case.message or (bool(case.message) and case.message in answer)
    return same_answer and re.fullmatch(pattern, case.field) is not None


@pytest.mark.parametrize("case", [case for case in CASES if not case.message], ids=str)
def test_accepted(case: Case) -> None:
    read = case.kind.parse(case.body)
    assert case.kind.parse(read.dump()) == read


@pytest.mark.parametrize("case", [case for case in CASES if case.message], ids=str)
def test_refused(case: Case) -> None:
    with pytest.raises(InvalidObject) as caught:
        case.kind.parse(case.body)
    assert case.field in str(caught.value)
    assert len(str(caught.value)) <= 1024


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.resource.KIND)
def test_every_constraint_has_a_case(kind: Kind) -> None:
    schema = schema_of(kind)
    cases = [case for case in CASES if case.kind is kind.resource]
    untested = [
        (path, answer)
        for part in ("metadata", "spec")
        for path, answer in constraints(schema["properties"][part], part)
        if not any(covers(case, path, answer) for case in cases)
    ]
    assert untested == []
