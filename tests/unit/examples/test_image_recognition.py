"""The image recognition service: what it reads by the quickstart's networks, and how it says what goes wrong."""

import asyncio
import io
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import FormData, web
from click.testing import CliRunner
from PIL import Image

from examples.image_recognition import recognition
from examples.image_recognition.__main__ import main
from examples.image_recognition.service import PAGE, Service, Settings
from examples.quickstart.networks import DIGITS, TEXT_DETECT, TEXT_RECOGNIZE
from examples.vision.samples import Picture, handwritten_seven, receipt, shop_sign
from tests.unit.examples.kserve_stub import Answering, Stub, listening, network, serving

LIMITS: dict[str, Any] = {"max_bytes": 200_000, "max_pixels": 400_000}


@pytest.fixture(scope="module")
def networks() -> dict[str, Answering]:
    return {
        "text-detect": network(TEXT_DETECT),
        "text-recognize": network(TEXT_RECOGNIZE),
        "digits": network(DIGITS),
    }


@pytest.fixture
async def stub(networks: dict[str, Answering]) -> AsyncIterator[Stub]:
    async with serving(dict(networks)) as running:
        yield running


def application(stub: Stub, **settings: Any) -> web.Application:
    models = {"text_detect": stub.url, "text_recognize": stub.url, "digits": stub.url}
    return Service(Settings(**(models | LIMITS | settings))).application()


def png(picture: Picture) -> bytes:
    buffer = io.BytesIO()
    picture.image.save(buffer, format="PNG")
    return buffer.getvalue()


async def ask(session: aiohttp.ClientSession, url: str, body: Any, *, read: str = "text") -> tuple[int, Any, Any]:
    async with session.post(f"{url}/v1/recognize?read={read}", data=body) as response:
        return response.status, await response.json(content_type=None), response.headers


@pytest.mark.parametrize("picture", [shop_sign(), receipt()], ids=lambda picture: picture.name)
async def test_text_is_read(session: aiohttp.ClientSession, stub: Stub, picture: Picture) -> None:
    async with listening(application(stub)) as url:
        status, answer, _ = await ask(session, url, png(picture))
    assert status == 200
    assert tuple(line["text"] for line in answer["text"]) == picture.lines
    assert (answer["width"], answer["height"]) == picture.image.size
    assert all(line["confidence"] > 0.5 and np.shape(line["corners"]) == (4, 2) for line in answer["text"])
    assert answer["models"] == {"text-detect": "7", "text-recognize": "7"}
    assert "digit" not in answer
    assert stub.asked.count("text-recognize") == len(picture.lines)


async def test_a_digit_is_read_and_an_empty_picture_has_none(session: aiohttp.ClientSession, stub: Stub) -> None:
    empty = Picture(name="empty", image=Image.new("RGB", (64, 64), "white"), lines=())
    async with listening(application(stub)) as url:
        _, seven, _ = await ask(session, url, png(handwritten_seven()), read="digit")
        _, both, _ = await ask(session, url, png(empty), read="text,digit")
    assert seven["digit"]["digit"] == 7
    assert len(seven["digit"]["probabilities"]) == 10
    assert stub.asked == ["digits", "text-detect"]
    assert (both["digit"], both["text"], both["linesNotRead"]) == (None, [], 0)


async def test_gateways_are_told_the_models_by_host(session: aiohttp.ClientSession, stub: Stub) -> None:
    async with listening(application(stub)) as url:
        await ask(session, url, png(handwritten_seven()), read="digit")
    async with listening(application(stub, namespace="shop")) as url:
        await ask(session, url, png(handwritten_seven()), read="digit")
    assert stub.hosts == [stub.url.removeprefix("http://"), "digits.shop"]


async def test_a_form_does_as_well(session: aiohttp.ClientSession, stub: Stub) -> None:
    form = FormData({"comment": "a sign"})
    form.add_field("picture", png(shop_sign()), filename="sign.png", content_type="image/png")
    nothing = FormData()
    nothing.add_field("comment", "no file", content_type="text/plain")
    async with listening(application(stub)) as url:
        status, answer, _ = await ask(session, url, form)
        assert (status, answer["text"][0]["text"]) == (200, "Harbour Bakery")
        status, problem, _ = await ask(session, url, nothing)
    assert (status, problem["code"]) == (400, "empty")


def big_form() -> FormData:
    form = FormData()
    form.add_field("picture", bytes(300_000), filename="large.bmp")
    return form


async def until(holds: Callable[[], bool]) -> None:
    """Let everything else run until a condition holds."""
    while not holds():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.001)


async def chunked(data: bytes) -> AsyncIterator[bytes]:
    """A body whose size is not announced."""
    for start in range(0, len(data), 50_000):
        yield data[start : start + 50_000]


@pytest.mark.parametrize(
    ("body", "read", "status", "code"),
    [
        (lambda: b"", "text", 400, "empty"),
        (lambda: b"hello", "text", 415, "not-a-picture"),
        (lambda: png(shop_sign())[:2000], "text", 415, "not-a-picture"),
        (lambda: bytes(200_001), "text", 413, "too-large"),
        (lambda: chunked(bytes(300_000)), "text", 413, "too-large"),
        (big_form, "text", 413, "too-large"),
        (lambda: png(Picture(name="", image=Image.new("1", (1000, 401)), lines=())), "text", 413, "too-large"),
        (lambda: png(shop_sign()), "faces", 400, "bad-request"),
        (lambda: png(shop_sign()), "", 400, "bad-request"),
    ],
)
async def test_what_cannot_be_read_says_why(
    session: aiohttp.ClientSession, stub: Stub, body: Any, read: str, status: int, code: str
) -> None:
    async with listening(application(stub)) as url:
        found, problem, headers = await ask(session, url, body(), read=read)
        assert (found, problem["code"], problem["status"]) == (status, code, status)
        assert headers["Content-Type"].startswith("application/problem+json")
        assert problem["detail"]
        assert stub.asked == []
        async with session.get(f"{url}/metrics") as response:
            assert f'image_recognition_requests_total{{code="{code}",status="{status}"}} 1.0' in await response.text()


