"""Reading servers over HTTP: whom, how often, over which connections, and what is made of several replicas.

The servers are pages on loopback; tests/triton has the same with a real Triton.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from littoral.api.assignment import AssignedModelStatus, AssignmentStatus, ServerReport
from littoral.api.serving import ServerStatus
from littoral.site.telemetry import Subject, Telemetry
from littoral.site.telemetry.reader import Reader
from littoral.site.views import PodView
from tests.support.objects import DIGEST, assignment, server
from tests.unit.site.telemetry.pages import configuration_page, metrics_page, statistics_page

NAME = "triton-edge-cpu"
A = Subject("shop", NAME, "a")


class FakeTriton:
    """Two ports, as Triton has them, and whatever pages a test wants."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.metrics = metrics_page({("a", "1"): {}})
        self.statistics = statistics_page({("a", "1"): {}})
        self.configurations: dict[str, bytes] = {}
        self.configured: list[str] = []
        self.connections: dict[str, set[object]] = {"/metrics": set(), "/v2/models/stats": set()}
        self.requests: dict[str, int] = {"/metrics": 0, "/v2/models/stats": 0}
        self.silent = False
        self.asked_thrice = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        self.requests[request.path] += 1
        assert request.transport is not None
        self.connections[request.path].add(request.transport.get_extra_info("peername"))
        if self.requests["/metrics"] >= 3:
            self.asked_thrice.set()
        if self.silent:
            raise web.HTTPServiceUnavailable
        if request.path == "/metrics":
            return web.Response(text=self.metrics)
        return web.Response(body=self.statistics, content_type="application/json")

    async def configuration(self, request: web.Request) -> web.Response:
        model, version = request.match_info["model"], request.match_info["version"]
        self.configured.append(f"{model}/{version}")
        if model not in self.configurations:
            raise web.HTTPBadRequest(text='{"error": "no such model"}')
        return web.Response(body=self.configurations[model], content_type="application/json")

    def serve(self, *, requests: int, seconds: float = 0.01, size: int = 1, version: str = "1") -> None:
        """Have answered that many requests since the start, each a batch of its own."""
        said = {"answered": requests, "items": requests * size, "executions": requests, "seconds": requests * seconds}
        self.metrics = metrics_page({("a", version): said | {"latency": seconds}})
        self.statistics = statistics_page({("a", version): {size: (requests, requests * seconds)}}, memory={"a": 2**28})


class Site:
    """Telemetry with a clock of its own."""

    def __init__(self, ports: tuple[int, int]) -> None:
        self.at = 1000.0
        self.changes = 0
        self._ports = ports
        # Rounds are made by hand: the clock stands still in between.
        self.telemetry = Telemetry(on_change=self._note, reader=self.reader, interval=3600, clock=lambda: self.at)
        self.assignment = assignment(servers=[server("a")])
        self.status()

    def _note(self) -> None:
        self.changes += 1

    def reader(self) -> Reader:
        return Reader(metrics_port=self._ports[0], http_port=self._ports[1])

    def follow(self, *tritons: FakeTriton, said: dict[str, Any] | None = None, also: Iterable[str] = ()) -> None:
        a = {"name": "a", "digest": DIGEST, "version": 1, "state": "Ready", "ready": True} | (said or {})
        status = ServerStatus.parse({"models": [a, *(a | {"name": name} for name in also)]})
        pods = [pod(triton.address) for triton in tritons]
        self.telemetry.follow(pods, {each.uid: status for each in pods})

    async def poll(self, *, after: float = 3.0) -> None:
        self.at += after
        await self.telemetry.poll()

    def status(self) -> AssignmentStatus:
        model = AssignedModelStatus(name="a", variant="onnx-cpu", digest=DIGEST)
        bare = AssignmentStatus(servers=(ServerReport(name=NAME, namespace="shop", models=(model,)),))
        status = self.telemetry.annotate(self.assignment, bare)
        self.assignment = self.assignment.with_status(status)
        return status

    @property
    def measured(self) -> dict[str, Any] | None:
        found = self.status().servers[0].models[0].measured
        return found.dump() if found is not None else None


def pod(address: str, **fields: Any) -> PodView:
    said = {"uid": f"uid-of-{address}", "address": address, "server": NAME, "leaving": False} | fields
    return PodView(namespace="shop", name="p", node="edge", ready=True, config_revision="", trouble="", **said)


async def listen(triton: FakeTriton, ports: Iterable[int]) -> tuple[web.AppRunner, list[int]]:
    app = web.Application()
    app.router.add_get("/metrics", triton.answer)
    app.router.add_get("/v2/models/stats", triton.answer)
    app.router.add_get("/v2/models/{model}/versions/{version}/config", triton.configuration)
    runner = web.AppRunner(app)
    await runner.setup()
    for port in ports:
        await web.TCPSite(runner, triton.address, port).start()
    return runner, [address[1] for address in runner.addresses]


