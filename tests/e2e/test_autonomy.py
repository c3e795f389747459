"""A node without its uplink: what serves goes on, what dies there comes back, and the report is right afterwards."""

from __future__ import annotations

import ctypes
import json
import os
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pytest

from examples.quickstart.client import InferenceError, ModelClient
from examples.quickstart.digits import load
from examples.quickstart.lab import run_module
from examples.quickstart.networks import DIGITS
from examples.quickstart.reading import ask_digit, under_load
from lab.state import LabFiles, cache_directory
from tests.e2e.littoral import Littoral, digits_model, digits_variants, kill, stays_at_the_edge

pytestmark = pytest.mark.timeout(600)

_T = TypeVar("_T")

_NODE = "edge"
_NEWNET = 0x40000000  # CLONE_NEWNET of setns(2)


@pytest.fixture
def namespace(littoral: Littoral) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"e2e-{uuid4().hex[:6]}"
    littoral.cluster.run("create", "namespace", name)
    yield name
    littoral.cluster.run("delete", "namespace", name, "--wait=false")


@pytest.fixture
def no_uplink(littoral: Littoral) -> Iterator[Callable[[], None]]:
    """Cuts the node's cable when called; mended at the end of the test at the latest."""
    yield lambda: _lab(littoral, "cut")
    _lab(littoral, "mend")
    littoral.wait(lambda: _node_ready(littoral), what="the node is Ready")


@pytest.fixture
def no_source(littoral: Littoral) -> Iterator[Callable[[], None]]:
    """Stops the artifact server when called; it is back at the end of the test."""
    scale = ("scale", "deployment", "artifacts", "--namespace=shop")

    def stop() -> None:
        littoral.cluster.run(*scale, "--replicas=0")
        ours = ("pods", "--namespace=shop", "--selector=app.kubernetes.io/name=artifacts,pod-template-hash")
        littoral.wait(lambda: not littoral.cluster.items(*ours), what="the artifact server is gone")

    yield stop
    littoral.cluster.run(*scale, "--replicas=1")
    littoral.cluster.run("rollout", "status", "deployment", "artifacts", "--namespace=shop", "--timeout=60s")


def test_a_node_that_is_cut_off_serves_and_recovers_by_itself(
    littoral: Littoral, namespace: str, no_uplink: Callable[[], None]
) -> None:
    """Clients are on the node, where a site's own are: only Triton's own death costs them requests."""
    pod = _serving(littoral, "digits", namespace=namespace)
    deployment = _deployment(littoral, namespace)
    # Another Pod of the node, which goes on: its network is where the requests come from.
    (neighbour,) = littoral.servers("triton-edge-cpu")
    (process,) = _processes(neighbour, b"tritonserver\0")
    site = Site(pod=pod, url=littoral.address("digits", namespace=namespace), network=process / "ns/net")
    _, test = load()
    with under_load(lambda: site.client("digits"), test.images, pause=0.1) as running:
        no_uplink()
        littoral.wait(lambda: not _node_ready(littoral), what="the API server misses the node")
        before = site.agent_started()
        assert kill(pod, r"littoral agent") > 0
        littoral.wait(lambda: site.agent_started() not in ("", before), what="the agent was started again")
        littoral.wait(lambda: site.model_ready("digits"), what="the agent reports")
    report = running.report()
    assert (report.failed, report.errors) == (0, ())
    print(f"cut off, and the agent killed: {report.sent} requests sent, {report.failed} failed")

    died = time.monotonic()
    assert kill(pod, r"^tritonserver ") > 0
    kill(pod, r"littoral agent")
    assert not site.answers("digits")
    littoral.wait(lambda: site.answers("digits"), what="Triton serves again, from the node's disk")
    print(f"cut off: Triton and the agent killed, the first answer {time.monotonic() - died:.1f} s later")
    littoral.wait(lambda: site.model_ready("digits"), what="the agent reports")

    with under_load(lambda: site.client("digits"), test.images, pause=0.1) as running:
        kubelet = _program(littoral, "kubelet")
        os.kill(kubelet, 9)
        littoral.wait(lambda: _program(littoral, "kubelet") not in (0, kubelet), what="the kubelet was started again")
        assert not _node_ready(littoral)
        _lab(littoral, "mend")
        littoral.wait(lambda: _node_ready(littoral), what="the node is Ready again")
        littoral.wait_ready("digits", namespace=namespace)
        littoral.wait_answers("digits", namespace=namespace)
    report = running.report()
    assert (report.failed, report.errors) == (0, ())
    print(f"the kubelet killed, the cable mended: {report.sent} requests sent, {report.failed} failed")

    (after,) = littoral.servers("triton-edge-cpu", namespace=namespace)
    assert after["metadata"]["uid"] == pod["metadata"]["uid"]
    assert _restarts(after) > _restarts(pod)
    littoral.wait(lambda: _reported(littoral, namespace) == [DIGITS.digest], what="the site reports what is served")
    assert _deployment(littoral, namespace) == deployment


