"""The HTTP side: the page, `POST /v1/recognize`, `/healthz` and `/metrics`."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from examples.vision.kserve import Model, ModelError
from examples.vision.opening import NotAPicture, PictureTooLarge, open_picture
from examples.vision.samples import Picture, handwritten_seven, receipt, shop_sign

from .problems import Problem, from_error
from .recognition import Recognizer

PAGE = Path(__file__).with_name("page")
_ASSETS = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
_SAMPLES: dict[str, Callable[[], Picture]] = {"sign": shop_sign, "receipt": receipt, "seven": handwritten_seven}
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_READINGS = ("text", "digit")
_CHUNK = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the service is set up.

    Attributes:
        text_detect, text_recognize, digits: addresses of the Models up to `/v2`; each Model has the name of its field,
            with a hyphen.
        namespace: of the Models, to send `NAME.NAMESPACE` as `Host`; None where the addresses have these names.
        timeout: seconds for one request to a Model.
        max_bytes, max_pixels: of a picture.
        at_once: pictures that are read at the same time, and held in memory.
        waiting: pictures that may wait for their turn before further ones are refused.
        upload_timeout: seconds for a client to send its picture.
    """

    text_detect: str = "http://text-detect.shop"
    text_recognize: str = "http://text-recognize.shop"
    digits: str = "http://digits.shop"
    namespace: str | None = None
    timeout: float = 15.0
    max_bytes: int = 10 * 2**20
    max_pixels: int = 25_000_000
    at_once: int = 2
    waiting: int = 8
    upload_timeout: float = 30.0


class Turnstile:
    """Lets `at_once` in, has `waiting` wait, and refuses the rest."""

    def __init__(self, *, at_once: int, waiting: int) -> None:
        self._inside = asyncio.Semaphore(at_once)
        self._room = at_once + waiting
        self.present = 0

    @asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        """Wait for a turn; raise a Problem where too many wait already."""
        if self.present >= self._room:
            raise Problem(503, "busy", "Too many pictures at once; try again.", retry_after=1.0)
        self.present += 1
        try:
            async with self._inside:
                yield
        finally:
            self.present -= 1


