"""`littoral top`: a live table of what runs."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from littoral.cli.access import Access, Reader, parsed
from littoral.cli.failures import Failure
from littoral.cli.options import EndsWithOne, all_namespaces_option, cluster_options
from littoral.cli.times import local

if TYPE_CHECKING:
    from littoral.cli.top_text import State

_WHAT: Final = ("models", "pools", "servers")
# ECMA-48: erase the screen, go to its corner, erase to the end of the line, erase to the end of the screen.
_CLEAR: Final = "\x1b[2J"
_HOME: Final = "\x1b[H"
_TO_LINE_END: Final = "\x1b[K"
_TO_SCREEN_END: Final = "\x1b[J"
_NO_NEWS: Final = "\n\nNo news: "


@click.command(cls=EndsWithOne)
@click.argument("what", type=click.Choice(_WHAT), default="models")
@all_namespaces_option
@click.option("-w", "--watch", is_flag=True, help="Go on, in place on a terminal, until Ctrl-C.")
@click.option("--interval", type=click.FloatRange(min=0.1), default=2.0, show_default=True, metavar="SECONDS",
              help="Time between two looks.")  # fmt: skip
@cluster_options
def top(access: Access, what: str, all_namespaces: bool, watch: bool, interval: float) -> None:
    """Show what runs, how busy it is and how fast.

    RATE is in requests per second over the last minute. BUDGET is the latency of the strictest LatencySLO of the place;
    HEADROOM is the share of it that the measured percentile leaves: below 0% the SLO is not kept. A dash stands for
    what nobody has measured yet, or what you may not read (Assignments are cluster-scoped). Where there are gateways,
    SPILLED is what a pool's gateway sends to other pools, and REFUSED what it answers with 503. A state with a question
    mark, and all numbers beside it, are the last that was heard of a member cluster.

    \b
    Examples:
      littoral top                       # the Models of the namespace
      littoral top pools
      littoral top servers -A --watch
    """
    namespace = None if all_namespaces else access.default_namespace()
    try:
        access.read(lambda reader: show(reader, what=what, namespace=namespace, interval=interval if watch else None))
    except KeyboardInterrupt:
        click.echo()


async def show(reader: Reader, *, what: str, namespace: str | None, interval: float | None) -> None:
    """Print one table, or, with an interval in seconds, one after the other until cancelled.

    Raises:
        Failure: the first look failed. Later ones only tell that there are no news.
    """
    from littoral.cli.top_text import TABLES

    terminal = sys.stdout.isatty()
    frame = TABLES[what](await read_state(reader, what=what, namespace=namespace))
    if interval is None:
        click.echo(frame)
        return
    if terminal:
        click.echo(_CLEAR, nl=False)
    while True:
        title = f"littoral top {what}   {local(datetime.now(UTC))}"
        lines = [title, "", *frame.splitlines()]
        click.echo(in_place(lines, size=shutil.get_terminal_size()) if terminal else "\n".join([*lines, ""]))
        await asyncio.sleep(interval)
        try:
            frame = TABLES[what](await read_state(reader, what=what, namespace=namespace))
        except Failure as failure:
            # What is shown may be old, and says so; the next look may succeed.
            frame = f"{frame.split(_NO_NEWS)[0]}{_NO_NEWS}{failure.message}"


def in_place(lines: list[str], *, size: os.terminal_size) -> str:
    """What a terminal needs to show the lines over those that it shows: no more than it has room for."""
    room = max(size.lines - 1, 1)
    if len(lines) > room:
        lines = [*lines[: room - 1], f"... {len(lines) - room + 1} more"]
    fitting = (line if len(click.unstyle(line)) <= size.columns else _cut(line, size.columns) for line in lines)
    return _HOME + "\n".join(f"{line}{_TO_LINE_END}" for line in fitting) + _TO_SCREEN_END


def _cut(line: str, width: int) -> str:
    return click.unstyle(line)[: width - 1] + "…"


async def read_state(reader: Reader, *, what: str, namespace: str | None) -> State:
    """What is shown, and what it takes to show it.

    Raises:
        Failure: what was asked for may not be read.
    """
    from littoral.api import Assignment, LatencySLO, Model, NodePool
    from littoral.cli.top_text import State
    from littoral.cluster.resources import ASSIGNMENTS, LATENCY_SLOS, MODELS, NODE_POOLS

    if what == "models":
        models, slos, assignments = await asyncio.gather(
            reader.objects(MODELS, namespace=namespace),
            reader.objects_if_allowed(LATENCY_SLOS, namespace=namespace),
            reader.objects_if_allowed(ASSIGNMENTS),
        )
        return State(
            models=tuple(parsed(Model, models)),
            slos=tuple(parsed(LatencySLO, slos or ())),
            assignments=tuple(parsed(Assignment, assignments or ())),
            namespace=namespace,
        )
    pools, assignments = await asyncio.gather(
        reader.objects_if_allowed(NODE_POOLS) if what == "servers" else reader.objects(NODE_POOLS),
        reader.objects(ASSIGNMENTS),
    )
    return State(
        pools=tuple(parsed(NodePool, pools or ())),
        assignments=tuple(parsed(Assignment, assignments or ())),
        namespace=namespace,
    )