def test_a_node_that_restarts_without_its_sources_serves_from_its_disk(
    littoral: Littoral, namespace: str, no_source: Callable[[], None]
) -> None:
    """The API server is at the site. One Model's artifact is on the node; of the other, the one that served last."""
    _serving(littoral, "kept", namespace=namespace)
    _serving(littoral, "replaced", namespace=namespace)
    no_source()
    missing: dict[str, Any] = {"uri": "https://artifacts.shop.svc/digits-v3.onnx", "digest": "sha256:" + "3" * 64}
    littoral.patch_model("replaced", {"variants": digits_variants(**missing)}, namespace=namespace)
    littoral.wait(
        lambda: littoral.condition("replaced", "Stalled", namespace=namespace)[0] == "ModelFailed",
        what="the new artifact cannot be had",
    )
    before, began = _init(littoral), time.monotonic()
    reboot = threading.Thread(target=_lab, args=(littoral, "reboot"))
    reboot.start()
    # What the machine that goes down has answered does not count.
    littoral.wait(lambda: _init(littoral) != before, what="the node starts")
    for name in ("kept", "replaced"):
        littoral.wait_answers(name, namespace=namespace, within=180)
        print(f"first answer of {name} {time.monotonic() - began:.1f} s after the power cut")
    reboot.join()
    littoral.wait_ready("kept", namespace=namespace)
    # What is wanted is still not there, and that is said again once it has been tried a few times.
    littoral.wait(
        lambda: littoral.condition("replaced", "Stalled", namespace=namespace)[0] == "ModelFailed",
        what="the new artifact still cannot be had",
    )
    littoral.wait_answers("replaced", namespace=namespace)


@dataclass(frozen=True, kw_only=True)
class Site:
    """What a client in a Pod of the node sees, whether or not the node has its uplink."""

    pod: dict[str, Any]
    """The server's."""
    url: str
    """Of the Model's Service."""
    network: Path
    """The network of the client's Pod, as a file of /proc."""
    _entered: threading.local = field(default_factory=threading.local)

    def client(self, model: str) -> ModelClient:
        """A client of the Model, for the thread that calls, which is on the Pod's network from now on."""
        self._enter()
        return ModelClient(url=self.url, model=model, timeout=5)

    def answers(self, model: str) -> bool:
        """Whether the Model answers on the node."""
        return self._in_pod(lambda: _answers(model, self.url))

    def status(self) -> dict[str, Any]:
        """What the agent of the Pod says; empty while it does not."""

        def ask() -> dict[str, Any]:
            try:
                with urllib.request.urlopen(
                    f"http://{self.pod['status']['podIP']}:9400/v1/status", timeout=2
                ) as answer:
                    return dict(json.load(answer))
            except (OSError, ValueError):
                return {}

        return self._in_pod(ask)

    def model_ready(self, model: str) -> bool:
        """Whether the agent says that the Model is served."""
        return any(it["name"] == model and it["ready"] for it in self.status().get("models", []))

    def agent_started(self) -> str:
        """When the Pod's agent was started; empty while there is none."""
        for process in _processes(self.pod, b"littoral\0agent\0"):
            with suppress(OSError):
                return (process / "stat").read_text().rpartition(")")[2].split()[19]
        return ""

    def _enter(self) -> None:
        if getattr(self._entered, "done", False):
            return
        libc = ctypes.CDLL(None, use_errno=True)
        with self.network.open() as namespace:
            if libc.setns(namespace.fileno(), _NEWNET):
                raise OSError(ctypes.get_errno(), f"the Pod's network cannot be entered: {self.network}")
        self._entered.done = True

    def _in_pod(self, ask: Callable[[], _T]) -> _T:
        found: list[_T] = []

        def work() -> None:
            self._enter()
            found.append(ask())

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return found[0]