@pytest_asyncio.fixture
async def servers() -> AsyncIterator[tuple[FakeTriton, FakeTriton, Site]]:
    """Two servers on the same ports of two addresses, as two Pods are."""
    first, second = FakeTriton("127.0.0.1"), FakeTriton("127.0.0.2")
    one, ports = await listen(first, [0, 0])
    other, _ = await listen(second, ports)
    site = Site((ports[0], ports[1]))
    yield first, second, site
    await site.telemetry.close()
    await one.cleanup()
    await other.cleanup()


async def test_a_server_is_measured(servers: tuple[FakeTriton, FakeTriton, Site]) -> None:
    triton, _, site = servers
    site.follow(triton)
    triton.serve(requests=100)
    await site.poll()
    assert site.measured is None
    assert site.changes == 0
    triton.serve(requests=1000)
    await site.poll(after=9)
    assert site.changes == 1
    assert site.measured == {
        "rate": "100",
        "latency": {"requests": 900, "mean": "10ms", "p50": "10ms", "p95": "10ms", "p99": "10ms"},
        "queue": "0s",
        "batch": "1",
        "batches": [{"size": 1, "count": 900, "time": "10ms"}],
        "memory": "256Mi",
    }
    assert site.telemetry.snapshot()[A].rate == 100


async def test_replicas_are_taken_together(servers: tuple[FakeTriton, FakeTriton, Site]) -> None:
    first, second, site = servers
    site.follow(first, second, said={"loadSeconds": 1.5})
    await site.poll()
    first.serve(requests=900, seconds=0.01)
    second.serve(requests=90, seconds=0.02, size=2)
    await site.poll(after=9)
    measured = site.measured
    assert measured is not None
    assert measured["rate"] == "110"
    assert measured["loadTime"] == "1.5s"
    assert measured["latency"] == {"requests": 990, "mean": "10.9ms", "p50": "10ms", "p95": "20ms", "p99": "20ms"}
    assert measured["batches"] == [{"size": 1, "count": 900, "time": "10ms"}, {"size": 2, "count": 90, "time": "20ms"}]


async def test_a_replica_that_is_silent_takes_its_rate_with_it(servers: tuple[FakeTriton, FakeTriton, Site]) -> None:
    first, second, site = servers
    site.follow(first, second)
    for requests in range(0, 3000, 300):
        first.serve(requests=requests)
        second.serve(requests=requests)
        await site.poll()
    assert site.telemetry.snapshot()[A].rate == 200
    second.silent = True
    for requests in range(3000, 6000, 300):
        first.serve(requests=requests)
        await site.poll()
    assert site.telemetry.snapshot()[A].rate == 100
    assert second.requests["/metrics"] < first.requests["/metrics"] - 4, "it is asked less often"


async def test_metrics_keep_their_connection_and_statistics_do_not(
    servers: tuple[FakeTriton, FakeTriton, Site],
) -> None:
    triton, _, site = servers
    site.follow(triton)
    for requests in range(0, 400, 100):
        triton.serve(requests=requests)
        await site.poll(after=9)
    assert triton.requests == {"/metrics": 4, "/v2/models/stats": 4}
    assert len(triton.connections["/metrics"]) == 1
    assert len(triton.connections["/v2/models/stats"]) == 4


async def test_an_idle_server_is_asked_for_its_metrics_only(servers: tuple[FakeTriton, FakeTriton, Site]) -> None:
    triton, _, site = servers
    site.follow(triton)
    triton.serve(requests=100)
    for _ in range(10):
        await site.poll(after=9)
    assert triton.requests == {"/metrics": 10, "/v2/models/stats": 1}
    assert site.changes == 1
    assert site.measured == {"rate": "0", "batches": [], "memory": "256Mi"}


@pytest.mark.parametrize(
    "said",
    [
        pytest.param({"state": "Loading"}, id="the version before still serves"),
        pytest.param({"version": 2}, id="another version"),
        pytest.param({"digest": "sha256:" + "f" * 64}, id="another artifact"),
    ],
)
async def test_batch_times_are_those_of_the_wanted_artifact(
    servers: tuple[FakeTriton, FakeTriton, Site], said: dict[str, Any]
) -> None:
    triton, _, site = servers
    site.follow(triton, said=said)
    await site.poll()
    triton.serve(requests=900)
    await site.poll(after=9)
    assert site.measured is not None
    assert site.measured["rate"] == "100"
    assert site.measured["batches"] == []


