"""Other agents of the site, asked for an artifact before the uplink is.

Where many agents want an artifact that none of them has, one fetches it and the others wait for that one. They need no
leader for it (Lamport's bakery, CACM 17(8), 1974): each first says that it chooses, asks the others for their tickets,
takes a higher one than all it hears of, and asks again; it waits for whoever chooses and for every lower ticket. Of two
that begin at once one hears of the other, and nobody overtakes one that fetches already.
"""

import asyncio
import json
import logging
import random
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from littoral.agent import archive
from littoral.agent.errors import ArtifactError, FetchError
from littoral.agent.progress import Progress
from littoral.agent.sources.limits import Limits
from littoral.agent.sources.peers import Answer, BusyError, PeerClient, fetch, peer_client
from littoral.agent.sources.transfer import Transfer
from littoral.agent.store.entries import remove
from littoral.agent.store.space import is_full
from littoral.api.serving import Artifact
from littoral.api.serving import Peers as PeerList

log = logging.getLogger(__name__)

MOST_TRIED = 3
"""Peers that a fetch is tried from, before the source is."""

BUSY_FOR = 120.0
"""Seconds to wait for a peer that has the artifact and serves others: by then those others have it too."""

STALLED_FOR = 60.0
"""Seconds to wait for a peer that fetches the artifact and gets nothing."""

SEALED_IN = 60.0
"""Seconds in which what was fetched is in the cache, or is not what was wanted."""

ASK_EVERY = 1.0
"""Seconds between two questions to peers that are waited for."""

MARK = ".peer"
"""Ends the name of what has come from peers: what has come from the source beside it is not lost over it."""


CHOOSING = "choosing"
"""The ticket of one that still asks which others there are."""


def shareable(artifact: Artifact) -> bool:
    """Whether agents give it to each other. Of an archive the node keeps what was in it, which its digest does not
    prove."""
    return artifact.public and archive.compression(artifact.path) is None


@dataclass(frozen=True, kw_only=True)
class Coming:
    """An artifact that this agent fetches."""

    progress: Progress
    ticket: str = CHOOSING
    until: float | None = None
    """When it should be in the cache at last, on the clock of this process; None while it is fetched."""


@dataclass(kw_only=True)
class Peers:
    """Who the others are, and what is known of them."""

    file: Path | None = None
    """Names them (`api.serving.Peers`); it is replaced as Pods come and go."""
    count: Callable[[int], None] = lambda _: None
    """Told how many bytes have come from peers."""
    ask_every: float = ASK_EVERY
    stalled_for: float = STALLED_FOR
    busy_for: float = BUSY_FOR
    _coming: dict[str, Coming] = field(default_factory=dict)
    _liars: set[tuple[str, str]] = field(default_factory=set)
    """(address, digest): gave other bytes."""

    @property
    def coming(self) -> Mapping[str, Coming]:
        """What this agent fetches now, by hex digest."""
        now = time.monotonic()
        return {name: it for name, it in self._coming.items() if it.until is None or now < it.until}

    @contextmanager
    def announced(self, artifact: Artifact, progress: Progress) -> Iterator[None]:
        """Say to those who ask that the artifact is on its way; also while the store, which goes on from here, puts it
        on the disk."""
        name = _hex(artifact)
        if not shareable(artifact):
            yield
            return
        self._coming[name] = Coming(progress=progress)
        try:
            yield
        except BaseException:
            self._coming.pop(name, None)
            raise
        self._coming[name] = replace(self._coming[name], until=time.monotonic() + SEALED_IN)

    def take_ticket(self, name: str, *, after: Iterable[str]) -> None:
        """Queue behind those who hold the tickets `after`; the lot decides between two that take the same number."""
        if (coming := self._coming.get(name)) is not None and coming.ticket == CHOOSING:
            number = 1 + max(map(_number, after), default=0)
            self._coming[name] = replace(coming, ticket=f"{number:08x}-{secrets.token_hex(8)}")

    async def fetch(self, artifact: Artifact, target: Path, progress: Progress, *, max_bytes: int) -> bool:
        """Bring the artifact to `target` from a peer. Whether one had it; if not, `target` is as it was.

        Raises:
            FetchError, OSError: the disk is full.
        """
        name = _hex(artifact)
        addresses = self._addresses()
        if not addresses or not shareable(artifact):
            self.take_ticket(name, after=())
            return False
        errand = _Errand(
            peers=self, name=name, place=target.with_name(target.name + MARK), progress=progress, max_bytes=max_bytes
        )
        async with peer_client() as client:
            if not await errand.run(client, addresses):
                await asyncio.to_thread(_clear, errand.place)
                return False
        await asyncio.to_thread(_clear, target, keep=errand.place)
        errand.place.rename(target)
        return True

    def blame(self, address: str, name: str) -> None:
        """The peer is not asked for that digest again."""
        self._liars.add((address, name))

    def trusted(self, address: str, name: str) -> bool:
        """Whether the peer has given nothing wrong under that digest."""
        return (address, name) not in self._liars

    def _addresses(self) -> tuple[str, ...]:
        if self.file is None:
            return ()
        try:
            return PeerList.parse(json.loads(self.file.read_bytes())).agents
        except FileNotFoundError:
            return ()
        except (OSError, ValueError) as error:
            log.warning("no peers are asked: %s: %s", self.file, error)
            return ()


