"""The one way in which a status is written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from datetime import datetime
from typing import TypeVar

from littoral.api import conditions
from littoral.api.base import ApiModel
from littoral.api.meta import Resource as Kind
from littoral.cluster.client import ApiError, Client, Object
from littoral.cluster.store import Malformed

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=Kind)
S = TypeVar("S", bound=ApiModel)

_AT_A_TIME = 16


async def write_status(client: Client, subject: Kind, status: ApiModel, *, manager: str) -> bool:
    """Write an object's status by server-side apply, if it differs from the one that the object carries.

    Returns:
        Whether the status is as it should be: true also when the object is gone, since there is nothing left to say.
    """
    if getattr(subject, "status", None) == status:
        return True
    return await _apply(
        client,
        api_version=subject.api_version,
        kind=type(subject).KIND,
        name=subject.name,
        namespace=subject.namespace or "",
        status=status.dump(),
        manager=manager,
    )


async def write_statuses(client: Client, written: Iterable[tuple[K, S]], *, manager: str) -> list[tuple[K, S, bool]]:
    """Write many statuses, some at a time: one after the other, a thousand Models would take a minute.

    Returns:
        Each object with its new status and the answer of `write_status`, in the order given.
    """
    turns = asyncio.Semaphore(_AT_A_TIME)

    async def write(subject: K, status: S) -> tuple[K, S, bool]:
        async with turns:
            return subject, status, await write_status(client, subject, status, manager=manager)

    return await asyncio.gather(*(write(subject, status) for subject, status in written))


async def refuse_malformed(client: Client, malformed: Malformed, *, manager: str, now: datetime) -> bool:
    """Tell the author of an object that cannot be read what is wrong with it, in its conditions.

    Returns:
        As `write_status`.
    """
    told = next((c for c in malformed.conditions if c.get("type") == conditions.STALLED), None)
    if told is not None and told.get("message") == malformed.message and told.get("status") == "True":
        return True
    status = {
        "observedGeneration": malformed.generation,
        "conditions": [
            condition.dump()
            for condition in conditions.stalled(
                (), reason="InvalidSpec", message=malformed.message, generation=malformed.generation, now=now
            )
        ],
    }
    return await _apply(
        client,
        api_version=malformed.api_version,
        kind=malformed.kind,
        name=malformed.name,
        namespace=malformed.namespace,
        status=status,
        manager=manager,
    )


async def _apply(
    client: Client, *, api_version: str, kind: str, name: str, namespace: str, status: Object, manager: str
) -> bool:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    body: Object = {"apiVersion": api_version, "kind": kind, "metadata": metadata, "status": status}
    try:
        await client.apply(body, manager=manager, subresource="status")
    except ApiError as error:
        if error.status == 404:
            return True
        logger.warning("status of %s %s/%s: %s", kind, namespace, name, error)
        return False
    return True
