"""Options that the commands for people share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import CompletionItem

from littoral.cli.access import Access

if TYPE_CHECKING:
    from collections.abc import Iterator

_WIDTH_OF_A_PIPE: Final = 120


class EndsWithOne(click.Command):
    """A command whose usage errors end with 1, since 2 says that there are changes."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does it."""
        with _ending_with_one():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """As click does it."""
        with _ending_with_one():
            return super().invoke(ctx)


@contextmanager
def _ending_with_one() -> Iterator[None]:
    try:
        yield
    except click.UsageError as error:
        # click reads it from the error, and declares it for the class.
        vars(error)["exit_code"] = 1
        raise


def complete_models(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The Models of the namespace that the line names so far."""
    from littoral.cli.completion import names_of_models

    return _items(names_of_models(_access_of(ctx)), incomplete)


def complete_namespaces(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The namespaces of the cluster that the line names so far."""
    from littoral.cli.completion import names_of_namespaces

    return _items(names_of_namespaces(_access_of(ctx)), incomplete)


def complete_contexts(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The contexts of the kubeconfig."""
    from littoral.cli.completion import names_of_contexts

    return _items(names_of_contexts(_access_of(ctx)), incomplete)


def _access_of(ctx: click.Context) -> Access:
    given = {key: ctx.params.get(key) for key in ("kubeconfig", "context", "namespace")}
    return Access(**given)


def _items(names: list[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def cluster_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--kubeconfig`, `--context` and `-n`, which the function gets as one argument `access`."""
    return _with_access(function, about_namespace="Namespace.  [default: that of the context]")


def release_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `cluster_options`, where the namespace is the one that Littoral is installed in."""
    return _with_access(function, about_namespace="Namespace of Littoral's release.  [default: where its operator is]")


def _with_access(function: Callable[..., Any], *, about_namespace: str) -> Callable[..., Any]:
    @wraps(function)
    def with_access(*, kubeconfig: str | None, context: str | None, namespace: str | None, **rest: Any) -> Any:
        return function(access=Access(kubeconfig=kubeconfig, context=context, namespace=namespace), **rest)

    for option in reversed(
        (
            click.option(
                "-n",
                "--namespace",
                metavar="NAME",
                shell_complete=complete_namespaces,
                help=about_namespace,
            ),
            click.option(
                "--context",
                metavar="NAME",
                shell_complete=complete_contexts,
                help="Context of the kubeconfig.  [default: the current one]",
            ),
            click.option(
                "--kubeconfig",
                type=click.Path(exists=True, dir_okay=False),
                metavar="FILE",
                help="Kubeconfig.  [default: $KUBECONFIG, else ~/.kube/config]",
            ),
        )
    ):
        with_access = option(with_access)
    return with_access


def all_namespaces_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`-A`, as kubectl has it."""
    return click.option("-A", "--all-namespaces", is_flag=True, help="Every namespace.")(function)


def output_option(*forms: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`-o`, whose first form is the default."""
    return click.option(
        "-o", "--output", type=click.Choice(forms), default=forms[0], show_default=True, help="Form of the output."
    )


def terminal_width() -> int:
    """Columns to fill: the terminal's, or those that are easy to read in a file."""
    return shutil.get_terminal_size((_WIDTH_OF_A_PIPE, 24)).columns


def plain() -> bool:
    """Whether NO_COLOR asks for no colours (no-color.org)."""
    return bool(os.environ.get("NO_COLOR"))


def document(body: dict[str, Any], *, output: str) -> str:
    """A machine's form of an answer: `json` or `yaml`."""
    import json

    text = json.dumps(body, indent=2, ensure_ascii=False)
    if output == "json":
        return text
    import yaml

    # By way of JSON: YAML's writer knows plain types only, and no enumerations.
    return yaml.safe_dump(json.loads(text), sort_keys=False, allow_unicode=True).rstrip()
