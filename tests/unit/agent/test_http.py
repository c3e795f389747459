"""The report, as it is read over HTTP."""

from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request

from littoral.agent.http import Report
from littoral.agent.metrics import Metrics
from littoral.agent.progress import Progress
from littoral.agent.status import Board
from littoral.api.serving import ModelState, ModelStatus, ServerStatus, TritonStatus

Client = TestClient[Request, Application]


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def client(board: Board, metrics: Metrics) -> AsyncIterator[Client]:
    async with TestClient(TestServer(Report(board=board, metrics=metrics).application())) as client:
        yield client


def publish(board: Board, *, live: bool = True, ready: bool = True) -> None:
    model = ModelStatus(name="digits", ready=ready, state=ModelState.READY, bytes=1, total_bytes=2)
    board.publish(revision="r", message="", triton=TritonStatus(ready=live, version="2.60.0"), models=[model])


async def test_the_status_is_that_of_the_contract(client: Client, board: Board) -> None:
    publish(board)
    body = await (await client.get("/v1/status")).json()
    assert body["models"][0]["totalBytes"] == 2
    status = ServerStatus.parse(body)
    assert (status.revision, status.triton.version, status.models[0].state) == ("r", "2.60.0", "Ready")


async def test_a_long_poll(client: Client, board: Board) -> None:
    publish(board)
    generation = board.status.generation
    answer = await client.get("/v1/status", params={"after": str(generation), "wait": "0.01"})
    assert (await answer.json())["generation"] == generation
    answer = await client.get("/v1/status", params={"after": str(generation - 1)})
    assert (await answer.json())["generation"] == generation


@pytest.mark.parametrize("query", [{"after": "x"}, {"after": "1", "wait": "x"}, {"after": ""}])
async def test_a_poll_that_makes_no_sense(client: Client, query: dict[str, str]) -> None:
    assert (await client.get("/v1/status", params=query)).status == 400


async def test_ready_is_triton_and_every_model_that_was(client: Client, board: Board) -> None:
    assert (await client.get("/readyz")).status == 503
    publish(board, ready=False)
    assert (await client.get("/readyz")).status == 200
    publish(board)
    publish(board, ready=False)
    answer = await client.get("/readyz")
    assert (answer.status, await answer.text()) == (503, "no longer ready: digits\n")
    publish(board)
    assert (await client.get("/readyz")).status == 200
    publish(board, live=False)
    assert (await client.get("/readyz")).status == 503


async def test_healthy_while_the_loop_runs(client: Client, board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await client.get("/healthz")).status == 200
    monkeypatch.setattr("littoral.agent.http.STUCK", -1.0)
    assert (await client.get("/healthz")).status == 503


async def test_metrics(client: Client, board: Board, metrics: Metrics) -> None:
    publish(board)
    with metrics.fetching(Progress(received=10, fetched=10)), metrics.loading():
        pass
    with pytest.raises(ValueError, match="no"), metrics.loading():
        raise ValueError("no")
    text = await (await client.get("/metrics")).text()
    for line in (
        "littoral_agent_triton_ready 1.0",
        'littoral_agent_models{state="Ready"} 1.0',
        'littoral_agent_models{state="Failed"} 0.0',
        'littoral_agent_model_ready{model="digits"} 1.0',
        "littoral_agent_fetched_bytes_total 10.0",
        'littoral_agent_fetch_seconds_count{result="ok"} 1.0',
        'littoral_agent_load_seconds_count{result="ok"} 1.0',
        'littoral_agent_load_seconds_count{result="failed"} 1.0',
    ):
        assert line in text.splitlines()
    board.publish(revision="r", message="", triton=TritonStatus(), models=[])
    assert "digits" not in await (await client.get("/metrics")).text()
