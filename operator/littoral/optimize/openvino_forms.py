"""Forms that are OpenVINO IR: half precision by OpenVINO, 8-bit integers by NNCF."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from littoral.optimize.data import Dataset, Feed
from littoral.optimize.errors import OptimizeError, Unfit
from littoral.optimize.extras import extra, quiet
from littoral.optimize.network import Network
from littoral.optimize.onnx_forms import Attempt
from littoral.optimize.recipes import Form


def intermediate(
    network: Network, form: Form, dataset: Dataset, items: Sequence[Feed], *, folder: Path
) -> Iterator[Attempt]:
    """IR in a directory: `model.xml` and `model.bin`.

    8-bit integers are NNCF's post-training quantisation, in a mixture that every Intel device runs. What comes next is
    for those to whom that is too inexact: ranges that hold the largest value ever seen, not the mean of each item's
    largest; and for attention, as NNCF does transformers: smoothed activations, and less of the attention in integers.

    Raises:
        Unfit: OpenVINO or NNCF cannot, or the form is of one shape and the data are not.
    """
    ov = extra("openvino")
    try:
        with quiet():
            model = ov.Core().read_model(str(network.path))
            if form.fixed:
                model.reshape(_only_shape(network, dataset))
    except RuntimeError as error:
        raise Unfit(f"OpenVINO: {_reason(error)}") from error
    if form.precision == "fp16":
        yield _save(ov, model, folder / "half", method="weights in half precision")
        return
    nncf, ranges = extra("nncf"), extra("nncf.quantization.range_estimator").RangeEstimatorParametersSet.MINMAX
    whole = nncf.AdvancedQuantizationParameters(
        activations_range_estimator_params=ranges, weights_range_estimator_params=ranges
    )
    ways: list[tuple[str, dict[str, Any]]] = [("NNCF", {}), ("NNCF, whole ranges", {"advanced_parameters": whole})]
    if network.operators >= {"Softmax", "MatMul"}:
        ways.append(("NNCF, as a transformer", {"model_type": nncf.ModelType.TRANSFORMER}))
    for number, (method, options) in enumerate(ways):
        try:
            with quiet():
                quantised = nncf.quantize(
                    model.clone(),
                    nncf.Dataset([dict(item) for item in items]),
                    preset=nncf.QuantizationPreset.MIXED,
                    target_device=nncf.TargetDevice.ANY,
                    subset_size=len(items),
                    **options,
                )
        except OptimizeError:
            raise
        except Exception as error:  # NNCF raises whatever its graph passes and OpenVINO do.
            raise Unfit(f"{method}: {_reason(error)}") from error
        yield _save(ov, quantised, folder / f"int8-{number}", method=f"{method}, {len(items)} items")


def _save(ov: Any, model: Any, folder: Path, *, method: str) -> Attempt:
    folder.mkdir(parents=True)
    # What is no integer is half precision, on disk: a CPU without it computes in single precision all the same.
    ov.save_model(model, str(folder / "model.xml"), compress_to_fp16=True)
    return Attempt(method=method, path=folder)


def _only_shape(network: Network, dataset: Dataset) -> dict[str, list[int]]:
    shapes = dataset.shapes
    if len(shapes) == 1:
        return {name: list(shape) for name, shape in shapes.pop()}
    if all(None not in tensor.shape[1:] for tensor in network.inputs):
        raise Unfit("the items have different batch sizes")  # pragma: no cover - items are of one each
    raise Unfit(
        f"this device takes one shape, and the data have {len(shapes)}: give data of the one that it shall serve"
    )


def _reason(error: Exception) -> str:
    # OpenVINO begins with where in its source it was.
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("Exception from")]
    return (lines[-1] if lines else type(error).__name__)[:200]
