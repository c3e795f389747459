"""Predicted and measured latency of a real Triton on this machine, under open-loop Poisson load."""

from __future__ import annotations

import asyncio
import json
import math
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import aiohttp
import numpy as np

from examples.quickstart.networks import TEXT_RECOGNIZE
from lab.state import cache_directory
from lab.triton import TritonServer, ensure_triton, serve
from littoral.core.capacity import BatchCounters, BatchTime, Evidence, batches_between, latency, read_batch_stats
from littoral.sim.queueing import poisson_arrivals

MODEL = TEXT_RECOGNIZE.name
MAX_BATCH = 8
# A short piece of a text line: the network outweighs the client, and there are many requests in a few seconds.
HEIGHT, WIDTH = 48, 32
LOADS = (0.2, 0.4, 0.6, 0.75, 0.9)
PERCENTILES = (50.0, 95.0, 99.0)
CONFIG = f"""\
backend: "onnxruntime"
max_batch_size: {MAX_BATCH}
instance_group [{{ kind: KIND_CPU count: 1 }}]
parameters {{ key: "intra_op_thread_count" value {{ string_value: "1" }} }}
dynamic_batching {{ }}
"""


@dataclass(frozen=True, kw_only=True)
class Request:
    """An inference request in Triton's binary form."""

    body: bytes
    headers: dict[str, str]


class Client:
    """Sends one and the same request, and reads statistics."""

    def __init__(self, session: aiohttp.ClientSession, *, url: str, request: Request) -> None:
        self._session = session
        self._url = f"{url}/v2/models/{MODEL}"
        self._request = request

    async def infer(self) -> None:
        """One inference."""
        async with self._session.post(
            f"{self._url}/infer", data=self._request.body, headers=self._request.headers
        ) as response:
            response.raise_for_status()
            await response.read()

    async def counters(self) -> BatchCounters:
        """What Triton has counted so far."""
        async with self._session.get(f"{self._url}/stats") as response:
            return read_batch_stats((await response.json())["model_stats"][0])

    async def closed_loop(self, *, clients: int, seconds: float) -> list[float]:
        """Latencies in seconds of clients that each send the next request when they have their answer."""
        end = time.monotonic() + seconds

        async def one() -> list[float]:
            latencies = []
            while (start := time.monotonic()) < end:
                await self.infer()
                latencies.append(time.monotonic() - start)
            return latencies

        return [each for found in await asyncio.gather(*(one() for _ in range(clients))) for each in found]

    async def open_loop(self, *, rate: float, seconds: float, seed: int) -> list[float]:
        """Latencies in seconds, from the time at which a request was due, whether or not it could be sent then."""
        start = time.monotonic() + 0.1

        async def one(due: float) -> float:
            await self.infer()
            return time.monotonic() - start - due

        async with asyncio.TaskGroup() as group:
            tasks = []
            for due in poisson_arrivals(rate=rate, count=int(rate * seconds), seed=seed):
                await asyncio.sleep(max(0.0, start + due - time.monotonic()))
                tasks.append(group.create_task(one(due)))
        return [task.result() for task in tasks]


def measure(*, seconds: float) -> list[tuple[str, str]]:
    """Learn the batch time from Triton's statistics, then compare latencies at five loads of that many seconds."""
    with tempfile.TemporaryDirectory(prefix="capacity-") as scratch:
        repository = Path(scratch, "models")
        version = repository / MODEL / "1"
        version.mkdir(parents=True)
        (version / "model.onnx").symlink_to(TEXT_RECOGNIZE.path())
        (version.parent / "config.pbtxt").write_text(CONFIG)
        with serve(ensure_triton(cache_directory()), repository=repository, log=Path(scratch, "triton.log")) as server:
            return asyncio.run(_measure(server, seconds=seconds))


