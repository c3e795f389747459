"""Telemetry reads a real Triton as it is written for: what was sent is what it counts."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from lab.state import cache_directory
from lab.triton import TritonServer, ensure_triton, serve
from littoral.api.assignment import AssignedModelStatus, AssignmentStatus, ServerReport
from littoral.api.measurement import ModelMeasurement
from littoral.api.serving import ServerStatus
from littoral.site.telemetry import Telemetry
from littoral.site.telemetry.exposition import Counts, Exposition, ModelVersion
from littoral.site.telemetry.reader import UNREADABLE, Reader
from littoral.site.telemetry.window import Window, advance, estimates
from littoral.site.views import PodView
from tests.cluster.api_server import wait_until
from tests.support.objects import DIGEST, assignment, server
from tests.triton.networks import write_scaling
from tests.triton.server import Triton

A1, A2 = ModelVersion("a", "1"), ModelVersion("a", "2")
NAME = "triton-edge-cpu"

Serve = Callable[..., AbstractContextManager[TritonServer]]


@pytest.fixture
def start(tmp_path: Path) -> Serve:
    """Starts a server of this test's own, with model a in its repository."""
    write_scaling(tmp_path / "models/a/1/model.onnx", factor=2)

    def serve_models(*options: str) -> AbstractContextManager[TritonServer]:
        installation = ensure_triton(cache_directory())
        return serve(installation, repository=tmp_path / "models", log=tmp_path / "triton.log", options=options)

    return serve_models


@pytest.fixture
def running(start: Serve) -> Iterator[TritonServer]:
    with start() as server_:
        yield server_


@pytest.fixture
def client(running: TritonServer) -> Iterator[Triton]:
    with Triton(running) as triton:
        triton.load("a")
        yield triton


@pytest_asyncio.fixture
async def reader(running: TritonServer) -> AsyncIterator[Reader]:
    async with reader_of(running) as reader_:
        yield reader_


def reader_of(running: TritonServer) -> Reader:
    return Reader(metrics_port=running.metrics_port, http_port=running.http_port)


def send(client: Triton, count: int, *, model: str = "a", size: int = 1) -> list[int]:
    """Requests one after the other, so that each is a batch of its own; their HTTP statuses.

    Triton counts a request a moment after it has answered: this returns when all are counted.
    """
    before = client.counted(model)
    tensor = {"name": "x", "datatype": "FP32", "shape": [size, 3], "data": [1.0] * (3 * size)}
    connection = client.connect()
    statuses = []
    for _ in range(count):
        connection.request("POST", f"/v2/models/{model}/infer", json.dumps({"inputs": [tensor]}))
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
    connection.close()
    wait_until(lambda: client.counted(model) - before == count, what=f"{count} requests are counted")
    return statuses


async def metrics(reader: Reader) -> Exposition:
    return await reader.metrics("127.0.0.1")


async def test_what_was_sent_is_what_is_counted(client: Triton, reader: Reader) -> None:
    before = await metrics(reader)
    assert before.versions[A1].counts == Counts()
    assert before.versions[A1].quantiles == (), "Triton says that it knows none"
    window = advance(Window(), before, at=0)
    began = time.monotonic()
    send(client, 130)
    send(client, 70, size=3)
    took = time.monotonic() - began
    window = advance(window, await metrics(reader), at=20)
    (step,) = window.steps
    counted = step.counted[A1]
    assert (counted.requests, counted.answered, counted.items, counted.executions) == (200, 200, 340, 200)
    assert 0 < counted.queued < counted.seconds < took
    estimate = estimates(window)["a"]
    assert estimate.rates.requests == 10
    (distribution,) = estimate.distributions
    assert distribution.weight == 200
    seconds = [seconds for _, seconds in distribution.quantiles]
    assert [level for level, _ in distribution.quantiles] == [0.5, 0.9, 0.95, 0.99, 0.999]
    assert seconds == sorted(seconds)
    assert 0 < seconds[0] <= 2 * counted.seconds / 200
    assert seconds[-1] < took


