"""Where frames come from: a folder of pictures, an animation, a video file, a camera.

A recording is played: it has a frame for any moment of its own time. A camera has only the present.
"""

from __future__ import annotations

import importlib
import logging
import threading
import time
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

from PIL import Image, UnidentifiedImageError

from examples.vision.samples import receipt, shop_sign

log = logging.getLogger(__name__)

_PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
_ANIMATIONS = frozenset({".gif", ".webp", ".apng"})
_DEFAULT_DURATION = 0.1  # seconds of an animation's frame that says none, as browsers have it
_LEAST_DURATION = 0.02
_SAMPLE_FRAMES = 10


class SourceError(Exception):
    """The source cannot be opened or read; the message says why."""


class Ended(Exception):
    """The recording has no further frame."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A frame as RGB, its number, and its time in seconds since the beginning of the recording, or of the camera."""

    picture: Image.Image
    index: int
    position: float


class Source(Protocol):
    """Gives frames, from one thread at a time. `live`: has only the present, and cannot be slowed down."""

    @property
    def live(self) -> bool: ...

    def frame_at(self, position: float) -> Frame | None:
        """Return the frame of a moment, never one before the last; None if none is new. Raises Ended or SourceError."""
        ...

    def close(self) -> None: ...


@dataclass(kw_only=True)
class PictureFolder:
    """The pictures of a folder in the order of their names, `rate` a second."""

    paths: list[Path]
    rate: float
    live: bool = False
    _last: int = -1

    def frame_at(self, position: float) -> Frame | None:
        """Return the picture of a moment."""
        index = int(position * self.rate + 1e-9)
        if index >= len(self.paths):
            raise Ended
        if index <= self._last:
            return None
        self._last = index
        try:
            with Image.open(self.paths[index]) as opened:
                picture = opened.convert("RGB")
        except (OSError, SyntaxError, ValueError) as error:
            raise SourceError(f"{self.paths[index]}: {error}") from error
        return Frame(picture=picture, index=index, position=index / self.rate)

    def close(self) -> None:
        """Close nothing."""


@dataclass(kw_only=True)
class Sample:
    """A video that is drawn: the sign of a shop that goes by, and a receipt. `rate` frames a second, ten in all."""

    rate: float
    live: bool = False
    _last: int = -1

    def frame_at(self, position: float) -> Frame | None:
        """Return the frame of a moment."""
        index = int(position * self.rate + 1e-9)
        if index >= _SAMPLE_FRAMES:
            raise Ended
        if index <= self._last:
            return None
        self._last = index
        picture = Image.new("RGB", (960, 540), "#6f7f8f")
        left, top = 32 * index, 20 * index
        picture.paste((shop_sign() if index < _SAMPLE_FRAMES - 2 else receipt()).image, (left, top))
        return Frame(picture=picture, index=index, position=index / self.rate)

    def close(self) -> None:
        """Close nothing."""


class Animation:
    """A GIF, WebP or APNG."""

    live = False

    def __init__(self, path: Path) -> None:
        try:
            self._opened = Image.open(path)
            durations = []
            for index in range(getattr(self._opened, "n_frames", 1)):
                self._opened.seek(index)
                self._opened.load()
                durations.append(max(_LEAST_DURATION, self._opened.info.get("duration", 0) / 1000 or _DEFAULT_DURATION))
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise SourceError(f"{path}: {error}") from error
        self._starts = [0.0, *accumulate(durations)]
        self._last = -1

    def frame_at(self, position: float) -> Frame | None:
        """Return the frame of a moment."""
        index = bisect_right(self._starts, position + 1e-9) - 1
        if index >= len(self._starts) - 1:
            raise Ended
        if index <= self._last:
            return None
        self._last = index
        self._opened.seek(index)
        return Frame(picture=self._opened.convert("RGB"), index=index, position=self._starts[index])

    def close(self) -> None:
        """Close the file."""
        self._opened.close()


