"""The demo's way into a cluster, with the real kubectl where there is one and no cluster behind it."""

import os
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from examples.quickstart.cluster import Cluster, DemoError, connect, find_program, service_path

NOWHERE = """
apiVersion: v1
kind: Config
clusters: [{name: nowhere, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: nowhere, context: {cluster: nowhere, user: nobody}}]
current-context: nowhere
users: [{name: nobody, user: {}}]
"""


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    path = tmp_path / "kubeconfig"
    path.write_text(NOWHERE)
    return path


@pytest.fixture
def cluster(nowhere: Path) -> Cluster:
    try:
        kubectl = find_program("kubectl", of_lab=True)
    except DemoError:
        pytest.skip("no kubectl: make lab-up builds one")
    return Cluster(kubectl=kubectl, helm="helm", kubeconfig=nowhere)


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_programs_are_the_labs_in_the_lab_and_the_persons_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(DemoError, match="helm: not found"):
        find_program("helm", of_lab=True)
    installed = executable(tmp_path / "bin/helm")
    assert find_program("helm", of_lab=True) == str(installed)
    built = executable(tmp_path / "cache/littoral/bin/helm-1/helm")
    assert find_program("helm", of_lab=True) == str(built)
    assert find_program("helm", of_lab=False) == str(installed)


def test_proxy_leads_to_inference_and_to_nothing_else(cluster: Cluster) -> None:
    def status(path: str) -> int:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://{address}{path}")
        return refused.value.code

    with cluster.proxy(namespace="shop") as address:
        base = service_path(namespace="shop", service="digits")
        # Let through to an API server that is not there:
        assert status(f"{base}/v2/models/digits/infer") >= 500
        # Refused by the proxy:
        assert status(base) == 403
        assert status(f"{base}/metrics") == 403
        assert status("/api/v1/namespaces/shop/secrets") == 403
        assert status(f"{service_path(namespace='kube-system', service='digits')}/v2/models") == 403


def test_what_kubectl_complains_of_is_passed_on_without_its_log(cluster: Cluster) -> None:
    with pytest.raises(DemoError) as error:
        cluster.run("get", "pods")
    assert str(error.value).startswith("kubectl get pods: The connection to the server 127.0.0.1:1 was refused")


@pytest.mark.usefixtures("cluster")
def test_a_cluster_that_does_not_answer_is_named_as_such(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executable(nowhere.parent / "bin/helm")
    monkeypatch.setenv("PATH", str(nowhere.parent / "bin"), prepend=os.pathsep)
    with pytest.raises(DemoError, match=r"The cluster does not answer: .* refused"):
        connect(kubeconfig=nowhere)
