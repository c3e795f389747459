"""The command line on a real API server: what it shows, what it does not do, what it says when something is wrong."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from tests.cluster.api_server import ApiServer, Object
from tests.support.objects import DIGEST, model_object, pool_object, variant

GROUP = "/apis/littoral.dev/v1alpha1"
HOME = b"\x1b[H"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
KINDS = ("models", "latencyslos", "nodepools", "assignments")


@dataclass(frozen=True, kw_only=True)
class Shell:
    """Runs `littoral` as somebody."""

    kubeconfig: Path

    def run(self, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        command = [Path(sys.executable).with_name("littoral"), *arguments]
        env = os.environ | {"KUBECONFIG": str(self.kubeconfig), "COLUMNS": "200", **environment}
        return subprocess.run(command, env=env, input=stdin, capture_output=True, text=True, timeout=60, check=False)

    def says(self, *arguments: str, stdin: str = "") -> Any:
        """What a command that must succeed says to programs."""
        ran = self.run(*arguments, stdin=stdin)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)


@dataclass(frozen=True, kw_only=True)
class Users:
    """Makes users of the cluster, each with the rights that a test names."""

    api: ApiServer
    namespace: str
    kubeconfig: Path
    folder: Path
    made: list[str]

    def who_may(self, *rules: Object, everywhere: bool = True) -> Shell:
        """A user with these rights: everywhere, or in the namespace alone."""
        name = f"reader-{uuid4().hex[:8]}"
        scope = "" if everywhere else f"/namespaces/{self.namespace}"
        cluster = "Cluster" if everywhere else ""
        accounts = f"/api/v1/namespaces/{self.namespace}/serviceaccounts"
        self._create(accounts, {"metadata": {"name": name}})
        self._create(f"{RBAC}{scope}/{cluster.lower()}roles", {"metadata": {"name": name}, "rules": list(rules)})
        subject = {"kind": "ServiceAccount", "name": name, "namespace": self.namespace}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": f"{cluster}Role", "name": name}
        binding = {"metadata": {"name": name}, "roleRef": role, "subjects": [subject]}
        self._create(f"{RBAC}{scope}/{cluster.lower()}rolebindings", binding)
        token = self.api.request("POST", f"{accounts}/{name}/token", {}).granted()["status"]["token"]
        return Shell(kubeconfig=self._kubeconfig(name, token))

    def _create(self, path: str, body: Object) -> None:
        self.api.request("POST", path, body).granted()
        self.made.append(f"{path}/{body['metadata']['name']}")

    def _kubeconfig(self, name: str, token: str) -> Path:
        body = yaml.safe_load(self.kubeconfig.read_text())
        body["users"] = [{"name": name, "user": {"token": token}}]
        for context in body["contexts"]:
            context["context"] |= {"user": name, "namespace": self.namespace}
        path = self.folder / name
        path.write_text(yaml.safe_dump(body))
        return path


@pytest.fixture
def users(api: ApiServer, namespace: str, kubeconfig: Path, tmp_path: Path) -> Iterator[Users]:
    made: list[str] = []
    yield Users(api=api, namespace=namespace, kubeconfig=kubeconfig, folder=tmp_path, made=made)
    for path in reversed(made):
        api.delete(path)


@pytest.fixture
def admin(kubeconfig: Path) -> Shell:
    return Shell(kubeconfig=kubeconfig)


@pytest.fixture
def pool(api: ApiServer) -> Iterator[str]:
    """A pool with one node, that no other test uses."""
    name = f"p-{uuid4().hex[:8]}"
    api.request("POST", "/api/v1/nodes", {"metadata": {"name": name, "labels": {"littoral.dev/pool": name}}}).granted()
    status = {"allocatable": {"cpu": "4", "memory": "8Gi"}, "conditions": [{"type": "Ready", "status": "True"}]}
    api.merge(f"/api/v1/nodes/{name}/status", {"status": status}).granted()
    api.create(pool_object(name))
    yield name
    api.delete(f"{GROUP}/nodepools/{name}")
    api.delete(f"{GROUP}/assignments/{name}")
    api.delete(f"/api/v1/nodes/{name}")


def reading(*plurals: str, group: str = "littoral.dev") -> Object:
    """The right to list some kinds."""
    return {"apiGroups": [group], "resources": list(plurals), "verbs": ["list"]}


def versions(api: ApiServer) -> dict[str, str]:
    """The resourceVersion of each object of ours; the cluster's own controllers write to the others all the time."""
    items = [item["metadata"] for plural in KINDS for item in api.get(f"{GROUP}/{plural}").granted()["items"]]
    return {item["uid"]: item["resourceVersion"] for item in items}


def moves(said: Object, namespace: str) -> list[tuple[str, str, str]]:
    """(change, Model, pool) of each Model of a namespace that a plan would move."""
    return [(it["change"], it["name"], it["pool"]) for it in said["models"] if it["namespace"] == namespace]