class VideoFile:
    """A video file, read by OpenCV. Frames that are passed over are not decoded into pictures."""

    live = False

    def __init__(self, path: Path) -> None:
        self._cv2 = load_opencv()
        self._path = path
        self._capture = self._cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise SourceError(f"{path}: not a video that OpenCV can read")
        self._rate = float(self._capture.get(self._cv2.CAP_PROP_FPS)) or 25.0
        self._last = -1

    def frame_at(self, position: float) -> Frame | None:
        """Return the frame of a moment."""
        index = int(position * self._rate + 1e-6)
        if index <= self._last:
            return None
        while self._last < index:
            if not self._capture.grab():
                raise Ended
            self._last += 1
        decoded, pixels = self._capture.retrieve()
        if not decoded:
            raise SourceError(f"{self._path}: frame {index} cannot be decoded")
        return Frame(picture=to_picture(pixels), index=index, position=index / self._rate)

    def close(self) -> None:
        """Close the file."""
        self._capture.release()


class Camera:
    """A device or a stream. A thread reads what comes as it comes and keeps the newest, so that nothing is ever late.

    Args:
        open_capture: opens the device or stream; called again, with pauses, when it has ended or was never there.
        pause: seconds between two attempts.
    """

    live = True

    def __init__(self, open_capture: Callable[[], Any], *, name: str, pause: float = 2.0) -> None:
        self._open, self._name, self._pause = open_capture, name, pause
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._start = time.monotonic()
        self._newest: tuple[int, float, Any] | None = None
        self._taken = -1
        self._thread = threading.Thread(target=self._read, name="camera", daemon=True)
        self._thread.start()

    def frame_at(self, position: float) -> Frame | None:
        """Return the newest frame, whatever the moment; None if it was returned before."""
        with self._lock:
            newest = self._newest
        if newest is None or newest[0] == self._taken:
            return None
        index, seen, pixels = newest
        self._taken = index
        return Frame(picture=to_picture(pixels), index=index, position=seen - self._start)

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join(timeout=5)

    def _read(self) -> None:
        index = 0
        while not self._stop.is_set():
            capture = self._open()
            while not self._stop.is_set():
                decoded, pixels = capture.read()
                if not decoded:
                    break
                with self._lock:
                    self._newest = (index, time.monotonic(), pixels)
                index += 1
            capture.release()
            if not self._stop.is_set():
                log.warning("%s gives no frames; trying again in %g s", self._name, self._pause)
                self._stop.wait(self._pause)


def to_picture(pixels: Any) -> Image.Image:
    """Return OpenCV's blue, green and red as a picture."""
    return Image.fromarray(pixels[:, :, ::-1])


def load_opencv() -> Any:
    """Return the module cv2, which only videos and cameras need; raise SourceError."""
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        raise SourceError(f"Videos and cameras need OpenCV: pip install opencv-python-headless ({error})") from error


def open_source(name: str, *, folder_rate: float) -> Source:
    """Return the source of a name; raise SourceError.

    name: `sample`, a folder, a file, a device (`/dev/video0` or its number) or an address.
    folder_rate: frames a second of what has no times of its own.
    """
    if name == "sample":
        return Sample(rate=folder_rate)
    path = Path(name)
    if "://" in name or name.isdecimal() or name.startswith("/dev/"):
        cv2 = load_opencv()
        device: str | int = int(name) if name.isdecimal() else name
        return Camera(lambda: cv2.VideoCapture(device), name=_without_password(name))
    if path.is_dir():
        paths = sorted(each for each in path.iterdir() if each.suffix.lower() in _PICTURES)
        if not paths:
            raise SourceError(f"{path}: no pictures ({', '.join(sorted(_PICTURES))})")
        return PictureFolder(paths=paths, rate=folder_rate)
    if not path.exists():
        raise SourceError(f"{path}: no such file or folder")
    if path.suffix.lower() in _ANIMATIONS:
        return Animation(path)
    try:
        with Image.open(path):
            return PictureFolder(paths=[path], rate=folder_rate)
    except UnidentifiedImageError:
        return VideoFile(path)


def _without_password(name: str) -> str:
    """An address as it may be logged."""
    scheme, separator, rest = name.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def describe(name: str) -> str:
    """Return the source's name as it may be shown and sent: an address without user and password."""
    return _without_password(name)
