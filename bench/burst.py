"""A burst at a site, with and without a way out: `python -m bench.burst`.

The `code` trace at its own speed, and for a third of the time ten times as fast, goes to the gateway of a site with one
server of a network of known speed (`bench.paced`). The same requests are sent three times: all are kept at the site;
what would be late is refused (`overflow: Never`); what would be late goes to a cloud of several servers. HAProxy, its
agent and the Tritons are real; there is no round trip between site and cloud.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import click
import tritonclient.http as triton

from bench.arrivals import trace
from bench.gateway import running_gateway
from bench.open_loop import Outcome, open_loop
from bench.paced import PacedNetwork
from bench.report import machine
from lab.state import cache_directory
from lab.triton import TritonServer, ensure_triton, serve
from littoral.api.routing import GatewayConfig, ModelRoute, NextPool, Upstream
from littoral.core.capacity import BatchTime
from littoral.core.capacity.batching import most_outstanding

NETWORK: Final = PacedNetwork(base=0.06, per_item=0.02)
LATENCY: Final = 0.3
"""Seconds within which a request is to be answered."""


@click.command()
@click.option("--begin", default=2000.0, show_default=True, help="Second of the trace to begin at.")
@click.option("--seconds", default=90.0, show_default=True, help="Of each of the three runs.")
@click.option("--times", default=10, show_default=True, help="How many times as fast in the middle third.")
@click.option("--cloud", default=4, show_default=True, help="Servers in the cloud.")
@click.option("--seed", default=1, show_default=True)
def main(*, begin: float, seconds: float, times: int, cloud: int, seed: int) -> None:
    """Send a burst three times."""
    due = arrivals(begin, seconds, times=times, seed=seed)
    print(f"{machine()}; {len(due)} requests, {LATENCY:g} s each at most, one server here, {cloud} in the cloud\n")
    print("| what would be late | answered in time | of them in the burst | refused | p50, s | p99, s |")
    print("|---" * 6 + "|")
    with tempfile.TemporaryDirectory(prefix="littoral-bench-") as scratch, _tritons(Path(scratch), 1 + cloud) as found:
        here, *others = (
            Upstream(name=f"s{n}", address="127.0.0.1", http_port=it.http_port, grpc_port=it.grpc_port)
            for n, it in enumerate(found)
        )
        time = BatchTime(base=NETWORK.base, per_item=NETWORK.per_item)
        known: dict[str, Any] = {"limit": most_outstanding(time, max_batch=NETWORK.max_batch, budget=LATENCY)}
        pool = NextPool(name="cloud", servers=tuple(others))
        for title, fields in (
            ("waits", {}),
            ("is refused", known | {"overflow": "Never"}),
            ("goes to the cloud", known | {"next": (pool,)}),
        ):
            route = ModelRoute(namespace="bench", name="paced", servers=(here,), **fields)
            config = GatewayConfig(revision="bench", models=(route,), site="store")
            with tempfile.TemporaryDirectory(dir=scratch) as folder, running_gateway(Path(folder), config) as gateway:
                url = f"http://127.0.0.1:{gateway.port}/v2/models/paced/infer"
                with open_loop(url, due, host=route.key) as load:
                    load.finish()
            print(_row(title, load.outcomes, seconds=seconds), flush=True)


def arrivals(begin: float, seconds: float, *, times: int, seed: int) -> list[float]:
    """When each request is due: a part of the trace, and each request of its middle third `times` times, within
    some seconds of it."""
    source = random.Random(seed)  # noqa: S311
    due = []
    for moment in trace("code"):
        at = moment - begin
        if 0 <= at < seconds:
            burst = seconds / 3 <= at < 2 * seconds / 3
            due += [at, *(at + source.uniform(-2.5, 2.5) for _ in range(times - 1) if burst)]
    return sorted(due)


def _row(title: str, outcomes: Sequence[Outcome], *, seconds: float) -> str:
    burst = [it for it in outcomes if seconds / 3 <= it.due < 2 * seconds / 3]
    took = sorted(it.seconds for it in outcomes if not it.error)
    cells = (
        title,
        f"{_kept(outcomes):.1%}",
        f"{_kept(burst):.1%}",
        sum(it.error.startswith("503") for it in outcomes),
        f"{took[len(took) // 2]:.2f}",
        f"{took[int(0.99 * (len(took) - 1))]:.2f}",
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def _kept(outcomes: Sequence[Outcome]) -> float:
    return sum(not it.error and it.seconds <= LATENCY for it in outcomes) / max(len(outcomes), 1)


@contextmanager
def _tritons(folder: Path, count: int) -> Iterator[list[TritonServer]]:
    """So many servers that have the network loaded."""
    model = folder / "models/paced"
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text('backend: "python"\ninstance_group [{ kind: KIND_CPU count: 1 }]\n')
    (model / "1/model.py").write_text(NETWORK.source)
    installation = ensure_triton(cache_directory())
    with ExitStack() as stack:
        found = [
            stack.enter_context(serve(installation, repository=folder / "models", log=folder / f"triton-{n}.log"))
            for n in range(count)
        ]
        for each in found:
            with triton.InferenceServerClient(f"127.0.0.1:{each.http_port}", network_timeout=60) as client:
                client.load_model("paced")
        yield found


if __name__ == "__main__":
    main()
