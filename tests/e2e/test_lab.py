"""The lab itself, on this machine: real pods on two real nodes, and nothing left of it however it dies."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import pytest
import yaml

from lab import cgroups, programs
from lab.archive import write_archive
from lab.machine import started
from lab.state import LabFiles, LabState, cache_directory, host_interface

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root"),
]

ROOT = Path(__file__).parents[2]
IMAGE = "localhost/probe:lab"
NODES = ("--node", "edge-1:intel-npu=1,nvidia-gpu=2", "--node", "cloud", "--no-images")


@dataclass(frozen=True, kw_only=True)
class Commands:
    """The lab's and kubectl's command lines, for one lab."""

    name: str

    @property
    def files(self) -> LabFiles:
        return LabFiles(name=self.name, cache=cache_directory())

    @property
    def state(self) -> LabState:
        state = self.files.read()
        assert state is not None
        return state

    def lab(self, command: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "lab", command, "--name", self.name, *arguments]
        result = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
        assert not check or result.returncode == 0, result.stderr
        return result

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        binary = programs.ensure(("kubernetes",), cache=cache_directory()).path("kubernetes", "kubectl")
        line = [binary, "--kubeconfig", str(self.files.kubeconfig), *arguments]
        result = subprocess.run(line, input=stdin, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"kubectl {' '.join(arguments)}: {result.stderr}"
        return result.stdout

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "--output=json"))

    def status(self) -> Any:
        return json.loads(self.lab("status", "--output", "json", check=False).stdout)

    def program(self, machine: str, program: str) -> Any:
        """What the status says of one program."""
        found = next(item for item in self.status()["machines"] if item["name"] == machine)
        return next(item for item in found["programs"] if item["name"] == program)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of ``tools/probe``: it serves its pod's name on port 8080, or fetches a URL."""
    target = tmp_path_factory.mktemp("images") / "probe.tar"
    program = Path(programs.ensure(("probe",), cache=cache_directory()).path("probe"))
    write_archive(target, reference=IMAGE, program=program, name="probe", arguments=["serve", ":8080"])
    return target


@pytest.fixture(scope="module")
def commands(archive: Path) -> Iterator[Commands]:
    """A lab that is up, with a pod and a Service on each of its two nodes."""
    commands = Commands(name=f"test-{uuid4().hex[:6]}")
    try:
        commands.lab("up", *NODES)
        commands.lab("load-images", str(archive))
        for pool in ("edge", "cloud"):
            commands.kubectl("apply", "-f", "-", stdin=_workload(pool))
        commands.kubectl("wait", "--for=condition=Available", "deployment", "--all", "--timeout=60s")
        yield commands
    finally:
        commands.lab("down", "--purge")


def _workload(pool: str) -> str:
    labels = {"app": f"probe-{pool}"}
    container = {"name": "probe", "image": IMAGE, "imagePullPolicy": "Never"}
    pod = {"nodeSelector": {"littoral.dev/pool": pool}, "terminationGracePeriodSeconds": 0, "containers": [container]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    metadata = {"name": f"probe-{pool}"}
    return yaml.safe_dump_all(
        [
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": metadata,
                "spec": {"selector": {"matchLabels": labels}, "template": template},
            },
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": metadata,
                "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
            },
        ]
    )


def _pod(commands: Commands, pool: str) -> Any:
    (pod,) = commands.get("pods", "--selector", f"app=probe-{pool}")["items"]
    return pod


def _name(commands: Commands, pool: str) -> str:
    return str(_pod(commands, pool)["metadata"]["name"])


def _fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as response:
        return str(response.read().decode().strip())


def _await(condition: Callable[[], bool], *, timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.1)


