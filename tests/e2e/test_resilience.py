"""What dies comes back by itself, and what it did not hold up goes on."""

from __future__ import annotations

import pytest

from examples.quickstart.client import ModelClient
from examples.quickstart.digits import load
from examples.quickstart.lab import run_module
from examples.quickstart.networks import DIGITS, DIGITS_V2
from examples.quickstart.reading import under_load
from tests.e2e.littoral import Littoral, digits_variants, kill

pytestmark = pytest.mark.timeout(600)


def test_a_killed_triton_serves_again(littoral: Littoral) -> None:
    littoral.wait_ready("digits")
    server = littoral.server("digits", pool="edge")
    (pod,) = littoral.servers(server)
    assert kill(pod, r"^tritonserver ") > 0
    littoral.wait(lambda: _restarts(littoral, server, "triton") > 0, what="Triton was started again")
    littoral.wait_ready("digits")
    littoral.wait_answers("digits")


def test_a_killed_agent_costs_no_request(littoral: Littoral) -> None:
    """Triton goes on without it."""
    _, test = load()
    littoral.wait_ready("digits")
    littoral.wait_answers("digits")
    server = littoral.server("digits", pool="edge")
    (pod,) = littoral.servers(server)
    with under_load(lambda: littoral.connect("digits"), test.images) as running:
        assert kill(pod, r"littoral agent") > 0
        littoral.wait(lambda: _restarts(littoral, server, "agent") > 0, what="the agent was started again")
        littoral.wait_ready("digits")
    assert running.report().failed == 0


def test_a_server_that_is_moved_finishes_its_requests(littoral: Littoral) -> None:
    """Deleting its Pod is what a drain of its node does; the other pool answers meanwhile.

    Each request has a connection of its own. A client that keeps one to a Pod that ends can lose the request that it
    sends at that moment: there is no gateway yet that would send it elsewhere.
    """
    _, test = load()
    littoral.wait_ready("digits")
    littoral.wait_answers("digits")
    (before,) = littoral.servers(littoral.server("digits", pool="edge"))
    address = littoral.address("digits")
    with under_load(lambda: ModelClient(url=address, model="digits"), test.images, keep=False) as running:
        littoral.cluster.run("delete", "pod", before["metadata"]["name"], "--namespace=shop", "--wait=true")
        littoral.wait_ready("digits")
    assert (running.report().failed, running.report().errors) == (0, ())


def test_an_operator_that_is_killed_at_any_moment_converges(littoral: Littoral) -> None:
    """Clients notice nothing: the operator is not on the way of a request."""
    _, test = load()
    littoral.wait_ready("digits")
    littoral.wait_answers("digits")
    with under_load(lambda: littoral.connect("digits"), test.images) as running:
        for change in range(6):
            network = (DIGITS_V2, DIGITS)[change % 2]
            littoral.patch_model("digits", {"variants": digits_variants(network)})
            for pod in littoral.cluster.items("pods", "--namespace=littoral-system"):
                kill(pod, r"littoral operator")
        littoral.wait_ready("digits", within=300)
    assert running.report().failed == 0
    served = littoral.model("digits")["spec"]["variants"][0]["artifact"]["digest"]
    assignment = littoral.cluster.get("assignments.littoral.dev", "edge")
    assert served in str(assignment["status"])


def test_a_node_that_loses_its_power_serves_again(littoral: Littoral) -> None:
    littoral.wait_ready("digits")
    run_module("lab", "reboot", "--name", littoral.lab, "cloud")
    littoral.wait_ready("digits", within=240)
    littoral.wait_answers("digits")


def _restarts(littoral: Littoral, server: str, container: str) -> int:
    statuses = [
        status
        for pod in littoral.servers(server)
        for kind in ("initContainerStatuses", "containerStatuses")
        for status in pod["status"].get(kind, [])
        if status["name"] == container
    ]
    return max((status["restartCount"] for status in statuses), default=0)
