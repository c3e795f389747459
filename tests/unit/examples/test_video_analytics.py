"""Video analytics: frames at their time, boxes in them, and a process that is killed and goes on."""

import asyncio
import io
import json
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import web
from click.testing import CliRunner
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from examples.quickstart.networks import TEXT_DETECT
from examples.video_analytics import sources
from examples.video_analytics.__main__ import main
from examples.video_analytics.ring import Ring
from examples.video_analytics.running import Analytics
from examples.video_analytics.sampling import Sampler
from examples.video_analytics.sources import Camera, Ended, Frame, Source, SourceError, describe, open_source
from examples.video_analytics.watching import Watching
from examples.vision.kserve import Model
from examples.vision.samples import shop_sign
from tests.unit.examples.kserve_stub import Answering, Stub, listening, network, serving, unavailable

ROOT = Path(__file__).parents[3]
DETECT = network(TEXT_DETECT)


async def until(holds: Callable[[], bool]) -> None:
    """Let everything else run until a condition holds."""
    while not holds():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.002)


# Sampling


def test_ticks_that_have_passed_are_skipped_and_not_made_up_for() -> None:
    sampler = Sampler(rate=2)
    assert [sampler.next(now) for now in (0.0, 0.01, 0.7)] == [0.0, 0.5, 1.0]
    assert sampler.skipped == 0
    assert sampler.next(3.4) == 3.0, "what has begun last, and nothing before"
    assert sampler.skipped == 3
    assert sampler.next(3.4) == 3.5
    assert [sampler.next_in_order() for _ in range(2)] == [4.0, 4.5]


# Sources


def indices(source: Source, positions: list[float]) -> list[int | None]:
    found = [source.frame_at(position) for position in positions]
    return [frame and frame.index for frame in found]


def test_a_folder_shows_its_pictures_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name, color in (("b.png", "white"), ("a.jpg", "black"), ("c.webp", "white")):
        Image.new("L", (8, 8), color).save(tmp_path / name)
    (tmp_path / "notes.txt").touch()
    source = open_source(str(tmp_path), folder_rate=2)
    frame = source.frame_at(0)
    assert frame is not None
    assert (frame.picture.mode, frame.picture.getpixel((0, 0)), frame.position) == ("RGB", (0, 0, 0), 0)
    assert indices(source, [0.1, 0.5, 0.9, 1.0]) == [None, 1, None, 2]
    with pytest.raises(Ended):
        source.frame_at(1.5)