class TestUp:
    def test_nodes_have_the_labels_of_their_place(self, commands: Commands) -> None:
        labels = {item["metadata"]["name"]: item["metadata"]["labels"] for item in commands.get("nodes")["items"]}
        assert set(labels) == {"edge-1", "cloud"}
        for name, place in (("edge-1", "edge"), ("cloud", "cloud")):
            assert {labels[name][f"littoral.dev/{key}"] for key in ("pool", "tier", "site")} == {place}

    def test_devices_are_announced_and_a_pod_can_have_them(self, commands: Commands) -> None:
        node = commands.get("node", "edge-1")
        assert node["status"]["allocatable"]["npu.intel.com/accel"] == "1"
        assert node["status"]["allocatable"]["nvidia.com/gpu"] == "2"
        assert node["metadata"]["labels"]["nvidia.com/gpu.product"] == "NVIDIA-L4"
        container = {"name": "probe", "image": IMAGE, "resources": {"limits": {"nvidia.com/gpu": "2"}}}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "gpu"}, "spec": {"containers": [container]}}
        commands.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(pod))
        commands.kubectl("wait", "--for=condition=Ready", "pod/gpu", "--timeout=60s")
        assert commands.get("pod", "gpu")["spec"]["nodeName"] == "edge-1"
        commands.kubectl("delete", "pod", "gpu", "--grace-period=0", "--force")

    def test_status_tells_of_every_program(self, commands: Commands) -> None:
        status = commands.status()
        assert status["ready"]
        assert {item["name"]: [program["name"] for program in item["programs"]] for item in status["machines"]} == {
            "control-plane": ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "coredns"],
            "edge-1": ["containerd", "kubelet", "kube-proxy"],
            "cloud": ["containerd", "kubelet", "kube-proxy"],
        }
        assert all(item["memory"] > 50 << 20 for item in status["machines"])
        assert {node["name"]: node["ready"] for node in status["nodes"]} == {"edge-1": "Ready", "cloud": "Ready"}
        text = commands.lab("status").stdout
        assert "kube-apiserver" in text
        assert "npu.intel.com/accel=1" in text

    def test_a_second_up_changes_nothing(self, commands: Commands) -> None:
        before = commands.state
        assert "is up already" in commands.lab("up", "--no-images").stderr
        assert commands.state == before

    def test_up_with_other_parts_is_refused(self, commands: Commands) -> None:
        result = commands.lab("up", "--node", "other", "--no-images", check=False)
        assert result.returncode == 1
        assert "is up with other parts" in result.stderr

    def test_images_that_are_there_are_left_alone(self, commands: Commands, archive: Path) -> None:
        assert "every image is there already" in commands.lab("load-images", str(archive)).stderr


class TestNetwork:
    @pytest.mark.parametrize(
        ("source", "url", "target"),
        [
            ("edge", "http://probe-cloud", "cloud"),
            ("cloud", "http://probe-edge.default", "edge"),
            ("edge", "http://probe-edge.default.svc.cluster.local", "edge"),
        ],
    )
    def test_pods_reach_services_by_name(self, commands: Commands, source: str, url: str, target: str) -> None:
        answer = commands.kubectl("exec", f"deployment/probe-{source}", "--", "/probe", "get", url)
        assert answer.strip() == _name(commands, target)

    def test_the_host_reaches_pods_and_services(self, commands: Commands) -> None:
        for pool in ("edge", "cloud"):
            name = _name(commands, pool)
            service = commands.get("service", f"probe-{pool}")["spec"]["clusterIP"]
            assert _fetch(f"http://{service}") == name
            assert _fetch(f"http://{_pod(commands, pool)['status']['podIP']}:8080") == name

    def test_logs_come_from_both_nodes(self, commands: Commands) -> None:
        for pool in ("edge", "cloud"):
            assert commands.kubectl("logs", f"deployment/probe-{pool}").startswith("serving probe-")

    def test_ports_are_forwarded(self, commands: Commands) -> None:
        binary = programs.ensure(("kubernetes",), cache=cache_directory()).path("kubernetes", "kubectl")
        line = [binary, "--kubeconfig", str(commands.files.kubeconfig), "port-forward", "service/probe-edge", ":80"]
        with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                port = process.stdout.readline().split("127.0.0.1:")[1].split()[0]
                assert _fetch(f"http://127.0.0.1:{port}") == _name(commands, "edge")
            finally:
                process.terminate()

    def test_the_host_is_left_as_it_was(self, commands: Commands) -> None:
        """Nothing of the lab listens on the host, mounts there, or writes where a kubelet would."""
        assert str(commands.files.directory) not in Path("/proc/self/mounts").read_text()
        inside = cgroups.processes(lab=commands.files.cgroup)
        listening = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
        assert not [pid for pid in inside if f"pid={pid}," in listening]


