"""The lab's `onnxruntime` and `openvino` backends do what NVIDIA's of those names do."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto
from tritonclient.utils import InferenceServerException

from tests.triton.networks import write_identity, write_lookup, write_scaling, write_sum
from tests.triton.server import Triton


def write_config(triton: Triton, model: str, text: str) -> None:
    (triton.repository / model / "config.pbtxt").write_text(text)


def test_a_network_of_any_batch_size_needs_no_configuration(triton: Triton) -> None:
    write_scaling(triton.repository / "plain/1/model.onnx", factor=2)
    triton.load("plain")
    config = triton.config("plain")
    assert config["backend"] == "onnxruntime"
    assert config["max_batch_size"] == 4
    assert "dynamic_batching" in config
    assert [(entry["name"], entry["data_type"], entry["dims"]) for entry in config["input"]] == [
        ("x", "TYPE_FP32", [3])
    ]
    assert [(entry["name"], entry["data_type"], entry["dims"]) for entry in config["output"]] == [
        ("y", "TYPE_FP32", [3])
    ]


def test_a_network_of_fixed_size_is_not_batched(triton: Triton) -> None:
    write_scaling(triton.repository / "fixed/1/model.onnx", factor=2, first=5)
    triton.load("fixed")
    config = triton.config("fixed")
    assert config["max_batch_size"] == 0
    assert "dynamic_batching" not in config
    assert config["input"][0]["dims"] == [5, 3]
    np.testing.assert_array_equal(triton.infer("fixed", x=np.ones((5, 3), np.float32))["y"], np.full((5, 3), 2))


def test_batching_a_network_of_fixed_size_is_refused(triton: Triton) -> None:
    write_scaling(triton.repository / "unbatchable/1/model.onnx", factor=2, first=5)
    write_config(triton, "unbatchable", 'backend: "onnxruntime"\nmax_batch_size: 8\n')
    with pytest.raises(InferenceServerException, match=r"cannot be batched.*x TYPE_FP32 \[5, 3\]"):
        triton.load("unbatchable")


def test_a_configured_batch_size_is_kept(triton: Triton) -> None:
    write_scaling(triton.repository / "configured/1/model.onnx", factor=2)
    write_config(triton, "configured", 'backend: "onnxruntime"\nmax_batch_size: 16\n')
    triton.load("configured")
    config = triton.config("configured")
    assert config["max_batch_size"] == 16
    assert config["dynamic_batching"]["preferred_batch_size"] == [16]


def test_an_output_without_dimensions_has_one_element_for_each_item(triton: Triton) -> None:
    write_sum(triton.repository / "sum/1/model.onnx")
    triton.load("sum")
    output = triton.config("sum")["output"][0]
    assert (output["dims"], output["reshape"]) == ([1], {"shape": []})
    np.testing.assert_array_equal(triton.infer("sum", x=np.ones((2, 3), np.float32))["sum"], [[3], [3]])


def test_every_data_type_arrives_and_returns(triton: Triton) -> None:
    arrays = {
        "bool": np.array([[True, False]]),
        "uint8": np.array([[0, 255]], np.uint8),
        "int8": np.array([[-128, 127]], np.int8),
        "int64": np.array([[-(2**60), 2**60]], np.int64),
        "fp16": np.array([[0.5, -65504]], np.float16),
        "fp64": np.array([[1e-300, 1e300]], np.float64),
        "text": np.array([["Küste".encode(), b""]], np.object_),
    }
    types = {
        "bool": TensorProto.BOOL,
        "uint8": TensorProto.UINT8,
        "int8": TensorProto.INT8,
        "int64": TensorProto.INT64,
        "fp16": TensorProto.FLOAT16,
        "fp64": TensorProto.DOUBLE,
        "text": TensorProto.STRING,
    }
    write_identity(triton.repository / "identity/1/model.onnx", types=types)
    triton.load("identity")
    answers = triton.infer("identity", **arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(answers[f"{name}_out"], array, err_msg=name)


def test_answers_are_those_of_onnx_runtime(triton: Triton) -> None:
    path = triton.repository / "accurate/1/model.onnx"
    write_scaling(path, factor=np.pi)
    triton.load("accurate")
    x = np.random.default_rng(7).normal(size=(4, 3)).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(path).run(["y"], {"x": x})
    np.testing.assert_array_equal(triton.infer("accurate", x=x)["y"], expected)


def test_concurrent_requests_run_as_one_batch(triton: Triton) -> None:
    write_scaling(triton.repository / "batching/1/model.onnx", factor=2)
    # The batch is full after four requests: the long delay is a bound that is not reached.
    write_config(
        triton,
        "batching",
        'backend: "onnxruntime"\nmax_batch_size: 4\ninstance_group [{ kind: KIND_CPU count: 1 }]\n'
        "dynamic_batching { preferred_batch_size: [4] max_queue_delay_microseconds: 10000000 }\n",
    )
    triton.load("batching")
    rows = [np.full((1, 3), value, np.float32) for value in range(4)]
    with ThreadPoolExecutor(max_workers=4) as pool:
        answers = list(pool.map(lambda row: triton.infer("batching", x=row)["y"], rows))
    for row, answer in zip(rows, answers, strict=True):
        np.testing.assert_array_equal(answer, 2 * row)
    assert triton.executions("batching") == {4: 1}


def test_a_file_that_is_no_network_is_named(triton: Triton) -> None:
    path = triton.repository / "broken/1/model.onnx"
    path.parent.mkdir(parents=True)
    path.write_text("not a network")
    with pytest.raises(InferenceServerException, match=f"cannot load {path}"):
        triton.load("broken")


def test_a_file_that_is_missing_is_named(triton: Triton) -> None:
    write_scaling(triton.repository / "absent/1/other.onnx", factor=2)
    write_config(triton, "absent", 'backend: "onnxruntime"\n')
    with pytest.raises(InferenceServerException, match=f"no file {triton.repository / 'absent/1/model.onnx'}"):
        triton.load("absent")


def test_a_configuration_that_contradicts_the_network_is_refused(triton: Triton) -> None:
    write_scaling(triton.repository / "contradicted/1/model.onnx", factor=2)
    write_config(
        triton,
        "contradicted",
        'backend: "onnxruntime"\nmax_batch_size: 4\n'
        'input [{ name: "x" data_type: TYPE_INT32 dims: [3] }]\n'
        'output [{ name: "y" data_type: TYPE_FP32 dims: [3] }]\n',
    )
    with pytest.raises(InferenceServerException, match=r"input x TYPE_INT32 is none of the network's: x TYPE_FP32"):
        triton.load("contradicted")


def test_a_request_that_fails_says_why_and_spoils_no_later_one(triton: Triton) -> None:
    write_lookup(triton.repository / "lookup/1/model.onnx")
    triton.load("lookup")
    with pytest.raises(InferenceServerException, match="out of data bounds"):
        triton.infer("lookup", index=np.array([[99]], np.int64))
    np.testing.assert_array_equal(triton.infer("lookup", index=np.array([[7]], np.int64))["row"], [[7]])


def test_openvino_runs_the_same_network_whatever_device_is_asked_for(triton: Triton) -> None:
    write_scaling(triton.repository / "npu/1/model.onnx", factor=2)
    write_config(
        triton,
        "npu",
        'backend: "openvino"\ndefault_model_filename: "model.onnx"\n'
        'parameters { key: "TARGET_DEVICE" value { string_value: "NPU" } }\n',
    )
    triton.load("npu")
    assert triton.config("npu")["max_batch_size"] == 4
    np.testing.assert_array_equal(triton.infer("npu", x=np.ones((3, 3), np.float32))["y"], np.full((3, 3), 2))
