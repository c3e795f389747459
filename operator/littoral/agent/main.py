"""The agent as a process: wiring, signals, an end."""

import asyncio
import logging
import signal
from dataclasses import dataclass, replace
from pathlib import Path

from aiohttp import web

from littoral.agent.controller import Controller
from littoral.agent.fetch import Fetcher
from littoral.agent.http import Report
from littoral.agent.memory import Memory
from littoral.agent.metrics import Metrics
from littoral.agent.mounted import MountedFile
from littoral.agent.peers import Peers
from littoral.agent.progress import Progress
from littoral.agent.repository import Repository
from littoral.agent.sharing import Sharing
from littoral.agent.sources.limits import Limits
from littoral.agent.sources.pace import Pace
from littoral.agent.status import Board
from littoral.agent.store import Quota, Store
from littoral.agent.triton import Triton
from littoral.agent.vault import Vault
from littoral.agent.verify import Policy, Verifier
from littoral.agent.verify.bundle import LARGEST
from littoral.api.serving import ServerConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the agent is told when it starts; `littoral agent --help` describes each."""

    config: Path
    peers: Path | None
    cache: Path
    cache_quota: Quota
    state: Path
    repository: Path
    triton: str
    triton_grpc: str
    listen: str
    files_root: Path | None
    claims_root: Path
    credentials_root: Path | None
    ca_file: Path | None
    signature_policy: Policy
    keys_root: Path | None
    sigstore_trusted_root: Path | None
    decrypted_root: Path | None
    identities_root: Path | None
    max_bytes: int
    bandwidth: float | None
    drain: float


async def run(options: Options) -> None:
    """Run the agent until it is told to stop and Triton is gone."""
    board, metrics = Board(), Metrics()
    store = Store(options.cache, quota=options.cache_quota)
    config = MountedFile(options.config, saved=options.state / "server.json", kind=ServerConfig)
    peers = Peers(file=options.peers, count=metrics.from_peers)
    fetcher = Fetcher(
        files_root=options.files_root,
        claims_root=options.claims_root,
        credentials_root=options.credentials_root,
        ca_file=options.ca_file,
        limits=Limits(max_bytes=options.max_bytes, pace=Pace(options.bandwidth)),
        peers=peers,
    )
    signatures = replace(fetcher, peers=None, limits=replace(fetcher.limits, max_bytes=LARGEST))
    verifier = Verifier(
        policy=options.signature_policy,
        fetch=lambda artifact, target: signatures.fetch(artifact, target, Progress()),
        kept=options.cache / "signatures",
        keys_root=options.keys_root,
        trusted_root=options.sigstore_trusted_root,
    )
    async with Triton(http=options.triton, grpc=options.triton_grpc) as triton:
        controller = Controller(
            config=config,
            fetcher=fetcher,
            store=store,
            verifier=verifier,
            vault=Vault(options.decrypted_root, identities_root=options.identities_root),
            repository=Repository(options.repository),
            memory=Memory(options.state / "served.json"),
            triton=triton,
            board=board,
            metrics=metrics,
            drain=options.drain,
        )
        reconciling = asyncio.create_task(controller.run())
        tending = asyncio.create_task(store.tend())
        loop = asyncio.get_running_loop()
        # Kubernetes ends a native sidecar after the pod's containers: on SIGTERM Triton is about to stop or has
        # stopped, and the site role still wants to know what serves. Ctrl-C in a terminal means now.
        loop.add_signal_handler(signal.SIGTERM, controller.stop)
        loop.add_signal_handler(signal.SIGINT, reconciling.cancel)

        sharing = Sharing(
            entry=store.get, wanted=lambda: config.current.models if config.current else (), coming=lambda: peers.coming
        )
        report = Report(board=board, metrics=metrics, sharing=sharing)
        runner = web.AppRunner(report.application(), shutdown_timeout=1.0)
        await runner.setup()
        host, _, port = options.listen.rpartition(":")
        await web.TCPSite(runner, host or None, int(port)).start()
        log.info("reporting on %s, Triton at %s", options.listen, options.triton)
        try:
            await reconciling
        except asyncio.CancelledError:
            log.info("interrupted")
        finally:
            tending.cancel()
            await asyncio.gather(tending, return_exceptions=True)
            await runner.cleanup()
