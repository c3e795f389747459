"""How an artifact becomes a version of a model in Triton's repository. Nothing here writes; the repository
does.

- A file is the network itself, under the name by which its backend looks for it.
- A directory with a config.pbtxt or with numbered directories is a Triton model directory: its newest version
  is served, with its configuration; name, backend and version policy are Littoral's.
- Any other directory holds the files of one version.
"""

import hashlib
import json
from pathlib import Path, PurePosixPath

from littoral.agent import onnx_file, pbtxt
from littoral.agent.errors import ArtifactError
from littoral.agent.repository import RECORD, Installed
from littoral.api.quantity import parse_duration
from littoral.api.serving import Batching, ServedModel

CONFIG = "config.pbtxt"

DEFAULT_FILE = {
    "dali": "model.dali",
    "onnxruntime": "model.onnx",
    "openvino": "model.xml",
    "python": "model.py",
    "pytorch": "model.pt",
    "tensorrt": "model.plan",
    "vllm": "model.json",
}
"""The file that each backend looks for in a version directory, from the documentation of the backends."""

ALSO_READS = {"openvino": (".onnx", ".tflite", ".pb")}
"""Kinds of file that a backend reads under another name, if `default_model_filename` says so."""

_OURS = ("name", "backend", "platform", "version_policy")

_SPEAKS_OF_BATCHES = frozenset({"max_batch_size", "dynamic_batching", "sequence_batching", "input", "output"})
"""Fields with which the owner has settled what a batch is: shapes are written with or without its dimension."""

_OPENVINO_DEVICES = {"intel-gpu": "GPU", "intel-npu": "NPU"}
"""Device class -> OpenVINO's name of the device (the backend's README, "Running the models on Intel GPU" and NPU)."""

_ON_NVIDIA = frozenset({"onnxruntime", "pytorch", "tensorrt"})
"""Backends that run on an NVIDIA GPU, and that Triton would start on the CPU where it sees none."""


def fingerprint(model: ServedModel) -> str:
    """What decides whether two versions are the same: the bytes, the backend and its parameters, not where
    they came from."""
    essence: list[object] = [model.artifact.digest, model.backend, sorted(model.parameters.items())]
    if model.batching is not None:  # absent, not null: what served before there was such a field goes on serving
        essence.append(model.batching.dump())
    if model.artifact.encryption is not None:
        essence.append("age")
    return hashlib.sha256(json.dumps(essence).encode()).hexdigest()


def install(
    model: ServedModel, artifact: Path, version: int, *, accelerator: str | None = None, batched: bool = True
) -> Installed:
    """The version that serves `artifact`, a path in the cache, on a device of the class `accelerator`.

    Args:
        batched: follow `model.batching`; without, what it proposes is left to Triton.

    Raises:
        ArtifactError: its config.pbtxt is not one.
    """
    if artifact.is_dir():
        source, given, links = _directory(artifact, version)
        default = _only_candidate(source, model.backend)
        network = source / (default or DEFAULT_FILE.get(model.backend, ""))
    else:
        name = _file_name(model)
        given, links, network = "", {f"{version}/{name}": str(artifact)}, artifact
        default = None if name == DEFAULT_FILE.get(model.backend) else name
    return Installed(
        version=version,
        fingerprint=fingerprint(model),
        digest=model.artifact.digest,
        config=configuration(
            model,
            given=given,
            default_file=default,
            accelerator=accelerator,
            batching=_batching(model, network) if batched else None,
        ),
        links=links,
    )


