"""What is read of an ONNX file agrees with the `onnx` package, and nothing else than ONNX confuses it."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy import zeros
from onnx import TensorProto, helper, numpy_helper

from littoral.agent.onnx_file import batchable

Shape = list[int | str | None] | None


def network(inputs: list[Shape], outputs: list[Shape], *, weights_as_inputs: bool = False) -> bytes:
    def infos(kind: str, shapes: list[Shape]) -> list[Any]:
        return [helper.make_tensor_value_info(f"{kind}{i}", TensorProto.FLOAT, shape) for i, shape in enumerate(shapes)]

    weights = [numpy_helper.from_array(zeros((7, 300), dtype="float32"), "w")]
    extra = [helper.make_tensor_value_info("w", TensorProto.FLOAT, [7, 300])] if weights_as_inputs else []
    graph = helper.make_graph([], "g", [*infos("x", inputs), *extra], infos("y", outputs), weights)
    return bytes(helper.make_model(graph).SerializeToString())


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (network([["n", 3]], [["n", 2]]), True),
        (network([[None, 3]], [["m"]]), True),
        (network([["n", 3]], [["n", 2]], weights_as_inputs=True), True),
        (network([["n"], [1, 3]], [["n"]]), False),
        (network([["n", 3]], [[1, 3]]), False),
        (network([["n", 3]], [[]]), False),  # a scalar
        (network([["n", 3]], [None]), False),  # a shape that the file does not tell
        (network([], [["n"]]), False),
        (network([["n"]], []), False),
        (network([["n", 3]], [["n", 2]])[:-3], False),
        (b"", False),
        (b"not a network", False),
    ],
)
def test_a_network_is_batched_if_every_first_dimension_is_free(tmp_path: Path, content: bytes, expected: bool) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    assert batchable(tmp_path / "model.onnx") is expected


def test_what_is_no_file_is_not_batched(tmp_path: Path) -> None:
    assert not batchable(tmp_path)
    assert not batchable(tmp_path / "missing")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(start=st.integers(0, 200), junk=st.binary(max_size=40))
def test_damage_is_an_answer_and_no_error(tmp_path: Path, start: int, junk: bytes) -> None:
    content = network([["n", 3]], [["n", 2]])
    (tmp_path / "model.onnx").write_bytes(content[:start] + junk + content[start + len(junk) :])
    assert batchable(tmp_path / "model.onnx") in (True, False)
