"""What the examples share: the KServe client, opening strangers' pictures, drawing, single digits."""

import asyncio
import contextlib
import io
import struct
import zlib
from collections.abc import AsyncIterator

import aiohttp
import numpy as np
import onnx
import onnxruntime
import pytest
from aiohttp import web
from PIL import Image, ImageDraw

from examples.quickstart.networks import DIGITS, TEXT_RECOGNIZE
from examples.vision import digit_recognition, kserve, text_recognition
from examples.vision.drawing import draw_boxes, to_jpeg
from examples.vision.kserve import Model, ModelError, ModelRefused, ModelTimedOut, ModelUnavailable
from examples.vision.opening import NotAPicture, PictureTooLarge, open_picture
from examples.vision.samples import handwritten_seven, shop_sign
from examples.vision.text_detection import TextBox
from tests.unit.examples.kserve_stub import Stub, listening, serving, unavailable

SCAN = np.zeros((1, 8, 8), dtype=np.float32)


@pytest.fixture
async def stub() -> AsyncIterator[Stub]:
    async with serving({}) as running:
        yield running


async def ask(session: aiohttp.ClientSession, url: str, *, patience: float = 5.0) -> kserve.Answer:
    model = Model(session=session, url=url, name="digits", timeout=patience)
    return await model.infer(SCAN, input_name="image", output_name="probabilities")


async def test_a_tensor_goes_there_and_back_as_bytes(session: aiohttp.ClientSession, stub: Stub) -> None:
    async def twice(tensor: np.ndarray) -> np.ndarray:
        return 2 * tensor

    stub.models["digits"] = twice
    model = Model(session=session, url=f"{stub.url}/", name="digits", timeout=5)
    tensor = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    answer = await model.infer(tensor.transpose(2, 0, 1), input_name="image", output_name="out")
    np.testing.assert_array_equal(answer.values, 2 * tensor.transpose(2, 0, 1))
    assert answer.version == "7"


@pytest.mark.parametrize(
    ("response", "kind", "retry_after"),
    [
        (lambda: unavailable(9), ModelUnavailable, 9),
        (lambda: web.Response(status=503), ModelUnavailable, 1),
        (lambda: web.Response(status=503, headers={"Retry-After": "86400"}), ModelUnavailable, 60),
        (lambda: web.Response(status=429, headers={"Retry-After": "soon"}), ModelUnavailable, 1),
        (lambda: web.Response(status=404), ModelUnavailable, 1),
        (lambda: web.json_response({"error": "unknown model: 'digits'"}, status=400), ModelUnavailable, 1),
        (lambda: web.Response(status=504), ModelTimedOut, None),
        (lambda: web.json_response({"error": "unexpected shape"}, status=400), ModelRefused, None),
        (lambda: web.Response(status=307, headers={"Location": "http://elsewhere/"}), ModelRefused, None),
        (lambda: web.Response(text="<html>"), ModelRefused, None),
        (lambda: web.json_response({"outputs": []}), ModelRefused, None),
        (lambda: web.json_response([]), ModelRefused, None),
    ],
)
async def test_errors_say_what_can_be_done(
    session: aiohttp.ClientSession, stub: Stub, response: object, kind: type[ModelError], retry_after: float | None
) -> None:
    async def fail(_: np.ndarray) -> web.Response:
        assert callable(response)
        return response()

    stub.models["digits"] = fail
    with pytest.raises(kind, match=r"^digits: ") as raised:
        await ask(session, stub.url)
    assert type(raised.value) is kind
    assert getattr(raised.value, "retry_after", None) == retry_after


async def test_nobody_listens(session: aiohttp.ClientSession) -> None:
    with pytest.raises(ModelUnavailable):
        await ask(session, "http://127.0.0.1:1")


async def test_an_answer_that_does_not_come(session: aiohttp.ClientSession, stub: Stub) -> None:
    end = asyncio.Event()

    async def late(_: np.ndarray) -> web.Response:
        await end.wait()
        return unavailable(1)

    stub.models["digits"] = late
    with pytest.raises(ModelTimedOut, match=r"no answer within 0\.05 s"):
        await ask(session, stub.url, patience=0.05)
    end.set()


