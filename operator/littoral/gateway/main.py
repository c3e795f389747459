"""The agent beside HAProxy as a process: wiring, signals, an end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from littoral.agent.mounted import MountedFile
from littoral.api.routing import GatewayConfig
from littoral.gateway.board import Board
from littoral.gateway.certificates import CertificateFolder
from littoral.gateway.controller import Controller
from littoral.gateway.haproxy import Haproxy
from littoral.gateway.http import Report
from littoral.render.gateway_haproxy import HaproxySettings

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the agent is told when it starts; `littoral gateway --help` describes each."""

    config: Path
    run: Path
    state: Path
    bind: tuple[str, ...]
    secure_bind: tuple[str, ...]
    certificates: Path | None
    threads: int | None
    max_connections: int
    compress_uplink: bool
    listen: str

    def settings(self) -> HaproxySettings:
        """What HAProxy's configuration depends on besides the routes."""
        secure = self.certificates is not None
        return HaproxySettings(
            directory=str(self.run),
            listen=self.bind,
            secure_listen=self.secure_bind if secure else (),
            certificate=str(self.run / "gateway.pem") if secure else None,
            peers_ca=str(self.run / "peers.pem") if secure else None,
            threads=self.threads,
            max_connections=self.max_connections,
            compress_uplink=self.compress_uplink,
        )


async def run(options: Options) -> None:
    """Run the agent until it is told to stop; HAProxy goes on as it is."""
    board = Board()
    settings = options.settings()
    options.run.mkdir(parents=True, exist_ok=True)
    controller = Controller(
        config=MountedFile(options.config, saved=options.state / "gateway.json", kind=GatewayConfig),
        settings=settings,
        haproxy=Haproxy(settings),
        board=board,
        ledger_file=options.state / "demand.json",
        certificates=CertificateFolder(options.certificates) if options.certificates else None,
    )
    controlling = asyncio.create_task(controller.run())
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, controlling.cancel)
    runner = web.AppRunner(Report(board).application(), shutdown_timeout=1.0)
    await runner.setup()
    host, _, port = options.listen.rpartition(":")
    await web.TCPSite(runner, host or None, int(port)).start()
    log.info("reporting on %s, HAProxy in %s", options.listen, options.run)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await controlling
    finally:
        await runner.cleanup()
