"""Which address belongs to what: each lab takes one of eight equal slices of 198.18.0.0/15.

That range is reserved for benchmarks (RFC 2544), so it collides with no network that the machine itself may use.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

SLOTS = 8
"""Labs that can be up at the same time on one machine."""

MACHINES_AND_PODS = IPv4Network("198.18.0.0/16")
"""The machines and pods of all labs, without their Services."""

MAX_NODES = 16
"""Real nodes in one lab: each takes a /24 for its pods."""


@dataclass(frozen=True, kw_only=True)
class AddressPlan:
    """The addresses of the lab in ``slot`` (0 to ``SLOTS`` - 1)."""

    slot: int

    def __post_init__(self) -> None:
        if not 0 <= self.slot < SLOTS:
            raise ValueError(f"slot {self.slot} is not between 0 and {SLOTS - 1}")

    def _network(self, offset: int, prefix: int) -> IPv4Network:
        return IPv4Network(f"198.18.{32 * self.slot + offset}.0/{prefix}")

    @property
    def pods(self) -> IPv4Network:
        """All addresses of pods on real nodes."""
        return self._network(0, 20)

    @property
    def fake_pods(self) -> IPv4Network:
        """Addresses that kwok writes into the status of pods that never run; nothing answers there."""
        return self._network(16, 21)

    def uplink(self, hub: int) -> IPv4Network:
        """The network of this lab's link to the lab in slot ``hub``: first this lab's address, then the hub's."""
        if not 0 <= hub < SLOTS or hub == self.slot:
            raise ValueError(f"slot {hub} is not another lab's")
        return IPv4Network((int(self._network(24, 24).network_address) + 4 * hub, 30))

    @property
    def machines(self) -> IPv4Network:
        """The network that joins the machines and the host."""
        return self._network(31, 24)

    @property
    def services(self) -> IPv4Network:
        """Cluster addresses of Services."""
        return IPv4Network(f"198.19.{32 * self.slot}.0/19")

    @property
    def control_plane(self) -> IPv4Address:
        """Where the API server and the DNS server answer."""
        return self.machines[1]

    @property
    def host(self) -> IPv4Address:
        """The host's own address in the lab."""
        return self.machines[254]

    @property
    def kubernetes_service(self) -> IPv4Address:
        """The Service ``kubernetes`` (always the first address of the range)."""
        return self.services[1]

    @property
    def dns_service(self) -> IPv4Address:
        """The Service ``kube-dns``, every pod's name server."""
        return self.services[10]

    def node(self, index: int) -> IPv4Address:
        """The address of the real node ``index`` (0 to ``MAX_NODES`` - 1)."""
        self._check(index)
        return self.machines[10 + index]

    def node_pods(self, index: int) -> IPv4Network:
        """The addresses of the pods on the real node ``index``."""
        self._check(index)
        return self._network(index, 24)

    def pod_networks(self, nodes: int) -> list[IPv4Network]:
        """The addresses of the pods on each of the first ``nodes`` real nodes."""
        return [self.node_pods(index) for index in range(nodes)]

    @staticmethod
    def _check(index: int) -> None:
        if not 0 <= index < MAX_NODES:
            raise ValueError(f"a lab has at most {MAX_NODES} real nodes")