@pytest.fixture(scope="module")
def site(commands: Commands, archive: Path) -> Iterator[Commands]:
    """A second lab, with a pod on its node, linked to the first one, which is its hub."""
    site = Commands(name=f"test-{uuid4().hex[:6]}")
    try:
        site.lab("up", "--node", "store", "--no-images")
        site.lab("load-images", str(archive))
        site.kubectl("apply", "-f", "-", stdin=_workload("store"))
        site.kubectl("wait", "--for=condition=Available", "deployment", "--all", "--timeout=60s")
        yield site
    finally:
        site.lab("down", "--purge")


@pytest.fixture
def linked(site: Commands, commands: Commands) -> Iterator[None]:
    """The two labs, linked."""
    _link("link", site, commands)
    yield
    _link("unlink", site, commands)


def _link(command: str, site: Commands, hub: Commands, *options: str, check: bool = True) -> str:
    line = [sys.executable, "-m", "lab", command, site.name, hub.name, *options]
    result = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert not check or result.returncode == 0, result.stderr
    return result.stderr


def _reaches(commands: Commands, pool: str, url: str) -> str:
    """What a pod gets from a URL; empty when it gets nothing within 5 seconds."""
    with contextlib.suppress(AssertionError):
        return commands.kubectl("exec", f"deployment/probe-{pool}", "--", "/probe", "get", url).strip()
    return ""


def _states(commands: Commands) -> list[tuple[str, str, str]]:
    return [(link["what"], link["lab"], link["state"]) for link in commands.status()["links"]]