def configuration(
    model: ServedModel,
    *,
    given: str = "",
    default_file: str | None = None,
    accelerator: str | None = None,
    batching: Batching | None = None,
) -> str:
    """The text of config.pbtxt: what the owner has `given`, with the fields that Littoral decides.

    Args:
        default_file: the network's name, where it is not the backend's default.
        accelerator: class of the device, if known.
        batching: how to batch, if the owner says nothing of it; only for networks that can be batched.
    """
    kept = [field for field in pbtxt.fields(given) if field.name not in _OURS]
    said = {field.name for field in kept}
    kind = "platform" if model.backend == "ensemble" else "backend"
    lines = [f"name: {pbtxt.quoted(model.name)}", f"{kind}: {pbtxt.quoted(model.backend)}"]
    if default_file is not None and "default_model_filename" not in said:
        lines.append(f"default_model_filename: {pbtxt.quoted(default_file)}")
    if model.backend != "ensemble" and "instance_group" not in said:
        # One on each device. Triton's default for some backends on a CPU is two, which is twice the memory.
        lines.append(f"instance_group [{{ count: 1{_instance_kind(model.backend, accelerator)} }}]")
    if batching is not None and said.isdisjoint(_SPEAKS_OF_BATCHES):
        lines += _batches(batching)
    if model.backend == "openvino" and (device := _OPENVINO_DEVICES.get(accelerator or "")):
        lines.append(_parameter("TARGET_DEVICE", device))
    lines += [field.text for field in kept]
    # Of entries of a protobuf map with the same key the last one counts: the variant's before the owner's file, that
    # before what is only assumed.
    lines += [_parameter(key, value) for key, value in sorted(model.parameters.items())]
    return "\n".join(lines) + "\n"


def _instance_kind(backend: str, accelerator: str | None) -> str:
    """Where instances run, said where Triton's own choice may be a device that was not asked for: without a word, a
    network for a GPU that Triton does not see runs on the CPU, at a tenth of the speed."""
    if backend == "openvino" and accelerator in _OPENVINO_DEVICES:
        return " kind: KIND_CPU"  # the only kind the backend knows; the device is a parameter
    return " kind: KIND_GPU" if backend in _ON_NVIDIA and accelerator == "nvidia-gpu" else ""


def _batching(model: ServedModel, network: Path) -> Batching | None:
    """The batching that is wanted, if this network can be batched: Triton does not load it otherwise."""
    if model.batching is None or model.backend != "onnxruntime" or not onnx_file.batchable(network):
        return None
    return model.batching


def _batches(batching: Batching) -> list[str]:
    """Without `preferred_batch_size`, Triton sends off what waits as soon as an instance is free, and waits for more
    no longer than `max_queue_delay_microseconds`."""
    lines = [] if batching.max_batch_size is None else [f"max_batch_size: {batching.max_batch_size}"]
    if batching.max_batch_size == 1:
        return lines
    delay = int(parse_duration(batching.max_queue_delay) * 1e6) if batching.max_queue_delay else 0
    inside = f" max_queue_delay_microseconds: {delay} " if delay else " "
    return [*lines, f"dynamic_batching {{{inside}}}"]


def _parameter(key: str, value: str) -> str:
    return f"parameters {{ key: {pbtxt.quoted(key)} value {{ string_value: {pbtxt.quoted(value)} }} }}"


def _directory(artifact: Path, version: int) -> tuple[Path, str, dict[str, str]]:
    """The directory of the version that is served, the owner's configuration, and the links."""
    names = sorted(path.name for path in artifact.iterdir())
    numbered = [name for name in names if _is_version(name) and (artifact / name).is_dir()]
    source = artifact / max(numbered, key=int) if numbered else artifact
    links = {str(version): str(source)}
    if CONFIG not in names:
        return source, "", links
    # Label files and the like, which the configuration names relative to the model's directory.
    for name in names:
        if name not in (CONFIG, RECORD) and not _is_version(name):
            links[name] = str(artifact / name)
    try:
        return source, (artifact / CONFIG).read_text(), links
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{CONFIG} is not UTF-8 text") from error


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _file_name(model: ServedModel) -> str:
    """What a single file is called in its version directory."""
    default = DEFAULT_FILE.get(model.backend)
    path = PurePosixPath(model.artifact.path.partition("?")[0])
    if model.artifact.encryption is not None and path.suffix == ".age":
        path = path.with_suffix("")
    if default is None:
        return path.name or "model"
    return f"model{path.suffix}" if path.suffix in ALSO_READS.get(model.backend, ()) else default


def _only_candidate(folder: Path, backend: str) -> str | None:
    """The file to load from a directory that lacks the backend's default name, if just one is of a kind it
    reads."""
    default = DEFAULT_FILE.get(backend)
    if default is None or (folder / default).exists():
        return None
    kinds = (PurePosixPath(default).suffix, *ALSO_READS.get(backend, ()))
    candidates = [path.name for path in folder.iterdir() if path.suffix in kinds]
    return candidates[0] if len(candidates) == 1 else None
