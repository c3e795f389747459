"""Links between labs: a lab that is a site reaches a lab that is its hub, and not the other way round.

A veth joins the network namespaces of the two control planes. What passes from the site bears the address of the
link's end there, as behind the router of a real site, and only answers come back: a packet filter in the site's
control plane drops every connection that the hub opens. The link vanishes with either lab.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address

from lab import machine
from lab.addresses import AddressPlan
from lab.cluster import Lab
from lab.errors import LabError
from lab.network import run_ip
from lab.state import LabState, all_states

# Answers pass, and what the hub begins does not. While the link is cut, `gate` holds a rule that drops everything.
_FILTER = """\
table ip {table}
delete table ip {table}
table ip {table} {{
  chain gate {{ }}
  chain inward {{
    jump gate
    ct state established,related accept
    drop
  }}
  chain input {{
    type filter hook input priority filter
    iifname {interface} goto inward
  }}
  chain forward {{
    type filter hook forward priority filter
    iifname {interface} goto inward
    oifname {interface} jump gate
  }}
  chain output {{
    type filter hook output priority filter
    oifname {interface} jump gate
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat
    oifname {interface} masquerade
  }}
}}
"""


@dataclass(frozen=True, kw_only=True)
class LinkStatus:
    """A link as one of its labs sees it.

    ``what`` the other lab is to this one: hub or site. ``state`` is Up or Cut. ``address`` is this lab's end and
    ``peer`` the other one.
    """

    what: str
    lab: str
    state: str
    address: str
    peer: str


@dataclass(frozen=True, kw_only=True)
class _Link:
    """A link between the labs in two slots; the PIDs are of their control planes' first processes."""

    site: int
    site_pid: int
    hub: int
    hub_pid: int

    @property
    def interface(self) -> str:
        """The end at the site."""
        return f"hub{self.hub}"

    @property
    def hub_interface(self) -> str:
        """The end at the hub."""
        return f"site{self.site}"

    @property
    def table(self) -> str:
        """Of the site's packet filter."""
        return f"lab-{self.interface}"


def link(*, site: Lab, hub: Lab) -> None:
    """Link two labs that are up, or mend their link. Raises ``LabError`` when one of them is not up."""
    with _both(site, hub) as found:
        if not _exists(found):
            _make(found)
        _nft(f"flush chain ip {found.table} gate", pid=found.site_pid)


def cut(*, site: Lab, hub: Lab) -> None:
    """Let nothing pass, either way, and no one know of it. Raises ``LabError`` when the labs are not linked."""
    with _both(site, hub) as found:
        if not _exists(found):
            names = site.files.name, hub.files.name
            raise LabError(f"lab {names[0]} is not linked to {names[1]}: python -m lab link {' '.join(names)}")
        _nft(f"flush chain ip {found.table} gate\nadd rule ip {found.table} gate drop", pid=found.site_pid)


def unlink(*, site: Lab, hub: Lab) -> None:
    """Remove the link, if there is one. Raises ``LabError`` when one of the labs is not up."""
    with _both(site, hub) as found:
        if _exists(found):
            run_ip([f"link delete {found.interface}"], pid=found.site_pid)
            _nft(f"delete table ip {found.table}", pid=found.site_pid)


def read(lab: Lab) -> tuple[LinkStatus, ...]:
    """The links of a lab, to its hubs and to its sites; none when it is not up."""
    running = {state.slot: state for state in all_states(lab.files.cache) if _runs(state)}
    own = next((state for state in running.values() if state.name == lab.files.name), None)
    if own is None:
        return ()
    found = []
    for slot, other in sorted(running.items()):
        for what, (site, hub) in (("hub", (own, other)), ("site", (other, own))):
            if slot != own.slot and _exists(known := _of(site, hub)):
                ends = _ends(known)
                here, there = ends if what == "hub" else ends[::-1]
                found.append(
                    LinkStatus(what=what, lab=other.name, state=_state(known), address=str(here), peer=str(there))
                )
    return tuple(found)


def _make(found: _Link) -> None:
    site, hub = (AddressPlan(slot=slot) for slot in (found.site, found.hub))
    here, there = _ends(found)
    for pid, name in ((found.site_pid, found.interface), (found.hub_pid, found.hub_interface)):
        # The kernel takes a moment to remove what a lab that went down has left at the other one.
        subprocess.run([*_enter(pid), "ip", "link", "delete", name], check=False, capture_output=True)
    peer = f"peer name {found.hub_interface} netns {found.hub_pid}"
    _nft(_FILTER.format(table=found.table, interface=found.interface), pid=found.site_pid)
    run_ip([f"link add {found.interface} type veth {peer}"], pid=found.site_pid)
    length = site.uplink(found.hub).prefixlen
    run_ip(
        [f"addr add {there}/{length} dev {found.hub_interface}", f"link set {found.hub_interface} up"],
        pid=found.hub_pid,
    )
    run_ip(
        [
            f"addr add {here}/{length} dev {found.interface}",
            f"link set {found.interface} up",
            *(f"route add {network} via {there}" for network in (hub.machines, hub.pods)),
        ],
        pid=found.site_pid,
    )


def _ends(found: _Link) -> tuple[IPv4Address, IPv4Address]:
    network = AddressPlan(slot=found.site).uplink(found.hub)
    return network[1], network[2]


@contextmanager
def _both(site: Lab, hub: Lab) -> Iterator[_Link]:
    """The (possible) link of two labs that are up, while no other command changes either."""
    if site.files.name == hub.files.name:
        raise LabError(f"lab {site.files.name} cannot be linked to itself")
    with ExitStack() as locks:
        for lab in sorted((site, hub), key=lambda lab: lab.files.name):
            locks.enter_context(lab.files.lock())
        yield _of(site.running(), hub.running())


def _of(site: LabState, hub: LabState) -> _Link:
    return _Link(site=site.slot, site_pid=site.machines[0].init, hub=hub.slot, hub_pid=hub.machines[0].init)


def _runs(state: LabState) -> bool:
    return any(map(machine.running, state.machines[:1]))


def _exists(found: _Link) -> bool:
    """Whether both ends are there: a slot that another lab took since has none of its own."""
    return all(
        subprocess.run([*_enter(pid), "ip", "link", "show", name], check=False, capture_output=True).returncode == 0
        for pid, name in ((found.site_pid, found.interface), (found.hub_pid, found.hub_interface))
    )


def _state(found: _Link) -> str:
    listing = [*_enter(found.site_pid), "nft", "--json", "list", "chain", "ip", found.table, "gate"]
    result = subprocess.run(listing, check=False, capture_output=True, text=True)
    if result.returncode != 0:
        return "Unknown"
    return "Cut" if any("rule" in item for item in json.loads(result.stdout)["nftables"]) else "Up"


def _nft(script: str, *, pid: int) -> None:
    result = subprocess.run([*_enter(pid), "nft", "-f", "-"], check=False, input=script, capture_output=True, text=True)
    if result.returncode != 0:
        raise LabError(f"the packet filter of the link could not be made: {result.stderr.strip()}")


def _enter(pid: int) -> list[str]:
    return ["nsenter", f"--net=/proc/{pid}/ns/net"]