async def _measure(server: TritonServer, *, seconds: float) -> list[tuple[str, str]]:
    async with _client(server) as client:
        await client.closed_loop(clients=8, seconds=3)

        evidence, overhead = Evidence.none(), 0.0
        for clients in (1, 2, 3, 5, 8, 12, 16):
            before = await client.counters()
            latencies = await client.closed_loop(clients=clients, seconds=2)
            ran = batches_between(before, await client.counters())
            evidence = evidence.observed(ran, elapsed=2)
            if clients == 1:
                # What a request takes beyond its batch: the way to the server and back, and Triton's own work.
                overhead = max(fmean(latencies) - ran[1].seconds / ran[1].executions, 0.0)
        learned = _learned(evidence, overhead=overhead)
        saturated = len(await client.closed_loop(clients=4 * MAX_BATCH, seconds=4)) / 4

        rows = [
            ("batch time, from Triton's statistics", _text(learned)),
            ("in its base: what a request takes beyond its batch", f"{1e3 * overhead:.1f} ms"),
            ("throughput, predicted and measured", f"{learned.throughput(MAX_BATCH):.0f}/s and {saturated:.0f}/s"),
        ]
        for seed, load in enumerate(LOADS):
            rate = load * learned.throughput(MAX_BATCH)
            before = await client.counters()
            latencies = await client.open_loop(rate=rate, seconds=seconds, seed=seed)
            ran = batches_between(before, await client.counters())
            # As in Littoral, where the site goes on learning: a machine with other work is not always as fast.
            current = _learned(Evidence.none().observed(ran, elapsed=seconds), overhead=overhead, prior=learned)
            rows += [
                (f"load {load:.0%}, {rate:.0f}/s, {len(latencies)} requests, {name}", comparison)
                for name, comparison in _compare(latencies, batch_time=current, rate=len(latencies) / seconds)
            ]
            rows.append((f"load {load:.0%}, batch time meanwhile", _text(current)))
        return rows


def _learned(evidence: Evidence, *, overhead: float, prior: BatchTime | None = None) -> BatchTime:
    if prior is not None:
        prior = BatchTime(base=max(prior.base - overhead, 0.0), per_item=prior.per_item)
    counted = evidence.batch_time(max_batch=MAX_BATCH, prior=prior)
    if counted is None:
        raise RuntimeError("Triton has counted no batch")
    return BatchTime(base=counted.base + overhead, per_item=counted.per_item)


def _compare(latencies: Sequence[float], *, batch_time: BatchTime, rate: float) -> Iterator[tuple[str, str]]:
    ordered = sorted(latencies)
    for percentile in PERCENTILES:
        predicted = latency(batch_time=batch_time, max_batch=MAX_BATCH, rate=rate, percentile=percentile)
        measured = ordered[math.ceil(percentile / 100 * len(ordered)) - 1]
        told = f"{1e3 * predicted:.1f} ms predicted" if predicted < math.inf else "predicted overloaded"
        yield f"p{percentile:g}", f"{told}, {1e3 * measured:.1f} ms measured ({predicted / measured - 1:+.0%})"


@asynccontextmanager
async def _client(server: TritonServer) -> AsyncIterator[Client]:
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        async with session.post(f"{server.url}/v2/repository/models/{MODEL}/load") as response:
            response.raise_for_status()
        async with session.get(f"{server.url}/v2/models/{MODEL}") as response:
            (described,) = (await response.json())["inputs"]
        yield Client(session, url=server.url, request=_request(described["name"]))


def _request(name: str) -> Request:
    image = np.random.default_rng(1).normal(size=(1, 3, HEIGHT, WIDTH)).astype(np.float32)
    header = json.dumps(
        {
            "inputs": [
                {
                    "name": name,
                    "datatype": "FP32",
                    "shape": list(image.shape),
                    "parameters": {"binary_data_size": image.nbytes},
                }
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    return Request(
        body=header + image.tobytes(),
        headers={
            "Content-Type": "application/octet-stream",
            "Inference-Header-Content-Length": str(len(header)),
        },
    )


def _text(batch_time: BatchTime) -> str:
    return f"{1e3 * batch_time.base:.2f} + {1e3 * batch_time.per_item:.2f} n ms"
