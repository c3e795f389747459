"""`python -m examples.video_analytics`: run it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import click
from aiohttp import web

from examples.vision.kserve import Model

from .forwarding import Forwarder
from .ring import Ring, RingError
from .running import Analytics
from .sampling import Sampler
from .sources import Source, SourceError, describe, open_source
from .watching import Watching

_EPILOG = """
Examples:

\b
  A folder of pictures, two a second, again and again, by the quickstart's Model in the same cluster:
    python -m examples.video_analytics pictures/ --rate 2 --loop
  A camera, kept within 2 GiB, forwarded when the link allows:
    python -m examples.video_analytics rtsp://camera.local/stream --max-disk 2048 \\
        --collector https://collector.example/results
  A whole recording, every sample of it, through a tunnel to the Model
  (kubectl port-forward --namespace shop service/text-detect 8081:80):
    python -m examples.video_analytics shop.mp4 --rate 5 --every-sample --model-url http://127.0.0.1:8081
"""
_SETTINGS = {"show_default": True, "max_content_width": 110, "auto_envvar_prefix": "VIDEO_ANALYTICS"}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The command line; see its help."""

    source: str
    rate: float
    loop: bool
    every_sample: bool
    model_url: str
    model_name: str
    model_host: str | None
    timeout: float
    results: Path
    max_disk: int
    picture_side: int
    collector: str | None
    collector_token: Path | None
    forward_pictures: bool
    host: str
    port: int
    stale_after: float


@click.command(epilog=_EPILOG, context_settings=_SETTINGS)
@click.argument("source")
@click.option("--rate", type=click.FloatRange(0, 60, min_open=True), default=1.0, help="Frames a second to look at.")
@click.option("--loop", is_flag=True, help="Begin again where a recording ends.")
@click.option(
    "--every-sample", is_flag=True, help="Look at all samples of a recording, as fast as that goes; skip none."
)
@click.option("--model-url", default="http://text-detect.shop", help="Address of the Model, up to /v2.")
@click.option("--model-name", default="text-detect", help="Name of the Model.")
@click.option("--model-host", help="Host to send where the address is that of a tunnel to a site's gateway.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), default=10.0, help="Seconds for one inference.")
@click.option("--results", type=click.Path(path_type=Path, file_okay=False), default=Path("results"),
              help="Directory for results and pictures.")  # fmt: skip
@click.option("--max-disk", type=click.IntRange(1), default=512, help="MiB that it may take; the oldest go first.")
@click.option("--picture-side", type=click.IntRange(0), default=1280,
              help="Longest side of the pictures that are kept; 0: none are.")  # fmt: skip
@click.option("--collector", help="Address that takes results by POST; without it none are forwarded.")
@click.option("--collector-token", type=click.Path(path_type=Path, dir_okay=False),
              help="File with a bearer token for the collector.")  # fmt: skip
@click.option("--forward-pictures", is_flag=True, help="Forward the annotated frames, too, as base64.")
@click.option("--host", default="127.0.0.1", help="Address to listen on for /metrics, /healthz and /latest.jpg.")
@click.option("--port", default=8080, help="Port to listen on; 0: any that is free.")
@click.option("--stale-after", type=click.FloatRange(0), default=60.0,
              help="Seconds without a result after which /healthz says 503; 0: never.")  # fmt: skip
def main(**options: object) -> None:
    """Find text in the frames of SOURCE by a Model on Littoral, keep the results, and forward them.

    SOURCE is a folder of pictures, an animation (GIF, WebP), a video file, a device (0, /dev/video0) or an address
    (rtsp://, http://), or the word `sample` for a short drawn one. A folder shows --rate pictures a second.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    settings = Settings(**options)  # type: ignore[arg-type]  # click has the types
    try:
        asyncio.run(run(settings))
    except (RingError, SourceError, OSError) as error:
        sys.exit(f"video-analytics: {error}")


async def run(settings: Settings) -> None:
    """Run until the source has ended, or until SIGTERM or SIGINT; raise RingError, SourceError or OSError."""
    ring = Ring(settings.results, max_bytes=settings.max_disk * 2**20)

    def reopen() -> Source:
        return open_source(settings.source, folder_rate=settings.rate)

    source = reopen()
    if source.live and settings.every_sample:
        raise SourceError("--every-sample is for recordings: a camera does not wait.")
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        analytics = Analytics(
            source=source,
            source_name=describe(settings.source),
            model=Model(
                session=session,
                url=settings.model_url,
                name=settings.model_name,
                timeout=settings.timeout,
                host=settings.model_host,
            ),
            ring=ring,
            sampler=Sampler(rate=settings.rate),
            keep_up=not settings.every_sample,
            reopen=reopen if settings.loop else None,
            longest_side=settings.picture_side,
        )
        forwarder = _forwarder(settings, ring=ring, session=session)
        if forwarder is not None:
            analytics.kept = forwarder.wake.set
        watching = Watching(analytics=analytics, forwarder=forwarder, stale_after=settings.stale_after)
        runner = web.AppRunner(watching.application(), access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, settings.host, settings.port).start()
            host, port = runner.addresses[0][:2]
            logging.info("listening on http://%s:%s; results from number %d on", host, port, ring.last + 1)
            await _until_ended(analytics, forwarder)
        finally:
            await runner.cleanup()
            analytics.source.close()


def _forwarder(settings: Settings, *, ring: Ring, session: aiohttp.ClientSession) -> Forwarder | None:
    if settings.collector is None:
        return None
    path = settings.collector_token
    token: Callable[[], str] = str if path is None else lambda: path.read_text().strip()
    return Forwarder(
        ring=ring, session=session, url=settings.collector, with_pictures=settings.forward_pictures, token=token
    )


async def _until_ended(analytics: Analytics, forwarder: Forwarder | None) -> None:
    """Run both. When a recording has ended, forward what is left; what a signal leaves is forwarded after a restart."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    background: list[asyncio.Task[Any]] = [asyncio.create_task(stop.wait())]
    if forwarder is not None:
        background.append(asyncio.create_task(forwarder.run()))
    work = asyncio.create_task(_work(analytics, forwarder))
    try:
        done, _ = await asyncio.wait([work, *background], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (work, *background):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task


async def _work(analytics: Analytics, forwarder: Forwarder | None) -> None:
    await analytics.run()
    if forwarder is not None:
        await forwarder.drained()


if __name__ == "__main__":
    main()