async def test_statistics_have_the_batches_by_size(client: Triton, reader: Reader) -> None:
    began = time.monotonic()
    send(client, 30)
    send(client, 20, size=3)
    took = time.monotonic() - began
    batches = (await reader.statistics("127.0.0.1")).batches[A1]
    assert {size: batch.executions for size, batch in batches.items()} == {1: 30, 3: 20}
    assert 0 < sum(batch.seconds for batch in batches.values()) < took


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param("", (4, 2), id="completed out of the network"),
        pytest.param("max_batch_size: 16 dynamic_batching {}", (16, 2), id="dynamic batching"),
        pytest.param(
            "max_batch_size: 16 dynamic_batching { preferred_batch_size: [2, 8] }", (8, 2), id="preferred sizes"
        ),
        pytest.param("max_batch_size: 16 sequence_batching { direct {} }", (16, 2), id="a slot for each sequence"),
        pytest.param("max_batch_size: 16 sequence_batching { oldest {} }", (16, 2), id="the oldest of each sequence"),
        pytest.param(
            "max_batch_size: 1 instance_group [{ kind: KIND_CPU count: 2 }, { kind: KIND_CPU count: 3 }]",
            (1, 5),
            id="several instances",
        ),
    ],
)
async def test_configurations_as_triton_completes_them(
    client: Triton, reader: Reader, config: str, expected: tuple[int, int]
) -> None:
    write_scaling(client.repository / "c/3/model.onnx", factor=2)
    (client.repository / "c/config.pbtxt").write_text(f'backend: "onnxruntime"\n{config}\n')
    client.load("c")
    configuration = await reader.configuration("127.0.0.1", ModelVersion("c", "3"))
    assert (configuration.max_batch, configuration.instances) == expected
    with pytest.raises(UNREADABLE):
        await reader.configuration("127.0.0.1", ModelVersion("c", "4"))


async def test_without_dynamic_batching_no_requests_are_merged(client: Triton, reader: Reader) -> None:
    """So the largest batch that Triton forms is 1, whatever `max_batch_size` says."""
    write_scaling(client.repository / "apart/1/model.onnx", factor=2)
    # With its tensors named, nothing of the configuration is completed.
    (client.repository / "apart/config.pbtxt").write_text(
        'backend: "onnxruntime"\nmax_batch_size: 8\ninstance_group [{ kind: KIND_CPU count: 1 }]\n'
        'input [{ name: "x" data_type: TYPE_FP32 dims: [3] }]\noutput [{ name: "y" data_type: TYPE_FP32 dims: [3] }]\n'
    )
    client.load("apart")
    configuration = await reader.configuration("127.0.0.1", ModelVersion("apart", "1"))
    assert (configuration.max_batch, configuration.instances) == (1, 1)
    x = np.ones((1, 3), dtype=np.float32)
    with ThreadPoolExecutor(16) as clients:
        for answer in [clients.submit(client.infer, "apart", x=x) for _ in range(64)]:
            answer.result()
    assert client.executions("apart") == {1: 64}


async def test_requests_that_are_refused_are_counted_apart(client: Triton, reader: Reader) -> None:
    write_scaling(client.repository / "full/1/model.onnx", factor=2)
    # A batch never becomes full, and nobody wants to wait for that.
    (client.repository / "full/config.pbtxt").write_text(
        'backend: "onnxruntime"\nmax_batch_size: 4\n'
        "dynamic_batching { preferred_batch_size: [4] max_queue_delay_microseconds: 100000\n"
        "default_queue_policy { timeout_action: REJECT default_timeout_microseconds: 1000 } }\n"
    )
    client.load("full")
    assert 200 not in send(client, 3, model="full")
    counts = (await metrics(reader)).versions[ModelVersion("full", "1")].counts
    assert (counts.requests, counts.answered, counts.failures, counts.canceled) == (3, 0, 3, 0)


async def test_a_new_version_goes_on_where_the_old_one_stopped(client: Triton, reader: Reader) -> None:
    window = advance(Window(), await metrics(reader), at=0)
    send(client, 20)
    window = advance(window, await metrics(reader), at=4)
    send(client, 10)
    write_scaling(client.repository / "a/2/model.onnx", factor=3)
    client.load("a")
    send(client, 10)
    window = advance(window, await metrics(reader), at=8)
    assert {key: counts.answered for key, counts in window.steps[-1].counted.items()} == {A1: 10, A2: 10}
    assert estimates(window)["a"].rates.requests == 5
    assert (await reader.statistics("127.0.0.1")).batches.keys() == {A2}


