"""What the hub keeps for each member cluster: the right to its own Assignments, and their names in its Lease."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Final

from littoral.api.assignment import Assignment
from littoral.cluster.client import ApiError, Client, Object
from littoral.cluster.informer import Informer
from littoral.cluster.invitation import member_role
from littoral.cluster.membership import ASSIGNMENTS_ANNOTATION, MEMBER_LABEL, member_name, member_of
from littoral.cluster.resources import LEASES

logger = logging.getLogger(__name__)

_AT_ONCE: Final = 16


def names_by_member(
    assignments: Iterable[Assignment],
    *,
    announced: Mapping[str, str | None],
    unreadable: Collection[str] = (),
    pools: Mapping[str, str | None] = MappingProxyType({}),
) -> dict[str, tuple[str, ...]]:
    """The names of each member's Assignments, sorted; nothing for a member that was invited and has none.

    A member that is left out of the answer is to be left as it is.

    Args:
        announced: the names, with commas between, that each member that was invited was told last; None where none.
        unreadable: Assignments that cannot be read. They are not gone: a member would remove what is named no more.
        pools: by pool, which bears its Assignment's name, the member that it is of; None for the hub's own cluster.
    """
    found: dict[str, set[str]] = defaultdict(set, {member: set() for member in announced})
    for assignment in assignments:
        if assignment.spec.member:
            found[assignment.spec.member].add(assignment.name)
    for name in unreadable:
        if member := pools.get(name):
            found[member].add(name)
    # Whose these are, nobody can say. That a member was told of one is no proof: it may change its Lease itself, and
    # must not get a right by that.
    unknown = {name for name in unreadable if name not in pools}
    frozen = {member for member, names in announced.items() if unknown.intersection((names or "").split(","))}
    return {member: tuple(sorted(names)) for member, names in found.items() if member not in frozen}


class Members:
    """Writes what has changed since it was written last; a new process writes all of it once."""

    def __init__(self, client: Client, *, namespace: str, manager: str, on_change: Callable[[], None]) -> None:
        self._client = client
        self._namespace = namespace
        self._manager = manager
        self._granted: dict[str, tuple[tuple[str, ...], bool]] = {}
        self._limit = asyncio.Semaphore(_AT_ONCE)
        # Heartbeats change nothing of what is kept, so they wake nobody.
        self._leases: Informer[str | None] = Informer(
            client, LEASES, keep=_announced, on_change=on_change, namespace=namespace, label_selector=MEMBER_LABEL
        )

    @property
    def informer(self) -> Informer[str | None]:
        """What must run beside the passes."""
        return self._leases

    async def write(
        self,
        assignments: Iterable[Assignment],
        *,
        unreadable: Collection[str] = (),
        pools: Mapping[str, str | None] = MappingProxyType({}),
    ) -> bool:
        """Give each member the rights to its Assignments, then tell it their names.

        The rights come first: a site that reads a name in its Lease may have that Assignment by then. Without the first
        list of Leases nothing is done, since nobody knows who was invited. Of `unreadable` and `pools` see
        `names_by_member`.

        Returns whether all of it got through; what did not is tried again.
        """
        if not self._leases.synced:
            return True
        announced = {member_of(name): names for (_, name), names in self._leases.items()}
        wanted = names_by_member(assignments, announced=announced, unreadable=unreadable, pools=pools)
        writes = (
            self._write(member, names, invited=member in announced, announced=announced.get(member))
            for member, names in wanted.items()
        )
        return all(await asyncio.gather(*writes))

    async def _write(self, member: str, names: tuple[str, ...], *, invited: bool, announced: str | None) -> bool:
        async with self._limit:
            try:
                # Somebody who takes a member's access away may remove the role, too: each invitation has it written.
                if self._granted.get(member) != (names, invited):
                    await self._client.apply(member_role(member, assignments=names), manager=self._manager)
                    self._granted[member] = (names, invited)
                if invited and announced != ",".join(names):
                    await self._announce(member, names)
            except ApiError as error:
                logger.warning("member %s could not be given its Assignments: %s", member, error)
                return False
        return True

    async def _announce(self, member: str, names: tuple[str, ...]) -> None:
        try:
            await self._client.patch(
                LEASES,
                {"metadata": {"annotations": {ASSIGNMENTS_ANNOTATION: ",".join(names)}}},
                namespace=self._namespace,
                name=member_name(member),
                manager=self._manager,
            )
            logger.info("member %s has the Assignments %s", member, ", ".join(names) or "(none)")
        except ApiError as error:
            if error.status != 404:  # Else its access was taken away meanwhile.
                raise


def _announced(lease: Object) -> str | None:
    annotation: str | None = (lease["metadata"].get("annotations") or {}).get(ASSIGNMENTS_ANNOTATION)
    return annotation
