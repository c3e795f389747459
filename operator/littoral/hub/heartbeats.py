"""Which member clusters are heard of: they renew their Leases, and the hub watches, by its own clock alone.

Clocks of different machines are never compared: a Lease that was not seen to be renewed for some time is no longer
held, whatever time it names. What the hub itself writes into a Lease is no sign of life.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from littoral.api.assignment import Assignment
from littoral.api.nodepool import NodePool
from littoral.cluster.client import Client, Object
from littoral.cluster.informer import Informer
from littoral.cluster.membership import MEMBER_LABEL, member_of
from littoral.cluster.resources import LEASES
from littoral.core.member_nodes import has_reported

GONE_AFTER: Final = 60.0
"""Seconds without a renewal after which a member is not heard of. Sites renew every 10."""


class Beat(NamedTuple):
    """What counts of a Lease: whose it is, and the time that was written into it last; empty where none was."""

    member: str
    renewed: str


@dataclass(slots=True)
class _Watched:
    renewed: str
    seen_at: float
    since: datetime


class Watch:
    """Judges who is heard of. Pure: it is told what there is, and the time."""

    def __init__(self, *, gone_after: float = GONE_AFTER) -> None:
        self._gone_after = gone_after
        self._watched: dict[str, _Watched] = {}

    @property
    def watched(self) -> Collection[str]:
        """The members that were looked for the last time."""
        return self._watched.keys()

    def unreachable(
        self,
        renewed: Mapping[str, str],
        *,
        reported: Collection[str],
        known: Mapping[str, datetime],
        clock: float,
        now: datetime,
    ) -> dict[str, datetime]:
        """The members that are not heard of, and since when.

        Args:
            renewed: what each Lease was renewed with last, by member; empty where it never was.
            reported: members that have said something at some time. One that has not, and has never renewed its Lease
                either, is awaited rather than missed.
            known: members that were not heard of when the last process looked. Who is seen here for the first time,
                and is not among them, is given time to renew.
            clock: seconds, of a clock that never jumps.
            now: the time of day, for people.
        """
        now = now.replace(microsecond=0)
        before, self._watched = self._watched, {}
        for member in renewed.keys() | set(reported):
            text = renewed.get(member, "")
            if not text and member not in reported:
                continue
            seen = before.get(member)
            if seen is None:
                gone = member in known
                since = known[member] if gone else _moment(text, latest=now)
                seen = _Watched(text, clock - self._gone_after if gone else clock, since)
            elif text and text != seen.renewed:
                seen = _Watched(text, clock, now)
            self._watched[member] = seen
        return {
            member: seen.since
            for member, seen in sorted(self._watched.items())
            if clock - seen.seen_at >= self._gone_after
        }


def _moment(text: str, *, latest: datetime) -> datetime:
    """The time that a Lease names, to the second; the latest, where it names a later one or none."""
    try:
        return min(datetime.fromisoformat(text).astimezone(UTC).replace(microsecond=0), latest)
    except (ValueError, OverflowError):
        return latest


class Heartbeats:
    """The Leases of the hub's namespace that members renew."""

    def __init__(self, client: Client, *, namespace: str, on_change: Callable[[], None]) -> None:
        self._wake = on_change
        self._watch = Watch()
        self._listed = False
        self._missing: Mapping[str, datetime] = {}
        self._leases: Informer[Beat] = Informer(
            client, LEASES, keep=_beat, on_change=self._noted, namespace=namespace, label_selector=MEMBER_LABEL
        )

    @property
    def informer(self) -> Informer[Beat]:
        """What must run beside the passes."""
        return self._leases

    @property
    def heard(self) -> Mapping[str, bool]:
        """Of each member, whether it was heard of at the last pass."""
        return {member: member not in self._missing for member in list(self._watch.watched)}

    def _noted(self) -> None:
        """That somebody lives is no news: who goes or comes back is found by the pass that each tick makes."""
        if not self._listed:
            self._listed = True
            self._wake()

    def unreachable(self, pools: Iterable[NodePool], assignments: Iterable[Assignment]) -> Mapping[str, datetime]:
        """The members that are not heard of, and since when; see `Watch.unreachable`."""
        self._missing = self._watch.unreachable(
            {beat.member: beat.renewed for beat in self._leases.values()},
            reported={it.spec.member for it in assignments if it.spec.member and has_reported(it)},
            known={
                pool.spec.member: pool.status.unreachable_since
                for pool in pools
                if pool.spec.member and pool.status.unreachable_since
            },
            clock=time.monotonic(),
            now=datetime.now(UTC),
        )
        return self._missing


def _beat(lease: Object) -> Beat:
    spec: Mapping[str, Any] = lease.get("spec") or {}
    # By its name: a member may change the labels of its Lease, and must not speak for another one.
    return Beat(member_of(lease["metadata"]["name"]), spec.get("renewTime") or "")
