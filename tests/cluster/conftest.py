"""A real API server for the tests in this folder, and a second one for those about two clusters.

`LITTORAL_LAB=<name>` uses a lab that is up (`LITTORAL_SECOND_LAB` as the second); `LITTORAL_TEST_KUBECONFIG=<path>` any
cluster, in which the tests install the CRDs and make objects with names of their own. Without either, a lab's control
plane is brought up, and taken down at the end.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from tests.cluster.api_server import ApiServer, wait_until
from tests.cluster.uplink_pair import pair as pair

ROOT = Path(__file__).parents[2]
_CRDS = sorted((ROOT / "crds").glob("*.yaml"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever stands in this folder needs an API server."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("cluster")


@pytest.fixture(scope="session")
def kubeconfig() -> Iterator[Path]:
    """The administrator's kubeconfig of a cluster that has at least an API server."""
    if given := os.environ.get("LITTORAL_TEST_KUBECONFIG"):
        yield Path(given)
    elif running := os.environ.get("LITTORAL_LAB"):
        yield _kubeconfig_of(running)
    else:
        with _control_plane() as path:
            yield path


@pytest.fixture(scope="session")
def second_kubeconfig() -> Iterator[Path]:
    """The administrator's kubeconfig of another cluster, with Littoral's kinds."""
    with ExitStack() as stack:
        running = os.environ.get("LITTORAL_SECOND_LAB")
        path = _kubeconfig_of(running) if running else stack.enter_context(_control_plane())
        server = ApiServer.connect(path)
        stack.callback(server.close)
        _install_kinds(server)
        yield path


@pytest.fixture(scope="session")
def server(kubeconfig: Path) -> Iterator[ApiServer]:
    """The API server, without Littoral's kinds."""
    server = ApiServer.connect(kubeconfig)
    yield server
    server.close()


@pytest.fixture(scope="session")
def api(server: ApiServer) -> ApiServer:
    """The API server, with Littoral's kinds."""
    _install_kinds(server)
    return server


def _install_kinds(server: ApiServer) -> None:
    for path in _CRDS:
        crd = yaml.safe_load(path.read_text("utf-8"))
        name = crd["metadata"]["name"]
        at = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"
        query = {"fieldManager": "littoral-tests", "force": "true"}
        server.request("PATCH", at, crd, content="application/apply-patch+yaml", query=query).granted()
        plural = crd["spec"]["names"]["plural"]
        is_served = partial(_is_served, server, plural)
        wait_until(is_served, what=f"the API server serves {plural}")
    wait_until(lambda: _serves_schemas(server), what="the API server serves the schemas of all kinds")


@pytest.fixture
def namespace(api: ApiServer) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"test-{uuid4().hex[:8]}"
    api.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}}).granted()
    yield name
    # Nobody finalizes a namespace where only an API server runs: empty it, too.
    for plural in ("models", "latencyslos"):
        api.delete(f"/apis/littoral.dev/v1alpha1/namespaces/{name}/{plural}")
    api.delete(f"/api/v1/namespaces/{name}")


def _is_served(server: ApiServer, plural: str) -> bool:
    return server.get(f"/apis/littoral.dev/v1alpha1/{plural}").accepted


def _serves_schemas(server: ApiServer) -> bool:
    schemas = server.get("/openapi/v3/apis/littoral.dev/v1alpha1").body.get("components", {}).get("schemas", {})
    return len([name for name in schemas if name.startswith("dev.littoral.v1alpha1.")]) >= 2 * len(_CRDS)


@contextmanager
def _control_plane() -> Iterator[Path]:
    """A lab of its own, without nodes."""
    name = f"test-{uuid4().hex[:6]}"
    try:
        _lab("up", "--control-plane-only", "--name", name)
        yield _kubeconfig_of(name)
    finally:
        _lab("down", "--purge", "--name", name)


def _kubeconfig_of(name: str) -> Path:
    return Path(_lab("kubeconfig", "--name", name).strip())


def _lab(*arguments: str) -> str:
    command = [sys.executable, "-m", "lab", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
