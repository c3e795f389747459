"""Image archives in the OCI layout: make one of a static program, read what one holds."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.errors import LabError

PAUSE_REFERENCE = "localhost/pause:lab"
"""The image that holds a pod's namespaces."""

_NAME_ANNOTATIONS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


def write_archive(
    target: Path,
    *,
    reference: str,
    program: Path,
    name: str,
    arguments: Sequence[str] = (),
    user: str = "65534:65534",
) -> str:
    """Write an image that holds one static ``program`` as ``/<name>`` and runs it with ``arguments``.

    The result depends on nothing but these, so the same program gives the same digest. Returns the manifest's digest.
    """
    layer = _layer(program, name)
    # The layer is stored as it is: uncompressed, its digest is also its identity in the configuration.
    config = _json(
        {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {"Entrypoint": [f"/{name}"], "Cmd": list(arguments), "User": user},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    )
    kind = "application/vnd.oci.image"
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{kind}.manifest.v1+json",
            "config": _descriptor(config, f"{kind}.config.v1+json"),
            "layers": [_descriptor(layer, f"{kind}.layer.v1.tar")],
        }
    )
    entry = {
        **_descriptor(manifest, f"{kind}.manifest.v1+json"),
        "annotations": dict.fromkeys(_NAME_ANNOTATIONS, reference),
    }
    files = {
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        "index.json": _json({"schemaVersion": 2, "mediaType": f"{kind}.index.v1+json", "manifests": [entry]}),
    }
    for blob in (config, manifest, layer):
        files["blobs/" + _digest(blob).replace(":", "/")] = blob
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    with tarfile.open(partial, "w") as archive:
        for path, content in files.items():
            archive.addfile(_member(path, len(content), 0o644), io.BytesIO(content))
    partial.replace(target)
    return _digest(manifest)


def read_archive(path: Path) -> dict[str, str]:
    """The images of an archive: reference -> digest of what the reference points to.

    Raises ``LabError`` when it is not an OCI archive whose images have names.
    """
    try:
        with tarfile.open(path, "r:") as archive:
            handle = archive.extractfile("index.json")
            index: dict[str, Any] = json.load(handle) if handle is not None else {}
    except (OSError, KeyError, tarfile.TarError, ValueError) as error:
        raise LabError(f"{path} is not an OCI image archive: {error}") from error
    images = {}
    for entry in index.get("manifests", []):
        annotations = entry.get("annotations") or {}
        names = [annotations[key] for key in _NAME_ANNOTATIONS if key in annotations]
        if names:
            images[str(names[0])] = str(entry["digest"])
    if not images:
        raise LabError(f"{path}: its images have no name (annotation {_NAME_ANNOTATIONS[1]})")
    return images


def _layer(program: Path, name: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        content = program.read_bytes()
        archive.addfile(_member(name, len(content), 0o755), io.BytesIO(content))
    return buffer.getvalue()


def _member(path: str, size: int, mode: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path)
    member.size, member.mode = size, mode
    return member


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _descriptor(content: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}
