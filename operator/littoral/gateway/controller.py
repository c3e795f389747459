"""The loop: desired state in, commands to HAProxy and a status out."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import logging
import time
from collections.abc import Mapping
from pathlib import Path

from littoral.agent.files import write_atomically
from littoral.agent.mounted import MountedFile
from littoral.api.routing import GatewayConfig, GatewayStatus, HaproxyStatus
from littoral.gateway.board import Board
from littoral.gateway.certificates import CertificateFolder, Certificates
from littoral.gateway.errors import HaproxyError
from littoral.gateway.haproxy import Haproxy, ServerFigures, Worker
from littoral.gateway.ledger import Ledger
from littoral.gateway.reconcile import Reload, leftovers, reconcile
from littoral.gateway.report import describe
from littoral.gateway.resolver import Resolver
from littoral.render.gateway_haproxy import HaproxySettings, HaproxyState, map_file, render_haproxy
from littoral.render.gateway_hosts import host_names, resolved

log = logging.getLogger(__name__)

_LOOK = 0.2  # Seconds between looks at the mounted file, and at servers that are to go.
_COUNT = 1.0  # Seconds between readings of the counters.
_COMPARE = 5.0  # Seconds after which HAProxy is compared with what it should have, without any reason.
_RELOADED = 10.0  # Seconds that new processes may take to start.
_RELOAD_PAUSE = 1.0  # Seconds between reloads: a burst of new Models is one.


class Controller:
    """Keeps HAProxy at the desired state."""

    def __init__(
        self,
        *,
        config: MountedFile[GatewayConfig],
        settings: HaproxySettings,
        haproxy: Haproxy,
        board: Board,
        ledger_file: Path,
        certificates: CertificateFolder | None,
    ) -> None:
        self._config = config
        self._given = settings
        self._settings = settings if certificates is None else settings.plain
        self._haproxy = haproxy
        self._board = board
        self._ledger_file = ledger_file
        self._ledger = _load_ledger(ledger_file)
        self._folder = certificates
        self._certificates: Certificates | None = None
        self._resolver = Resolver()
        self._named: tuple[GatewayConfig, frozenset[str]] | None = None
        self._addresses: Mapping[str, tuple[str, ...]] = {}
        self._rendered: tuple[GatewayConfig, HaproxyState] | None = None
        self._written: HaproxyState | None = None
        self._worker: Worker | None = None
        self._applied = ""
        self._compare = True
        self._compared = self._counted = self._reloaded = -1e9
        self._reloads = 0
        self._saved = ""
        self._workers: list[Worker] = []
        self._outstanding: dict[str, int] = {}
        self._figures: list[ServerFigures] = []

    async def run(self) -> None:
        """Until it is cancelled."""
        try:
            while True:
                message = ""
                try:
                    await self._pass()
                except (HaproxyError, OSError) as error:
                    message = str(error)
                    self._compare = True
                if message and message != self._board.status.message:
                    log.warning("%s", message)
                self._publish(message)
                await asyncio.sleep(_LOOK)
        finally:
            self._save_ledger()

    async def _pass(self) -> None:
        if self._config.poll():
            self._compare = True
        wanted = self._wanted()
        if wanted is None:
            raise HaproxyError(self._config.error or "there is no desired state yet")
        self._write(wanted)
        worker = await self._worker_now()
        if self._worker is None or worker.identity != self._worker.identity:
            self._compare = True
        self._worker = worker
        now = time.monotonic()
        if self._compare or now - self._compared >= _COMPARE:
            await self._apply(wanted)
        if now - self._counted >= _COUNT:
            await self._count()

    async def _worker_now(self) -> Worker:
        try:
            return await self._haproxy.worker()
        except HaproxyError:
            self._worker, self._workers, self._figures = None, [], []
            raise

    def _wanted(self) -> HaproxyState | None:
        config = self._config.current
        if config is None:
            return None
        self._read_certificates()
        addresses = self._resolver.addresses(self._hosts(config))
        if addresses != self._addresses:
            self._addresses, self._rendered, self._compare = addresses, None, True
        if self._rendered is None or self._rendered[0] is not config:
            self._rendered = (config, render_haproxy(resolved(config, addresses), settings=self._settings))
        return self._rendered[1]

    def _hosts(self, config: GatewayConfig) -> frozenset[str]:
        if self._named is None or self._named[0] is not config:
            self._named = (config, host_names(config))
        return self._named[1]

    def _read_certificates(self) -> None:
        certificates = self._folder.read() if self._folder is not None else None
        if certificates is None or certificates == self._certificates:
            return
        assert self._given.certificate is not None
        assert self._given.peers_ca is not None
        _write_private(Path(self._given.certificate), certificates.own)
        write_atomically(Path(self._given.peers_ca), certificates.authorities)
        # New authorities need a reload: HAProxy 2.6.12 crashed when they were replaced in a running process twice.
        digest = hashlib.sha256(certificates.authorities.encode()).hexdigest()
        self._settings = dataclasses.replace(self._given, peers_digest=digest)
        self._certificates, self._rendered, self._compare = certificates, None, True

    def _write(self, wanted: HaproxyState) -> None:
        """Write what a new process starts from.

        It is written before HAProxy is told: one that is killed meanwhile comes back with the new state.
        """
        if wanted is not self._written:
            for file, entries in wanted.maps.items():
                write_atomically(Path(file), map_file(entries))
            # The last, since HAProxy waits for it to start.
            write_atomically(Path(self._settings.configuration), wanted.configuration)
            self._written = wanted

    async def _renew(self) -> None:
        """Have the certificate used that is mounted, unless it is."""
        if self._certificates is None or self._settings.certificate is None:
            return
        if await self._haproxy.fingerprint(self._settings.certificate) != self._certificates.fingerprint:
            await self._haproxy.replace_certificate(self._settings.certificate, self._certificates.own)
            log.info("certificate renewed")

    async def _apply(self, wanted: HaproxyState) -> None:
        seen = await self._haproxy.seen(maps=list(wanted.maps))
        failure: HaproxyError | None = None
        for action in reconcile(wanted, seen):
            if isinstance(action, Reload):
                await self._reload(wanted, action)
                return
            try:
                await self._haproxy.tell(action)
            except HaproxyError as error:
                # A server that still has an idle connection cannot go yet, and a pass later it can.
                log.info("%s", error)
                if not action.expected.startswith("deleted"):
                    failure = error
        await self._renew()
        self._compared = time.monotonic()
        self._compare = leftovers(wanted, seen) or failure is not None
        if failure is not None:
            raise failure
        assert self._rendered is not None
        if self._applied != self._rendered[0].revision:
            self._applied = self._rendered[0].revision
            log.info("in force: %s", self._applied)

    async def _reload(self, wanted: HaproxyState, action: Reload) -> None:
        now = time.monotonic()
        if now - self._reloaded < _RELOAD_PAUSE:
            return  # `_compare` stays: the next pass looks again.
        self._reloaded = now
        self._reloads += 1
        log.info("reload: %s", action.why)
        before = await self._haproxy.worker()
        await self._haproxy.hold(before)
        await self._haproxy.reload()
        deadline = now + _RELOADED
        while time.monotonic() < deadline:
            try:
                worker = await self._haproxy.worker()
            except HaproxyError:
                worker = before
            if worker.identity != before.identity and worker.base == wanted.base:
                return
            await asyncio.sleep(0.05)
        # A configuration that is refused leaves the old processes serving; asking again each second helps nobody.
        self._reloaded = time.monotonic() + 30
        raise HaproxyError("HAProxy did not take the new configuration and serves by the old one; its log says why")

    async def _count(self) -> None:
        self._workers = await self._haproxy.workers()
        current = self._worker.pid if self._worker else 0
        outstanding: dict[str, int] = {}
        for worker in self._workers:
            try:
                self._ledger.read(worker.identity, await self._haproxy.counters(worker))
                for model, count in (await self._haproxy.outstanding(worker)).items():
                    outstanding[model] = outstanding.get(model, 0) + count
            except HaproxyError:  # it has just ended
                continue
            # `connections` was read before the counters, so nothing comes after them.
            if worker.identity in self._haproxy.held and worker.connections == 0 and worker.pid != current:
                self._haproxy.release(worker)
        self._outstanding = outstanding
        self._figures = await self._haproxy.figures()
        self._ledger.keep([it.identity for it in self._workers])
        self._counted = time.monotonic()
        self._ledger.tick(self._counted)
        self._save_ledger()

    def _publish(self, message: str) -> None:
        worker = self._worker
        config = self._config.current
        self._board.publish(
            GatewayStatus(
                revision=self._applied,
                message=message or self._config.error,
                haproxy=HaproxyStatus(
                    ready=worker is not None
                    and not message
                    and config is not None
                    and self._applied == config.revision,
                    version=worker.version if worker else "",
                    pid=worker.pid if worker else 0,
                    workers=len(self._workers),
                    reloads=self._reloads,
                ),
                models=describe(
                    config,
                    ledger=self._ledger,
                    outstanding=self._outstanding,
                    figures=self._figures,
                    now=time.monotonic(),
                ),
            )
        )

    def _save_ledger(self) -> None:
        text = self._ledger.dump()
        if text == self._saved:
            return
        try:
            self._ledger_file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._ledger_file, text)
            self._saved = text
        except OSError as error:  # a full disk must not stop anything
            log.warning("the counters are not kept for the next start: %s", error)


def _load_ledger(file: Path) -> Ledger:
    try:
        return Ledger.load(file.read_text())
    except (OSError, ValueError):
        return Ledger()


def _write_private(file: Path, text: str) -> None:
    staged = file.with_name(f".{file.name}.new")
    staged.unlink(missing_ok=True)
    staged.touch(mode=0o640)
    staged.write_text(text)
    staged.replace(file)