def test_a_damaged_picture_is_an_error_of_its_own(tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "b.png")
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    source = open_source(str(tmp_path), folder_rate=1)
    with pytest.raises(SourceError, match="a\\.png: "):
        source.frame_at(0)
    assert indices(source, [1.0]) == [1]


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_an_animation_has_the_times_of_its_frames(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"video.{kind}"
    shades = [Image.new("RGB", (16, 16), (level, level, level)) for level in (0, 120, 250)]
    shades[0].save(path, save_all=True, append_images=shades[1:], duration=[100, 400, 200])
    source = open_source(str(path), folder_rate=1)
    assert indices(source, [0.0, 0.05, 0.3]) == [0, None, 1]
    frame = source.frame_at(0.5)
    assert frame is not None
    assert (frame.index, frame.position) == (2, 0.5)
    assert frame.picture.getpixel((8, 8))[0] > 200
    with pytest.raises(Ended):
        source.frame_at(0.7)
    source.close()


def test_a_video_file_is_read_by_opencv(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for level in range(0, 200, 20):
        writer.write(np.full((48, 64, 3), (level, 0, 255 - level), dtype=np.uint8))
    writer.release()
    source = open_source(str(path), folder_rate=1)
    frame = source.frame_at(0)
    assert frame is not None
    red, _, blue = frame.picture.getpixel((30, 20))
    assert red > 230
    assert blue < 30
    assert indices(source, [0.05, 0.1, 0.55, 0.9]) == [None, 1, 5, 9]
    with pytest.raises(Ended):
        source.frame_at(1.0)
    source.close()


@pytest.mark.parametrize("content", [b"", b"no video at all"])
def test_what_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "v.mp4").write_bytes(content)
    (tmp_path / "v.gif").write_bytes(content)
    (tmp_path / "empty").mkdir()
    for name in ("v.mp4", "v.gif", "empty", "absent"):
        with pytest.raises(SourceError):
            open_source(str(tmp_path / name), folder_rate=1)


def test_without_opencv_videos_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(SourceError, match="pip install opencv-python-headless"):
        open_source("rtsp://camera/", folder_rate=1)


class Capture:
    """What OpenCV has for a camera: frames as the test hands them out."""

    def __init__(self, frames: list[np.ndarray]) -> None:
        self._frames = frames

    def read(self) -> tuple[bool, Any]:
        return (True, self._frames.pop(0)) if self._frames else (False, None)

    def release(self) -> None:
        """Nothing to do."""


async def test_a_camera_has_the_newest_frame_alone_and_is_opened_again() -> None:
    opened = 0

    def open_capture() -> Capture:
        nonlocal opened
        opened += 1
        return Capture([np.full((4, 4, 3), level, dtype=np.uint8) for level in (10, 20, 30)] if opened < 3 else [])

    camera = Camera(open_capture, name="camera", pause=0.001)
    await until(lambda: opened > 2)
    frame = camera.frame_at(0)
    assert frame is not None
    assert (frame.index, frame.picture.getpixel((0, 0))) == (5, (30, 30, 30))
    assert camera.frame_at(0) is None
    camera.close()


def test_no_password_is_shown() -> None:
    assert describe("rtsp://user:secret@camera.local/stream") == "rtsp://camera.local/stream"
    assert describe("pictures/") == "pictures/"


# The loop


@pytest.fixture
async def stub() -> AsyncIterator[Stub]:
    async with serving({"text-detect": DETECT}) as running:
        yield running


def analytics(session: aiohttp.ClientSession, stub: Stub, directory: Path, **more: Any) -> Analytics:
    settings: dict[str, Any] = {
        "source": open_source("sample", folder_rate=1),
        "source_name": "sample",
        "model": Model(session=session, url=stub.url, name="text-detect", timeout=5),
        "ring": Ring(directory / "ring", max_bytes=2**24),
        "sampler": Sampler(rate=1),
        "keep_up": False,
    }
    return Analytics(**(settings | more))


async def test_every_frame_of_a_recording_is_kept_with_its_boxes(
    session: aiohttp.ClientSession, stub: Stub, tmp_path: Path
) -> None:
    running = analytics(session, stub, tmp_path, longest_side=960)
    await running.run()
    lines = [json.loads(line) for file in (tmp_path / "ring/results").iterdir() for line in file.open()]
    assert [line["frame"] for line in lines] == list(range(10))
    assert [len(line["boxes"]) for line in lines[:8]] == [3] * 8
    first = lines[0]
    assert (first["model"], first["version"], first["width"], first["height"]) == ("text-detect", "7", 960, 540)
    assert first["seen"].endswith("+00:00")
    assert running.frames == {"kept": 10}
    # The sign moves by (32, 20) a frame, and its boxes with it; the network sees in steps of a few pixels.
    moved = np.subtract(lines[5]["boxes"][0]["corners"], first["boxes"][0]["corners"])
    np.testing.assert_allclose(moved.mean(axis=0), (160, 100), atol=6)
    with Image.open(tmp_path / "ring" / first["picture"]) as picture:
        assert picture.size == (960, 540)
        x, y = np.mean(first["boxes"][0]["corners"][2:], axis=0)
        around = picture.crop((int(x) - 1, int(y) - 2, int(x) + 2, int(y) + 3)).convert("RGB")
        red, green, _ = np.asarray(around).reshape(-1, 3).astype(int).T
        assert (green - red).max() > 60, "the box is drawn"


async def test_frames_that_are_late_are_skipped(session: aiohttp.ClientSession, stub: Stub, tmp_path: Path) -> None:
    """The Model answers to the first frame when the recording is over: of the others none waits for it."""
    running = analytics(session, stub, tmp_path, keep_up=True, sampler=Sampler(rate=500))
    running.source = open_source("sample", folder_rate=500)

    async def slow(tensor: np.ndarray) -> np.ndarray | web.Response:
        await asyncio.sleep(0.05)
        return await DETECT(tensor)

    stub.models["text-detect"] = slow
    await running.run()
    assert stub.asked == ["text-detect"]
    assert running.sampler.skipped >= 9


async def test_a_model_that_is_away_costs_frames_of_a_camera_and_is_asked_when_it_says(
    session: aiohttp.ClientSession, stub: Stub, tmp_path: Path
) -> None:
    running = analytics(session, stub, tmp_path, keep_up=True)
    frame = Frame(picture=shop_sign().image, index=0, position=0)
    del stub.models["text-detect"]
    for _ in range(4):
        await running.process(frame)
    assert stub.asked == ["text-detect"], "Retry-After: 3"
    assert running.frames == {"unavailable": 4}


async def test_a_recording_waits_for_its_model(session: aiohttp.ClientSession, stub: Stub, tmp_path: Path) -> None:
    answers: list[Answering] = [away, away, blank]

    async def returning(tensor: np.ndarray) -> np.ndarray | web.Response:
        return await (answers.pop(0) if len(answers) > 1 else answers[0])(tensor)

    stub.models["text-detect"] = returning
    running = analytics(session, stub, tmp_path)
    await running.run()
    assert running.frames == {"kept": 10}
    assert len(stub.asked) == 12


async def blank(tensor: np.ndarray) -> np.ndarray:
    """A Model that finds nothing."""
    return np.zeros((1, 1, *tensor.shape[2:]), dtype=np.float32)


async def away(_: np.ndarray) -> web.Response:
    return unavailable(0)


async def test_what_cannot_be_kept_is_counted_and_the_video_goes_on(
    session: aiohttp.ClientSession, stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.models["text-detect"] = blank
    running = analytics(session, stub, tmp_path)
    append, calls = running.ring.append, 0

    def full(body: Any, *, picture: bytes | None = None) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(28, "No space left on device")
        return append(body, picture=picture)

    monkeypatch.setattr(running.ring, "append", full)
    await running.run()
    assert running.frames == {"kept": 9, "not-kept": 1}


async def test_a_recording_without_a_frame_is_not_opened_for_ever(
    session: aiohttp.ClientSession, stub: Stub, tmp_path: Path
) -> None:
    class Empty(sources.Sample):
        def frame_at(self, position: float) -> Frame | None:
            raise Ended

    running = analytics(session, stub, tmp_path, source=Empty(rate=1), reopen=lambda: Empty(rate=1))
    with pytest.raises(SourceError, match="no frame"):
        await running.run()


async def test_metrics_and_health(session: aiohttp.ClientSession, stub: Stub, tmp_path: Path) -> None:
    running = analytics(session, stub, tmp_path)
    watching = Watching(analytics=running, forwarder=None, stale_after=1e-9)
    async with listening(watching.application()) as url:

        async def get(path: str) -> tuple[int, bytes]:
            async with session.get(url + path) as response:
                return response.status, await response.read()

        assert (await get("/healthz"))[0] == 503
        assert (await get("/livez"))[0] == 200
        assert (await get("/latest.jpg"))[0] == 404
        await running.run()
        assert b"kept: 10" in (await get("/healthz"))[1]
        status, picture = await get("/latest.jpg")
        assert (status, Image.open(io.BytesIO(picture)).size) == (200, (960, 540))
        metrics = {
            (sample.name, sample.labels.get("outcome", "")): sample.value
            for family in text_string_to_metric_families((await get("/metrics"))[1].decode())
            for sample in family.samples
        }
    assert metrics["video_analytics_frames_total", "kept"] == 10
    assert metrics["video_analytics_frames_total", "skipped"] == 0
    assert metrics["video_analytics_pending_results", ""] == 10
    assert metrics["video_analytics_dropped_results_total", ""] == 0
    assert metrics["video_analytics_ring_bytes", ""] > 10_000
    assert metrics["video_analytics_inference_seconds_count", ""] == 10
    assert metrics["video_analytics_boxes_total", ""] >= 24


# The process


async def test_a_process_that_is_killed_goes_on_where_it_was(stub: Stub, tmp_path: Path) -> None:
    received: list[tuple[str, int]] = []

    async def take(request: web.Request) -> web.Response:
        key = request.headers["Idempotency-Key"].strip('"')
        received.append((key, (await request.json())["number"]))
        return web.Response(status=204)

    async def five_more(before: int, process: asyncio.subprocess.Process) -> None:
        await until(lambda: len(received) > before + 4 or process.returncode is not None)

    stub.models["text-detect"] = blank
    application = web.Application()
    application.router.add_post("/results", take)
    command = [
        *(sys.executable, "-m", "examples.video_analytics", "sample", "--loop", "--every-sample", "--port=0"),
        *(f"--model-url={stub.url}", f"--results={tmp_path / 'ring'}", "--picture-side=320"),
    ]
    async with listening(application) as url:
        command.append(f"--collector={url}/results")
        for end in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM):
            before = len(received)
            process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stderr=asyncio.subprocess.DEVNULL)
            await five_more(before, process)
            assert process.returncode is None
            process.send_signal(end)
            assert await process.wait() == (0 if end == signal.SIGTERM else -signal.SIGKILL)
    numbers = [number for _, number in received]
    assert numbers == sorted(numbers)
    assert list(dict.fromkeys(numbers)) == list(range(1, max(numbers) + 1)), "none is missing"
    assert len(set(received)) == len(set(numbers)), "one number, one key"
    assert len(numbers) - len(set(numbers)) <= 2, "at most the one that was under way, for each kill"


def test_help_has_examples_and_every_option_that_readme_and_manifests_name() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    assert "--every-sample --model-url http://127.0.0.1:8081" in result.output
    folder = Path(sources.__file__).parent
    files = [folder / "README.md", *folder.glob("manifests/*.yaml"), *folder.glob("persistent/*.yaml")]
    named = {option for file in files for option in re.findall(r"--[a-z][a-z-]+", file.read_text())}
    # Those of other programs in the same commands.
    others = {"--lab", "--namespace", "--patch-file"}
    assert named - others <= set(re.findall(r"--[a-z][a-z-]+", result.output))


def test_a_source_that_is_not_there_is_one_line_of_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, [str(tmp_path / "absent.mp4"), f"--results={tmp_path}"])
    assert result.exit_code == 1
    assert result.output.startswith("video-analytics: ")
    assert result.output.count("\n") == 1
