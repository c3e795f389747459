"""Fetch, verify and cache an artifact over loopback, against `curl | sha256sum` of the same bytes.

The servers are real: the `distribution` registry and the `versitygw` S3 server, with TLS. Each row is the best of some
runs; the agent's part runs in a process of its own, whose CPU time and peak memory count.

    python -m bench.fetch [--size 1024] [--runs 3] [--folder /dev/shm]
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from bench.report import print_table
from lab import programs
from lab.certificates import Authority
from lab.state import cache_directory

MIB = 1 << 20
_MEMORY = Path("/dev/shm")  # noqa: S108 - a filesystem in memory: what the program takes, not the disk
ACCESS, SECRET = "access-of-the-bench", "secret-of-the-bench"


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024, help="MiB of the artifact (default 1024)")
    parser.add_argument("--runs", type=int, default=3, help="runs of which the best counts (default 3)")
    parser.add_argument("--folder", type=Path, default=_MEMORY, help="what the cache and the servers write to")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(asyncio.run(_fetch(**json.loads(options.child)))))
        return
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="littoral-bench-") as folder, ExitStack() as stack:
        _measure(Path(folder), size=options.size * MIB, runs=options.runs, stack=stack)


def _measure(folder: Path, *, size: int, runs: int, stack: ExitStack) -> None:
    authority = Authority(directory=folder / "tls")
    authority.create()
    authority.issue("server", common_name="server", addresses=[IPv4Address("127.0.0.1")])
    built = programs.ensure(("distribution", "versitygw"), cache=cache_directory())
    registry = stack.enter_context(_registry(built.path("distribution", "registry"), folder))
    s3 = stack.enter_context(_s3(built.path("versitygw"), folder))

    digest = _artifact(folder, size)
    blob = f"https://127.0.0.1:{registry}/v2/bench/blobs/sha256:{digest}"
    (folder / "secrets/s3").mkdir(parents=True)
    values = {"accessKeyId": ACCESS, "secretAccessKey": SECRET, "endpoint": f"https://127.0.0.1:{s3}"}
    for key, value in values.items():
        (folder / "secrets/s3" / key).write_text(value)

    curl = f"curl --silent --fail --cacert {folder}/tls/ca.crt {blob} | sha256sum"
    rows = {"curl | sha256sum": [_shell(curl, digest=digest) for _ in range(runs)]}
    fetches: dict[str, dict[str, Any]] = {
        "agent, https://": {"uri": blob},
        "agent, oci://": {"uri": f"oci://127.0.0.1:{registry}/bench:v1"},
        "agent, oci://, one stream": {"uri": f"oci://127.0.0.1:{registry}/bench:v1", "streams": 1},
        "agent, s3://": {"uri": "s3://bench/artifact", "secret": "s3"},
    }
    for name, arguments in fetches.items():
        rows[name] = [_child(folder, size=size, digest=digest, **arguments) for _ in range(runs)]

    base = min(row["seconds"] for row in rows["curl | sha256sum"])
    printed = []
    for name, measured in rows.items():
        best = min(measured, key=lambda row: row["seconds"])
        memory = f", {best['memory']:.0f} MiB" if "memory" in best else ""
        printed.append(
            (
                name,
                f"{best['seconds']:6.2f} s  {size / MIB / best['seconds']:6.0f} MiB/s  {base / best['seconds']:5.0%}"
                f"   {best['cpu']:.2f} s CPU{memory}",
            )
        )
    print_table(
        f"{size // MIB} MiB over TLS on loopback into {folder.parent}, best of {runs}: time, speed, share of curl's "
        "speed, CPU time, peak memory of the process",
        printed,
    )


def _artifact(folder: Path, size: int) -> str:
    """Write the artifact where both servers find it, as they would have written it; its digest."""
    sha256 = hashlib.sha256()
    (folder / "s3/bench").mkdir()
    path = folder / "s3/bench/artifact"
    with path.open("wb") as file:
        for _ in range(size // MIB):
            block = os.urandom(MIB)
            sha256.update(block)
            file.write(block)
    digest = sha256.hexdigest()
    store = folder / "registry/docker/registry/v2"
    layer = {"mediaType": "application/octet-stream", "digest": f"sha256:{digest}", "size": size}
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": f"sha256:{_sha256(b'{}')}", "size": 2}
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": empty, "layers": [layer]}).encode()
    for content in (b"{}", manifest, path):
        name = digest if isinstance(content, Path) else _sha256(content)
        blob = store / "blobs/sha256" / name[:2] / name / "data"
        blob.parent.mkdir(parents=True)
        if isinstance(content, Path):
            os.link(content, blob)
        else:
            blob.write_bytes(content)
        for link in (f"_layers/sha256/{name}", f"_manifests/revisions/sha256/{name}"):
            _link(store / "repositories/bench" / link, name)
    _link(store / "repositories/bench/_manifests/tags/v1/current", _sha256(manifest))
    return digest


def _link(folder: Path, name: str) -> None:
    folder.mkdir(parents=True)
    (folder / "link").write_text(f"sha256:{name}")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _shell(command: str, *, digest: str) -> dict[str, float]:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)  # noqa: S602 - it is the bench's own
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if not done.stdout.startswith(digest):
        raise SystemExit(f"curl gave something else: {done.stdout}")
    return {"seconds": seconds, "cpu": _cpu(after) - _cpu(before)}


def _child(folder: Path, **arguments: Any) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.fetch", "--child", json.dumps({"folder": str(folder), **arguments})]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout))


async def _fetch(
    *, folder: str, uri: str, size: int, digest: str, streams: int = 4, secret: str | None = None
) -> dict[str, float]:
    """In the child: fetch into an empty cache, as the agent's controller does."""
    from littoral.agent.fetch import Fetcher
    from littoral.agent.progress import Progress
    from littoral.agent.sources.limits import Limits
    from littoral.agent.store import Store
    from littoral.api.serving import Artifact, SecretReference

    root = Path(folder)
    store, progress = Store(root / "cache"), Progress()
    fetcher = Fetcher(
        files_root=None,
        claims_root=root,
        credentials_root=root / "secrets",
        ca_file=root / "tls/ca.crt",
        limits=Limits(streams=streams),
    )
    reference = SecretReference(name=secret) if secret else None
    artifact = Artifact(uri=uri, digest=f"sha256:{digest}", secret_ref=reference)
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    entry = await store.ensure(digest, lambda target: fetcher.fetch(artifact, target, progress), progress=progress)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    if entry.bytes != size or progress.fetched != size:
        raise SystemExit(f"{progress.fetched} bytes were fetched, {entry.bytes} are cached")
    shutil.rmtree(root / "cache")
    return {"seconds": seconds, "cpu": _cpu(after) - _cpu(before), "memory": after.ru_maxrss / 1024}


