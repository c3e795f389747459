"""The lab's network: a bridge in the control plane's namespace, a veth to each node and one to the host.

All of it but the host's end lives in the machines' namespaces, and a veth vanishes with either end, so nothing is
left on the host once the control plane is gone. The host reaches every address of the lab and listens on none.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from ipaddress import IPv4Network

from lab.addresses import MACHINES_AND_PODS, AddressPlan
from lab.errors import LabError
from lab.state import host_interface

SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
}
"""Of every machine."""

CONTROL_PLANE_SYSCTLS = {**SYSCTLS, "net.bridge.bridge-nf-call-iptables": "0"}
"""Of the machine with the bridge: what only crosses it is no business of its packet filter."""

_BRIDGE = "lab0"


def wire_control_plane(*, plan: AddressPlan, pid: int, pods: Sequence[IPv4Network]) -> None:
    """Make the bridge in the control plane's machine, whose PID 1 is ``pid``, and the host's way to the lab.

    ``pods`` are the networks of the nodes' pods in the order of the nodes; nothing while those are not known.
    """
    interface, length = host_interface(plan.slot), plan.machines.prefixlen
    run_ip(
        [
            f"link add {_BRIDGE} type bridge",
            f"addr add {plan.control_plane}/{length} dev {_BRIDGE}",
            f"link set {_BRIDGE} up",
        ],
        pid=pid,
    )
    run_ip([f"link add {interface} type veth peer name host netns {pid}"])
    run_ip([f"link set host master {_BRIDGE} up"], pid=pid)
    run_ip([f"addr add {plan.host}/{length} dev {interface}", f"link set {interface} up"])
    # Requests to Services, from the host and from the API server (webhooks), go by way of a node, whose kube-proxy
    # translates them.
    services = [f"route add {plan.services} via {plan.node(0)}"]
    for place in (pid, None):
        run_ip([*_routes(plan, pods), *services], pid=place)


def wire_node(*, plan: AddressPlan, index: int, pid: int, control_plane: int, pods: Sequence[IPv4Network]) -> None:
    """Wire the node ``index``, whose PID 1 is ``pid``, to the bridge in the machine of ``control_plane``."""
    name = f"node{index}"
    run_ip([f"link add {name} type veth peer name eth0 netns {pid}"], pid=control_plane)
    run_ip([f"link set {name} master {_BRIDGE} up"], pid=control_plane)
    address = f"{plan.node(index)}/{plan.machines.prefixlen}"
    others = [route for number, route in enumerate(_routes(plan, pods)) if number != index]
    # Other labs are beyond the control plane, which has a way to those that this lab is linked to, and to no other.
    # A pod that is gone is still here, and nowhere.
    others += [f"route add unreachable {network}" for network in pods[index : index + 1]]
    others += [f"route add {MACHINES_AND_PODS} via {plan.control_plane}"]
    run_ip([f"addr add {address} dev eth0", "link set eth0 up", *others], pid=pid)


def unwire_node(*, index: int, control_plane: int) -> None:
    """Remove what a node that died may still have on the bridge; the kernel takes a moment for that by itself."""
    command = ["nsenter", f"--net=/proc/{control_plane}/ns/net", "ip", "link", "delete", f"node{index}"]
    subprocess.run(command, check=False, capture_output=True)


def connect_node(*, index: int, control_plane: int, connected: bool) -> None:
    """Mend or cut the cable of the node ``index`` at the bridge's end: the node keeps its addresses and routes."""
    run_ip([f"link set node{index} {'up' if connected else 'down'}"], pid=control_plane)


def _routes(plan: AddressPlan, pods: Sequence[IPv4Network]) -> list[str]:
    return [f"route add {network} via {plan.node(index)}" for index, network in enumerate(pods)]


def route_pods(*, plan: AddressPlan, pods: Sequence[IPv4Network]) -> None:
    """Let the host reach the pods' networks of the nodes (in the order of their addresses)."""
    run_ip([f"route replace {network} via {plan.node(index)}" for index, network in enumerate(pods)])


def unwire(*, slot: int) -> bool:
    """Remove the host's end, and by that its routes, if it is still there; whether it was."""
    command = ["ip", "link", "delete", host_interface(slot)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def run_ip(commands: Sequence[str], *, pid: int | None = None) -> None:
    """Run ``ip`` commands in the network namespace of ``pid``, or the host's; ``LabError`` when one fails."""
    enter = ["nsenter", f"--net=/proc/{pid}/ns/net"] if pid is not None else []
    batch = "\n".join(commands) + "\n"
    result = subprocess.run([*enter, "ip", "-batch", "-"], check=False, input=batch, capture_output=True, text=True)
    if result.returncode != 0:
        raise LabError(f"the lab's network could not be made: {result.stderr.strip()}\n{batch}")
