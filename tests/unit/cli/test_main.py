"""The program as a whole: its help, its exit codes, its colours, and what it costs to start."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from littoral.cli import main as program
from littoral.cli.main import main
from littoral.cli.reference import main as reference

COMMANDS = main.list_commands(click.Context(main))
FOR_PEOPLE = sorted(set(COMMANDS) - {"agent", "gateway", "operator"})


def command(name: str) -> click.Command:
    """One command, imported."""
    found = main.get_command(click.Context(main), name)
    assert found is not None
    return found


def test_help_imports_nothing_heavy() -> None:
    heavy = "aiohttp asyncio kopf kubernetes littoral.api littoral.core pydantic yaml"
    script = f"""
import sys
from littoral.cli.main import main
main(["--help"], standalone_mode=False)
print([name for name in {heavy.split()!r} if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert ran.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", FOR_PEOPLE)
def test_the_summary_is_the_command_s_own(name: str) -> None:
    assert program._COMMANDS[name].summary == command(name).get_short_help_str(limit=120)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_help(name: str) -> None:
    nameless = [p.name for p in command(name).params if isinstance(p, click.Option) and not p.help]
    assert not nameless


@pytest.mark.parametrize("name", FOR_PEOPLE)
def test_every_command_for_people_has_examples(name: str) -> None:
    shown = CliRunner().invoke(main, [name, "--help"])
    assert shown.exit_code == 0
    assert f"littoral {name}" in shown.output.partition("Example")[2]


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["plan", "--exit-kode"], ["plan", "--live", "--world", __file__], ["validate"]]
)
def test_usage_errors_never_look_like_changes(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, arguments).exit_code == 1


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch, no_color: str, coloured: bool) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    shown = CliRunner().invoke(main, ["validate", __file__], color=True)
    assert ("\x1b[" in shown.stdout) is coloured


def test_a_pipe_gets_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    shown = CliRunner().invoke(main, ["validate", __file__])
    assert "error" in shown.stdout
    assert "\x1b[" not in shown.stdout


def test_the_reference_is_up_to_date() -> None:
    assert reference(["--check"]) == 0


@pytest.mark.parametrize(
    ("shell", "mark"), [("bash", "complete -o"), ("zsh", "compdef"), ("fish", "complete --no-files")]
)
def test_completion_scripts(shell: str, mark: str) -> None:
    shown = CliRunner().invoke(main, ["completion", shell])
    assert shown.exit_code == 0
    assert mark in shown.output
    assert "_LITTORAL_COMPLETE" in shown.output


def test_a_plugin_of_kubectl_calls_itself_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/local/bin/kubectl-littoral"])
    result = CliRunner().invoke(main, ["explain", "--help"], prog_name="kubectl littoral")
    assert result.output.startswith("Usage: kubectl littoral explain")