async def test_a_configuration_is_read_once_for_each_version(servers: tuple[FakeTriton, FakeTriton, Site]) -> None:
    triton, _, site = servers
    triton.configurations["a"] = configuration_page("a", dynamic_batching={"preferred_batch_size": [4]})
    site.follow(triton)
    for _ in range(4):
        await site.poll()
    assert triton.configured == ["a/1"]
    assert site.measured is not None
    assert (site.measured["maxBatch"], site.measured["instances"]) == (4, 1)
    triton.configurations["a"] = configuration_page("a")
    site.follow(triton, said={"version": 2})
    for _ in range(4):
        await site.poll()
    assert triton.configured == ["a/1", "a/2"]
    assert site.telemetry.snapshot()[A].max_batch == 8


async def test_of_replicas_that_differ_the_least_is_told(servers: tuple[FakeTriton, FakeTriton, Site]) -> None:
    first, second, site = servers
    first.configurations["a"] = configuration_page("a")
    second.configurations["a"] = configuration_page("a", max_batch_size=2, instance_group=[{"count": 3}])
    site.follow(first, second)
    await site.poll()
    await site.poll()
    assert (site.telemetry.snapshot()[A].max_batch, site.telemetry.snapshot()[A].instances) == (2, 1)


async def test_what_a_replica_can_do_is_known_while_it_is_silent(
    servers: tuple[FakeTriton, FakeTriton, Site],
) -> None:
    triton, _, site = servers
    triton.configurations["a"] = configuration_page("a")
    site.follow(triton)
    for _ in range(3):
        await site.poll()
    triton.silent = True
    for _ in range(20):
        await site.poll()
    assert site.measured is not None
    assert "rate" not in site.measured
    assert (site.measured["maxBatch"], site.measured["instances"]) == (8, 1)


async def test_a_configuration_that_cannot_be_read_spoils_nothing_else(
    servers: tuple[FakeTriton, FakeTriton, Site],
) -> None:
    triton, _, site = servers
    triton.configurations["z"] = configuration_page("z")
    site.follow(triton, also=["z"])
    for requests in range(0, 1200, 300):
        triton.serve(requests=requests)
        await site.poll()
    assert triton.configured == ["a/1", "z/1", "a/1"], "it is asked again, after the others and after a while"
    figures = site.telemetry.snapshot()[A]
    assert (figures.rate, figures.max_batch, figures.instances) == (100, None, None)
    triton.configurations["a"] = configuration_page("a")
    await site.poll(after=9)
    assert site.telemetry.snapshot()[A].max_batch == 8


async def test_many_new_models_are_asked_for_in_several_rounds(servers: tuple[FakeTriton, FakeTriton, Site]) -> None:
    triton, _, site = servers
    names = [f"m{number}" for number in range(99)]
    triton.configurations = {name: configuration_page(name) for name in ["a", *names]}
    site.follow(triton, also=names)
    asked = []
    for _ in range(20):
        before = len(triton.configured)
        await site.poll()
        asked.append(len(triton.configured) - before)
    assert max(asked) == 8
    assert sorted(triton.configured) == sorted(f"{name}/1" for name in ["a", *names])


@pytest.mark.parametrize("page", ["", "nonsense", '{"model_stats": 5}', "[1]", '{"model_stats": [5, {"name": "a"}]}'])
async def test_statistics_that_make_no_sense_spoil_nothing_else(
    servers: tuple[FakeTriton, FakeTriton, Site], page: str
) -> None:
    triton, _, site = servers
    site.follow(triton)
    await site.poll()
    triton.serve(requests=300)
    triton.statistics = page.encode()
    await site.poll()
    assert site.telemetry.snapshot()[A].rate == 100


async def test_metrics_that_make_no_sense_are_no_reading(servers: tuple[FakeTriton, FakeTriton, Site]) -> None:
    triton, _, site = servers
    site.follow(triton)
    await site.poll()
    triton.serve(requests=300)
    await site.poll()
    triton.metrics = "# TYPE nv_inference_request_success counter\nnv_inference_request_success NaN\n"
    await site.poll()
    triton.serve(requests=900)
    await site.poll()
    assert site.telemetry.snapshot()[A].rate == 100


async def test_pods_that_leave_or_have_no_address_are_not_asked(
    servers: tuple[FakeTriton, FakeTriton, Site],
) -> None:
    triton, other, site = servers
    site.telemetry.follow([pod(triton.address, leaving=True), pod("", uid="u"), pod(other.address, server="x")], {})
    await site.poll()
    assert triton.requests["/metrics"] == 0
    assert other.requests["/metrics"] == 1


async def test_rounds_go_on_by_themselves_until_closed(servers: tuple[FakeTriton, FakeTriton, Site]) -> None:
    triton, _, site = servers
    telemetry = Telemetry(on_change=lambda: None, reader=site.reader, interval=0.01)
    telemetry.follow([pod(triton.address)], {})
    await asyncio.wait_for(triton.asked_thrice.wait(), timeout=10)
    await telemetry.close()
    asked = triton.requests["/metrics"]
    await site.poll()
    assert triton.requests["/metrics"] == asked
