"""Statuses on their way to the hub: on change, not too often, and all of them after a break."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from littoral.cluster.client import ApiError, Client
from littoral.site.uplink_status import StatusPusher

HUB = {"metadata": {"name": "edge", "uid": "one"}}
OTHER = {"metadata": {"name": "edge", "uid": "two"}}


class Hub(Client):
    """A hub that notes what it is told."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.fails: BaseException | None = None
        self.hangs = False

    async def apply(self, body: dict[str, Any], *, manager: str, subresource: str | None = None) -> dict[str, Any]:
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails is not None:
            raise self.fails
        assert (manager, subresource) == ("littoral-uplink", "status")
        self.heard.append(body["status"])
        return body

    async def patch(self, *_: Any, **__: Any) -> dict[str, Any]:
        self.heard.append("patched")
        return {}


class Setting:
    """A pusher, its hub, and the time."""

    def __init__(self, *, every: float = 2.0) -> None:
        self.hub = Hub()
        self.now = 100.0
        self.woken = asyncio.Event()
        self.statuses = StatusPusher(every=every, within=0.01, on_change=self.woken.set, clock=lambda: self.now)

    async def push(self, number: int, *, hub: dict[str, Any] = HUB, session: int = 1) -> bool:
        return await self.statuses.push(self.hub, hub, {"observedGeneration": number}, session=session)

    @property
    def heard(self) -> list[int]:
        return [it["observedGeneration"] for it in self.hub.heard]


async def test_only_changes_are_told() -> None:
    setting = Setting()
    for number in (1, 1, 2, 2, 1):
        assert await setting.push(number)
        setting.now += 10
    assert setting.heard == [1, 2, 1]


async def test_a_burst_is_one_write_now_and_one_later() -> None:
    setting = Setting(every=0.02)
    for number in range(5):
        assert await setting.push(number), "nothing is to be tried again"
    assert setting.heard == [0]
    await setting.woken.wait()
    setting.now += 0.02
    assert await setting.push(4)
    assert setting.heard == [0, 4]


async def test_after_a_break_everything_is_told_again() -> None:
    setting = Setting()
    assert not setting.statuses.told(HUB, session=1)
    await setting.push(1)
    assert setting.statuses.told(HUB, session=1)
    assert not setting.statuses.told(HUB, session=2)
    setting.now += 10
    await setting.push(1, session=2)
    assert setting.heard == [1, 1]


async def test_another_object_of_the_name_has_heard_nothing() -> None:
    setting = Setting()
    await setting.push(1)
    setting.now += 10
    assert not setting.statuses.told(OTHER, session=1)
    await setting.push(1, hub=OTHER)
    assert setting.heard == [1, 1]


async def test_what_is_no_longer_ours_is_forgotten() -> None:
    setting = Setting()
    await setting.push(1)
    setting.statuses.retain(["edge"])
    assert setting.statuses.told(HUB, session=1)
    setting.statuses.retain([])
    assert not setting.statuses.told(HUB, session=1)


@pytest.mark.parametrize(
    ("error", "done"),
    [
        pytest.param(ApiError(status=404, reason="NotFound", message="gone"), True, id="gone: nothing is left to say"),
        pytest.param(ApiError(status=403, reason="Forbidden", message="no"), False, id="not allowed yet"),
        pytest.param(TimeoutError(), False, id="out of reach"),
        pytest.param(ConnectionResetError(), False, id="cut off"),
    ],
)
async def test_what_does_not_get_through_is_tried_again(error: BaseException, done: bool) -> None:
    setting = Setting()
    setting.hub.fails = error
    assert await setting.push(1) is done
    assert not setting.statuses.told(HUB, session=1)
    setting.hub.fails = None
    assert await setting.push(1)
    assert setting.heard == [1]


async def test_a_hub_that_does_not_answer_holds_up_nobody() -> None:
    setting = Setting()
    setting.hub.hangs = True
    assert not await setting.push(1)


async def test_an_older_hub_takes_what_it_knows() -> None:
    setting = Setting()
    setting.hub.fails = ApiError(status=500, reason="", message=".status.newer: field not declared in schema")
    assert await setting.push(1)
    assert setting.hub.heard == ["patched"]
