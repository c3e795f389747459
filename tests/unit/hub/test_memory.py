"""What was learned, in pieces: whole again, or forgotten."""

from __future__ import annotations

import asyncio
import random
from typing import Any, cast

import pytest

from littoral.cluster.client import ApiError, Client
from littoral.hub.memory import Memory

# Noise does not compress: three pieces.
LONG = random.Random(1).randbytes(1_500_000).hex()
OTHER = random.Random(2).randbytes(1_500_000).hex()


class Cluster:
    """The part of a client that keeps ConfigMaps."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.refuse_after = -1

    async def get(self, _: object, *, name: str, namespace: str) -> dict[str, Any] | None:
        """An object, if it is there."""
        assert namespace == "system"
        return self.objects.get(name)

    async def apply(self, body: dict[str, Any], *, manager: str) -> None:
        """Keep an object, unless enough were."""
        assert manager == "hub"
        if self.refuse_after == 0:
            raise ApiError(status=500, reason="InternalError", message="no")
        self.refuse_after -= 1
        self.objects[body["metadata"]["name"]] = body


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def memory(cluster: Cluster) -> Memory:
    return Memory(cast(Client, cluster), namespace="system", name="memory", manager="hub")


def saved(cluster: Cluster, text: str) -> None:
    asyncio.run(memory(cluster).save(text))


def loaded(cluster: Cluster) -> str:
    return asyncio.run(memory(cluster).load())


@pytest.mark.parametrize("text", ["", "short", '{"ä": 1}', LONG], ids=["empty", "short", "not ASCII", "long"])
def test_it_comes_back(cluster: Cluster, text: str) -> None:
    saved(cluster, text)
    assert loaded(cluster) == text


def test_nothing_was_saved(cluster: Cluster) -> None:
    assert loaded(cluster) == ""


def test_a_shorter_text_takes_the_place_of_a_longer_one(cluster: Cluster) -> None:
    saved(cluster, LONG)
    assert len(cluster.objects) > 1
    saved(cluster, "short")
    assert loaded(cluster) == "short"


@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_write_that_is_cut_short_leaves_the_old_text_or_none(cluster: Cluster, written: int) -> None:
    saved(cluster, LONG)
    cluster.refuse_after = written
    saved(cluster, OTHER)
    assert loaded(cluster) == (LONG if written == 0 else "")


def _without(body: dict[str, Any], *path: str) -> None:
    for step in path[:-1]:
        body = body[step]
    del body[path[-1]]


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda objects: objects.pop("memory-1"), id="a piece is gone"),
        pytest.param(lambda objects: objects["memory-0"]["data"].update(pieces="many"), id="no number"),
        pytest.param(lambda objects: _without(objects["memory-1"], "binaryData"), id="no content"),
        pytest.param(lambda objects: objects["memory-2"]["binaryData"].update(content="%%"), id="no base64"),
        pytest.param(lambda objects: objects["memory-2"]["binaryData"].update(content="AAAA"), id="other content"),
        pytest.param(lambda objects: _without(objects["memory-0"], "data"), id="no data"),
    ],
)
def test_what_somebody_has_changed_is_forgotten(cluster: Cluster, harm: Any) -> None:
    saved(cluster, LONG)
    harm(cluster.objects)
    assert loaded(cluster) == ""