class Metrics:
    """What the service counts, in a registry of its own."""

    def __init__(self, turnstile: Turnstile) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "image_recognition_requests", "Answers of POST /v1/recognize.", ["status", "code"], registry=self.registry
        )
        self._seconds = Histogram(
            "image_recognition_seconds", "Seconds of a picture that was read.", registry=self.registry,
            buckets=(0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
        )  # fmt: skip
        present = Gauge("image_recognition_pictures", "Pictures being read, or waiting.", registry=self.registry)
        present.set_function(lambda: turnstile.present)

    def answered(self, *, status: int, code: str, seconds: float) -> None:
        """Count one answer."""
        self._requests.labels(str(status), code).inc()
        if status == 200:
            self._seconds.observe(seconds)


class Service:
    """The handlers of one application."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._turnstile = Turnstile(at_once=settings.at_once, waiting=settings.waiting)
        self._metrics = Metrics(self._turnstile)
        self._recognizer: Recognizer | None = None

    @property
    def present(self) -> int:
        """Return how many pictures are being read, or wait."""
        return self._turnstile.present

    def application(self) -> web.Application:
        """Return the aiohttp application."""
        application = web.Application(client_max_size=self._settings.max_bytes)
        application.cleanup_ctx.append(self._connect)
        application.on_response_prepare.append(_add_headers)
        for path, (name, kind) in _ASSETS.items():
            application.router.add_get(path, _static((PAGE / name).read_bytes(), content_type=kind))
        for name, draw in _SAMPLES.items():
            buffer = io.BytesIO()
            draw().image.save(buffer, format="PNG")
            application.router.add_get(f"/samples/{name}.png", _static(buffer.getvalue(), content_type="image/png"))
        application.router.add_get("/healthz", _static(b"ok\n", content_type="text/plain"))
        application.router.add_get("/metrics", self._expose)
        application.router.add_post("/v1/recognize", self.recognize)
        return application

    async def _connect(self, application: web.Application) -> AsyncIterator[None]:
        settings = self._settings
        # No cookies: Models have none. The connector's own limit would queue in silence.
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
        ) as session:

            def model(name: str, url: str) -> Model:
                host = settings.namespace and f"{name}.{settings.namespace}"
                return Model(session=session, url=url, name=name, timeout=settings.timeout, host=host)

            self._recognizer = Recognizer(
                detector=model("text-detect", settings.text_detect),
                recognizer=model("text-recognize", settings.text_recognize),
                digits=model("digits", settings.digits),
                lines_at_once=asyncio.Semaphore(2 * settings.at_once),
            )
            yield

    async def _expose(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def recognize(self, request: web.Request) -> web.Response:
        """Answer `POST /v1/recognize?read=text,digit` with a picture as its body, or as the first file of a form."""
        start = time.perf_counter()
        try:
            readings = _readings(request.query.get("read", "text"))
            async with self._turnstile.enter():
                data = await self._receive(request)
                answer = await self._read(data, readings)
        except (ModelError, NotAPicture, PictureTooLarge, Problem) as error:
            problem = error if isinstance(error, Problem) else from_error(error)
            self._metrics.answered(status=problem.status, code=problem.code, seconds=time.perf_counter() - start)
            return problem.response()
        seconds = time.perf_counter() - start
        self._metrics.answered(status=200, code="ok", seconds=seconds)
        return web.json_response(answer | {"seconds": round(seconds, 4)})

    async def _receive(self, request: web.Request) -> bytes:
        limit = self._settings.max_bytes
        try:
            async with asyncio.timeout(self._settings.upload_timeout):
                data = await (_form_file(request, limit) if _is_form(request) else _body(request, limit))
        except TimeoutError as error:
            raise Problem(408, "too-slow", "The picture did not arrive in time.") from error
        except (ValueError, aiohttp.ClientPayloadError) as error:
            raise Problem(400, "bad-request", "The request's body cannot be read.") from error
        if not data:
            raise Problem(400, "empty", "Send a picture as the body, or as a file of a form.")
        return data

    async def _read(self, data: bytes, readings: tuple[str, ...]) -> dict[str, Any]:
        assert self._recognizer is not None
        picture = await asyncio.to_thread(open_picture, data, max_pixels=self._settings.max_pixels)
        answer: dict[str, Any] = {"width": picture.width, "height": picture.height, "models": {}}
        if "text" in readings:
            text = await self._recognizer.read_text(picture)
            answer["models"] |= text.versions
            answer["text"] = [
                {
                    "text": line.text,
                    "confidence": round(line.confidence, 4),
                    "corners": box.corners.round(1).tolist(),
                }
                for box, line in text.lines
            ]
            answer["linesNotRead"] = text.more
        if "digit" in readings:
            found = await self._recognizer.read_digit(picture)
            answer["models"] |= found.versions
            answer["digit"] = found.digit and {
                "digit": found.digit.digit,
                "confidence": found.digit.confidence,
                "probabilities": found.digit.probabilities,
            }
        return answer


def _readings(value: str) -> tuple[str, ...]:
    readings = tuple(value.split(","))
    if any(reading not in _READINGS for reading in readings):
        raise Problem(400, "bad-request", f"read: one or more of {', '.join(_READINGS)}, with commas between")
    return readings


def _is_form(request: web.Request) -> bool:
    return request.content_type == "multipart/form-data"


async def _body(request: web.Request, limit: int) -> bytes:
    # What is announced as too large need not be sent.
    if (request.content_length or 0) > limit:
        raise _too_many_bytes(limit)
    data = bytearray()
    async for chunk in request.content.iter_chunked(_CHUNK):
        data += chunk
        if len(data) > limit:
            raise _too_many_bytes(limit)
    return bytes(data)


async def _form_file(request: web.Request, limit: int) -> bytes:
    async for part in await request.multipart():
        if not isinstance(part, aiohttp.BodyPartReader) or part.filename is None:
            continue
        data = bytearray()
        while chunk := await part.read_chunk(_CHUNK):
            data += chunk
            if len(data) > limit:
                raise _too_many_bytes(limit)
        return bytes(data)
    return b""


def _too_many_bytes(limit: int) -> Problem:
    return Problem(413, "too-large", f"The picture has more than {limit} bytes.")


def _static(body: bytes, *, content_type: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=body, content_type=content_type, charset="utf-8" if "text" in content_type else None)

    return answer


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
