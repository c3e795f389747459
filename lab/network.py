"""The lab's network: a bridge in the control plane's namespace, a veth to each node and one to the host.

All of it but the host's end lives in the machines' namespaces, and a veth vanishes with either end, so nothing is
left on the host once the control plane is gone. The host reaches every address of the lab and listens on none.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from ipaddress import IPv4Network

from lab.addresses import AddressPlan
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


def wire(*, plan: AddressPlan, control_plane: int, nodes: Sequence[int], pods: Sequence[IPv4Network]) -> None:
    """Wire the machines whose PID 1 is given (as the host numbers them); ``nodes`` in the order of their addresses.

    ``pods`` are the networks of their pods in the same order, or nothing when those are not known yet.
    """
    length = plan.machines.prefixlen
    # Requests of the API server to Services (webhooks) go by way of a node, whose kube-proxy translates them.
    routes = [f"route add {network} via {plan.node(index)}" for index, network in enumerate(pods)]
    services = [f"route add {plan.services} via {plan.node(0)}"] if nodes else []
    _ip(
        [
            f"link add {_BRIDGE} type bridge",
            f"addr add {plan.control_plane}/{length} dev {_BRIDGE}",
            f"link set {_BRIDGE} up",
            *(f"link add node{i} type veth peer name eth0 netns {pid}" for i, pid in enumerate(nodes)),
            *(f"link set node{i} master {_BRIDGE} up" for i, _ in enumerate(nodes)),
            *routes,
            *services,
        ],
        pid=control_plane,
    )
    for index, pid in enumerate(nodes):
        others = [route for number, route in enumerate(routes) if number != index]
        _ip([f"addr add {plan.node(index)}/{length} dev eth0", "link set eth0 up", *others], pid=pid)
    interface = host_interface(plan.slot)
    _ip([f"link add {interface} type veth peer name host netns {control_plane}"])
    _ip([f"link set host master {_BRIDGE} up"], pid=control_plane)
    _ip([f"addr add {plan.host}/{length} dev {interface}", f"link set {interface} up", *routes, *services])


def route_pods(*, plan: AddressPlan, pods: Sequence[IPv4Network]) -> None:
    """Let the host reach the pods' networks of the nodes (in the order of their addresses)."""
    _ip([f"route replace {network} via {plan.node(index)}" for index, network in enumerate(pods)])


def unwire(*, slot: int) -> bool:
    """Remove the host's end, and by that its routes, if it is still there; whether it was."""
    command = ["ip", "link", "delete", host_interface(slot)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def _ip(commands: Sequence[str], *, pid: int | None = None) -> None:
    """Run ``ip`` commands in the network namespace of ``pid``, or the host's."""
    enter = ["nsenter", f"--net=/proc/{pid}/ns/net"] if pid is not None else []
    batch = "\n".join(commands) + "\n"
    result = subprocess.run([*enter, "ip", "-batch", "-"], check=False, input=batch, capture_output=True, text=True)
    if result.returncode != 0:
        raise LabError(f"the lab's network could not be made: {result.stderr.strip()}\n{batch}")
