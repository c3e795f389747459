"""Tables as kubectl prints them: columns as wide as they need to be, no lines, the last column free."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Final

import click

from littoral.cli.style import faint

_GAP: Final = "   "
_NARROWEST: Final = 24  # A text that is wrapped to less than this is harder to read than a long line.

ABSENT: Final = "-"
"""What stands in a cell of which nothing is known."""


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, indent: int = 0, width: int | None = None) -> str:
    """Align rows under their headers.

    Args:
        headers: one for each column; none at all for a table without a header line.
        rows: cells, styled or not; an empty one is shown as `-`, except in the last column.
        indent: spaces before each line.
        width: columns of the terminal: the last cell of a row, unstyled, is wrapped to fit. None: nothing is wrapped.

    Returns:
        Lines without trailing spaces and without a final line break.
    """
    body = [[*(cell or ABSENT for cell in row[:-1]), row[-1]] for row in rows]
    # Styled header cells would be cut by the padding, were it not counted without the style.
    lines = [[header and faint(header) for header in headers], *body] if headers else body
    if not lines:
        return ""
    widths = [max(_length(line[column]) for line in lines) for column in range(len(lines[0]) - 1)]
    start = indent + sum(widths) + len(_GAP) * len(widths)
    return "\n".join(_line(line, widths=widths, start=start, indent=indent, width=width) for line in lines)


def _line(cells: Sequence[str], *, widths: Sequence[int], start: int, indent: int, width: int | None) -> str:
    padded = [cell + " " * (size - _length(cell)) for cell, size in zip(cells, widths, strict=False)]
    last = wrap(cells[-1], start=start, width=width)
    return (" " * indent + _GAP.join([*padded, last])).rstrip()


def wrap(text: str, *, start: int, width: int | None) -> str:
    """Text that begins in column `start`, its further lines beneath its first."""
    if width is None or start + _length(text) <= width:
        return text
    room = max(width - start, _NARROWEST)
    return f"\n{' ' * start}".join(textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False))


def _length(cell: str) -> int:
    return len(click.unstyle(cell))