async def test_a_version_that_is_loaded_again_goes_on_in_the_metrics(client: Triton, reader: Reader) -> None:
    send(client, 10)
    window = advance(Window(), await metrics(reader), at=0)
    write_scaling(client.repository / "a/1/model.onnx", factor=3)
    client.load("a")
    send(client, 20)
    window = advance(window, await metrics(reader), at=4)
    assert estimates(window)["a"].rates.requests == 5
    batches = (await reader.statistics("127.0.0.1")).batches[A1]
    assert batches[1].executions == 20, "but begins anew in the statistics"


async def test_a_restart_is_no_negative_rate(start: Serve) -> None:
    with start() as running, Triton(running) as client:
        client.load("a")
        send(client, 50)
        async with reader_of(running) as reader:
            window = advance(Window(), await metrics(reader), at=0)
    with start() as running, Triton(running) as client:
        client.load("a")
        send(client, 20)
        async with reader_of(running) as reader:
            window = advance(window, await metrics(reader), at=4)
    assert estimates(window)["a"].rates.requests == 5


async def test_reading_keeps_no_triton_from_stopping(start: Serve) -> None:
    with start("--exit-timeout-secs=250") as running:
        async with reader_of(running) as reader:
            await metrics(reader)
            await reader.statistics("127.0.0.1")
            os.kill(running.pid, signal.SIGTERM)
            stopped = asyncio.to_thread(os.waitid, os.P_PID, running.pid, os.WEXITED | os.WNOWAIT)
            await asyncio.wait_for(stopped, timeout=60)


@dataclass
class Site:
    """The telemetry of a site whose only Pod is a server on this machine; its clock goes by the test's word."""

    telemetry: Telemetry
    at: list[float] = field(default_factory=lambda: [0.0])

    def follow(self, *, version: int) -> None:
        said = {"name": "a", "digest": DIGEST, "version": version, "state": "Ready", "ready": True, "loadSeconds": 0.25}
        pod = PodView(
            namespace="shop",
            name="p",
            uid="u",
            server=NAME,
            address="127.0.0.1",
            node="edge",
            ready=True,
            leaving=False,
            config_revision="",
            trouble="",
        )
        self.telemetry.follow([pod], {"u": ServerStatus.parse({"models": [said]})})

    async def poll(self, *, after: float) -> ModelMeasurement:
        self.at[0] += after
        await self.telemetry.poll()
        model = AssignedModelStatus(name="a", variant="onnx-cpu", digest=DIGEST)
        status = self.telemetry.annotate(
            assignment(servers=[server("a")]),
            AssignmentStatus(servers=(ServerReport(name=NAME, namespace="shop", models=(model,)),)),
        )
        return status.servers[0].models[0].measured or ModelMeasurement()


@pytest_asyncio.fixture
async def site(running: TritonServer) -> AsyncIterator[Site]:
    at = [0.0]
    telemetry = Telemetry(on_change=lambda: None, reader=lambda: reader_of(running), interval=3600, clock=lambda: at[0])
    yield Site(telemetry, at)
    await telemetry.close()


async def test_from_triton_to_the_status(client: Triton, site: Site) -> None:
    site.follow(version=1)
    assert await site.poll(after=0) == ModelMeasurement()
    send(client, 120)
    send(client, 60, size=4)
    measured = await site.poll(after=9)
    assert measured.rate == "20"
    assert (measured.failures, measured.batch, measured.load_time) == (None, "2", "250ms")
    assert measured.latency is not None
    assert measured.latency.requests == 180
    assert None not in (measured.latency.p50, measured.latency.p95, measured.latency.p99)
    assert {sample.size: sample.count for sample in measured.batches} == {1: 120, 4: 60}
    assert (measured.max_batch, measured.instances) == (4, 2), "of a network without a configuration"
    assert ModelMeasurement.parse(measured.dump()) == measured


async def test_batch_times_of_a_replaced_artifact_are_learned_anew(client: Triton, site: Site) -> None:
    site.follow(version=1)
    await site.poll(after=0)
    send(client, 90)
    write_scaling(client.repository / "a/2/model.onnx", factor=3)
    client.load("a")
    site.follow(version=2)
    measured = await site.poll(after=9)
    assert (measured.rate, measured.batches) == ("10", ()), "the old version's batches are not the new one's"
    send(client, 90, size=2)
    measured = await site.poll(after=10)
    assert [(sample.size, sample.count) for sample in measured.batches] == [(2, 90)]
