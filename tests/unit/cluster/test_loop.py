"""The level-triggered loop: no trigger is lost, one pass at a time, failures are tried again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from littoral.cluster.loop import LevelLoop


@asynccontextmanager
async def running(step: Callable[[], Awaitable[bool]], **fields: Any) -> AsyncIterator[LevelLoop]:
    loop = LevelLoop("test", step, **({"may_run": lambda: True, "quiet": 0.01, "patience": 0.05} | fields))
    task = asyncio.create_task(loop.run())
    try:
        yield loop
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_burst_of_triggers_is_one_pass_and_a_trigger_during_a_pass_is_another() -> None:
    passes: list[int] = []
    entered, leave = asyncio.Event(), asyncio.Event()
    second = asyncio.Event()

    async def step() -> bool:
        passes.append(len(passes))
        if len(passes) == 1:
            entered.set()
            await leave.wait()
        else:
            second.set()
        return True

    async with running(step) as loop:
        for _ in range(100):
            loop.trigger()
        await asyncio.wait_for(entered.wait(), 5)
        loop.trigger()
        assert passes == [0]
        assert loop.busy_since is not None
        leave.set()
        await asyncio.wait_for(second.wait(), 5)
    assert passes == [0, 1]


async def test_unceasing_triggers_do_not_put_a_pass_off_for_ever() -> None:
    happened = asyncio.Event()

    async def step() -> bool:
        happened.set()
        return True

    async with running(step, quiet=0.5, patience=0.1) as loop:
        while not happened.is_set():
            loop.trigger()
            await asyncio.sleep(0)


async def test_a_pass_that_fails_is_tried_again() -> None:
    outcomes = iter(["raise", "incomplete", "done"])
    done = asyncio.Event()

    async def step() -> bool:
        outcome = next(outcomes)
        if outcome == "raise":
            raise RuntimeError("a bug, or an API server that is not itself")
        if outcome == "done":
            done.set()
        return outcome == "done"

    async with running(step) as loop:
        loop.trigger()
        await asyncio.wait_for(done.wait(), 10)


async def test_who_does_not_lead_does_nothing() -> None:
    asked = asyncio.Event()
    passes: list[int] = []

    def may_run() -> bool:
        asked.set()
        return False

    async def step() -> bool:
        passes.append(1)
        return True

    async with running(step, may_run=may_run) as loop:
        loop.trigger()
        await asyncio.wait_for(asked.wait(), 5)
    assert passes == []