@dataclass(kw_only=True)
class _Errand:
    """One fetch from peers."""

    peers: Peers
    name: str
    place: Path
    progress: Progress
    max_bytes: int
    _spent: set[str] = field(default_factory=set)
    """Peers that have failed."""
    _gave: set[str] = field(default_factory=set)
    """Peers whose bytes are in what has come."""
    _busy: bool = False

    async def run(self, client: PeerClient, addresses: tuple[str, ...]) -> bool:
        """Ask, fetch and wait, until it is there or nobody is left to hope for."""
        began = grown = time.monotonic()
        heights: dict[str, int] = {}
        self.peers.take_ticket(self.name, after=[it.ticket for it in await client.ask(addresses, self.name)])
        while len(self._spent) < MOST_TRIED:
            asked = [it for it in addresses if it not in self._spent and self.peers.trusted(it, self.name)]
            answers = await client.ask(asked, self.name)
            self._busy = any(answer.busy for answer in answers)
            if await self._try(client, [answer for answer in answers if answer.has]):
                return True
            now = time.monotonic()
            ahead = {answer.address: answer.received for answer in answers if self._before(answer)}
            if any(received > heights.get(address, -1) for address, received in ahead.items()):
                grown = now
            heights |= ahead
            hopeful = bool(ahead) and now - grown < self.peers.stalled_for
            if not hopeful and not (self._busy and now - began < self.peers.busy_for):
                return False
            await asyncio.sleep(self.peers.ask_every * random.uniform(0.5, 1.5))  # noqa: S311 - not a secret
        return False

    def _before(self, answer: Answer) -> bool:
        """Whether that peer fetches for both."""
        mine = self.peers.coming.get(self.name)
        if mine is None or answer.ticket in ("", CHOOSING):
            return bool(answer.ticket)
        return answer.ticket < mine.ticket

    async def _try(self, client: PeerClient, holders: list[Answer]) -> bool:
        random.shuffle(holders)  # not all ask the same one
        for holder in holders:
            if len(self._spent) >= MOST_TRIED:
                break
            if await self._from(client, holder):
                return True
        return False

    async def _from(self, client: PeerClient, holder: Answer) -> bool:
        self.progress.received, self.progress.total = 0, None
        before = self.progress.fetched
        transfer = Transfer(progress=self.progress, limits=Limits(max_bytes=self.max_bytes, streams=1))
        try:
            actual = await fetch(client, holder, self.name, self.place, transfer)
            if actual != self.name:
                raise ArtifactError(f"wrong digest sha256:{actual}")
        except BusyError:
            self._busy = True
            return False
        except ArtifactError as error:
            for address in {*self._gave, holder.address}:
                self.peers.blame(address, self.name)
            await asyncio.to_thread(_clear, self.place)
            self._gave.clear()
            self._failed(holder, error)
            return False
        except FetchError as error:
            if is_full(error):
                raise
            self._failed(holder, error)
            return False
        finally:
            if came := self.progress.fetched - before:
                self._gave.add(holder.address)
                self.peers.count(came)
        log.info("sha256:%s came from %s", self.name, holder.address)
        return True

    def _failed(self, holder: Answer, error: Exception) -> None:
        self._spent.add(holder.address)
        log.warning("%s does not give sha256:%s: %s", holder.address, self.name, error)


def _number(ticket: str) -> int:
    try:
        return int(ticket.partition("-")[0], 16)
    except ValueError:
        return 0


def _hex(artifact: Artifact) -> str:
    return artifact.digest.removeprefix("sha256:")


def _clear(target: Path, *, keep: Path | None = None) -> None:
    """Remove what has come to `target`, and what is noted beside it."""
    for path in target.parent.glob(f"{target.name}*"):
        if path != keep:
            remove(path)
