"""Open-loop load from a process of its own: each request is sent when it is due, whatever became of the others.

    python -m bench.open_loop --url http://198.19.0.1:80/v2/models/m/infer < due > outcomes

Reads the seconds at which requests are due, one on each line, and after each answer writes a line of JSON: when it was
due, how long it took from then on, and what went wrong, if anything. A request opens a connection of its own, so that
the Service picks a Pod anew. Only addresses that a lab may have, and this machine's own, are spoken to.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import click

from bench.paced import request

MOST: Final = 20_000
"""Requests of one run."""

_LAB: Final = ipaddress.ip_network("198.18.0.0/15")
_PATIENCE: Final = 30.0  # Seconds for an answer.
_ROOT: Final = Path(__file__).parents[1]


class Outcome(NamedTuple):
    """What became of a request.

    Attributes:
        due: seconds after the beginning at which it was to be sent.
        seconds: from then until its answer, whether or not it could be sent then.
        error: empty where it was answered.
    """

    due: float
    seconds: float
    error: str


@dataclass(kw_only=True)
class Load:
    """A load that runs. `began` is the monotonic time of its 0."""

    process: subprocess.Popen[str]
    reader: threading.Thread = field(default_factory=threading.Thread)
    began: float = 0.0
    outcomes: list[Outcome] = field(default_factory=list)

    def between(self, start: float, end: float) -> list[Outcome]:
        """What became of the requests that were due between two times, in seconds after the beginning."""
        return [outcome for outcome in self.outcomes if start <= outcome.due < end]

    @property
    def failed(self) -> list[Outcome]:
        """Requests without an answer."""
        return [outcome for outcome in self.outcomes if outcome.error]

    def finish(self) -> None:
        """Wait until every request is sent and answered."""
        self.process.wait(timeout=MOST)
        self.reader.join()

    def stop(self) -> None:
        """Send no more, and wait until what was sent is answered."""
        self.process.send_signal(signal.SIGINT)
        self.finish()


@contextmanager
def open_loop(url: str, due: Sequence[float], *, host: str = "") -> Iterator[Load]:
    """Send requests from another process while the block runs; what is not due by its end is not sent.

    Args:
        due: seconds after the beginning, ascending.
        host: host name to ask for, where it is not the one in the URL.
    """
    command = [sys.executable, "-m", "bench.open_loop", "--url", url, "--host", host]
    with subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        load = Load(process=process)
        try:
            process.stdin.write("".join(f"{moment:.6f}\n" for moment in due))
            process.stdin.close()
            load.began = float(process.stdout.readline())
            load.reader = threading.Thread(target=_collect, args=(load,))
            load.reader.start()
            yield load
            load.stop()
        finally:
            process.kill()


def _collect(load: Load) -> None:
    assert load.process.stdout is not None
    for line in load.process.stdout:
        load.outcomes.append(Outcome(*json.loads(line)))


async def _run(url: str, due: Sequence[float], *, host: str) -> None:
    body, headers = request()
    headers |= {"Host": host} if host else {}
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=_PATIENCE)) as session:
        # The clock is that of all processes of the machine.
        start = time.monotonic() + 0.2
        print(start, flush=True)

        async def one(moment: float) -> None:
            error = ""
            try:
                async with session.post(url, data=body, headers=headers) as response:
                    answer = await response.text()
                    if response.status != 200:
                        error = f"{response.status} {answer[:200]}"
            except (aiohttp.ClientError, TimeoutError) as problem:
                error = repr(problem)
            print(json.dumps([moment, time.monotonic() - start - moment, error]), flush=True)

        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stopped.set)
        async with asyncio.TaskGroup() as group:
            for moment in due:
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopped.wait(), max(0.0, start + moment - time.monotonic()))
                if stopped.is_set():
                    break
                group.create_task(one(moment))


@click.command()
@click.option("--url", required=True, help="Where a Model's `infer` is.")
@click.option("--host", default="", help="Host name to ask for; empty: that of the URL.")
def main(*, url: str, host: str) -> None:
    """Send requests when they are due."""
    address = ipaddress.ip_address(urlsplit(url).hostname or "")
    if address not in _LAB and not address.is_loopback:
        raise click.UsageError(f"{address} is no address of a lab or of this machine")
    due = [float(line) for line in sys.stdin]
    if len(due) > MOST:
        raise click.UsageError(f"{len(due)} requests are more than {MOST}")
    asyncio.run(_run(url, due, host=host))


if __name__ == "__main__":
    main()
