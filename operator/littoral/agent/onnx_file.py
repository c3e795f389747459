"""What an ONNX file says of its tensors, read without its weights and without the `onnx` package, which is 50 MB.

Field numbers are those of `onnx.proto3` (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3), the encoding is
https://protobuf.dev/programming-guides/encoding/. Whatever is not understood is skipped: a network of gigabytes costs
a few seeks.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_GRAPH = 7  # ModelProto.graph
_INITIALIZER, _INPUT, _OUTPUT = 5, 11, 12  # GraphProto
_TENSOR_NAME = 8  # TensorProto.name
_NAME, _TYPE = 1, 2  # ValueInfoProto
_TENSOR_TYPE = 1  # TypeProto.tensor_type
_SHAPE = 2  # TypeProto.Tensor.shape
_DIM = 1  # TensorShapeProto.dim
_DIM_VALUE = 1  # TensorShapeProto.Dimension.dim_value

_LONGEST_NAME = 1 << 16


def batchable(path: Path) -> bool:
    """Whether the first dimension of every input and output is of any size, which is what Triton's onnxruntime
    backend asks of a network that it batches. False for what cannot be read as ONNX."""
    try:
        with path.open("rb") as file:
            return _batchable(file, os.fstat(file.fileno()).st_size)
    except (OSError, ValueError):
        return False


def _batchable(file: BinaryIO, size: int) -> bool:
    weights: set[str] = set()
    free: dict[str, bool] = {}
    outputs: list[bool] = []
    for number, start, end in _parts(file, 0, size):
        if number != _GRAPH:
            continue
        for kind, begin, stop in _parts(file, start, end):
            if kind == _INITIALIZER:
                weights.add(_text(file, begin, stop, _TENSOR_NAME))
            elif kind == _INPUT:
                free[_text(file, begin, stop, _NAME)] = _free(file, begin, stop)
            elif kind == _OUTPUT:
                outputs.append(_free(file, begin, stop))
    # Old files list their weights among the inputs.
    inputs = [it for name, it in free.items() if name not in weights]
    return bool(inputs) and bool(outputs) and all((*inputs, *outputs))


def _free(file: BinaryIO, start: int, end: int) -> bool:
    """Whether the first dimension of a ValueInfoProto is there and has no value."""
    for number in (_TYPE, _TENSOR_TYPE, _SHAPE, _DIM):
        part = next(((begin, stop) for kind, begin, stop in _parts(file, start, end) if kind == number), None)
        if part is None:
            return False
        start, end = part
    return all(kind != _DIM_VALUE for kind, _, _ in _parts(file, start, end))


def _text(file: BinaryIO, start: int, end: int, number: int) -> str:
    for kind, begin, stop in _parts(file, start, end):
        if kind == number:
            file.seek(begin)
            return file.read(min(stop - begin, _LONGEST_NAME)).decode(errors="replace")
    return ""


def _parts(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(field number, start, end) of each field of the message between two offsets.

    Raises:
        ValueError: this is no protobuf message.
    """
    position = start
    while position < end:
        file.seek(position)
        tag = _varint(file)
        match tag & 7:
            case 0:
                begin = file.tell()
                _varint(file)
                position = file.tell()
            case 1:
                begin, position = file.tell(), file.tell() + 8
            case 2:
                length = _varint(file)
                begin, position = file.tell(), file.tell() + length
            case 5:
                begin, position = file.tell(), file.tell() + 4
            case _:
                raise ValueError("no protobuf message")
        if position > end:
            raise ValueError("a field is longer than its message")
        yield tag >> 3, begin, position


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("the file is cut off")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("a number without an end")