async def test_a_connection_that_was_closed_meanwhile_is_not_an_error(session: aiohttp.ClientSession) -> None:
    count = 0

    async def infer(request: web.Request) -> web.Response:
        nonlocal count
        count += 1
        if count == 1:
            assert request.transport is not None
            request.transport.close()
        return web.json_response(
            {"outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [1, 2], "data": [0.5, 0.25]}]}
        )

    application = web.Application()
    application.router.add_post("/v2/models/digits/infer", infer)
    async with listening(application) as url:
        answer = await ask(session, url)
    assert (count, answer.version) == (2, "")
    np.testing.assert_array_equal(answer.values, [[0.5, 0.25]])


def test_the_characters_are_those_of_the_network() -> None:
    (carried,) = (entry.value for entry in onnx.load(TEXT_RECOGNIZE.path()).metadata_props if entry.key == "character")
    assert text_recognition.alphabet() == ["", *carried.splitlines(), " "]


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P"])
def test_pictures_of_many_kinds_become_rgb(kind: str, mode: str) -> None:
    if (kind, mode) == ("JPEG", "P"):
        mode = "CMYK"
    opened = open_picture(encoded(Image.new("RGB", (40, 30), "white").convert(mode), kind), max_pixels=1200)
    assert (opened.mode, opened.size) == ("RGB", (40, 30))
    assert min(opened.getpixel((20, 15))) > 240


def test_a_turned_photograph_stands_upright_and_transparent_is_white() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = open_picture(encoded(Image.new("RGB", (40, 30)), "JPEG", exif=exif), max_pixels=1200)
    assert turned.size == (30, 40)
    clear = open_picture(encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 0)), "PNG"), max_pixels=16)
    assert clear.getpixel((0, 0)) == (255, 255, 255)


def png_of(width: int, height: int) -> bytes:
    """A PNG that announces a size and holds next to nothing."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [101, 60_000])
def test_a_picture_that_unfolds_is_refused_unread(side: int) -> None:
    with pytest.raises(PictureTooLarge, match="10000 are allowed"):
        open_picture(png_of(side, side), max_pixels=10_000)


def test_whatever_is_no_picture_is_refused() -> None:
    whole = [encoded(shop_sign().image, kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP")]
    for data in (b"", b"hello", b"<svg/>", *(each[: len(each) // 3] for each in whole)):
        with pytest.raises(NotAPicture, match="formats: JPEG"):
            open_picture(data, max_pixels=10**7)
    generator = np.random.default_rng(0)
    for data in whole:
        for _ in range(20):
            broken = bytearray(data)
            for place in generator.integers(0, len(broken), 8):
                broken[place] ^= 0xFF
            with contextlib.suppress(NotAPicture, PictureTooLarge):
                open_picture(bytes(broken), max_pixels=10**7)


def box(left: float, top: float, right: float, bottom: float) -> TextBox:
    return TextBox(corners=np.array([(left, top), (right, top), (right, bottom), (left, bottom)]), score=0.9)


def test_boxes_are_drawn_on_a_copy() -> None:
    picture = Image.new("RGB", (200, 100), "black")
    drawn = draw_boxes(picture, [box(20, 40, 180, 80)], captions=["99%"])
    assert picture.getcolors() == [(20_000, (0, 0, 0))]
    for on_the_line in ((20, 60), (180, 60), (100, 40), (100, 80)):
        assert drawn.getpixel(on_the_line) == (0, 0xC2, 0xA8)
    assert drawn.getpixel((100, 60)) == (0, 0, 0)
    assert drawn.crop((20, 20, 60, 38)).getextrema()[0][1] > 200, "a light caption above the box"
    with pytest.raises(ValueError, match="1 captions for 0 boxes"):
        draw_boxes(picture, [], captions=["x"])


def test_a_jpeg_is_made_smaller_and_never_larger() -> None:
    picture = Image.new("RGB", (400, 200))
    for longest, size in ((100, (100, 50)), (1000, (400, 200))):
        assert Image.open(io.BytesIO(to_jpeg(picture, longest_side=longest))).size == size
    assert picture.size == (400, 200)


def test_a_digit_is_read_dark_on_light_and_light_on_dark() -> None:
    session = onnxruntime.InferenceSession(str(DIGITS.path()), providers=["CPUExecutionProvider"])
    seven = handwritten_seven().image
    for picture in (
        seven,
        seven.point(lambda level: 255 - level),
        seven.resize((900, 900)),
        seven.crop((60, 40, 190, 220)),
    ):
        scan = digit_recognition.prepare(picture)
        assert scan is not None
        assert (scan.shape, scan.dtype, scan.min(), scan.max() <= 16) == ((1, 8, 8), np.float32, 0, True)
        (probabilities,) = session.run([digit_recognition.OUTPUT], {digit_recognition.INPUT: scan})
        assert digit_recognition.read(probabilities).digit == 7


def test_nothing_drawn_is_no_digit() -> None:
    assert digit_recognition.prepare(Image.new("RGB", (100, 100), "white")) is None
    dot = Image.new("L", (1, 1))
    assert digit_recognition.prepare(dot) is None
    line = Image.new("L", (300, 300), 255)
    ImageDraw.Draw(line).line((150, 20, 150, 280), fill=0)
    assert digit_recognition.prepare(line) is not None
