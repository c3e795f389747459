"""Forms that are ONNX files: 8-bit integers and half precision, by ONNX Runtime's own tools."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from littoral.optimize.data import Feed
from littoral.optimize.errors import OptimizeError, Unfit
from littoral.optimize.extras import extra, quiet
from littoral.optimize.network import Network

# Quantisation by channel needs 13; 17 is old enough for every Triton since 22.12.
_LEAST_OPSET: Final = 13
_OPSET: Final = 17
# The newest file format that the ONNX Runtime of a Triton of 2024 reads.
_NEWEST_IR: Final = 10
# What only dynamic quantisation knows how to do, and all that it is good at: its convolutions are slow and inexact.
_RECURRENT: Final = frozenset({"LSTM", "GRU", "RNN"})
_DYNAMIC: Final = ("MatMul", "Gemm", "LSTM", "Attention")
# Above this share of the original's size hardly anything was quantised.
_SMALLER: Final = 0.9


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A form, made in one of several ways. A file, or for OpenVINO a directory."""

    method: str
    path: Path


def int8(network: Network, items: Sequence[Feed], *, folder: Path) -> Iterator[Attempt]:
    """8-bit integers: statically where that fits, then dynamically.

    Static quantisation is QDQ by channel, its ranges calibrated with the items (MinMax). Activations are unsigned, and
    weights have 7 bits: with 8, processors without VNNI add up beyond 16 bits and are silently wrong, and a variant's
    accuracy must not depend on the node (ONNX Runtime, "Quantize ONNX models", U8S8 on AVX2).

    Raises:
        Unfit: in no way.
    """
    prepared = _prepared(network, folder / "prepared.onnx")
    reasons = []
    ways = (_dynamic,) if network.operators & _RECURRENT else (_static, _dynamic)
    for way in ways:
        try:
            yield way(network, items, prepared, folder)
        except Unfit as error:
            reasons.append(str(error))
    if len(reasons) == len(ways):
        raise Unfit("; ".join(reasons))


def fp16(network: Network, *, folder: Path) -> Iterator[Attempt]:
    """Half precision inside; inputs and outputs stay as clients know them.

    Raises:
        Unfit: the converter cannot.
    """
    onnx, converter = extra("onnx"), extra("onnxruntime.transformers.float16")
    path = folder / "half.onnx"
    try:
        with quiet():
            model = onnx.load(str(_prepared(network, folder / "prepared.onnx")))
            _save(converter.convert_float_to_float16(model, keep_io_types=True), path)
    except OptimizeError:
        raise
    except Exception as error:
        raise Unfit(f"half precision: {_first_line(error)}") from error
    yield Attempt(method="keeps float inputs and outputs", path=path)


def _prepared(network: Network, path: Path) -> Path:
    """The network in a version that the tools take, with the shapes inside it worked out."""
    if path.exists():
        return path
    onnx, shapes = extra("onnx"), extra("onnxruntime.quantization.shape_inference")
    converted = path.with_name("converted.onnx")
    try:
        model = onnx.load(str(network.path))
        if any(opset.domain in ("", "ai.onnx") and opset.version < _LEAST_OPSET for opset in model.opset_import):
            model = onnx.version_converter.convert_version(model, _OPSET)
        _save(model, converted)
    except Exception as error:
        raise Unfit(f"it cannot be brought to ONNX operator set {_OPSET}: {_first_line(error)}") from error
    try:
        with quiet():
            shapes.quant_pre_process(str(converted), str(path), skip_symbolic_shape=True)
    except Exception:  # It is a help, not a need.
        path.write_bytes(converted.read_bytes())
    return path


def _static(network: Network, items: Sequence[Feed], prepared: Path, folder: Path) -> Attempt:
    tools = extra("onnxruntime.quantization")
    path = folder / "static.onnx"
    remaining = iter(items)

    class Reader(tools.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def get_next(self) -> dict[str, Any] | None:
            feed = next(remaining, None)
            return None if feed is None else dict(feed)

    try:
        with quiet():
            tools.quantize_static(
                str(prepared),
                str(path),
                Reader(),
                quant_format=tools.QuantFormat.QDQ,
                activation_type=tools.QuantType.QUInt8,
                weight_type=tools.QuantType.QInt8,
                per_channel=True,
                reduce_range=True,
            )
    except Exception as error:
        raise Unfit(f"static quantisation: {_first_line(error)}") from error
    return _if_quantised(Attempt(method=f"static, {len(items)} items", path=path), network)


def _dynamic(network: Network, items: Sequence[Feed], prepared: Path, folder: Path) -> Attempt:
    tools = extra("onnxruntime.quantization")
    path = folder / "dynamic.onnx"
    if not network.operators & {*_DYNAMIC}:
        raise Unfit("dynamic quantisation: it has no matrix product")
    try:
        with quiet():
            tools.quantize_dynamic(
                str(prepared), str(path), op_types_to_quantize=list(_DYNAMIC), per_channel=True, reduce_range=True
            )
    except Exception as error:
        raise Unfit(f"dynamic quantisation: {_first_line(error)}") from error
    return _if_quantised(Attempt(method="dynamic", path=path), network)


def _if_quantised(attempt: Attempt, network: Network) -> Attempt:
    if attempt.path.stat().st_size > _SMALLER * network.path.stat().st_size:
        raise Unfit(f"{attempt.method.partition(',')[0]} quantisation: hardly any of its weights can be quantised")
    return attempt


def _save(model: Any, path: Path) -> None:
    onnx = extra("onnx")
    model.ir_version = min(model.ir_version, _NEWEST_IR)
    onnx.save(model, str(path))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
