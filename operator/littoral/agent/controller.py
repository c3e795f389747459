"""The loop: look at what is wanted and what is, do the next thing for each model, report."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field

from littoral.agent import archive, reconcile
from littoral.agent.crashes import Crashes, Key
from littoral.agent.errors import AgentError, FetchError, LoadError, TritonError
from littoral.agent.failures import reason_of
from littoral.agent.fetch import Fetcher, redacted
from littoral.agent.layout import fingerprint, install
from littoral.agent.memory import Memory
from littoral.agent.metrics import Metrics
from littoral.agent.mounted import MountedFile
from littoral.agent.progress import Progress, Shown
from littoral.agent.reconcile import Action, Drain, Failure, Fetch, Install, Load, Prune, Recall, Remove, View, Wait
from littoral.agent.repository import Installed, Repository
from littoral.agent.status import Board, describe
from littoral.agent.store import Store
from littoral.agent.triton import Observation, Triton, VersionState
from littoral.agent.vault import Vault
from littoral.agent.verify import Verifier
from littoral.api.serving import FailureReason, ModelStatus, ServedModel, ServerConfig, TritonStatus

log = logging.getLogger(__name__)

TICK = 0.25
"""Seconds between two looks at the desired state, and whether Triton answers."""

OBSERVE = 1.0
"""Seconds between two looks at what Triton serves."""

FETCHES = 2
"""Artifacts that are fetched at once: more would only share the uplink."""

LOADS = 2
"""Models that are loaded at once: a load is work for every core, and the models that serve want some."""


@dataclass(kw_only=True)
class _Track:
    """What the agent remembers of a model: nothing that must survive it."""

    wanted: ServedModel | None = None
    variant: str = ""
    digest: str = ""
    failure: Failure | None = None
    drain_until: float | None = None
    doing: Action | None = None
    task: asyncio.Task[None] | None = None
    loading: Installed | None = None
    """What Triton is loading now."""
    loaded: Installed | None = None
    """What Triton has just loaded, until it was seen to be ready."""
    load_seconds: float | None = None
    """How long the last load took."""
    unbatched: str = ""
    """Fingerprint of a version that Triton refused with the batching that was proposed for it."""
    progress: Progress = field(default_factory=Progress)
    shown: Shown = field(default_factory=Shown)
    """The progress as it is reported: taken from time to time, or each chunk would be news to the site role."""


class Controller:
    """Brings Triton to the desired state, and back to it whenever one of the two changes."""

    def __init__(
        self,
        *,
        config: MountedFile[ServerConfig],
        fetcher: Fetcher,
        store: Store,
        verifier: Verifier,
        vault: Vault,
        repository: Repository,
        memory: Memory,
        triton: Triton,
        board: Board,
        metrics: Metrics,
        drain: float,
    ) -> None:
        """
        Args:
            drain: seconds between the report that a model is going and its unloading.
        """
        self._config = config
        self._fetcher = fetcher
        self._store = store
        self._verifier = verifier
        self._vault = vault
        self._repository = repository
        self._memory = memory
        self._triton = triton
        self._board = board
        self._metrics = metrics
        self._drain = drain
        self._tracks: dict[str, _Track] = {}
        self._installed: dict[str, tuple[Installed, ...]] = {}
        self._observation = Observation()
        self._answered = Observation()
        """What Triton said when it last answered."""
        self._crashes = Crashes()
        self._died_of_a_load = False
        self._look_at = 0.0
        self._wake = asyncio.Event()
        self._stopping = False
        self._fetch_slots = asyncio.Semaphore(FETCHES)
        self._load_slots = asyncio.Semaphore(LOADS)
        self._alone = asyncio.Lock()

    async def run(self) -> None:
        """Reconcile until `stop` was called and Triton is gone."""
        self._store.sweep()
        self._installed = self._repository.read()
        for name, versions in self._installed.items():
            self._repository.write(name, versions)  # completes what an agent that was killed has begun
        try:
            while not self._stopping or self._observation.live:
                self._config.poll()
                self._reap()
                await self._observe()
                if not self._stopping:
                    self._step()
                self._publish()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), TICK)
                self._wake.clear()
        finally:
            tasks = [track.task for track in self._tracks.values() if track.task]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def stop(self) -> None:
        """Begin nothing new; `run` returns once Triton, which is stopped first, no longer answers."""
        self._stopping = True
        self._wake.set()

    def _reap(self) -> None:
        """Take note of what is done. It counts when Triton was looked at afterwards, which is next."""
        for track in self._tracks.values():
            if track.task is not None and track.task.done():
                track.doing = track.task = None
                self._look_at = 0.0

    async def _observe(self) -> None:
        """Look whether Triton answers, and once in a while, or if that has changed, at all that it says."""
        before, alive, now = self._observation, await self._triton.alive(), time.monotonic()
        if alive == before.live and now < self._look_at:
            return
        self._observation = await self._triton.observe() if alive else Observation()
        self._look_at = now + OBSERVE
        for track in self._tracks.values():
            track.shown = track.progress.shown()
        if before.live != self._observation.live:
            log.info("Triton %s", "answers" if self._observation.live else "does not answer")
        if self._observation.live:
            self._account()

    def _account(self) -> None:
        """Find out whether Triton has died since it last answered, and of what; and what has proven itself."""
        before, self._answered = self._answered, self._observation
        of_a_load, self._died_of_a_load = self._died_of_a_load, False
        # One that was only busy, or was cut off from here, still knows what it serves.
        died = any(name in self._installed and name not in self._answered.models for name, _ in self._served(before))
        if died and not of_a_load and (suspect := self._crashes.youngest(self._served(before))) is not None:
            self._charge(suspect)
        for name, fingerprint_ in self._crashes.serve(self._served(self._answered), now=time.monotonic()):
            version = next(it for it in self._installed[name] if it.fingerprint == fingerprint_)
            self._memory.remember(name, version)

    def _served(self, observation: Observation) -> list[Key]:
        """What answered requests then, of what the repository holds."""
        return [
            (name, version.fingerprint)
            for name, versions in self._installed.items()
            for version in versions
            if observation.models.get(name, {}).get(version.version) is VersionState.READY
        ]

    def _charge(self, key: Key) -> None:
        """Triton has died, and this is the suspect: from the third time on it makes way for what served before."""
        now = time.monotonic()
        charges = self._crashes.charge(key, now=now)
        name, suspect = key
        log.warning("%s: Triton died, maybe of it (%d times so far)", name, charges)
        if self._crashes.bar(key, now=now) is None:
            return
        # What is remembered stays so: it may be all that there is, and for now it is barred like any other.
        self._write(name, [it for it in self._installed.get(name, ()) if it.fingerprint != suspect])
        track = self._tracks.get(name)
        if track is not None:
            track.failure = self._held(name, track.wanted) or track.failure

    def _held(self, name: str, wanted: ServedModel | None) -> Failure | None:
        """The failure of what is wanted, if that is because Triton has died of it."""
        if wanted is None or (bar := self._crashes.bar((name, fingerprint(wanted)), now=time.monotonic())) is None:
            return None
        return Failure(
            message=f"Triton died {bar[0]} times while it loaded or served this artifact;"
            " it is tried again at growing intervals",
            reason=FailureReason.LOAD_FAILED,
            attempts=bar[0],
            retry_at=bar[1],
        )

    def _step(self) -> None:
        """Start the next action of every model."""
        self._retain()
        if self._config.current is None:
            return  # it is not known what is wanted: nothing is loaded, and above all nothing is unloaded
        wanted = {model.name: model for model in self._config.current.models}
        self._memory.keep(wanted.keys())
        self._crashes.keep(wanted.keys())
        for name in wanted.keys() | self._tracks.keys() | self._installed.keys():
            track = self._tracks.setdefault(name, _Track())
            self._want(name, track, wanted.get(name))
            if track.task is None:
                with self._blame(name, track):
                    self._judge(name, track)
                    self._advance(name, track)
            if track.task is None and track.wanted is None and not self._view(name, track).present:
                del self._tracks[name]

    def _retain(self) -> None:
        """Say what must stay in the cache: what is wanted, what is in the repository, and what served last."""
        models = self._config.current.models if self._config.current else ()
        versions = [*self._memory.versions(), *(it for installed in self._installed.values() for it in installed)]
        self._store.retain(
            {archive.entry_name(model.artifact) for model in models}.union(*map(self._entries, versions))
        )
        links = [link for installed in self._installed.values() for it in installed for link in it.links.values()]
        self._vault.keep(links, wanted=[model.artifact for model in models])

    def _ready(self, model: ServedModel) -> bool:
        """Whether its artifact is in the cache, with the right digest and signature, and decrypted if need be."""
        entry = self._store.get(archive.entry_name(model.artifact))
        return entry is not None and self._verifier.accepts(model, entry) and self._vault.holds(model.artifact)

    def _entries(self, version: Installed) -> set[str]:
        """The entries of the cache that a version is made of."""
        found = (self._store.name_of(path) or self._vault.entry_of(path) for path in version.links.values())
        return {name for name in found if name is not None}

    def _want(self, name: str, track: _Track, wanted: ServedModel | None) -> None:
        """Take note of what is wanted now; failures belong to what was wanted before."""
        if wanted is not None:
            track.variant, track.digest, track.drain_until = wanted.variant, wanted.artifact.digest, None
        if wanted == track.wanted:
            return
        track.wanted, track.failure = wanted, self._held(name, wanted)
        if isinstance(track.doing, Fetch) and track.task is not None:
            track.task.cancel()

    def _view(self, name: str, track: _Track) -> View:
        return View(
            name=name,
            now=time.monotonic(),
            wanted=track.wanted,
            cached=track.wanted is not None and self._ready(track.wanted),
            installed=self._installed.get(name, ()),
            live=self._observation.live,
            versions=self._observation.models.get(name, {}),
            remembered=self._memory.get(name),
            failure=track.failure,
            barred=self._crashes.barred(name, now=time.monotonic()),
            drain_until=track.drain_until,
        )

    def _judge(self, name: str, track: _Track) -> None:
        """Believe in a load when Triton says that the version is ready, and not before.

        Raises:
            LoadError: it is not.
        """
        version, track.loaded = track.loaded, None
        if version is None:
            return
        if not self._observation.live:
            self._blame_load(name, version)
            return
        if self._observation.models.get(name, {}).get(version.version) is not VersionState.READY:
            self._withdraw(name, version)
            raise LoadError("Triton has loaded it, but does not report it ready")
        # What served before is remembered until this one has proven itself, which takes a while.
        if self._memory.get(name) is None or self._crashes.proven((name, version.fingerprint)):
            self._memory.remember(name, version)
        if version == self._view(name, track).current:
            track.failure = None

    def _advance(self, name: str, track: _Track) -> None:
        """Do what takes no time, until there is something that does, or nothing to do."""
        while track.task is None:
            view = self._view(name, track)
            action = reconcile.decide(view)
            match action:
                case Wait():
                    return
                case Drain():
                    track.drain_until = view.now + self._drain
                    log.info("%s is no longer wanted: unloading in %g s", name, self._drain)
                case Install():
                    self._install(view)
                case Prune(keep):
                    self._write(name, (keep,))
                    track.failure = None
                case Fetch() | Recall() | Load() | Remove():
                    track.doing = action
                    track.task = asyncio.create_task(self._perform(name, track, action))
                    track.task.add_done_callback(lambda _: self._wake.set())

    async def _perform(self, name: str, track: _Track, action: Fetch | Recall | Load | Remove) -> None:
        """Do what takes time."""
        with self._blame(name, track):
            match action:
                case Fetch():
                    await self._fetch(track)
                case Recall(version):
                    await self._recall(name, version)
                case Load(version):
                    await self._load(name, track, version)
                case Remove():
                    await self._remove(self._view(name, track))

    @contextmanager
    def _blame(self, name: str, track: _Track) -> Iterator[None]:
        """What goes wrong here is this model's failure: it is reported, and tried again later."""
        try:
            yield
        except Exception as error:
            known = isinstance(error, AgentError | OSError)
            message = str(error) if known else f"{type(error).__name__}: {error}"
            track.failure = self._held(name, track.wanted) or reconcile.failed(
                track.failure, message, reason=reason_of(error), now=time.monotonic()
            )
            log.warning("%s: %s", name, message, exc_info=not known)

    async def _fetch(self, track: _Track) -> None:
        assert track.wanted is not None
        wanted, track.progress, track.shown = track.wanted, Progress(), Shown()
        artifact = wanted.artifact
        async with self._fetch_slots:
            with self._metrics.fetching(track.progress):
                try:
                    entry = await self._store.ensure(
                        archive.entry_name(artifact),
                        lambda target: self._fetcher.fetch(artifact, target, track.progress),
                        progress=track.progress,
                        unpack=archive.unpacker(artifact),
                    )
                    await self._verifier.check(wanted, entry)
                    await self._vault.open(artifact, entry.path)
                except AgentError as error:
                    raise FetchError(f"{redacted(artifact.uri)}: {error}") from error
        track.failure = None

    async def _recall(self, name: str, version: Installed) -> None:
        if not await self._whole(version):
            self._memory.forget(name)
            return
        self._write(name, (version,))
        log.info("%s: what served before serves until the wanted artifact is there", name)

    async def _vouch(self, track: _Track, version: Installed) -> None:
        """See that a version may be loaded. The signature of what served before was looked at when it was wanted.

        Raises:
            FetchError: it is not in the cache, or not whole.
            SignatureError: it is what is wanted, and not signed as it must be.
            DecryptionError: it is encrypted, and is not decrypted any more.
        """
        if not await self._whole(version):
            raise FetchError("the artifact in the cache is damaged or gone")
        if track.wanted is not None and fingerprint(track.wanted) == version.fingerprint:
            entry = self._store.get(archive.entry_name(track.wanted.artifact))
            if entry is not None:
                await self._verifier.check(track.wanted, entry)
        await self._vault.restore(version.links.values(), self._store.get)

    async def _whole(self, version: Installed) -> bool:
        """Whether all that a version is made of is in the cache, hashed since this process began."""
        for entry in self._entries(version):
            if self._store.get(entry) is None and await self._store.recall(entry) is None:
                return False
        return True

    def _install(self, view: View) -> None:
        """Beside the version that serves; versions that do not serve make room."""
        assert view.wanted is not None
        entry = self._store.get(archive.entry_name(view.wanted.artifact))
        assert entry is not None
        serving = [it for it in view.installed if it.version == view.serving]
        track = self._tracks[view.name]
        new = install(
            view.wanted,
            self._vault.path(view.wanted.artifact) or entry.path,
            view.next_version,
            accelerator=self._accelerator,
            batched=fingerprint(view.wanted) != track.unbatched,
        )
        self._write(view.name, (*serving, new))

    async def _load(self, name: str, track: _Track, version: Installed) -> None:
        async with self._load_slot():
            if version not in self._installed.get(name, ()):
                return  # barred meanwhile
            try:
                await self._vouch(track, version)
            except AgentError:
                self._withdraw(name, version)
                raise
            # Triton loads the newest version that it finds, with the configuration that it finds.
            self._write(name, [it for it in self._installed[name] if it.version <= version.version])
            try:
                began = time.monotonic()
                track.loading = version
                with self._metrics.loading():
                    await self._triton.load(name)
                track.load_seconds = round(time.monotonic() - began, 3)
            except TritonError:
                if self._memory.get(name) != version:  # it may be what Triton died of
                    self._withdraw(name, version)
                self._blame_load(name, version)
                raise
            except LoadError:
                if track.wanted is not None and track.wanted.batching is not None:
                    track.unbatched = version.fingerprint  # a proposal must not be what a good network fails of
                self._withdraw(name, version)
                raise
            finally:
                track.loading = None
            track.loaded = version

    @asynccontextmanager
    async def _load_slot(self) -> AsyncIterator[None]:
        """A turn to load. Once Triton has died of something, one at a time, so that it shows of what."""
        async with self._load_slots:
            if not self._crashes.any:
                yield
                return
            async with self._alone:
                yield

    def _blame_load(self, name: str, version: Installed) -> None:
        """Triton has died while it loaded this, or right after: it is charged, unless something younger was about."""
        if self._died_of_a_load:
            return  # One death, one charge. This load was under way too, or began before Triton was seen to be dead.
        key = (name, version.fingerprint)
        if self._crashes.youngest([key, *self._served(self._answered), *self._arriving()]) == key:
            self._died_of_a_load = True
            self._charge(key)

    def _arriving(self) -> Iterator[Key]:
        """What is being loaded, or is loaded and was not yet seen to serve."""
        for name, track in self._tracks.items():
            for version in (track.loading, track.loaded):
                if version is not None:
                    yield name, version.fingerprint

    def _withdraw(self, name: str, version: Installed) -> None:
        """Leave the repository so that it loads what served before."""
        if self._memory.get(name) == version:
            self._memory.forget(name)
        self._write(name, [it for it in self._installed[name] if it != version])

    async def _remove(self, view: View) -> None:
        if view.loaded:
            await self._triton.unload(view.name)
        self._write(view.name, ())
        log.info("%s is unloaded", view.name)

    @property
    def _accelerator(self) -> str | None:
        return self._config.current.accelerator if self._config.current else None

    def _write(self, name: str, versions: Sequence[Installed]) -> None:
        self._repository.write(name, versions)
        if versions:
            self._installed[name] = tuple(versions)
        else:
            self._installed.pop(name, None)

    def _publish(self) -> None:
        config = self._config.current
        self._board.publish(
            revision=config.revision if config else "",
            message=self._config.error,
            triton=TritonStatus(ready=self._observation.live, version=self._observation.version),
            models=[self._describe(name, track) for name, track in sorted(self._tracks.items())],
        )

    def _describe(self, name: str, track: _Track) -> ModelStatus:
        return describe(
            self._view(name, track),
            doing=track.doing,
            progress=track.shown if isinstance(track.doing, Fetch) else None,
            variant=track.variant,
            digest=track.digest,
            load_seconds=track.load_seconds,
        )
