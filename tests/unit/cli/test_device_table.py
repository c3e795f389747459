"""Plans with the operator's own device table: from the cluster, from a snapshot, or from a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from click.testing import CliRunner, Result

from littoral.cli.main import main
from littoral.cli.worlds import OPERATOR_LABELS, OPERATOR_NAMESPACE, holds_table, table_in
from littoral.core import hardware
from tests.support.objects import model_object, pool_object, variant
from tests.unit.chart.chart import NAMESPACE, render

Object = dict[str, Any]

TPU: Final = "classes: [{name: tpu, resources: [google.com/tpu], backends: [python]}]"
NODE: Final[Object] = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "edge-1", "labels": {"littoral.dev/pool": "edge"}},
    "status": {
        "allocatable": {"cpu": "4", "memory": "8Gi", "google.com/tpu": "1"},
        "conditions": [{"type": "Ready", "status": "True"}],
    },
}
MODEL: Final = model_object(variants=[variant("tpu", accelerator="tpu", backend="python"), variant()])


def config_map(
    table: str | None = TPU, *, name: str = "littoral", namespace: str = "littoral-system", **labels: str
) -> Object:
    """The operator's files, as the chart writes them."""
    data = {"ca.crt": "a certificate"} | ({} if table is None else {"devices.yaml": table})
    metadata = {"name": name, "namespace": namespace, "labels": {**OPERATOR_LABELS, "helm.sh/chart": "x", **labels}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


class Cluster:
    """Answers lists as an API server does."""

    def __init__(self) -> None:
        self.config_maps: list[Object] = [config_map()]
        self.forbidden: set[str] = set()
        self.asked: list[str] = []
        self.kubeconfig = ""

    def answer(self, path: str, selector: str) -> tuple[int, Object]:
        """The status code and the body."""
        self.asked.append(path)
        if path in self.forbidden:
            return 403, {"kind": "Status", "status": "Failure", "reason": "Forbidden", "message": "forbidden"}
        parts = path.split("/")
        namespace = parts[parts.index("namespaces") + 1] if "namespaces" in parts else None
        wanted = {pair.partition("=")[0]: pair.partition("=")[2] for pair in selector.split(",") if pair}
        objects = {
            "models": [MODEL],
            "nodepools": [pool_object()],
            "nodes": [NODE],
            "configmaps": [
                it
                for it in self.config_maps
                if it["metadata"]["labels"].items() >= wanted.items()
                and namespace in (None, it["metadata"]["namespace"])
            ],
        }
        return 200, {"items": objects.get(parts[-1], []), "metadata": {"resourceVersion": "1"}}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster whose operator has a table with a class `tpu`."""
    state = Cluster()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            status, body = state.answer(url.path, parse_qs(url.query).get("labelSelector", [""])[0])
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        path = tmp_path / "kubeconfig"
        body = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_address[1]}"}}],
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        }
        path.write_text(yaml.safe_dump(body))
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        state.kubeconfig = str(path)
        yield state
        server.shutdown()


def run(*arguments: str) -> Result:
    """Run a command that must succeed."""
    ran = CliRunner(env={"COLUMNS": "100"}).invoke(main, arguments)
    assert ran.exit_code == 0, ran.output
    return ran


def plan(*arguments: str) -> Result:
    """A plan for programs."""
    return run("plan", "-o", "json", *arguments)


def live(cluster: Cluster, *arguments: str) -> Result:
    """A plan for the live cluster."""
    return plan("--kubeconfig", cluster.kubeconfig, *arguments)


def snapshot(cluster: Cluster) -> Result:
    """A snapshot of it."""
    return run("snapshot", "--kubeconfig", cluster.kubeconfig)


def chosen(ran: Result) -> list[str]:
    """The variants that a plan has chosen."""
    return [place["variant"] for it in json.loads(ran.stdout)["models"] for place in it["after"]]


def test_the_operator_s_table_is_planned_with(cluster: Cluster) -> None:
    ran = live(cluster)
    assert (chosen(ran), ran.stderr) == (["tpu"], "")


@pytest.mark.parametrize(
    "config_maps",
    [
        pytest.param([], id="no ConfigMap"),
        pytest.param([config_map(table=None)], id="other files of the operator alone"),
        pytest.param([config_map() | {"data": None}], id="an empty ConfigMap"),
        pytest.param([config_map(**{"app.kubernetes.io/component": "other"})], id="of something else"),
    ],
)
def test_without_one_it_has_the_built_in_table(cluster: Cluster, config_maps: list[Object]) -> None:
    cluster.config_maps = config_maps
    ran = live(cluster)
    assert (chosen(ran), ran.stderr) == (["onnx-cpu"], "")


def test_whoever_may_read_the_operator_s_namespace_alone_gets_it_from_there(cluster: Cluster) -> None:
    cluster.forbidden = {"/api/v1/configmaps"}
    ran = live(cluster)
    assert (chosen(ran), ran.stderr) == (["tpu"], "")


def test_whoever_may_not_read_it_is_told(cluster: Cluster) -> None:
    cluster.forbidden = {"/api/v1/configmaps", "/api/v1/namespaces/littoral-system/configmaps"}
    ran = live(cluster)
    assert chosen(ran) == ["onnx-cpu"]
    assert ran.stderr.startswith("warning: you may not list the ConfigMaps of the operator")
    assert len(ran.stderr.splitlines()) == 1


def test_a_table_that_cannot_be_read_is_told(cluster: Cluster) -> None:
    cluster.config_maps = [config_map(table="classes: {")]
    ran = live(cluster)
    assert chosen(ran) == ["onnx-cpu"]
    assert ran.stderr.startswith("warning: ConfigMap littoral-system/littoral: the table of device classes cannot be")


def test_of_two_operators_the_first_one_s_counts_and_that_is_told(cluster: Cluster) -> None:
    other = config_map(table="classes: [{name: cpu}]", namespace="other")
    cluster.config_maps = [other, config_map()]
    ran = live(cluster)
    assert chosen(ran) == ["tpu"]
    assert ran.stderr == (
        "warning: littoral-system/littoral, other/littoral hold different device tables: planned with that of "
        "littoral-system/littoral\n"
    )
    cluster.config_maps = [config_map(namespace="other"), config_map()]
    assert live(cluster).stderr == ""


def test_a_file_overrides_it_and_the_cluster_is_not_asked(cluster: Cluster, tmp_path: Path) -> None:
    table = tmp_path / "table.yaml"
    table.write_text("classes: [{name: cpu}]")
    assert chosen(live(cluster, "--device-table", str(table))) == ["onnx-cpu"]
    assert not [path for path in cluster.asked if path.endswith("configmaps")]


def test_the_chart_writes_what_is_looked_for_and_takes_the_built_in_table_as_a_start() -> None:
    shipped = yaml.safe_load(Path(hardware.__file__).with_name("hardware.yaml").read_text())
    written = render({"hardware": {"table": shipped}}).one("ConfigMap")
    assert holds_table(written)
    assert table_in([written]) == (hardware.default_device_table(), "")
    assert written["metadata"]["namespace"] == OPERATOR_NAMESPACE == NAMESPACE


class TestSnapshots:
    def test_make_the_plan_of_the_cluster(self, cluster: Cluster, tmp_path: Path) -> None:
        world = tmp_path / "world.json"
        world.write_text(snapshot(cluster).stdout)
        cluster.config_maps = []
        assert chosen(plan("--world", str(world))) == ["tpu"]
        assert chosen(live(cluster)) == ["onnx-cpu"]

    def test_hold_the_table_and_no_other_file_of_the_operator(self, cluster: Cluster) -> None:
        items = json.loads(snapshot(cluster).stdout)["items"]
        (kept,) = [it for it in items if it["kind"] == "ConfigMap"]
        assert kept["data"] == {"devices.yaml": TPU}

    def test_without_the_right_to_read_it_say_so(self, cluster: Cluster) -> None:
        cluster.forbidden = {"/api/v1/configmaps", "/api/v1/namespaces/littoral-system/configmaps"}
        ran = snapshot(cluster)
        assert "warning: you may not list the ConfigMaps" in ran.stderr
        assert "ConfigMap" not in [it["kind"] for it in json.loads(ran.stdout)["items"]]

    def test_can_be_planned_with_another_table(self, cluster: Cluster, tmp_path: Path) -> None:
        world, table = tmp_path / "world.json", tmp_path / "table.yaml"
        world.write_text(snapshot(cluster).stdout)
        table.write_text("classes: [{name: cpu}]")
        assert chosen(plan("--world", str(world), "--device-table", str(table))) == ["onnx-cpu"]

    def test_pass_over_config_maps_of_others(self, cluster: Cluster, tmp_path: Path) -> None:
        world = tmp_path / "world.json"
        whole = json.loads(snapshot(cluster).stdout)
        for it in whole["items"]:
            if it["kind"] == "ConfigMap":
                it["metadata"]["labels"] = {}
        world.write_text(json.dumps(whole))
        assert chosen(plan("--world", str(world))) == ["onnx-cpu"]

    def test_of_a_table_alone_are_none(self, tmp_path: Path) -> None:
        world = tmp_path / "world.json"
        world.write_text(json.dumps({"items": [config_map()]}))
        ran = CliRunner().invoke(main, ["plan", "--world", str(world)])
        assert (ran.exit_code, "no object that the planner reads" in ran.stderr) == (1, True)
