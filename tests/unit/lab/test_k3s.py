"""What can be known of the k3s engine without k3s: what it would run, and what it says when there is none."""

from pathlib import Path

import pytest
import yaml

from lab import programs
from lab.engine import Context
from lab.errors import LabError
from lab.k3s import K3s
from lab.nodes import parse_nodes
from lab.programs import Programs
from lab.state import LabFiles, LabState


@pytest.fixture
def context(tmp_path: Path) -> Context:
    nodes = parse_nodes(("edge-1", "cloud"), device_classes=())
    built = Programs(directories={module: tmp_path / "bin" / module for module in programs.MODULES})
    state = LabState(name="a", slot=1, engine="k3s", nodes=nodes)
    return Context(files=LabFiles(name="a", cache=tmp_path), state=state, programs=built)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("lab.k3s.find", lambda name: str(tmp_path / "opt" / name))
    return str(tmp_path / "opt" / "k3s")


def test_without_k3s_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.k3s.find", lambda name: None)
    with pytest.raises(LabError, match=r"no k3s on PATH. Install it"):
        K3s()


def test_it_says_that_it_was_never_run(installed: str, capsys: pytest.CaptureFixture[str]) -> None:
    K3s()
    assert "has never been run" in capsys.readouterr().err


def test_a_server_and_agents_share_a_secret_and_the_plan(installed: str, context: Context) -> None:
    (_, head), (_, edge), (_, cloud) = K3s().specs(context)
    server, agent = head.programs[0], edge.programs[0]
    assert server.argv[:3] == (installed, "server", "--disable-agent")
    assert f"--cluster-cidr={context.plan.pods}" in server.argv
    assert f"--server=https://{context.plan.control_plane}:6443" in agent.argv
    assert "--node-label=littoral.dev/pool=edge" in agent.argv
    assert f"--node-ip={context.plan.node(1)}" in cloud.programs[0].argv
    assert server.environment["K3S_TOKEN"] == agent.environment["K3S_TOKEN"] != ""
    assert str(Path(installed).parent) in edge.visible
    assert [program.name for program in head.programs] == ["k3s-server", "coredns"]


def test_the_kubeconfig_gets_the_address_that_the_host_reaches(installed: str, context: Context) -> None:
    engine = K3s()
    engine.specs(context)
    assert engine.kubeconfig(context) is None
    written = context.control_plane.directory / "etc" / "k3s.kubeconfig"
    written.write_text(yaml.safe_dump({"clusters": [{"cluster": {"server": "https://127.0.0.1:6443"}}]}))
    path = engine.kubeconfig(context)
    assert path is not None
    assert yaml.safe_load(path.read_text())["clusters"][0]["cluster"]["server"] == "https://198.18.63.1:6443"
