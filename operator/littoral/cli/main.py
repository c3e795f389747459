"""`littoral`: one program for the operator, the agent and people."""

from __future__ import annotations

from importlib import import_module
from typing import Final

import click

from littoral import __version__

# Commands are imported when they are called: the agent must not pay for the operator's imports.
_COMMANDS: Final = {
    "agent": "littoral.cli.agent:agent",
    "operator": "littoral.cli.operator:operator",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="littoral")
def main() -> None:
    """Run NVIDIA Triton at the edge and in the cloud, placed by load and by what nodes can do."""


if __name__ == "__main__":
    main()
