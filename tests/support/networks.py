"""The quickstart's networks in a real Triton."""

import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from examples.quickstart.networks import DIGITS, TEXT_DETECT, TEXT_RECOGNIZE, Network
from lab.triton import TritonServer, ensure_triton, serve

CONFIG = 'backend: "onnxruntime"\ninstance_group [{kind: KIND_CPU count: 1}]\n'


def load(server: TritonServer, network: Network, *, model: str, version: int) -> None:
    """Put a network into the server's repository under the Model's name, and load it."""
    directory = server.repository / model / str(version)
    directory.mkdir(parents=True)
    (directory / "model.onnx").symlink_to(network.path())
    (server.repository / model / "config.pbtxt").write_text(CONFIG)
    url = f"{server.url}/v2/repository/models/{model}/load"
    with urllib.request.urlopen(urllib.request.Request(url, data=b"{}", method="POST")) as response:
        assert response.status == 200


@contextmanager
def quickstart_server(folder: Path) -> Iterator[TritonServer]:
    """A Triton that serves the quickstart's Models, with its repository and its log in `folder`."""
    (folder / "models").mkdir()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "littoral"
    with serve(ensure_triton(cache), repository=folder / "models", log=folder / "log") as running:
        load(running, DIGITS, model="digits", version=1)
        load(running, TEXT_DETECT, model="text-detect", version=1)
        load(running, TEXT_RECOGNIZE, model="text-recognize", version=1)
        yield running
