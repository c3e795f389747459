"""The top level of a config.pbtxt (protobuf text format): which fields there are, and where each begins and
ends.

Littoral sets a model's name, backend and version policy itself and leaves the rest of an owner's file as it
is; for that the fields at the top are enough, and the schema of Triton's configuration is not needed.
"""

import re
from dataclasses import dataclass

from littoral.agent.errors import ArtifactError

_TOKEN = re.compile(
    r"""
      (?P<space> \s+ | \#[^\n]* )
    | (?P<string> "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' )
    | (?P<open> [{\[<] )
    | (?P<close> [}\]>] )
    | (?P<end> [,;] )
    | (?P<colon> : )
    | (?P<word> [^\s\#"'{}\[\]<>,;:]+ )
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field at the top of the file."""

    name: str
    text: str
    """The field as it is written, name included."""


def fields(text: str) -> list[Field]:
    """The fields at the top of a config.pbtxt, in their order; comments between them are dropped.

    Raises:
        ArtifactError: this is not protobuf text.
    """
    found: list[Field] = []
    name, start, depth, complete = "", 0, 0, False
    position = 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            raise _refused(text, position)
        kind, begin, position = token.lastgroup, position, token.end()
        if kind == "space":
            continue
        if depth == 0 and kind == "word" and (complete or not name):
            if name:
                found.append(Field(name=name, text=text[start:begin].strip()))
            name, start, complete = token.group(), begin, False
        elif not name:
            raise _refused(text, begin)
        elif kind == "open":
            depth += 1
        elif kind == "close":
            depth -= 1
            complete = depth == 0
            if depth < 0:
                raise _refused(text, begin)
        elif depth == 0 and kind in ("word", "string"):
            complete = True
    if depth or (name and not complete):
        raise _refused(text, len(text))
    if name:
        found.append(Field(name=name, text=text[start:].strip()))
    return found


def quoted(value: str) -> str:
    """A string literal of the text format."""
    escaped = "".join(
        f"\\{byte:03o}" if byte < 0x20 or byte >= 0x7F else ("\\" if chr(byte) in '"\\' else "") + chr(byte)
        for byte in value.encode()
    )
    return f'"{escaped}"'


def _refused(text: str, position: int) -> ArtifactError:
    line = text.count("\n", 0, position) + 1
    return ArtifactError(f"config.pbtxt, line {line}: not protobuf text")
