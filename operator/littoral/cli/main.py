"""`littoral`: one program for the operator, the agent and people; also `kubectl littoral`."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from littoral import __version__
from littoral.cli.options import EndsWithOne, plain


class _Entry(NamedTuple):
    """A command that is not imported yet: where it is, and what `--help` says of it meanwhile."""

    location: str
    summary: str


# Commands are imported when they are called: neither the agent nor `--help` pays for the operator's imports.
_FOR_PEOPLE: Final = {
    "completion": _Entry("littoral.cli.completion:completion", "Print the script that completes commands in a shell."),
    "explain": _Entry("littoral.cli.explain:explain", "Say why a Model runs where it does, and why not elsewhere."),
    "export": _Entry("littoral.cli.export:export", "Print what other programs take."),
    "invite": _Entry(
        "littoral.cli.invite:invite", "Invite a member cluster, and print the token with which it joins this hub."
    ),
    "join": _Entry("littoral.cli.join:join", "Join a hub, with what littoral invite has printed there."),
    "optimize": _Entry("littoral.cli.optimize:optimize", "Make variants of a network for each kind of hardware."),
    "plan": _Entry("littoral.cli.plan:plan", "Show what would change, and change nothing."),
    "publish": _Entry("littoral.cli.publish:publish", "Push artifacts to an OCI registry."),
    "revoke": _Entry("littoral.cli.invite:revoke", "Take away a member cluster's access to this hub."),
    "simulate": _Entry("littoral.cli.simulate:simulate", "Compare policies on recorded or generated requests."),
    "snapshot": _Entry("littoral.cli.snapshot:snapshot", "Write down what the planner reads of the cluster."),
    "top": _Entry("littoral.cli.top:top", "Show what runs, how busy it is and how fast."),
    "validate": _Entry("littoral.cli.validate:validate", "Check manifests by the API server's rules, and together."),
}
_FOR_CLUSTERS: Final = {
    "agent": _Entry("littoral.cli.agent:agent", "Keep the Triton beside this process at its desired state."),
    "gateway": _Entry("littoral.cli.gateway:gateway", "Keep the HAProxy beside this process at its routes."),
    "operator": _Entry("littoral.cli.operator:operator", "Run the operator in this cluster."),
}
_COMMANDS: Final = _FOR_PEOPLE | _FOR_CLUSTERS


class _LazyGroup(EndsWithOne, click.Group):
    def main(self, *args: Any, **extra: Any) -> Any:
        if Path(sys.argv[0]).name.startswith("kubectl-"):
            extra.setdefault("prog_name", "kubectl littoral")
        return super().main(*args, **extra)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name].location.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, entries in (("Commands", _FOR_PEOPLE), ("What runs in clusters", _FOR_CLUSTERS)):
            with formatter.section(title):
                formatter.write_dl([(name, entry.summary) for name, entry in entries.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="littoral")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Run NVIDIA Triton at the edge and in the cloud, placed by load and by what nodes can do."""
    if plain():
        ctx.color = False


if __name__ == "__main__":
    main()
