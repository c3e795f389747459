"""Pages as Triton 2.60 writes them, families and order of labels included."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

LEVELS = (0.5, 0.9, 0.95, 0.99, 0.999)
_SUMMARIES = ("request", "queue", "compute_input", "compute_infer", "compute_output")


def family(name: str, rows: Mapping[str, float | str], *, kind: str = "counter") -> str:
    """One family; rows are labels (without braces, may be empty) -> value."""
    lines = "".join(
        f"{name}{{{labels}}} {value}\n" if labels else f"{name} {value}\n" for labels, value in rows.items()
    )
    return f"# HELP {name} What it is, in words: {name}{{}} 1\n# TYPE {name} {kind}\n{lines}"


def metrics_page(models: Mapping[tuple[str, str], Mapping[str, float]]) -> str:
    """The page of a Triton with these versions of models.

    Args:
        models: (model, version) -> any of answered, failures, canceled, items, executions, seconds, queued, pending
            and latency, which is the latency in seconds of all requests of the last minute.
    """

    def counter(name: str, field: str, scale: float = 1.0) -> str:
        return family(name, {label(*key): round(said.get(field, 0) * scale) for key, said in models.items()})

    def label(model: str, version: str) -> str:
        return f'model="{model}",version="{version}"'

    failures = {
        f'model="{model}",reason="{reason}",version="{version}"': round(said.get(field, 0))
        for (model, version), said in models.items()
        for reason, field in (("BACKEND", "failures"), ("CANCELED", "canceled"), ("OTHER", ""), ("REJECTED", ""))
    }
    parts = [
        counter("nv_inference_request_success", "answered"),
        family("nv_inference_request_failure", failures),
        counter("nv_inference_count", "items"),
        counter("nv_inference_exec_count", "executions"),
        counter("nv_inference_request_duration_us", "seconds", 1e6),
        counter("nv_inference_queue_duration_us", "queued", 1e6),
        counter("nv_inference_compute_infer_duration_us", "seconds", 1e6),
        counter("nv_inference_pending_request_count", "pending"),
        family("nv_cpu_memory_used_bytes", {"": 1356218368}, kind="gauge"),
    ]
    for summary in _SUMMARIES:
        name = f"nv_inference_{summary}_summary_us"
        rows = ""
        for key, said in models.items():
            rows += f"{name}_count{{{label(*key)}}} 7\n{name}_sum{{{label(*key)}}} 7000\n"
            for level in LEVELS:
                value = round(said["latency"] * 1e6) if "latency" in said else "Nan"
                rows += f'{name}{{{label(*key)},quantile="{level}"}} {value}\n'
        parts.append(f"# HELP {name} Summary\n# TYPE {name} summary\n{rows}")
    return "".join(parts)


def configuration_page(model: str, **fields: Any) -> bytes:
    """A model's configuration as Triton completes it: unless told otherwise, one batch of up to 8 at a time."""
    group = {"name": f"{model}_0", "kind": "KIND_CPU", "count": 1, "gpus": [], "passive": False}
    config = {"name": model, "platform": "", "backend": "onnxruntime", "max_batch_size": 8, "instance_group": [group]}
    return json.dumps(config | {"dynamic_batching": {"preferred_batch_size": []}} | fields).encode()


def statistics_page(
    models: Mapping[tuple[str, str], Mapping[int, tuple[int, float]]], *, memory: Mapping[str, int] | None = None
) -> bytes:
    """The statistics of a Triton.

    Args:
        models: (model, version) -> batch size -> executions and the seconds that all of them took.
        memory: bytes that a model takes.
    """

    def entry(model: str, version: str, batches: Mapping[int, tuple[int, float]]) -> dict[str, Any]:
        return {
            "name": model,
            "version": version,
            "inference_stats": {"success": {"count": 1, "ns": 1}},
            "batch_stats": [
                {
                    "batch_size": size,
                    "compute_input": {"count": count, "ns": 0},
                    "compute_infer": {"count": count, "ns": round(seconds * 1e9)},
                    "compute_output": {"count": count, "ns": 0},
                }
                for size, (count, seconds) in batches.items()
            ],
            "memory_usage": [{"type": "CPU", "id": 0, "byte_size": memory[model]}] if model in (memory or {}) else [],
        }

    return json.dumps({"model_stats": [entry(*key, batches) for key, batches in models.items()]}).encode()
