"""Forwarding: in order, at least once, under one key, whatever the collector and the link do."""

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from aiohttp import web

from examples.video_analytics.forwarding import Backoff, Forwarder, NotTaken
from examples.video_analytics.ring import Ring
from tests.unit.examples.kserve_stub import listening


@dataclass(kw_only=True)
class Collector:
    """Takes results; answers as `answers` say, one after another, and 204 after that."""

    answers: list[web.Response | None] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    headers: list[Any] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.keys.append(request.headers["Idempotency-Key"].strip('"'))
        self.headers.append(request.headers)
        self.bodies.append(await request.json())
        answer = self.answers.pop(0) if self.answers else web.Response(status=204)
        if answer is None:
            # It has been taken, and the answer is lost on the way.
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return answer

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_post("/results", self.take)
        return application


@pytest.fixture
def ring(tmp_path: Path) -> Ring:
    return Ring(tmp_path / "ring", max_bytes=2**20)


def forwarder(ring: Ring, session: aiohttp.ClientSession, url: str, **more: Any) -> Forwarder:
    more.setdefault("backoff", Backoff(least=0.001, most=0.01))
    return Forwarder(ring=ring, session=session, url=f"{url}/results", **more)


async def drain(sender: Forwarder) -> None:
    """Run until there is nothing left."""
    running = asyncio.create_task(sender.run())
    await sender.drained()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_all_arrive_in_order_whatever_goes_wrong(session: aiohttp.ClientSession, ring: Ring) -> None:
    collector = Collector(
        answers=[
            web.Response(status=503, headers={"Retry-After": "0"}),
            web.Response(status=500),
            web.Response(status=204),
            None,
            web.Response(status=401),
            web.Response(status=302, headers={"Location": "http://elsewhere/"}),
            web.Response(status=429),
        ]
    )
    expected = [ring.append({"n": n}).key for n in range(5)]
    async with listening(collector.application()) as url:
        sender = forwarder(ring, session, url)
        await drain(sender)
    assert list(dict.fromkeys(collector.keys)) == expected
    assert collector.keys == [expected[0]] * 3 + [expected[1]] * 5 + expected[2:]
    assert [body["n"] for body in collector.bodies] == [0] * 3 + [1] * 5 + [2, 3, 4]
    assert (sender.sent, sender.failed, sender.rejected) == (5, 6, 0)
    assert (ring.pending, ring.forwarded) == (0, 5)


async def test_a_result_that_the_collector_will_never_have_does_not_hold_up_others(
    session: aiohttp.ClientSession, ring: Ring
) -> None:
    collector = Collector(answers=[web.Response(status=422)])
    expected = [ring.append({}).key for _ in range(2)]
    async with listening(collector.application()) as url:
        sender = forwarder(ring, session, url)
        await drain(sender)
    assert collector.keys == expected
    assert (sender.sent, sender.rejected) == (1, 1)


async def test_what_comes_later_is_sent_at_once(session: aiohttp.ClientSession, ring: Ring) -> None:
    collector = Collector()
    async with listening(collector.application()) as url:
        sender = forwarder(ring, session, url)
        running = asyncio.create_task(sender.run())
        for _ in range(3):
            ring.append({})
            await sender.drained()
        running.cancel()
    assert len(collector.keys) == 3


async def test_without_a_link_the_ring_fills_and_the_oldest_are_dropped(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    ring = Ring(tmp_path / "small", max_bytes=64 * 1024)
    sender = forwarder(ring, session, "http://127.0.0.1:1")
    running = asyncio.create_task(sender.run())
    for _ in range(40):
        ring.append({}, picture=bytes(4000))
        sender.wake.set()
    await until(lambda: sender.failed > 2)
    running.cancel()
    dropped = ring.dropped
    assert dropped > 20
    collector = Collector()
    async with listening(collector.application()) as url:
        await drain(forwarder(ring, session, url))
    assert [body["number"] for body in collector.bodies] == list(range(dropped + 1, 41))


async def test_a_restart_sends_what_was_not_confirmed_under_the_same_key(
    session: aiohttp.ClientSession, ring: Ring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = Collector()
    ring.append({})
    result = ring.next_pending()
    assert result is not None
    async with listening(collector.application()) as url:
        # The collector has it, and the process ends before that is noted.
        monkeypatch.setattr(ring, "mark_forwarded", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            await forwarder(ring, session, url).forward(result)
        again = Ring(tmp_path / "ring", max_bytes=2**20)
        await drain(forwarder(again, session, url))
    assert collector.keys == [result.key, result.key]


async def test_pictures_and_the_token_go_along_where_asked(
    session: aiohttp.ClientSession, ring: Ring, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("secret-1\n")
    collector = Collector()
    ring.append({}, picture=b"jpeg")
    ring.append({})
    async with listening(collector.application()) as url:
        await drain(forwarder(ring, session, url, with_pictures=True, token=lambda: token.read_text().strip()))
    assert [body["jpeg"] and base64.b64decode(body["jpeg"]) for body in collector.bodies] == [b"jpeg", None]
    assert [headers["Authorization"] for headers in collector.headers] == ["Bearer secret-1"] * 2


async def test_a_collector_that_says_nothing_is_not_waited_for_long(session: aiohttp.ClientSession, ring: Ring) -> None:
    end = asyncio.Event()

    async def take(request: web.Request) -> web.Response:
        await end.wait()
        return web.Response()

    application = web.Application()
    application.router.add_post("/results", take)
    async with listening(application) as url:
        with pytest.raises(NotTaken, match=r"no answer within 0\.05 s"):
            await forwarder(ring, session, url, timeout=0.05).forward(ring.append({}))
        end.set()
    assert ring.pending == 1


def test_pauses_grow_to_a_bound_and_begin_anew() -> None:
    backoff = Backoff(least=1, most=60)
    pauses = [backoff.next() for _ in range(40)]
    for pause, whole in zip(pauses, [1, 2, 4, 8, 16, 32, 60, 60], strict=False):
        assert whole / 2 <= pause <= whole
    assert max(pauses) <= 60
    backoff.reset()
    assert backoff.next() <= 1


async def until(holds: Callable[[], bool]) -> None:
    """Let everything else run until a condition holds."""
    while not holds():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.001)
