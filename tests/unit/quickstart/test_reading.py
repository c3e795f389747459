"""What the demo asks, asked of a real Triton on this machine."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.quickstart import digits, reading
from examples.quickstart.client import InferenceError, ModelClient
from examples.quickstart.networks import DIGITS, DIGITS_V2
from examples.quickstart.pictures import pictures
from examples.vision import text_recognition
from examples.vision.samples import Picture
from lab.triton import TritonServer
from tests.support.networks import load, quickstart_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    with quickstart_server(tmp_path_factory.mktemp("triton")) as running:
        yield running


def client(server: TritonServer, model: str) -> ModelClient:
    return ModelClient(url=server.url.removeprefix("http://"), model=model)


@pytest.mark.parametrize("picture", pictures(), ids=lambda picture: picture.name)
def test_pictures_are_read_right(server: TritonServer, picture: Picture) -> None:
    characters = text_recognition.alphabet()
    with client(server, "text-detect") as detector, client(server, "text-recognize") as recognizer:
        result = reading.read_picture(picture, detector=detector, recognizer=recognizer, characters=characters)
    assert result.texts == picture.lines


def test_a_network_is_replaced_under_load_without_a_failed_request(server: TritonServer) -> None:
    _, test = digits.load()
    with client(server, "digits") as asker:
        before = reading.accuracy_through(asker, test)
        with reading.under_load(lambda: client(server, "digits"), test.images) as running:
            load(server, DIGITS_V2, model="digits", version=2)
        after = reading.accuracy_through(asker, test)
    assert before == reading.accuracy_directly(DIGITS, test)
    assert after == reading.accuracy_directly(DIGITS_V2, test)
    report = running.report()
    assert report.failed == 0, report.errors
    assert report.sent > 0


def test_failures_are_counted_and_named(server: TritonServer) -> None:
    _, test = digits.load()
    with client(server, "absent") as asker, pytest.raises(InferenceError, match="unknown model: 'absent'"):
        reading.ask_digit(asker, test.images[0])
    counted = reading.Load()
    counted.record(InferenceError("one"), seconds=0.1)
    counted.record(InferenceError("one"), seconds=0.1)
    report = counted.report()
    assert (report.sent, report.failed, report.errors) == (2, 2, ("one",))


def test_a_server_that_is_gone_is_an_inference_error() -> None:
    _, test = digits.load()
    with ModelClient(url="127.0.0.1:1", model="digits") as asker, pytest.raises(InferenceError, match="refused"):
        reading.ask_digit(asker, test.images[0])


def test_the_tutorials_request_shows_a_two(server: TritonServer) -> None:
    request = (Path(digits.__file__).parent / "digit.json").read_bytes()
    with urllib.request.urlopen(f"{server.url}/v2/models/digits/infer", data=request) as response:
        (output,) = json.load(response)["outputs"]
    assert (output["name"], output["shape"]) == ("probabilities", [1, 10])
    assert max(range(10), key=output["data"].__getitem__) == 2
