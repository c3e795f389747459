"""The digit networks: what is committed is what the script makes, and reads as well as it says."""

import numpy as np
import onnxruntime
import pytest

from examples.quickstart import digits
from examples.quickstart.networks import DIGITS, DIGITS_V2, Network
from examples.quickstart.train_digits import RECIPES, export, train

# As the manifests state them.
ACCURACY = {"digits": 0.969, "digits-v2": 0.984}


def run(content: bytes, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run([digits.OUTPUT], {digits.INPUT: images})[0]


def test_train_and_test_scans_do_not_overlap() -> None:
    training, test = digits.load()
    assert (len(training.images), len(test.images)) == (1347, 450)
    seen = {image.tobytes() for image in training.images}
    assert not any(image.tobytes() in seen for image in test.images)


@pytest.mark.parametrize("network", [DIGITS, DIGITS_V2], ids=lambda network: network.name)
def test_committed_network_has_the_stated_accuracy(network: Network) -> None:
    _, test = digits.load()
    measured = digits.accuracy(run(network.path().read_bytes(), test.images), test.labels)
    assert measured == pytest.approx(ACCURACY[network.name], abs=5e-4)


@pytest.mark.parametrize("name", RECIPES)
def test_training_again_is_as_accurate_and_repeats_to_the_byte(name: str) -> None:
    training, test = digits.load()
    first, second = (export(train(training, recipe=RECIPES[name])) for _ in range(2))
    assert first == second
    assert digits.accuracy(run(first, test.images), test.labels) == pytest.approx(ACCURACY[name], abs=0.015)


def test_one_scan_gets_the_same_answer_alone_as_in_a_batch() -> None:
    _, test = digits.load()
    content = DIGITS.path().read_bytes()
    batch = run(content, test.images[:8])
    assert batch.shape == (8, 10)
    np.testing.assert_allclose(batch.sum(axis=1), 1, rtol=1e-5)
    for index in range(8):
        np.testing.assert_allclose(run(content, test.images[index : index + 1])[0], batch[index], rtol=1e-4, atol=1e-7)


def test_ascii_art_shows_ink_and_paper() -> None:
    image = np.zeros((8, 8), dtype=np.float32)
    image[0, 0], image[7, 7] = 16, 8
    art = digits.ascii_art(image)
    assert art[0] == "@@" + " " * 14
    assert art[1:7] == [" " * 16] * 6
    assert art[7] == " " * 14 + "=="