@pytest.mark.usefixtures("linked")
class TestLink:
    def test_a_site_reaches_the_hubs_api_server_under_its_certificate(self, site: Commands, commands: Commands) -> None:
        init = str(site.state.machines[0].init)
        binary = programs.ensure(("kubernetes",), cache=cache_directory()).path("kubernetes", "kubectl")
        line = ["nsenter", "--target", init, "--net", binary, "--kubeconfig", str(commands.files.kubeconfig)]
        result = subprocess.run([*line, "get", "nodes"], capture_output=True, text=True, check=True)
        assert "edge-1" in result.stdout

    def test_pods_of_the_site_reach_pods_of_the_hub_and_not_the_other_way(
        self, site: Commands, commands: Commands
    ) -> None:
        there, here = _pod(commands, "cloud"), _pod(site, "store")
        assert _reaches(site, "store", f"http://{there['status']['podIP']}:8080") == there["metadata"]["name"]
        # As from behind a router: with an address of the link, which says nothing of the site's own.
        (link,) = commands.status()["links"]
        assert f"request from {link['peer']}:" in commands.kubectl("logs", "deployment/probe-cloud")
        listening = (here["status"]["podIP"], 8080), (here["status"]["hostIP"], 10250), (link["peer"], 6443)
        for address, port in listening:
            assert _reaches(commands, "cloud", f"http://{address}:{port}") == ""

    def test_a_node_port_of_the_hub_is_reached(self, site: Commands, commands: Commands) -> None:
        commands.kubectl("patch", "service", "probe-cloud", "--patch", '{"spec": {"type": "NodePort"}}')
        port = commands.get("service", "probe-cloud")["spec"]["ports"][0]["nodePort"]
        for pool in ("edge", "cloud"):
            url = f"http://{_pod(commands, pool)['status']['hostIP']}:{port}"
            _await(lambda url=url: _reaches(site, "store", url) == _name(commands, "cloud"))  # type: ignore[misc]

    def test_what_is_under_way_when_the_link_is_cut_hangs_and_goes_on_when_it_is_mended(
        self, site: Commands, commands: Commands
    ) -> None:
        url = f"http://{_pod(commands, 'cloud')['status']['podIP']}:8080"
        assert _states(site) == [("hub", commands.name, "Up")]
        assert _states(commands) == [("site", site.name, "Up")]
        binary = programs.ensure(("kubernetes",), cache=cache_directory()).path("kubernetes", "kubectl")
        watch = ["nsenter", "--target", str(site.state.machines[0].init), "--net", binary, "--kubeconfig"]
        watch += [str(commands.files.kubeconfig), "get", "configmaps", "--watch-only", "--output=name"]
        with subprocess.Popen(watch, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                began = threading.Event()
                names: list[str] = []

                def read(lines: IO[str]) -> None:
                    for line in lines:
                        names.append(line.strip())
                        began.set()

                reader = threading.Thread(target=read, args=(process.stdout,))
                reader.start()
                number = 0
                while not began.wait(0.2):  # Until the watch is there.
                    commands.kubectl("create", "configmap", f"before-{number}")
                    number += 1
                _link("link", site, commands, "--cut")
                assert _states(site) == [("hub", commands.name, "Cut")]
                assert _states(commands) == [("site", site.name, "Cut")]
                commands.kubectl("create", "configmap", "meanwhile")
                assert _reaches(site, "store", url) == ""
                assert process.poll() is None
                assert "configmap/meanwhile" not in names
                _link("link", site, commands)
                # The same connection: TCP sends again what was lost.
                _await(lambda: "configmap/meanwhile" in names)
                assert _reaches(site, "store", url) == _name(commands, "cloud")
            finally:
                process.terminate()
        reader.join()

    def test_without_a_link_nothing_is_reached(self, site: Commands, commands: Commands) -> None:
        _link("unlink", site, commands)
        assert _reaches(site, "store", f"http://{_pod(commands, 'cloud')['status']['podIP']}:8080") == ""
        assert "is not linked to" in _link("link", site, commands, "--cut", check=False)
        assert _states(site) == _states(commands) == []

    def test_a_link_outlives_a_reboot_of_a_node_and_not_the_lab(
        self, site: Commands, commands: Commands, archive: Path
    ) -> None:
        commands.lab("reboot", "cloud")
        _await(lambda: bool(_pod(commands, "cloud")["status"]["containerStatuses"][0]["ready"]))
        url = f"http://{_pod(commands, 'cloud')['status']['podIP']}:8080"
        _await(lambda: _reaches(site, "store", url) == _name(commands, "cloud"))
        other = Commands(name=f"test-{uuid4().hex[:6]}")
        try:
            other.lab("up", "--control-plane-only")
            _link("link", site, other)
            assert ("hub", other.name, "Up") in _states(site)
            other.lab("down")
            assert _states(site) == [("hub", commands.name, "Up")]
            other.lab("up", "--control-plane-only")
            _link("link", site, other)
            assert ("hub", other.name, "Up") in _states(site)
        finally:
            other.lab("down", "--purge")


class TestRecovery:
    def test_a_killed_kubelet_comes_back_with_its_devices(self, commands: Commands) -> None:
        before = commands.program("edge-1", "kubelet")
        os.kill(before["pid"], signal.SIGKILL)
        _await(lambda: commands.program("edge-1", "kubelet")["pid"] not in (0, before["pid"]))
        _await(lambda: bool(commands.status()["ready"]))
        assert commands.get("node", "edge-1")["status"]["allocatable"]["nvidia.com/gpu"] == "2"

    def test_pods_outlive_a_killed_containerd(self, commands: Commands) -> None:
        name, before = _name(commands, "edge"), commands.program("edge-1", "containerd")
        address = _pod(commands, "edge")["status"]["podIP"]
        os.kill(before["pid"], signal.SIGKILL)
        assert _fetch(f"http://{address}:8080") == name
        _await(lambda: commands.program("edge-1", "containerd")["pid"] not in (0, before["pid"]))
        _await(lambda: bool(commands.status()["ready"]))
        assert _name(commands, "edge") == name

    def test_a_killed_etcd_comes_back_with_its_objects(self, commands: Commands) -> None:
        before, name = commands.program("control-plane", "etcd"), _name(commands, "cloud")
        os.kill(before["pid"], signal.SIGKILL)
        _await(lambda: commands.program("control-plane", "etcd")["pid"] not in (0, before["pid"]))
        _await(lambda: bool(commands.status()["ready"]))
        assert _name(commands, "cloud") == name

    def test_a_node_that_reboots_serves_again(self, commands: Commands) -> None:
        name = _name(commands, "edge")
        before = commands.program("edge-1", "kubelet")
        commands.lab("reboot", "edge-1")
        assert commands.program("edge-1", "kubelet")["pid"] != before["pid"]

        def restarted() -> bool:
            status = _pod(commands, "edge")["status"]["containerStatuses"][0]
            return bool(status["ready"] and status["restartCount"] == 1)

        _await(restarted)
        service = commands.get("service", "probe-edge")["spec"]["clusterIP"]
        assert _fetch(f"http://{service}") == name
        assert commands.status()["ready"]


def test_two_ups_at_the_same_time_make_one_lab() -> None:
    commands = Commands(name=f"test-{uuid4().hex[:6]}")
    line = [sys.executable, "-m", "lab", "up", "--name", commands.name, "--control-plane-only"]
    try:
        pair = [subprocess.Popen(line, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        output = [process.communicate(timeout=120)[1] for process in pair]
        assert [process.returncode for process in pair] == [0, 0], output
        assert sorted("is up already" in text for text in output) == [False, True]
        assert len(commands.state.machines) == 1
        assert commands.status()["ready"]
    finally:
        commands.lab("down", "--purge")


def test_fake_nodes_run_pods_that_tolerate_them() -> None:
    commands = Commands(name=f"test-{uuid4().hex[:6]}")
    try:
        commands.lab("up", "--control-plane-only", "--kwok", "20")
        assert commands.status()["fake_nodes"] == {"Ready": 20}
        deployment = yaml.safe_load(_workload("kwok").split("---")[0])
        deployment["spec"]["replicas"] = 40
        pod = deployment["spec"]["template"]["spec"]
        sidecar = {"name": "agent", "image": IMAGE, "restartPolicy": "Always"}
        pod["initContainers"] = [sidecar, {"name": "once", "image": IMAGE}]
        commands.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(deployment))
        _await(lambda: len(commands.get("pods")["items"]) == 40)
        assert not [item for item in commands.get("pods")["items"] if item["spec"].get("nodeName")]
        pod["tolerations"] = [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}]
        commands.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(deployment))
        commands.kubectl("rollout", "status", "deployment/probe-kwok", "--timeout=60s")
        _await(lambda: len(commands.get("pods")["items"]) == 40)
        pods = commands.get("pods")["items"]
        assert len({item["status"]["podIP"] for item in pods}) == 40
        assert len({item["spec"]["nodeName"] for item in pods}) > 10
        assert all(entry["ready"] for item in pods for entry in item["status"]["initContainerStatuses"])
    finally:
        commands.lab("down", "--purge")


