"""The cluster, through `kubectl` and `helm`: what the demo does, a person could type."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# kubectl logs each attempt before it says in plain words what is wrong.
_LOG_LINE = re.compile(r"[IWEF][0-9]{4} ")
_SERVING_ON = re.compile(r"Starting to serve on (\S+)")


class DemoError(Exception):
    """The demo cannot go on; the message says why and what to do."""


def find_program(name: str, *, of_lab: bool) -> str:
    """Return the path of kubectl or helm, the lab's or the one on PATH, in that order for a lab; raise DemoError."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "littoral/bin"
    built = [path for path in cache.glob(f"*/{name}") if os.access(path, os.X_OK)]
    newest = max(built, key=lambda path: path.stat().st_mtime, default=None)
    installed = shutil.which(name)
    if found := (newest or installed) if of_lab else (installed or newest):
        return str(found)
    raise DemoError(f"{name}: not found. Install it, or let the lab build it: make lab-up")


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """One cluster: the programs that reach it, and the kubeconfig (None: kubectl's own choice)."""

    kubectl: str
    helm: str
    kubeconfig: Path | None

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl and return what it prints; raise DemoError with what it complains of."""
        return self._run([self.kubectl, *arguments], stdin=stdin)

    def run_helm(self, *arguments: str) -> str:
        """Run helm and return what it prints; raise DemoError with what it complains of."""
        return self._run([self.helm, *arguments])

    def get(self, *arguments: str) -> Any:
        """Return the JSON of `kubectl get`."""
        return json.loads(self.run("get", *arguments, "--output=json"))

    def get_raw(self, path: str) -> Any:
        """Return the JSON that the API server has at a path, such as /version."""
        return json.loads(self.run("get", f"--raw={path}"))

    def items(self, *arguments: str) -> list[Any]:
        """Return the items of `kubectl get` of several objects; none if there are none."""
        items: list[Any] = self.get(*arguments)["items"]
        return items

    def apply(self, objects: Sequence[Any]) -> str:
        """Apply objects, of which some may exist, and return what kubectl says of each."""
        return self.run(
            "apply", "--filename=-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        )

    def describe_pods(self, namespace: str) -> str:
        """Return the Pods and the latest events of a namespace, for a message about what goes wrong there."""
        where = f"--namespace={namespace}"
        pods = self.run("get", "pods", where, "--output=wide").rstrip() or "There are no Pods."
        events = self.run("get", "events", where, "--sort-by=.lastTimestamp", "--no-headers").splitlines()
        advice = f"Look further: kubectl describe pods {where}; kubectl logs {where} POD --all-containers"
        return "\n".join([pods, "Latest events:", *events[-10:], advice])

    @contextmanager
    def proxy(self, *, namespace: str) -> Iterator[str]:
        """Open a way to the Services of a namespace and yield its host and port on this machine.

        It leads to KServe's /v2 paths alone: every user of this machine can connect to it.
        """
        paths = rf"^/api/v1/namespaces/{namespace}/services/[^/]+/proxy/v2(/.*)?$"
        command = [self.kubectl, "proxy", "--port=0", f"--accept-paths={paths}"]
        with (
            tempfile.TemporaryFile("w+") as complaints,
            subprocess.Popen(
                command, env=self._environment(), stdout=subprocess.PIPE, stderr=complaints, text=True
            ) as process,
        ):
            assert process.stdout is not None
            line = process.stdout.readline()
            try:
                if (match := _SERVING_ON.search(line)) is None:
                    complaints.seek(0)
                    raise DemoError(f"kubectl proxy: {line}{complaints.read()}".strip())
                yield match[1]
            finally:
                process.terminate()

    def _run(self, command: list[str], *, stdin: str | None = None) -> str:
        done = subprocess.run(
            command, env=self._environment(), input=stdin, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            words = " ".join([Path(command[0]).name, *command[1:4]])
            complaint = "\n".join(line for line in done.stderr.splitlines() if not _LOG_LINE.match(line))
            raise DemoError(f"{words}: {complaint or done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def _environment(self) -> dict[str, str]:
        if self.kubeconfig is None:
            return dict(os.environ)
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig)}


def connect(*, kubeconfig: Path | None) -> Cluster:
    """Return the cluster of the kubeconfig, or of kubectl's current context; raise DemoError if it does not answer."""
    of_lab = kubeconfig is not None
    cluster = Cluster(
        kubectl=find_program("kubectl", of_lab=of_lab),
        helm=find_program("helm", of_lab=of_lab),
        kubeconfig=kubeconfig,
    )
    if kubeconfig is None:
        try:
            cluster.run("config", "current-context")
        except DemoError as error:
            raise DemoError(
                "kubectl has no current context. Set KUBECONFIG or run `kubectl config use-context NAME`; "
                "without a cluster, `make demo` brings up one of its own."
            ) from error
    try:
        cluster.run("version", "--request-timeout=10s")
    except DemoError as error:
        raise DemoError(f"The cluster does not answer: {error}") from error
    return cluster


def service_path(*, namespace: str, service: str) -> str:
    """Return the path, on the API server, below which the port `http` of a Service answers."""
    return f"/api/v1/namespaces/{namespace}/services/http:{service}:http/proxy"
