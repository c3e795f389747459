"""Which forms of a network fit which device class. A table: another class is another entry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from littoral.optimize.errors import OptimizeError


@dataclass(frozen=True, kw_only=True, order=True)
class Form:
    """What a network is stored as: one artifact, whatever devices share it.

    Attributes:
        format: `onnx`, `openvino` (IR) or `tensorrt` (plan).
        precision: `fp32`, `fp16` or `int8`.
        fixed: every dimension has one size, and a batch is one item.
    """

    format: str
    precision: str
    fixed: bool = False

    @property
    def name(self) -> str:
        """As it is called in folders and tables."""
        return f"{self.format}-{self.precision}{'-fixed' if self.fixed else ''}"

    @property
    def files(self) -> str:
        """Where the artifact begins: a file, or a directory of files."""
        return {"onnx": "model.onnx", "tensorrt": "model.plan", "openvino": ""}[self.format]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A form on a device class: one variant of a Model."""

    form: Form
    device: str
    backend: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The variant's name."""
        return f"{self.form.format}-{self.form.precision}-{self.device}"


ORIGINAL: Final = Form(format="onnx", precision="fp32")
"""The network as it was given; whatever its own precision is, the others are compared with it."""

_ONNX_FP16 = Form(format="onnx", precision="fp16")
_ONNX_INT8 = Form(format="onnx", precision="int8")
_PLAN_FP16 = Form(format="tensorrt", precision="fp16")


def _onnx(form: Form, device: str) -> Target:
    return Target(form=form, device=device, backend="onnxruntime")


def _openvino(precision: str, device: str, *, runs_on: str, fixed: bool = False) -> Target:
    return Target(
        form=Form(format="openvino", precision=precision, fixed=fixed),
        device=device,
        backend="openvino",
        parameters={} if runs_on == "CPU" else {"TARGET_DEVICE": runs_on},
    )


RECIPES: Final[Mapping[str, tuple[Target, ...]]] = {
    "cpu": (
        _onnx(ORIGINAL, "cpu"),
        _onnx(_ONNX_INT8, "cpu"),
        _openvino("fp16", "cpu", runs_on="CPU"),
        _openvino("int8", "cpu", runs_on="CPU"),
    ),
    "intel-gpu": (
        _openvino("int8", "intel-gpu", runs_on="GPU"),
        _openvino("fp16", "intel-gpu", runs_on="GPU"),
    ),
    # OpenVINO's NPU plugin compiles a network for one shape (docs.openvino.ai, NPU Device).
    "intel-npu": (
        _openvino("int8", "intel-npu", runs_on="NPU", fixed=True),
        _openvino("fp16", "intel-npu", runs_on="NPU", fixed=True),
    ),
    "nvidia-gpu": (
        Target(form=_PLAN_FP16, device="nvidia-gpu", backend="tensorrt"),
        _onnx(_ONNX_FP16, "nvidia-gpu"),
        _onnx(ORIGINAL, "nvidia-gpu"),
    ),
    "amd-gpu": (_onnx(_ONNX_FP16, "amd-gpu"), _onnx(ORIGINAL, "amd-gpu")),
    "ascend": (_onnx(ORIGINAL, "ascend"),),
}
"""Device class -> its variants, the one to prefer first where nothing is measured."""


def targets_of(devices: Iterable[str]) -> tuple[Target, ...]:
    """The variants for these device classes.

    Raises:
        OptimizeError: nothing is known of one of them.
    """
    found: list[Target] = []
    for device in dict.fromkeys(devices):
        if device not in RECIPES:
            raise OptimizeError(f"nothing is made for device class {device!r}: known are {', '.join(RECIPES)}")
        found += RECIPES[device]
    return tuple(found)