def _kill_programs(commands: Commands) -> None:
    victims = (("edge-1", "kubelet"), ("edge-1", "containerd"), ("control-plane", "etcd"))
    for pid in [commands.program(*victim)["pid"] for victim in victims]:
        os.kill(pid, signal.SIGKILL)


def _kill_init(commands: Commands) -> None:
    for machine in commands.state.machines:
        if machine.name != "cloud":
            os.kill(machine.init, signal.SIGKILL)


def _kill_launcher(commands: Commands) -> None:
    for machine in commands.state.machines:
        os.kill(machine.launcher, signal.SIGKILL)


def _lose_state(commands: Commands) -> None:
    (commands.files.directory / "state.json").unlink()


@pytest.mark.parametrize(
    "violence", [_kill_programs, _kill_init, _kill_launcher, _lose_state], ids=lambda function: function.__name__[1:]
)
def test_down_leaves_nothing_after(violence: Callable[[Commands], None], archive: Path) -> None:
    commands = Commands(name=f"test-{uuid4().hex[:6]}")
    try:
        commands.lab("up", *NODES)
        commands.lab("load-images", str(archive))
        commands.kubectl("apply", "-f", "-", stdin=_workload("edge"))
        commands.kubectl("wait", "--for=condition=Available", "deployment", "--all", "--timeout=60s")
        state, inside = commands.state, cgroups.processes(lab=commands.files.cgroup)
        namespaces = {
            os.readlink(f"/proc/{machine.init}/ns/{kind}")
            for machine in state.machines
            for kind in ("net", "mnt", "pid", "ipc", "uts", "cgroup")
        }
        assert len(inside) > 15  # init, launcher, eight programs of Kubernetes and more, a shim and two containers
        violence(commands)
        commands.lab("down")
        _assert_nothing_left(commands, state, inside, namespaces)
        assert "is not up" in commands.lab("reboot", "cloud", check=False).stderr
        # What is left on disk does no harm to the next lab of this name, which starts empty.
        commands.lab("up", *NODES)
        assert commands.status()["ready"]
        assert commands.get("deployments", "--all-namespaces")["items"] == []
    finally:
        commands.lab("down", "--purge")
    assert not commands.files.directory.exists()


