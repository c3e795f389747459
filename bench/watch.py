"""What happens to objects of a cluster, and when: `kubectl get --watch` in the background."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from examples.quickstart.cluster import Cluster


class Sighting(NamedTuple):
    """An object as it was at a time; None once it is gone.

    Attributes:
        at: on the monotonic clock, which is that of all processes of the machine.
    """

    at: float
    name: str
    item: dict[str, Any] | None


@contextmanager
def watch(cluster: Cluster, *arguments: str) -> Iterator[list[Sighting]]:
    """Yield a list that grows while the block runs; `arguments` are those of `kubectl get`."""
    command = [cluster.kubectl, "get", *arguments, "--watch", "--output-watch-events", "--output=json"]
    environment = dict(os.environ)
    if cluster.kubeconfig is not None:
        environment["KUBECONFIG"] = str(cluster.kubeconfig)
    seen: list[Sighting] = []
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        reader = threading.Thread(target=_read, args=(process, seen))
        reader.start()
        try:
            yield seen
        finally:
            process.terminate()
            reader.join()


def _read(process: subprocess.Popen[str], seen: list[Sighting]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        item = event["object"]
        gone = event["type"] == "DELETED"
        seen.append(Sighting(time.monotonic(), item["metadata"]["name"], None if gone else item))
