"""What the demo asks the Models: which digit, which text, how many right, and does any request fail."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from examples.vision import text_detection, text_recognition
from examples.vision.kserve import Answer
from examples.vision.samples import Picture
from examples.vision.text_detection import TextBox
from examples.vision.text_recognition import Line

from . import digits
from .client import InferenceError, ModelClient
from .digits import Digits
from .networks import Network


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The lines found in a picture, each with its box, and the seconds both networks took with the way there."""

    lines: tuple[tuple[TextBox, Line], ...]
    detect_seconds: float
    recognize_seconds: float

    @property
    def texts(self) -> tuple[str, ...]:
        """Return what was read, in reading order."""
        return tuple(line.text for _, line in self.lines)


def ask_digit(client: ModelClient, image: NDArray[np.float32]) -> Answer:
    """Return the probabilities of the ten digits, shape (1, 10), for one scan of shape (8, 8)."""
    return client.infer(image[np.newaxis], input_name=digits.INPUT, output_name=digits.OUTPUT)


def read_picture(picture: Picture, *, detector: ModelClient, recognizer: ModelClient, characters: list[str]) -> Reading:
    """Find the lines of text by one Model and read each by the other; raise InferenceError."""
    start = time.perf_counter()
    found = detector.infer(
        text_detection.prepare(picture.image),
        input_name=text_detection.INPUT,
        output_name=text_detection.OUTPUT,
    )
    boxes = text_detection.find_boxes(found.values, size=picture.image.size)
    detected = time.perf_counter()
    lines = []
    for box in boxes:
        scores = recognizer.infer(
            text_recognition.prepare(text_detection.cut_out(picture.image, box)),
            input_name=text_recognition.INPUT,
            output_name=text_recognition.OUTPUT,
        )
        lines.append((box, text_recognition.read(scores.values, characters=characters)))
    return Reading(
        lines=tuple(lines),
        detect_seconds=detected - start,
        recognize_seconds=time.perf_counter() - detected,
    )


def accuracy_through(client: ModelClient, test: Digits) -> float:
    """Return the share of scans that the Model reads right, each sent as a request of its own."""
    answers = [ask_digit(client, image).values for image in test.images]
    return digits.accuracy(np.concatenate(answers), test.labels)


def accuracy_directly(network: Network, test: Digits) -> float:
    """Return the share of scans that the network's file reads right in this process, for comparison."""
    session = onnxruntime.InferenceSession(str(network.path()), providers=["CPUExecutionProvider"])
    (probabilities,) = session.run([digits.OUTPUT], {digits.INPUT: test.images})
    return digits.accuracy(probabilities, test.labels)


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """What became of the requests: answers by the version that gave them, and the first error of each kind."""

    answers: Mapping[str, int]
    errors: tuple[str, ...]
    failed: int
    median_seconds: float
    p99_seconds: float

    @property
    def sent(self) -> int:
        """Return how many requests were sent."""
        return sum(self.answers.values()) + self.failed


@dataclass(kw_only=True)
class Load:
    """Requests that keep running in the background; see `under_load`."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _answers: Counter[str] = field(default_factory=Counter)
    _errors: Counter[str] = field(default_factory=Counter)
    _seconds: list[float] = field(default_factory=list)

    def record(self, outcome: Answer | InferenceError, *, seconds: float) -> None:
        """Count one request."""
        with self._lock:
            if isinstance(outcome, Answer):
                self._answers[outcome.version] += 1
                self._seconds.append(seconds)
            else:
                self._errors[str(outcome)] += 1

    def report(self) -> LoadReport:
        """Return what was counted so far."""
        with self._lock:
            return LoadReport(
                answers=dict(self._answers),
                errors=tuple(self._errors),
                failed=self._errors.total(),
                median_seconds=float(np.median(self._seconds)) if self._seconds else 0.0,
                p99_seconds=float(np.quantile(self._seconds, 0.99)) if self._seconds else 0.0,
            )


@contextmanager
def under_load(
    connect: Callable[[], ModelClient],
    images: NDArray[np.float32],
    *,
    workers: int = 4,
    pause: float = 0.02,
    keep: bool = True,
) -> Iterator[Load]:
    """Send scans from several threads until the block ends, each thread pausing between two of its requests.

    With `keep`, each thread keeps its connection; without, each request opens one.
    """
    load, stop = Load(), threading.Event()

    def work(offset: int) -> None:
        client = connect()
        index = offset
        while not stop.wait(pause):
            start = time.perf_counter()
            outcome: Answer | InferenceError
            try:
                outcome = ask_digit(client, images[index % len(images)])
            except InferenceError as error:
                outcome = error
            load.record(outcome, seconds=time.perf_counter() - start)
            index += workers
            if not keep:
                client.close()
                client = connect()
        client.close()

    threads = [threading.Thread(target=work, args=(offset,), daemon=True) for offset in range(workers)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        stop.set()
        for thread in threads:
            thread.join()
