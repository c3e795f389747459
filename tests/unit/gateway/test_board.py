"""Who waits for news gets news, and nothing else wakes them."""

from __future__ import annotations

import asyncio

import pytest

from littoral.api.routing import Demand, GatewayStatus, HaproxyStatus, ModelDemand, UpstreamState, UpstreamStatus
from littoral.gateway.board import Board

UP = UpstreamStatus(name="a", state=UpstreamState.UP)
BASE = GatewayStatus(
    revision="1",
    haproxy=HaproxyStatus(ready=True, version="2.6", pid=7, workers=1),
    models=(ModelDemand(namespace="shop", name="digits", servers=(UP,)),),
)


def with_model(**changes: object) -> GatewayStatus:
    return BASE.model_copy(update={"models": (BASE.models[0].model_copy(update=changes),)})


@pytest.mark.parametrize(
    ("status", "news"),
    [
        (BASE, False),
        (with_model(demand=Demand(arrived=5), outstanding=3), False),
        (with_model(servers=(UP.model_copy(update={"outstanding": 2}),)), False),
        (BASE.model_copy(update={"haproxy": BASE.haproxy.model_copy(update={"workers": 2})}), False),
        (with_model(servers=(UP.model_copy(update={"state": UpstreamState.DOWN}),)), True),
        (with_model(servers=()), True),
        (BASE.model_copy(update={"revision": "2"}), True),
        (BASE.model_copy(update={"message": "no"}), True),
        (BASE.model_copy(update={"models": ()}), True),
    ],
)
async def test_what_is_news(status: GatewayStatus, news: bool) -> None:
    board = Board()
    board.publish(BASE)
    generation = board.status.generation
    waiting = asyncio.create_task(board.after(generation, wait=60))
    await asyncio.sleep(0)
    board.publish(status)
    assert board.status.generation == generation + news
    # Numbers are fresh, whether or not they are news.
    assert board.status.models == status.models
    assert await board.after(generation, wait=0) == board.status
    if news:
        assert await waiting == board.status
    else:
        waiting.cancel()


async def test_a_generation_of_an_agent_before_is_answered_at_once() -> None:
    board = Board()
    assert (await board.after(board.status.generation + 5, wait=60)).generation == board.status.generation