def report(api: ApiServer, pool: str, namespace: str) -> None:
    """An Assignment and a status, as the operator and a site write them."""
    artifact = {"uri": "https://models.example/network.onnx", "digest": DIGEST}
    served = {"name": "digits", "variant": "onnx-cpu", "backend": "onnxruntime", "artifact": artifact}
    server = {"name": f"triton-{pool}-cpu", "namespace": namespace}
    sized = server | {"accelerator": "cpu", "replicas": 1, "cpu": "250m", "memory": "512Mi", "models": [served]}
    spec = {"tier": "edge", "site": pool, "nodeSelector": {"matchLabels": {"littoral.dev/pool": pool}}}
    body = {"apiVersion": "littoral.dev/v1alpha1", "kind": "Assignment", "metadata": {"name": pool}}
    api.create(body | {"spec": spec | {"servers": [sized]}})

    latency = {"requests": 600, "mean": "9ms", "p50": "8ms", "p95": "20ms", "p99": "31ms"}
    said: Object = {"name": "digits", "variant": "onnx-cpu", "digest": DIGEST, "state": "Ready", "readyReplicas": 1}
    said["measured"] = {"rate": "10", "latency": latency}
    reported = server | {"replicas": 1, "readyReplicas": 1, "models": [said]}
    api.merge(f"{GROUP}/assignments/{pool}/status", {"status": {"servers": [reported]}}).granted()

    place: Object = {"pool": pool, "site": pool, "tier": "edge", "accelerator": "cpu", "variant": "onnx-cpu"}
    place |= {"server": server["name"], "replicas": 1, "readyReplicas": 1, "state": "Ready"}
    place |= {"reason": "PreferredVariant", "message": "it is the only variant"}
    status = {"observedGeneration": 1, "replicas": 1, "readyReplicas": 1, "placed": "1/1", "placements": [place]}
    api.merge(f"{GROUP}/namespaces/{namespace}/models/digits/status", {"status": status}).granted()


class TestPlan:
    def test_needs_reading_rights_only_and_writes_nothing(
        self, api: ApiServer, users: Users, namespace: str, pool: str
    ) -> None:
        api.create(model_object(namespace=namespace))
        shell = users.who_may(reading(*KINDS), reading("nodes", group=""))
        before = versions(api)

        said = shell.says(
            "plan", "-f", "-", "-o", "json", stdin=yaml.safe_dump(model_object("second", namespace=namespace))
        )

        assert ("appears", "digits", pool) in moves(said, namespace)
        assert ("appears", "second", pool) in moves(said, namespace)
        assert versions(api) == before

    def test_what_runs_is_compared_with_what_would(
        self, api: ApiServer, admin: Shell, namespace: str, pool: str
    ) -> None:
        api.create(model_object(namespace=namespace))
        # Pools of other tests, if any are left, may serve the Model too: this one is compared.
        report(api, pool, namespace)
        assert pool not in [place for _, _, place in moves(admin.says("plan", "-o", "json"), namespace)]

        gone = admin.says("plan", "-o", "json", "--without", "model/digits", "-n", namespace)
        assert ("goes", "digits", pool) in moves(gone, namespace)

    def test_a_snapshot_gives_the_same_plan(
        self, api: ApiServer, admin: Shell, namespace: str, pool: str, tmp_path: Path
    ) -> None:
        api.create(model_object(namespace=namespace))
        report(api, pool, namespace)
        world = tmp_path / "world.json"
        world.write_text(admin.run("snapshot").stdout)
        change = ("--without", f"node/{pool}", "-o", "json")
        live, from_file = admin.says("plan", *change), admin.says("plan", "--world", str(world), *change)
        assert moves(live, namespace) == moves(from_file, namespace) != []

    def test_exit_codes(self, api: ApiServer, admin: Shell, namespace: str, pool: str) -> None:
        api.create(model_object(namespace=namespace))
        assert admin.run("plan", "--exit-code").returncode == 2
        assert admin.run("plan").returncode == 0


class TestExplain:
    def test_tells_why_here(self, api: ApiServer, admin: Shell, namespace: str, pool: str) -> None:
        api.create(model_object(namespace=namespace))
        report(api, pool, namespace)
        ran = admin.run("explain", "digits", "-n", namespace)
        assert "PreferredVariant: it is the only variant" in ran.stdout
        assert (ran.returncode, ran.stderr) == (0, "")
        said = admin.says("explain", "digits", "-n", namespace, "-o", "json")
        assert said["placements"][0]["measured"]["rate"] == 10

    def test_a_model_that_nobody_looked_at(self, api: ApiServer, admin: Shell, namespace: str) -> None:
        api.create(model_object(namespace=namespace))
        assert "see that the operator runs" in admin.run("explain", "digits", "-n", namespace).stdout
        assert admin.run("explain", "-n", namespace).stdout.splitlines()[1].split()[:2] == ["digits", "Unseen"]
        assert namespace in admin.run("explain", "-A").stdout

    def test_a_name_that_is_not_there(self, api: ApiServer, admin: Shell, namespace: str) -> None:
        api.create(model_object(namespace=namespace))
        ran = admin.run("explain", "digts", "-n", namespace)
        said = f"Error: there is no Model digts in namespace {namespace}: did you mean digits?\n"
        assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", said)

    def test_a_tenant_sees_own_models_without_pools(self, api: ApiServer, users: Users, namespace: str) -> None:
        api.create(model_object(namespace=namespace))
        tenant = users.who_may(reading("models", "latencyslos"), everywhere=False)
        ran = tenant.run("explain", "digits")
        assert ran.returncode == 0, ran.stderr
        assert "you may not read NodePools" in ran.stdout
        assert tenant.run("top").returncode == 0


