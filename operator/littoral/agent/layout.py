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

from littoral.agent import pbtxt
from littoral.agent.errors import ArtifactError
from littoral.agent.repository import RECORD, Installed
from littoral.api.serving import ServedModel

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


def fingerprint(model: ServedModel) -> str:
    """What decides whether two versions are the same: the bytes, the backend and its parameters, not where
    they came from."""
    essence = [model.artifact.digest, model.backend, sorted(model.parameters.items())]
    return hashlib.sha256(json.dumps(essence).encode()).hexdigest()


def install(model: ServedModel, artifact: Path, version: int) -> Installed:
    """The version that serves `artifact`, a path in the cache.

    Raises:
        ArtifactError: its config.pbtxt is not one.
    """
    if artifact.is_dir():
        source, given, links = _directory(artifact, version)
        default = _only_candidate(source, model.backend)
    else:
        name = _file_name(model)
        given, links = "", {f"{version}/{name}": str(artifact)}
        default = None if name == DEFAULT_FILE.get(model.backend) else name
    return Installed(
        version=version,
        fingerprint=fingerprint(model),
        digest=model.artifact.digest,
        config=configuration(model, given=given, default_file=default),
        links=links,
    )


def configuration(model: ServedModel, *, given: str = "", default_file: str | None = None) -> str:
    """The text of config.pbtxt: what the owner has `given`, with the fields that Littoral decides."""
    kept = [field for field in pbtxt.fields(given) if field.name not in _OURS]
    kind = "platform" if model.backend == "ensemble" else "backend"
    lines = [f"name: {pbtxt.quoted(model.name)}", f"{kind}: {pbtxt.quoted(model.backend)}"]
    if default_file is not None and all(field.name != "default_model_filename" for field in kept):
        lines.append(f"default_model_filename: {pbtxt.quoted(default_file)}")
    if model.backend != "ensemble" and all(field.name != "instance_group" for field in kept):
        # One on each device. Triton's default for some backends on a CPU is two, which is twice the memory.
        lines.append("instance_group [{ count: 1 }]")
    lines += [field.text for field in kept]
    for key, value in sorted(model.parameters.items()):
        # Where the owner's file has the same key, the later entry of a protobuf map counts: this one.
        lines.append(f"parameters {{ key: {pbtxt.quoted(key)} value {{ string_value: {pbtxt.quoted(value)} }} }}")
    return "\n".join(lines) + "\n"


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
