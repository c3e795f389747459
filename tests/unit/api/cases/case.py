"""Rows of a table that says which objects the API accepts, and what it answers to the others.

The same rows run against a real API server (tests/cluster) and against the operator's own reading (tests/unit/api).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from littoral.api.meta import Resource

ABSENT = object()
"""As a value: the field is left out."""

DIGEST = "sha256:" + "0123456789abcdef" * 4


@dataclass(frozen=True, kw_only=True)
class Case:
    """One object, as a base and what is changed in it.

    `message` is a part of what the API server answers about the field `field`; without one it accepts the object.
    """

    kind: type[Resource]
    base: Mapping[str, Any]
    changes: Mapping[str, Any]
    field: str = ""
    message: str = ""

    @property
    def body(self) -> dict[str, Any]:
        """The object."""
        body = copy.deepcopy(dict(self.base))
        for path, value in self.changes.items():
            _set(body, path, value if value is ABSENT else copy.deepcopy(value))
        return body

    def __str__(self) -> str:
        changes = ",".join(f"{path}={_short(value)}" for path, value in self.changes.items())
        return f"{'refuses' if self.message else 'accepts'}:{changes}"


@dataclass(frozen=True)
class Table:
    """Makes the cases of one kind."""

    kind: type[Resource]
    base: Mapping[str, Any]
    cases: list[Case] = field(default_factory=list)

    def accepts(self, path: str, *values: Any, also: Mapping[str, Any] | None = None) -> None:
        """Each of the values stands in an object that is accepted."""
        for value in values:
            self.cases.append(Case(kind=self.kind, base=self.base, changes={**(also or {}), path: value}))

    def refuses(
        self, path: str, *values: Any, says: str, at: str | None = None, also: Mapping[str, Any] | None = None
    ) -> None:
        """Each of the values is refused, and the message about the field `at` (default: `path`) contains `says`."""
        for value in values:
            changes = {**(also or {}), path: value}
            self.cases.append(
                Case(kind=self.kind, base=self.base, changes=changes, field=path if at is None else at, message=says)
            )

    def names(self, path: str, *, longest: int) -> None:
        """The field is a DNS label of at most `longest` characters."""
        self.accepts(path, "a", "a" * longest, "a-1")
        self.refuses(path, "Upper", "-a", "a-", "a.b", "a_b", "", says="should match")
        self.refuses(path, "a" * (longest + 1), says="Too long")

    def host_port(self, path: str, *, also: Mapping[str, Any]) -> None:
        """The field is a host name or IP address with a port."""
        self.accepts(path, "gateway.example:8443", "192.0.2.1:443", "[2001:db8::1]:8443", also=also)
        wrong = ("gateway.example", "gateway.example:", "https://gateway.example:8443", "2001:db8::1", "-a:1", "")
        self.refuses(path, *wrong, says="should match", also=also)
        self.refuses(path, "a" * 255 + ":8443", says="Too long", also=also)

    def selector(self, path: str) -> None:
        """The field is a node selector."""
        self.accepts(path, {}, {"matchLabels": {"a.example/b": "C_1"}}, {"matchLabels": {"a": ""}})
        self.refuses(f"{path}.matchLabels", {"a": "-"}, says="should match", at=f"{path}.matchLabels.a")
        self.refuses(f"{path}.matchLabels", {"a": "b" * 64}, says="Too long", at=f"{path}.matchLabels.a")
        self.accepts(f"{path}.matchLabels", {f"k{n}": "v" for n in range(32)})
        self.refuses(f"{path}.matchLabels", {f"k{n}": "v" for n in range(33)}, says="must have at most 32")

        def expression(**parts: Any) -> dict[str, Any]:
            return {"matchExpressions": [{"key": "a.example/b", "operator": "Exists", **parts}]}

        first = f"{path}.matchExpressions[0]"
        self.accepts(path, expression())
        exists = [{"key": "a", "operator": "Exists"}]
        self.accepts(f"{path}.matchExpressions", exists * 32)
        self.refuses(f"{path}.matchExpressions", exists * 33, says="must have at most 32 items")
        for required in ("key", "operator"):
            expressions = [{"key": "a", "operator": "Exists"}]
            del expressions[0][required]
            at = f"{first}.{required}"
            self.refuses(f"{path}.matchExpressions", expressions, says="Required value", at=at)
        self.refuses(path, expression(key="a/b/c"), says="should match", at=f"{first}.key")
        self.refuses(path, expression(key="a" * 318), says="Too long", at=f"{first}.key")
        self.refuses(path, expression(operator="Like"), says="Unsupported value", at=f"{first}.operator")
        nothing: tuple[dict[str, Any], ...] = ({}, {"values": []})
        for operator in ("In", "NotIn"):
            self.accepts(path, expression(operator=operator, values=["x"]))
            for none in nothing:
                self.refuses(
                    path,
                    expression(operator=operator, **none),
                    says="In and NotIn need at least one value",
                    at=f"{first}.values",
                )
        for operator in ("Exists", "DoesNotExist"):
            self.accepts(path, expression(operator=operator))
            self.refuses(
                path,
                expression(operator=operator, values=["x"]),
                says="Exists and DoesNotExist take no values: remove them",
                at=f"{first}.values",
            )
        for operator in ("Gt", "Lt"):
            self.accepts(path, expression(operator=operator, values=["4000"]))
            for wrong in ("", "1 2", "1.5", "many"):
                self.refuses(
                    path,
                    expression(operator=operator, values=wrong.split()),
                    says="Gt and Lt need exactly one value, a whole number such as 4000",
                    at=f"{first}.values",
                )
        values = [f"v{n}" for n in range(65)]
        self.accepts(path, expression(operator="In", values=values[:64]))
        self.refuses(path, expression(operator="In", values=values), says="at most 64 items", at=f"{first}.values")
        self.refuses(path, expression(operator="In", values=["-"]), says="should match", at=f"{first}.values[0]")
        self.refuses(path, expression(operator="In", values=["v" * 64]), says="Too long", at=f"{first}.values[0]")

    def quantity(self, path: str, *, zero: bool) -> None:
        """The field is a quantity above 0, or with `zero` of 0 or more."""
        self.accepts(path, 2, "2", "500m", "1.5Gi", "1e3", "100M")
        self.refuses(path, "2 GiB", "two", "", "1e999", says="should match")
        self.refuses(path, "1" * 33, says="Too long")
        if zero:
            self.accepts(path, 0, "0")
            self.refuses(path, -1, "-1", says="must not be negative")
        else:
            self.refuses(path, 0, "0", -1, "-1Gi", says="must be greater than 0")

    def positive_duration(self, path: str) -> None:
        """The field is a duration above 0 and up to an hour."""
        self.accepts(path, "50ms", "1.5s", "1h", "59m60s", "1ns")
        self.refuses(path, "0s", "0h0m", "1h1ns", "2h", says="must be longer than 0s and at most 1h")
        self.refuses(path, "50", "-1s", "1 s", "1d", "", says="should match")
        self.refuses(path, "1" * 32 + "ms", says="Too long")

    def ratio(self, path: str) -> None:
        """The field is a decimal from 0 to 1."""
        self.accepts(path, "0", "1", "1.0", "0.781")
        self.refuses(path, "1.001", "2", says="must be between 0 and 1")
        self.refuses(path, "-0.1", "78%", "", ".5", says="should match")
        self.refuses(path, "0." + "1" * 31, says="Too long")

    def percentage(self, path: str) -> None:
        """The field is a decimal above 0 and below 100."""
        self.accepts(path, "50", "99.9", "0.001", "99.999")
        self.refuses(path, "0", "0.0", "100", "250", says="must be greater than 0 and less than 100, such as 99.9")
        self.refuses(path, "-1", "99%", "p99", "", says="should match")
        self.refuses(path, "9." + "9" * 31, says="Too long")


def _steps(path: str) -> Iterator[str | int]:
    for step in re.findall(r"[^.\[\]]+", path):
        yield int(step) if step.isdigit() else step


def _set(body: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = _steps(path)
    node: Any = body
    for step in parents:
        node = node[step] if isinstance(step, int) else node.setdefault(step, {})
    if value is ABSENT:
        del node[last]
    else:
        node[last] = value


def _short(value: Any) -> str:
    text = "absent" if value is ABSENT else str(value)
    return text if len(text) <= 40 else f"{text[:30]}~{len(text)}"