@pytest.mark.parametrize("missing", ["text-detect", "text-recognize"])
async def test_a_model_that_is_not_there_is_503_and_says_when_to_come_back(
    session: aiohttp.ClientSession, stub: Stub, missing: str
) -> None:
    del stub.models[missing]
    async with listening(application(stub)) as url:
        status, problem, headers = await ask(session, url, png(shop_sign()))
    assert (status, problem["code"], headers["Retry-After"]) == (503, "model-unavailable", "3")
    assert missing in problem["detail"]


async def test_nobody_behind_the_service_name_is_503_too(session: aiohttp.ClientSession, stub: Stub) -> None:
    async with listening(application(stub, text_detect="http://127.0.0.1:1")) as url:
        status, _, headers = await ask(session, url, png(shop_sign()))
    assert (status, headers["Retry-After"]) == (503, "1")


async def test_another_model_under_the_name_is_502(session: aiohttp.ClientSession, stub: Stub) -> None:
    async def other(tensor: np.ndarray) -> np.ndarray:
        return np.zeros((1, 3), dtype=np.float32)

    for name in ("text-detect", "digits"):
        stub.models[name] = other
    async with listening(application(stub)) as url:
        for read in ("text", "digit"):
            status, problem, _ = await ask(session, url, png(shop_sign()), read=read)
            assert (status, problem["code"]) == (502, "model-refused")
            assert "of shape (1, 3)" in problem["detail"]


async def test_too_many_lines_are_counted_and_not_read(
    session: aiohttp.ClientSession, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recognition, "_MOST_LINES", 2)
    async with listening(application(stub)) as url:
        _, answer, _ = await ask(session, url, png(shop_sign()))
    assert (len(answer["text"]), answer["linesNotRead"]) == (2, 1)


async def test_so_many_at_once_and_so_many_wait(session: aiohttp.ClientSession, stub: Stub) -> None:
    inside, most, go = 0, 0, asyncio.Event()
    detect, full = stub.models["text-detect"], asyncio.Event()

    async def held(tensor: np.ndarray) -> np.ndarray | web.Response:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        if inside == 2:
            full.set()
        await go.wait()
        inside -= 1
        return await detect(tensor)

    stub.models["text-detect"] = held
    service = Service(
        Settings(text_detect=stub.url, text_recognize=stub.url, digits=stub.url, at_once=2, waiting=1, **LIMITS)
    )
    async with listening(service.application()) as url:
        tasks = [asyncio.create_task(ask(session, url, png(shop_sign()))) for _ in range(3)]
        await full.wait()
        await until(lambda: service.present == 3)
        status, problem, headers = await ask(session, url, png(shop_sign()))
        assert (status, problem["code"], headers["Retry-After"]) == (503, "busy", "1")
        go.set()
        assert [status for status, _, _ in await asyncio.gather(*tasks)] == [200, 200, 200]
        assert (most, service.present) == (2, 0)


async def test_a_client_that_sends_nothing_gives_its_place_back(session: aiohttp.ClientSession, stub: Stub) -> None:
    async with listening(application(stub, upload_timeout=0.05, at_once=1, waiting=0)) as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /v1/recognize HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
        writer.close()
        status, _, _ = await ask(session, url, png(shop_sign()))
        assert status == 200


async def test_a_client_that_goes_away_gives_its_place_back(session: aiohttp.ClientSession, stub: Stub) -> None:
    service = Service(Settings(text_detect=stub.url, at_once=1, waiting=0))
    async with listening(service.application()) as url:
        host, port = url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /v1/recognize HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
        await until(lambda: service.present == 1)
        writer.close()
        await until(lambda: service.present == 0)


async def test_the_page_and_all_that_it_loads_is_there(session: aiohttp.ClientSession, stub: Stub) -> None:
    async with listening(application(stub)) as url:
        for path, kind in (
            ("/", "text/html"),
            ("/page.js", "text/javascript"),
            ("/page.css", "text/css"),
            ("/samples/sign.png", "image/png"),
            ("/samples/receipt.png", "image/png"),
            ("/samples/seven.png", "image/png"),
            ("/healthz", "text/plain"),
        ):
            async with session.get(url + path) as response:
                assert (response.status, response.content_type) == (200, kind)
                assert "default-src 'self'" in response.headers["Content-Security-Policy"]
    page = (PAGE / "page.html").read_text()
    assert "<script>" not in page
    assert "style=" not in page


def test_help_has_examples_and_every_option_that_readme_and_manifest_name() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    assert "curl --data-binary @receipt.png" in result.output
    folder = Path(recognition.__file__).parent
    manifest = (folder / "manifests/image-recognition.yaml").read_text()
    named = set(re.findall(r"--[a-z][a-z-]+", (folder / "README.md").read_text() + manifest))
    # Those of other programs in the same commands.
    others = {"--lab", "--data-binary"}
    assert named - others <= set(re.findall(r"--[a-z][a-z-]+", result.output))