class TestTop:
    def test_shows_load_and_budget(self, api: ApiServer, admin: Shell, namespace: str, pool: str) -> None:
        api.create(model_object(namespace=namespace))
        report(api, pool, namespace)
        spec = {"modelRef": {"name": "digits"}, "latency": "50ms"}
        slo = {"apiVersion": "littoral.dev/v1alpha1", "kind": "LatencySLO", "spec": spec}
        api.create(slo | {"metadata": {"name": "digits", "namespace": namespace}})
        ran = admin.run("top", "-n", namespace)
        assert ran.stdout.splitlines()[1].split()[-4:] == ["10/s", "31ms", "50ms", "38%"]
        servers = admin.run("top", "servers", "-n", namespace).stdout.splitlines()
        assert servers[1].split()[:4] == [f"triton-{pool}-cpu", pool, "cpu", "1/1"]
        assert pool in admin.run("top", "pools").stdout

    def test_watch_appends_where_there_is_no_terminal_and_ends_on_ctrl_c(
        self, api: ApiServer, kubeconfig: Path, namespace: str
    ) -> None:
        api.create(model_object(namespace=namespace))
        # A shell starts what runs in the background with SIGINT ignored, and that is inherited: undo it.
        python = ["env", "--default-signal=INT", sys.executable, "-u", "-m", "littoral.cli.main"]
        command = [*python, "top", "-n", namespace, "-w", "--interval", "0.1"]
        environment = os.environ | {"KUBECONFIG": str(kubeconfig)}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as watching:
            assert watching.stdout is not None
            titles = 0
            for line in watching.stdout:
                titles += line.startswith("littoral top models")
                if titles == 2:
                    break
            watching.send_signal(signal.SIGINT)
            rest = watching.stdout.read()
        assert watching.returncode == 0
        assert "\x1b" not in rest

    def test_watch_refreshes_a_terminal_in_place(self, api: ApiServer, kubeconfig: Path, namespace: str) -> None:
        api.create(model_object(namespace=namespace))
        master, terminal = pty.openpty()
        command = ["env", "--default-signal=INT", Path(sys.executable).with_name("littoral")]
        with subprocess.Popen(
            [*command, "top", "-n", namespace, "-w", "--interval", "0.1"],
            env=os.environ | {"KUBECONFIG": str(kubeconfig), "TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
            stdout=terminal,
        ) as watching:
            shown = b""
            while shown.count(HOME) < 3:
                shown += os.read(master, 4096)
            watching.send_signal(signal.SIGINT)
        os.close(terminal)
        os.close(master)
        assert watching.returncode == 0
        assert b"digits" in shown.split(HOME)[2]


class TestErrors:
    @pytest.mark.parametrize("arguments", [["explain"], ["plan"], ["snapshot"], ["top", "servers"]])
    def test_forbidden(self, users: Users, arguments: Sequence[str]) -> None:
        ran = users.who_may().run(*arguments)
        assert ran.returncode == 1
        assert "is forbidden" in ran.stderr
        assert "ask for a role that may read it" in ran.stderr
        assert len(ran.stderr.splitlines()) == 1

    def test_credentials_that_are_not_accepted(self, users: Users) -> None:
        shell = users.who_may()
        body = yaml.safe_load(shell.kubeconfig.read_text())
        body["users"][0]["user"]["token"] = "not-a-token"
        shell.kubeconfig.write_text(yaml.safe_dump(body))
        ran = shell.run("top")
        assert (ran.returncode, "does not accept these credentials" in ran.stderr) == (1, True)


class TestCompletion:
    def complete(self, shell: Shell, *words: str) -> list[str]:
        """What Tab would offer for the last word."""
        line = {"COMP_WORDS": " ".join(["littoral", *words]), "COMP_CWORD": str(len(words))}
        ran = shell.run(_LITTORAL_COMPLETE="bash_complete", **line)
        assert ran.stderr == ""
        return [item.partition(",")[2] for item in ran.stdout.split()]

    def test_names_come_from_the_cluster(self, api: ApiServer, admin: Shell, namespace: str) -> None:
        for name in ("digits", "text"):
            api.create(model_object(name, namespace=namespace, variants=[variant()]))
        assert self.complete(admin, "explain", "-n", namespace, "d") == ["digits"]
        assert self.complete(admin, "top", "-n", namespace[:-1]) == [namespace]

    def test_nothing_where_it_is_forbidden(self, users: Users) -> None:
        assert self.complete(users.who_may(), "explain", "d") == []
