"""TensorRT plans: made by `trtexec` where it is, else by a Job on a node with the GPU.

A plan runs only on the kind of GPU that it was made on, by the version of TensorRT that made it: so it is made where it
will run, out of the image of the release that Triton is of.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from littoral.optimize.data import Dataset
from littoral.optimize.errors import Unfit
from littoral.optimize.network import Network

IMAGE: Final = "nvcr.io/nvidia/tensorrt:25.10-py3"
"""Where the Job finds `trtexec`; its month should be that of the Triton that runs the plan."""

# Where NVIDIA's images and packages put it, which is not on their PATH everywhere.
_PLACES: Final = ("trtexec", "/usr/src/tensorrt/bin/trtexec", "/usr/local/tensorrt/bin/trtexec")


def trtexec() -> str | None:
    """The program's path, where it is installed."""
    return next((found for place in _PLACES if (found := shutil.which(place))), None)


def arguments(network: Network, dataset: Dataset, *, max_batch: int) -> list[str]:
    """Options of `trtexec` for half precision and the shapes that the data have, up to `max_batch` items."""
    if all(None not in tensor.shape for tensor in network.inputs):
        return ["--fp16"]
    shapes = [dict(shape) for shape in sorted(dataset.shapes)]
    bounds = {"min": [], "opt": [], "max": []}  # type: dict[str, list[str]]
    for tensor in network.inputs:
        known = [shape[tensor.name] for shape in shapes]
        least, most = (tuple(choose(sizes) for sizes in zip(*known, strict=True)) for choose in (min, max))
        if network.batchable:
            most = (max_batch, *most[1:])
        for bound, shape in (("min", least), ("opt", most), ("max", most)):
            bounds[bound].append(f"{tensor.name}:{'x'.join(map(str, shape))}")
    return ["--fp16", *(f"--{bound}Shapes={','.join(shapes)}" for bound, shapes in bounds.items())]


def build(program: str, network: Network, options: Sequence[str], *, folder: Path) -> Path:
    """Make a plan on this machine's GPU.

    Raises:
        Unfit: `trtexec` does not.
    """
    path = folder / "model.plan"
    command = [program, f"--onnx={network.path}", f"--saveEngine={path}", "--skipInference", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not path.exists():
        said = [line for line in (done.stdout + done.stderr).splitlines() if "[E]" in line] or ["it failed"]
        raise Unfit(f"trtexec: {said[-1].strip()[:200]}")
    return path


def job(
    *, model: str, namespace: str, variant: str, claim: str, source: str, target: str, options: Sequence[str]
) -> dict[str, Any]:
    """A Job that makes the plan on a node with an NVIDIA GPU, and prints the variant for the Model's manifest.

    Args:
        claim: PersistentVolumeClaim with the network, which gets the plan.
        source: path of the ONNX file in the claim.
        target: path of the plan in the claim.
    """
    script = "\n".join(
        [
            "set -eu",
            'PATH="$PATH:/usr/src/tensorrt/bin"',
            'mkdir -p "$(dirname "/data/$TARGET")"',
            'trtexec --onnx="/data/$SOURCE" --saveEngine="/data/$TARGET" --skipInference "$@" > /scratch/log 2>&1 ||',
            "  { cat /scratch/log; exit 1; }",
            'set -- $(sha256sum "/data/$TARGET")',
            "cat <<END",
            f"- name: {variant}",
            "  accelerator: nvidia-gpu",
            "  backend: tensorrt",
            f"  artifact: {{uri: pvc://{claim}/{target}, digest: sha256:$1}}",
            "END",
        ]
    )
    container = {
        "name": "trtexec",
        "image": IMAGE,
        "command": ["sh", "-c", script, "trtexec", *options],
        "env": [{"name": "SOURCE", "value": source}, {"name": "TARGET", "value": target}],
        "resources": {"limits": {"nvidia.com/gpu": 1}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "scratch", "mountPath": "/scratch"}],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"{model}-{variant}"[:63].rstrip("-"), "namespace": namespace},
        "spec": {
            "backoffLimit": 1,
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [container],
                    "volumes": [
                        {"name": "data", "persistentVolumeClaim": {"claimName": claim}},
                        {"name": "scratch", "emptyDir": {}},
                    ],
                }
            },
        },
    }
