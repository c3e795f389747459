"""What config.pbtxt says of batches and devices, and that the owner has the last word."""

from pathlib import Path

import pytest

from littoral.agent import pbtxt
from littoral.agent.layout import fingerprint, install
from littoral.api.serving import Artifact, Batching, ServedModel
from tests.agent.harness import network

FIXED = b"no network whose first dimension is free"


def model(*, backend: str = "onnxruntime", batching: dict[str, object] | None = None, **parameters: str) -> ServedModel:
    return ServedModel(
        name="digits",
        variant="cpu",
        backend=backend,
        artifact=Artifact(uri="https://models.example/net.onnx", digest="sha256:" + "0" * 64),
        parameters=parameters,
        batching=None if batching is None else Batching.parse(batching),
    )


def config(it: ServedModel, artifact: Path, *, accelerator: str | None = None) -> list[str]:
    """The lines after name and backend."""
    return install(it, artifact, 1, accelerator=accelerator).config.splitlines()[2:]


@pytest.fixture
def free(tmp_path: Path) -> Path:
    (tmp_path / "free").write_bytes(network(1))
    return tmp_path / "free"


@pytest.mark.parametrize(
    ("hint", "lines"),
    [
        (None, []),
        ({}, ["dynamic_batching { }"]),
        ({"maxBatchSize": 16}, ["max_batch_size: 16", "dynamic_batching { }"]),
        (
            {"maxBatchSize": 16, "maxQueueDelay": "1.5ms"},
            ["max_batch_size: 16", "dynamic_batching { max_queue_delay_microseconds: 1500 }"],
        ),
        ({"maxQueueDelay": "0s"}, ["dynamic_batching { }"]),
        ({"maxQueueDelay": "900ns"}, ["dynamic_batching { }"]),
        ({"maxBatchSize": 1, "maxQueueDelay": "1ms"}, ["max_batch_size: 1"]),
    ],
)
def test_batches_are_as_the_objective_wants_them(free: Path, hint: dict[str, object] | None, lines: list[str]) -> None:
    assert config(model(batching=hint), free) == ["instance_group [{ count: 1 }]", *lines]


def test_what_cannot_be_batched_or_is_not_known_to_be_is_left_to_triton(tmp_path: Path, free: Path) -> None:
    (tmp_path / "fixed").write_bytes(FIXED)
    hint = {"maxBatchSize": 16, "maxQueueDelay": "1ms"}
    assert "batch" not in " ".join(config(model(batching=hint), tmp_path / "fixed"))
    assert "batch" not in " ".join(config(model(batching=hint, backend="openvino"), free))


@pytest.mark.parametrize("name", ["model.onnx", "digits.onnx"])
def test_the_network_of_a_directory_is_looked_at(tmp_path: Path, name: str) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / name).write_bytes(network(1))
    assert "max_batch_size: 16" in config(model(batching={"maxBatchSize": 16}), tmp_path)


@pytest.mark.parametrize(
    "given",
    [
        "max_batch_size: 2",
        "max_batch_size: 0",
        "dynamic_batching { preferred_batch_size: 4 }",
        "sequence_batching { }",
        'input { name: "x" data_type: TYPE_FP32 dims: [-1, 1] }',
        'output { name: "y" data_type: TYPE_FP32 dims: [-1, 1] }',
    ],
)
def test_where_the_owner_speaks_of_batches_nothing_is_added(tmp_path: Path, given: str) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.onnx").write_bytes(network(1))
    (tmp_path / "config.pbtxt").write_text(given)
    lines = config(model(batching={"maxBatchSize": 16, "maxQueueDelay": "1ms"}), tmp_path)
    assert lines == ["instance_group [{ count: 1 }]", given]


@pytest.mark.parametrize(
    ("backend", "accelerator", "instances", "target"),
    [
        ("openvino", "intel-npu", "{ count: 1 kind: KIND_CPU }", "NPU"),
        ("openvino", "intel-gpu", "{ count: 1 kind: KIND_CPU }", "GPU"),
        ("openvino", "cpu", "{ count: 1 }", None),
        ("openvino", None, "{ count: 1 }", None),
        ("onnxruntime", "nvidia-gpu", "{ count: 1 kind: KIND_GPU }", None),
        ("tensorrt", "nvidia-gpu", "{ count: 1 kind: KIND_GPU }", None),
        ("python", "nvidia-gpu", "{ count: 1 }", None),
        ("onnxruntime", "intel-npu", "{ count: 1 }", None),
        ("onnxruntime", "cpu", "{ count: 1 }", None),
    ],
)
def test_a_model_runs_on_the_device_of_its_server(
    free: Path, backend: str, accelerator: str | None, instances: str, target: str | None
) -> None:
    text = install(model(backend=backend), free, 1, accelerator=accelerator).config
    assert f"instance_group [{instances}]" in text
    assert ("TARGET_DEVICE" in text) == (target is not None)
    assert target is None or f'key: "TARGET_DEVICE" value {{ string_value: "{target}" }}' in text


def test_the_owner_and_the_variant_have_the_last_word_on_the_device(tmp_path: Path) -> None:
    owner = 'parameters { key: "TARGET_DEVICE" value { string_value: "AUTO" } }'
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.xml").touch()
    (tmp_path / "config.pbtxt").write_text(f"instance_group [{{ count: 2 }}] {owner}")
    installed = install(model(backend="openvino", TARGET_DEVICE="HETERO"), tmp_path, 1, accelerator="intel-npu")
    said = [field.text for field in pbtxt.fields(installed.config)]
    assert [text for text in said if "instance_group" in text] == ["instance_group [{ count: 2 }]"]
    devices = [text.split('"')[3] for text in said if "TARGET_DEVICE" in text]
    assert devices == ["NPU", "AUTO", "HETERO"], "the last entry of a map counts"


def test_another_batching_is_another_version_and_none_is_the_one_there_was() -> None:
    hints: list[dict[str, object] | None] = [None, {}, {"maxBatchSize": 8}, {"maxBatchSize": 8, "maxQueueDelay": "1ms"}]
    assert len({fingerprint(model(batching=hint)) for hint in hints}) == len(hints)
    assert fingerprint(model()) == "898e1b9044bc4a34c83317399e1a6f4becbe03ec26e67cd9a0ed4e1a10ee5431"
