"""Running a form of a network on this machine's CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from littoral.optimize.data import Array, Feed
from littoral.optimize.extras import extra, quiet

Engine = Callable[[Feed], list[Array]]
"""Runs a batch; its outputs are in the order of the names it was opened with."""


def open_engine(path: Path, *, outputs: Sequence[str], threads: int | None = None) -> Engine:
    """Open an ONNX file, or an OpenVINO IR by its directory, on the CPU.

    Args:
        outputs: names of the outputs to return.
        threads: threads of one inference; None: as many as the runtime likes.

    Raises:
        Exception: whatever the runtime says of a network that it cannot open.
    """
    if path.is_dir():
        return _openvino(path / "model.xml", outputs=outputs, threads=threads)
    return _onnx(path, outputs=outputs, threads=threads)


def _onnx(path: Path, *, outputs: Sequence[str], threads: int | None) -> Engine:
    ort = extra("onnxruntime")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or 0
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = list(outputs)

    def run(feed: Feed) -> list[Array]:
        found: list[Array] = session.run(names, dict(feed))
        return found

    return run


def _openvino(path: Path, *, outputs: Sequence[str], threads: int | None) -> Engine:
    ov = extra("openvino")
    properties: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        properties["INFERENCE_NUM_THREADS"] = threads
    with quiet():
        request = ov.Core().compile_model(str(path), "CPU", properties).create_infer_request()

    def run(feed: Feed) -> list[Array]:
        found = request.infer(dict(feed))
        # What it returns is overwritten by the next call.
        return [found[name].copy() for name in outputs]

    return run
