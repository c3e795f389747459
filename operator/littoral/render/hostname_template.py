"""Host names of Models, by a template such as `{model}.{namespace}.example.com`. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import starmap
from typing import Final, NamedTuple, Self

_LABEL_MOST: Final = 63
_NAME_MOST: Final = 253
_LABEL: Final = re.compile(r"([-a-z0-9]*)(?:\{(model|namespace)\}([-a-z0-9]*))?")


class _Label(NamedTuple):
    """One label of a template: fixed text, or text around a placeholder."""

    before: str
    placeholder: str
    after: str

    def filled(self, values: dict[str, str]) -> str:
        return f"{self.before}{values[self.placeholder] if self.placeholder else ''}{self.after}"


@dataclass(frozen=True)
class HostnameTemplate:
    """Gives every Model a host name of its own.

    The namespace and the Model's name stand in labels of their own: in one label, `a-b` and `c` would be `a` and `b-c`,
    and a tenant could take another one's host name.
    """

    text: str
    labels: tuple[_Label, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a template.

        Raises:
            ValueError: it gives no valid host names, or the same one to several Models; the message says why.
        """
        labels = []
        for part in text.split("."):
            match = _LABEL.fullmatch(part)
            if match is None:
                raise ValueError(
                    f"{text}: {part!r} is no label of a host name: lower-case letters, digits, hyphens, and at most "
                    "one of {model} and {namespace}"
                )
            label = _Label(match[1], match[2] or "", match[3] or "")
            example = label.filled({"model": "m", "namespace": "n"})
            if not example or example.startswith("-") or example.endswith("-") or len(example) > _LABEL_MOST:
                raise ValueError(
                    f"{text}: {part!r} is no label of a host name: 1 to {_LABEL_MOST} characters, no hyphen first or "
                    "last"
                )
            labels.append(label)
        named = [label.placeholder for label in labels if label.placeholder]
        for placeholder in ("model", "namespace"):
            if named.count(placeholder) != 1:
                raise ValueError(f"{text}: {{{placeholder}}} must stand in it once, else Models share a host name")
        if len(text) > _NAME_MOST:
            raise ValueError(f"{text}: longer than {_NAME_MOST} characters")
        return cls(text, tuple(labels))

    def hostname(self, *, namespace: str, model: str) -> str:
        """The host name of a Model.

        Raises:
            ValueError: it is too long.
        """
        values = {"model": model, "namespace": namespace}
        labels = [label.filled(values) for label in self.labels]
        name = ".".join(labels)
        if len(name) > _NAME_MOST or any(len(label) > _LABEL_MOST for label in labels):
            raise ValueError(
                f"{name} is no host name: at most {_LABEL_MOST} characters from dot to dot, {_NAME_MOST} altogether"
            )
        return name


def may_meet(one: HostnameTemplate, other: HostnameTemplate) -> bool:
    """Whether two templates can give the same host name, to whatever Models."""
    return len(one.labels) == len(other.labels) and all(starmap(_may_meet, zip(one.labels, other.labels, strict=True)))


def _may_meet(one: _Label, other: _Label) -> bool:
    if one.placeholder and other.placeholder:
        starts = one.before.startswith(other.before) or other.before.startswith(one.before)
        ends = one.after.endswith(other.after) or other.after.endswith(one.after)
        return starts and ends
    if not one.placeholder and not other.placeholder:
        return one.before == other.before
    text, around = (one.before, other) if other.placeholder else (other.before, one)
    room = len(text) - len(around.before) - len(around.after)
    return room > 0 and text.startswith(around.before) and text.endswith(around.after)