def _lab(littoral: Littoral, command: str) -> None:
    run_module("lab", command, "--name", littoral.lab, _NODE)


def _init(littoral: Littoral) -> int:
    """PID of the node's first process."""
    state = LabFiles(name=littoral.lab, cache=cache_directory()).read()
    assert state is not None
    return next(machine.init for machine in state.machines if machine.name == _NODE)


def _program(littoral: Littoral, name: str) -> int:
    """PID, on this machine, of a program of the node; 0 while it does not run."""
    for directory in Path("/proc", str(_init(littoral)), "task").glob("*/children"):
        for pid in directory.read_text().split():
            if Path("/proc", pid, "comm").read_text().strip() == name:
                return int(pid)
    return 0


def _processes(pod: dict[str, Any], command: bytes) -> list[Path]:
    """Folders in /proc of the Pod's processes whose command line has this in it: they run on this machine."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            ours = pod["metadata"]["uid"] in (directory / "cgroup").read_text().replace("_", "-")
            if ours and command in (directory / "cmdline").read_bytes():
                found.append(directory)
    return found


def _serving(littoral: Littoral, name: str, *, namespace: str) -> dict[str, Any]:
    """Have a Model serve at the edge alone; its Pod."""
    model = digits_model(name, namespace=namespace, variants=digits_variants(DIGITS))
    # One server: how many a load takes is not what is tested here.
    model["spec"]["scaling"] = {"maxReplicas": 1}
    littoral.cluster.apply([stays_at_the_edge(name, namespace=namespace), model])
    littoral.wait_ready(name, namespace=namespace)
    littoral.wait_answers(name, namespace=namespace)
    (pod,) = littoral.servers("triton-edge-cpu", namespace=namespace)
    return pod


def _answers(model: str, url: str) -> bool:
    _, test = load()
    try:
        with ModelClient(url=url, model=model, timeout=1) as client:
            ask_digit(client, test.images[0])
    except InferenceError:
        return False
    return True


def _node_ready(littoral: Littoral) -> bool:
    conditions = littoral.cluster.get("node", _NODE)["status"]["conditions"]
    return any(it["type"] == "Ready" and it["status"] == "True" for it in conditions)


def _restarts(pod: dict[str, Any]) -> int:
    status = pod["status"]
    return sum(it["restartCount"] for it in [*status["initContainerStatuses"], *status["containerStatuses"]])


def _deployment(littoral: Littoral, namespace: str) -> tuple[str, int]:
    metadata = littoral.cluster.get("deployment", "triton-edge-cpu", f"--namespace={namespace}")["metadata"]
    return metadata["uid"], metadata["generation"]


def _reported(littoral: Littoral, namespace: str) -> list[str]:
    """Digests that the site says are served in the namespace."""
    status = littoral.cluster.get("assignments.littoral.dev", _NODE)["status"]
    return [
        model["digest"]
        for server in status["servers"]
        if server["namespace"] == namespace
        for model in server["models"]
        if model["readyReplicas"] == 1 and model["state"] == "Ready"
    ]
