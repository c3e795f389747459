"""From pictures to tensors, and from what the text networks say to boxes and characters."""

import numpy as np
import onnxruntime
import pytest
from PIL import Image, ImageDraw

from examples.quickstart.networks import TEXT_DETECT, TEXT_RECOGNIZE, Network
from examples.quickstart.pictures import pictures
from examples.vision import text_detection, text_recognition
from examples.vision.samples import Picture


def session(network: Network) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(network.path()), options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def detector() -> onnxruntime.InferenceSession:
    return session(TEXT_DETECT)


@pytest.fixture(scope="module")
def recognizer() -> onnxruntime.InferenceSession:
    return session(TEXT_RECOGNIZE)


@pytest.fixture(scope="module")
def characters() -> list[str]:
    return text_recognition.alphabet()


def text_map(*polygons: list[tuple[int, int]], size: tuple[int, int] = (320, 160)) -> np.ndarray:
    """What the network would say of text in these polygons, sure of itself."""
    drawn = Image.new("L", size)
    for polygon in polygons:
        ImageDraw.Draw(drawn).polygon(polygon, fill=255)
    return np.asarray(drawn, dtype=np.float32)[np.newaxis, np.newaxis] / 255


def bar(left: int, top: int, right: int, bottom: int) -> list[tuple[int, int]]:
    return [(left, top), (right - 1, top), (right - 1, bottom - 1), (left, bottom - 1)]


def test_tensor_is_blue_green_red_between_minus_one_and_one() -> None:
    tensor = text_detection.to_tensor(Image.new("RGB", (3, 2), (255, 0, 51)))
    assert (tensor.shape, tensor.dtype) == ((1, 3, 2, 3), np.float32)
    np.testing.assert_allclose(tensor[0, :, 0, 0], [-0.6, -1, 1], atol=1e-6)


@pytest.mark.parametrize(
    ("size", "shape"),
    [((640, 288), (288, 640)), ((1920, 1080), (544, 960)), ((500, 340), (352, 512)), ((9, 7), (32, 32))],
)
def test_detection_takes_sides_of_multiples_of_32(size: tuple[int, int], shape: tuple[int, int]) -> None:
    tensor = text_detection.prepare(Image.new("L", size))
    assert tensor.shape == (1, 3, *shape)


def test_box_surrounds_its_patch_grown_on_every_side_and_scaled_to_the_picture() -> None:
    (box,) = text_detection.find_boxes(text_map(bar(40, 50, 240, 70)), size=(640, 320))
    # A patch of 200 x 20 grows by 200 * 20 * 1.6 / 440 = 14.5; the picture is twice the map.
    grown = 2 * 200 * 20 * 1.6 / 440
    np.testing.assert_allclose(
        box.corners,
        [
            (80 - grown, 100 - grown),
            (480 + grown, 100 - grown),
            (480 + grown, 140 + grown),
            (80 - grown, 140 + grown),
        ],
        atol=0.5,
    )
    assert box.score == pytest.approx(1)


def test_box_follows_tilted_text() -> None:
    angle = np.deg2rad(10)
    right, down = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    corners = [np.array([60, 40]) + 180 * x * right + 20 * y * down for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]
    (box,) = text_detection.find_boxes(text_map([(round(x), round(y)) for x, y in corners]), size=(320, 160))
    along = box.corners[1] - box.corners[0]
    assert np.rad2deg(np.arctan2(along[1], along[0])) == pytest.approx(10, abs=1)
    width, height = box.size
    assert width / height == pytest.approx((180 + 29) / (20 + 29), rel=0.1)


def test_faint_and_tiny_patches_are_no_text() -> None:
    faint = text_map(bar(40, 50, 240, 70)) * 0.5
    tiny = text_map(bar(40, 50, 42, 52))
    assert text_detection.find_boxes(faint, size=(320, 160)) == []
    assert text_detection.find_boxes(tiny, size=(320, 160)) == []
    assert text_detection.find_boxes(np.zeros((1, 1, 32, 32), dtype=np.float32), size=(32, 32)) == []


def test_boxes_come_in_reading_order() -> None:
    second, first, third = bar(200, 24, 280, 40), bar(20, 30, 120, 46), bar(20, 100, 120, 116)
    boxes = text_detection.find_boxes(text_map(second, first, third), size=(320, 160))
    assert [tuple(round(value / 10) * 10 for value in box.center) for box in boxes] == [
        (70, 40),
        (240, 30),
        (70, 110),
    ]


def test_short_lines_are_padded_and_long_ones_keep_their_shape() -> None:
    assert text_recognition.prepare(Image.new("RGB", (48, 24))).shape == (1, 3, 48, 320)
    assert text_recognition.prepare(Image.new("RGB", (1000, 50))).shape == (1, 3, 48, 960)


def test_repeats_count_once_unless_none_is_between() -> None:
    characters = ["", "a", "b", " "]
    winners = [0, 1, 1, 0, 1, 2, 2, 3, 2]
    scores = np.eye(4, dtype=np.float32)[winners][np.newaxis] * 0.9
    line = text_recognition.read(scores, characters=characters)
    assert line.text == "aab b"
    assert line.confidence == pytest.approx(0.9)
    nothing = text_recognition.read(np.eye(4, dtype=np.float32)[[0, 0]][np.newaxis], characters=characters)
    assert nothing == text_recognition.Line(text="", confidence=0)


def test_alphabet_names_every_score(characters: list[str], recognizer: onnxruntime.InferenceSession) -> None:
    assert len(characters) == recognizer.get_outputs()[0].shape[-1]
    assert {"", " ", "A", "z", "0", "茶"} <= set(characters)


@pytest.mark.parametrize("picture", pictures(), ids=lambda picture: picture.name)
def test_pictures_are_read_right(
    picture: Picture,
    detector: onnxruntime.InferenceSession,
    recognizer: onnxruntime.InferenceSession,
    characters: list[str],
) -> None:
    (found,) = detector.run([text_detection.OUTPUT], {text_detection.INPUT: text_detection.prepare(picture.image)})
    lines = []
    for box in text_detection.find_boxes(found, size=picture.image.size):
        line = text_recognition.prepare(text_detection.cut_out(picture.image, box))
        (scores,) = recognizer.run([text_recognition.OUTPUT], {text_recognition.INPUT: line})
        lines.append(text_recognition.read(scores, characters=characters).text)
    assert tuple(lines) == picture.lines
