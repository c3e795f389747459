"""What a member site does while its hub is away, and when it is back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from littoral.cluster.client import Client
from littoral.cluster.resources import ASSIGNMENTS
from littoral.site import mirror
from littoral.site.uplink import Uplink
from tests.cluster.api_server import Object, until
from tests.cluster.uplink_pair import MINUTE, Pair, has_at_least, is_alone, is_there, serves


async def _busy(pair: Pair, uplink: Uplink) -> None:
    """Bring load to the site, and wait until it has scaled."""
    await pair.report(arrived=80.0)
    await until(lambda: has_at_least(pair, 4), "the site scales by itself")
    assert uplink.away


async def test_without_the_hub_the_site_scales_and_with_it_the_hub_decides(pair: Pair) -> None:
    generation = await pair.assign(pair.server("digits"))
    async with pair.operator() as uplink:
        await pair.follows(generation)
        await pair.report(arrived=1.0)
        await pair.hears(generation)
        await pair.cut(uplink)
        assert await pair.replicas() == 1
        await _busy(pair, uplink)
        await pair.report(arrived=80.0)
        copy = await pair.copy()
        assert copy is not None
        assert copy["metadata"]["annotations"][mirror.HUB_GENERATION] == str(generation)
        body = await pair.hub.get(ASSIGNMENTS, name=pair.pool)
        assert body is not None
        assert copy["spec"] | {"servers": []} == body["spec"] | {"servers": []}

        # The hub hears of it before it hears that the site is back.
        grown, last = await pair.replicas(), await pair.renewed()
        pair.cable.mend()

        async def back() -> bool:
            return await pair.renewed() != last

        await until(back, "the Lease is renewed again")
        assert await serves(pair, grown)

        # While the hub says nothing newer, the site stays as it is.
        assert await is_alone(pair)
        assert await pair.replicas() == grown
        newer = await pair.assign(pair.server("digits", replicas=7))
        await pair.follows(newer)
        assert await pair.replicas() == 7


async def test_a_hub_that_stays_by_its_word_is_followed_after_a_minute(pair: Pair) -> None:
    generation = await pair.assign(pair.server("digits"))
    async with pair.operator() as uplink:
        await pair.follows(generation)
        await pair.cut(uplink)
        await _busy(pair, uplink)
        pair.cable.mend()
        await pair.hears(max(generation - 1, 0))
        assert await is_alone(pair)
        pair.skew += MINUTE
        await pair.follows(generation)
        assert await pair.replicas() == 1


async def test_a_link_that_falls_silent_is_as_one_that_breaks(pair: Pair) -> None:
    """Nobody says that it is gone: connections stay, and new ones are made, and nothing comes."""
    generation = await pair.assign(pair.server("digits"))
    async with pair.operator() as uplink:
        await pair.follows(generation)
        await pair.cut(uplink, silently=True)
        await _busy(pair, uplink)
        pair.cable.mend()
        newer = await pair.assign(pair.server("digits", replicas=6))
        await pair.follows(newer)


async def test_where_nothing_has_changed_the_hub_is_followed_at_once(pair: Pair) -> None:
    generation = await pair.assign(pair.server("digits"))
    async with pair.operator() as uplink:
        await pair.follows(generation)
        await pair.cut(uplink)
        pair.cable.mend()
        await pair.follows(generation)


async def test_a_short_break_changes_nothing(pair: Pair) -> None:
    generation = await pair.assign(pair.server("digits"))
    async with pair.operator() as uplink:
        await pair.follows(generation)
        session = uplink.link.session
        pair.cable.cut()
        await pair.report(arrived=80.0)
        await until(lambda: uplink.link.client is None, "the break is noticed")
        assert not uplink.away
        pair.cable.mend()
        await until(lambda: uplink.link.session > session, "contact is made again")
        await pair.hears(generation)
        assert not await is_alone(pair)
        assert await pair.replicas() == 1


async def test_an_operator_that_starts_without_the_hub_goes_on(pair: Pair) -> None:
    """The next process finds the mark, waits for nothing, and does not take what was added for the hub's."""
    generation = await pair.assign(pair.server("digits", replicas=2))
    async with pair.operator() as uplink:
        await pair.follows(generation)
        await pair.cut(uplink)
    async with pair.operator() as uplink:
        await _busy(pair, uplink)
        copy = await pair.copy()
        assert copy is not None
        assert mirror.hub_replicas(copy) == {(pair.shop, f"triton-{pair.pool}-cpu"): 2}
    async with pair.operator() as uplink:
        await until(lambda: uplink.away, "the next one goes on, too")
        pair.cable.mend()
        newer = await pair.assign(pair.server("digits", replicas=5))
        await pair.follows(newer)


class Crash(BaseException):
    """The process dies here."""


class Dying(Client):
    """A client of the site whose process dies at a request."""

    left = 0

    async def _json(self, *arguments: Any, **more: Any) -> Object:
        if self.left == 0:
            raise Crash
        self.left -= 1
        return await super()._json(*arguments, **more)


@pytest.mark.parametrize("away", [False, True], ids=["with the hub", "without the hub"])
async def test_a_restart_at_any_point_is_harmless(pair: Pair, kubeconfig: Path, *, away: bool) -> None:
    generation = await pair.assign(pair.server("digits"), tell=False)
    await pair.assign(name=f"{pair.pool}-2", tell=False)
    await pair.tell(pair.pool, f"{pair.pool}-2")
    if away:
        async with pair.operator() as uplink:
            await pair.follows(generation)
            await pair.cut(uplink)
            await pair.report(arrived=80.0)
    for left in range(2, 24, 2):
        async with await Dying.connect(kubeconfig=str(kubeconfig)) as client:
            client.left = left
            async with pair.operator(client):
                await until(lambda client=client: client.left == 0, "it died")
        assert await pair.replicas() >= (1 if away else 0)
    pair.cable.mend()
    newer = await pair.assign(pair.server("digits", replicas=3), tell=False)
    async with pair.operator():
        await pair.follows(newer)
        await until(lambda: is_there(pair, f"{pair.pool}-2"), "the other one is there")
        await pair.report()
        await pair.hears(newer)
