"""Fake nodes by kwok: the API server sees nodes and running pods, and nothing runs."""

from __future__ import annotations

import http
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab.addresses import AddressPlan
from lab.api import ApiError, Client, Json
from lab.programs import Programs
from lab.spec import Probe, Program

POOL = "kwok"
_ANNOTATION = "kwok.x-k8s.io/node"
_STAGES = Path(__file__).with_name("kwok.yaml")


def program(*, programs: Programs, plan: AddressPlan, kubeconfig: Path, after: tuple[Probe, ...] = ()) -> Program:
    """kwok as a program of the control plane's machine."""
    argv = (
        programs.path("kwok"),
        f"--kubeconfig={kubeconfig}",
        f"--config={_STAGES}",
        f"--manage-nodes-with-annotation-selector={_ANNOTATION}=fake",
        f"--cidr={plan.fake_pods}",
        f"--node-ip={plan.control_plane}",
        "--node-lease-duration-seconds=40",
        "--server-address=127.0.0.1:10247",
        "--v=WARN",
    )
    return Program(name="kwok", argv=argv, after=after)


def node(index: int) -> Json:
    """The fake node ``index``: 8 cores, 32 GiB; tainted so that only pods that tolerate it land there."""
    name = f"{POOL}-{index:04d}"
    capacity = {"cpu": "8", "memory": "32Gi", "ephemeral-storage": "100Gi", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {_ANNOTATION: "fake"},
            "labels": {
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "type": "kwok",
                "littoral.dev/pool": POOL,
                "littoral.dev/tier": "edge",
                "littoral.dev/site": POOL,
            },
        },
        "spec": {"taints": [{"key": _ANNOTATION, "value": "fake", "effect": "NoSchedule"}]},
        "status": {"capacity": capacity, "allocatable": capacity},
    }


def create_nodes(kubeconfig: Path, *, count: int, connections: int = 4) -> None:
    """Create the fake nodes 0 to ``count`` - 1 that are not there yet, over a few connections side by side."""
    local = threading.local()

    def create(index: int) -> None:
        if not hasattr(local, "client"):
            local.client = Client(kubeconfig, timeout=60)
        try:
            local.client.create("/api/v1/nodes", node(index))
        except ApiError as error:
            if error.status != http.HTTPStatus.CONFLICT:
                raise

    with ThreadPoolExecutor(max_workers=connections) as pool:
        for _ in pool.map(create, range(count)):
            pass


def ready_nodes(client: Client) -> int:
    """How many fake nodes are Ready."""
    nodes = client.get("/api/v1/nodes?labelSelector=type%3Dkwok&resourceVersion=0")["items"]
    conditions = itertools.chain.from_iterable(item["status"].get("conditions", []) for item in nodes)
    return sum(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
