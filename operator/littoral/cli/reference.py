"""Writes `docs/reference/cli.md` from the commands themselves: `python -m littoral.cli.reference [--check]`."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from littoral.cli.main import main as littoral

_PATH: Final = Path("docs/reference/cli.md")
_VERBATIM: Final = "\b\n"
"""click's mark of a paragraph that is laid out by hand."""

_INTRODUCTION: Final = """\
<!-- Generated from operator/littoral/cli by `python -m littoral.cli.reference`: edit the commands, not this file. -->
# Command reference

Every command also runs as `kubectl littoral ...`. What the commands for people are good for is told in
[the command line](../cli.md).
"""


def reference() -> str:
    """The whole page: a chapter for each command."""
    root = littoral.make_context("littoral", [], resilient_parsing=True)
    chapters = []
    for name in littoral.list_commands(root):
        command = littoral.get_command(root, name)
        assert command is not None
        ctx = command.make_context(name, [], parent=root, resilient_parsing=True)
        chapters.append("\n".join(_chapter(ctx, command)))
        for below, part in command.commands.items() if isinstance(command, click.Group) else ():
            chapters.append("\n".join(_chapter(part.make_context(below, [], parent=ctx, resilient_parsing=True), part)))
    return "\n".join([_INTRODUCTION, *chapters])


def _chapter(ctx: click.Context, command: click.Command) -> Iterator[str]:
    usage = " ".join(command.collect_usage_pieces(ctx))
    yield f"## {ctx.command_path}\n\n```\n{ctx.command_path} {usage}\n```\n"
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if paragraph.startswith(_VERBATIM):
            yield f"```\n{paragraph.removeprefix(_VERBATIM)}\n```\n"
        else:
            yield paragraph.replace("<", "&lt;") + "\n"
    options = [param for param in command.get_params(ctx) if isinstance(param, click.Option)]
    records = [record for option in options if (record := option.get_help_record(ctx))]
    yield "| option | |\n|---|---|"
    for option, text in records:
        yield f"| `{_cell(option)}` | {_cell(text)} |"
    yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def main(arguments: list[str] | None = None) -> int:
    """Write the page, or with `--check` only compare it. Returns the exit code: 1 when it is out of date."""
    parser = argparse.ArgumentParser(prog="python -m littoral.cli.reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare")
    only_compare = parser.parse_args(arguments).check
    path = Path(__file__).parents[3] / _PATH
    text = reference()
    if path.exists() and path.read_text("utf-8") == text:
        return 0
    if only_compare:
        print(f"{_PATH} is out of date: run python -m littoral.cli.reference", file=sys.stderr)
        return 1
    path.write_text(text, "utf-8")
    print(f"wrote {_PATH}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
