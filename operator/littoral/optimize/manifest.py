"""The outcome as a Model, and as a report for programs. Pure, but for the Model's own check."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from littoral.api.base import API_VERSION
from littoral.api.model import Model
from littoral.api.quantity import format_decimal, format_duration
from littoral.optimize.errors import OptimizeError
from littoral.optimize.pipeline import Made, Outcome, Report
from littoral.optimize.speed import profile

# The least that the API takes for a batch's base.
_SHORTEST: Final = 1e-6
_THREADS: Final = {"onnxruntime": "intra_op_thread_count", "openvino": "INFERENCE_NUM_THREADS"}
"""Parameter of each Triton backend for the threads of an inference."""


def name_of(path: Path) -> str:
    """A name for a Model, out of its file's: `Text Detect.v2.onnx` -> `text-detect-v2`.

    Raises:
        OptimizeError: there is nothing in it to make a name of.
    """
    name = re.sub("[^a-z0-9]+", "-", path.stem.lower()).lstrip("-0123456789").rstrip("-")[:63].rstrip("-")
    if not name:
        raise OptimizeError(f"{path.name} does not make a Model's name: give one with --name")
    return name


def manifest(
    report: Report, *, name: str, namespace: str | None, location: str, root: Path, threads: int | None
) -> dict[str, Any]:
    """The Model, with a variant for each outcome that was accepted.

    Args:
        location: where clusters find the output directory `root`: `pvc://claim/path`, `https://...` or `file:///...`.
        threads: what the variants for the CPU were measured with.

    Raises:
        OptimizeError: there is no variant, or the Model is none that the API takes, such as for its name.
    """
    accepted = [outcome for outcome in report.outcomes if outcome.accepted]
    if not accepted:
        raise OptimizeError("; ".join(f"{it.target.name}: {it.refusal}" for it in report.outcomes))
    model = {
        "apiVersion": API_VERSION,
        "kind": "Model",
        "metadata": {"name": name} | ({"namespace": namespace} if namespace else {}),
        "spec": {"variants": [_variant(it, location=location, root=root, threads=threads) for it in accepted]},
    }
    try:
        # What names no namespace gets one from whoever applies it.
        Model.parse({**model, "metadata": {"name": name, "namespace": namespace or "default"}})
    except ValueError as error:
        raise OptimizeError(str(error)) from error
    return model


def _variant(outcome: Outcome, *, location: str, root: Path, threads: int | None) -> dict[str, Any]:
    assert outcome.made is not None
    target, made = outcome.target, outcome.made
    uri = f"{location.rstrip('/')}/{made.path.relative_to(root).as_posix()}"
    variant: dict[str, Any] = {
        "name": target.name,
        "accelerator": target.device,
        "backend": target.backend,
        "artifact": {"uri": uri, "digest": made.digest},
    }
    if made.accuracy is not None:
        variant["accuracy"] = format_decimal(made.accuracy, places=4)
    if outcome.speed is not None:
        learned = profile(outcome.speed)
        variant["profile"] = {
            "base": _duration(learned.base),
            "perItem": _duration(learned.per_item),
        }
    parameters = dict(target.parameters)
    if threads is not None and target.device == "cpu":
        variant["cpu"] = str(threads)
        parameters[_THREADS[target.backend]] = str(threads)
    if parameters:
        variant["parameters"] = parameters
    return variant


def _duration(seconds: float) -> str:
    # Whole microseconds, or three digits of what is longer than that.
    return format_duration(max(round(seconds, 6), _SHORTEST))


def remarks(report: Report) -> list[str]:
    """What a reader of the manifest should know of its numbers."""
    if report.labelled:
        what = "share of right answers" if report.metric == "top1" else "cosine similarity to the labels"
    else:
        what = f"agreement with the original ({report.metric}), whose own accuracy is not known"
    lines = [f"accuracy: {what}, {report.items} items, on this machine's CPU"]
    lines += [f"{it.target.name} is left out: {it.refusal}" for it in report.outcomes if not it.accepted]
    return lines


def as_json(report: Report) -> dict[str, Any]:
    """All that was measured, for programs: seconds and bytes."""
    return {
        "network": report.network.path.name,
        "metric": str(report.metric),
        "labelled": report.labelled,
        "items": report.items,
        "originalAccuracy": report.original_accuracy,
        "variants": [
            {
                "name": outcome.target.name,
                "accelerator": outcome.target.device,
                "backend": outcome.target.backend,
                "accepted": outcome.accepted,
                "refusal": outcome.refusal,
                **_made_json(outcome.made),
                "latency": None
                if outcome.speed is None
                else {
                    str(size): {
                        "runs": len(latency.runs),
                        "p50": latency.quantile(0.5),
                        "p99": latency.quantile(0.99),
                    }
                    for size, latency in outcome.speed.items()
                },
            }
            for outcome in report.outcomes
        ],
    }


def _made_json(made: Made | None) -> dict[str, Any]:
    if made is None:
        return {}
    return {"method": made.method, "digest": made.digest, "bytes": made.size, "accuracy": made.accuracy}