def _cpu(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


@contextmanager
def _registry(program: str, folder: Path) -> Iterator[int]:
    port = _free_port()
    config = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}},
        "http": {
            "addr": f"127.0.0.1:{port}",
            "secret": "of no use to anybody",
            "tls": {"certificate": str(folder / "tls/server.crt"), "key": str(folder / "tls/server.key")},
        },
    }
    (folder / "registry.yaml").write_text(json.dumps(config))  # JSON is YAML
    with _server([program, "serve", str(folder / "registry.yaml")], port):
        yield port


@contextmanager
def _s3(program: str, folder: Path) -> Iterator[int]:
    port = _free_port()
    for name in ("s3", "iam", "sidecar"):
        (folder / name).mkdir()
    command = [
        *(program, "--port", f"127.0.0.1:{port}", "--access", ACCESS, "--secret", SECRET, "--quiet"),
        *("--cert", str(folder / "tls/server.crt"), "--key", str(folder / "tls/server.key")),
        *("--iam-dir", str(folder / "iam"), "posix", "--sidecar", str(folder / "sidecar"), str(folder / "s3")),
    ]
    with _server(command, port):
        yield port


@contextmanager
def _server(command: Sequence[str], port: int) -> Iterator[None]:
    environment = {"PATH": os.environ["PATH"], "OTEL_TRACES_EXPORTER": "none"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{command[0]} does not answer") from None
                time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