def test_down_ends_an_up_that_was_killed_half_way() -> None:
    commands = Commands(name=f"test-{uuid4().hex[:6]}")
    line = [sys.executable, "-m", "lab", "up", "--name", commands.name, *NODES]
    try:
        with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            _await(lambda: len(cgroups.processes(lab=commands.files.cgroup)) > 5)
            process.kill()
        inside = cgroups.processes(lab=commands.files.cgroup)
        state = commands.state
        assert state.phase == "Starting"
        commands.lab("down")
        _assert_nothing_left(commands, state, inside, set())
    finally:
        commands.lab("down", "--purge")


def _assert_nothing_left(commands: Commands, state: LabState, inside: set[int], namespaces: set[str]) -> None:
    """No process, no cgroup, no mount, no namespace, no interface, no route of the lab is there any more."""
    assert not [pid for pid in inside if _runs(pid)]
    assert cgroups.directories(lab=commands.files.cgroup) == []
    assert str(commands.files.directory) not in Path("/proc/self/mounts").read_text()
    # The kernel gives numbers of namespaces out anew, so only processes that are older than the lab's count.
    youngest = max(machine.init_started for machine in state.machines)
    assert not namespaces & _namespaces(until=youngest)
    # A namespace of the network goes a moment after its last process, and takes the host's end of the veth with it.
    interface = Path("/sys/class/net", host_interface(state.slot))
    _await(lambda: not interface.exists(), timeout=10)
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
    assert interface.name not in routes


def _runs(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return "littoral-lab" in Path(f"/proc/{pid}/cgroup").read_text()
    return False


def _namespaces(*, until: int) -> set[str]:
    """The namespaces of all processes that had started by ``until`` (clock ticks since boot)."""
    found: set[str] = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if started(int(process.name)) <= until:
                found.update(os.readlink(link) for link in (process / "ns").iterdir())
    return found
