"""What differs between the embedded cluster and k3s, as seen by the lab."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lab.addresses import AddressPlan
from lab.machine import Machine
from lab.nodes import CONTROL_PLANE
from lab.programs import Programs
from lab.spec import MachineSpec
from lab.state import LabFiles, LabState


@dataclass(frozen=True, kw_only=True)
class Context:
    """A lab that is to be started: its files, what was asked for, and the programs."""

    files: LabFiles
    state: LabState
    programs: Programs

    @property
    def plan(self) -> AddressPlan:
        """The lab's addresses."""
        return AddressPlan(slot=self.state.slot)

    @property
    def control_plane(self) -> Machine:
        """The machine of the control plane."""
        return self.machine(CONTROL_PLANE)

    def machine(self, name: str) -> Machine:
        """One of the lab's machines."""
        return Machine(cgroup=self.files.cgroup, name=name, directory=self.files.machine(name))


class Engine(Protocol):
    """How a lab's machines become a cluster."""

    def modules(self, *, nodes: bool) -> tuple[str, ...]:
        """The modules of ``tools/`` that it needs for the control plane, and for ``nodes`` where there are any."""

    @property
    def containerd_socket(self) -> str:
        """Where a node's containerd listens, as the node sees it."""

    @property
    def plans_pod_networks(self) -> bool:
        """Whether pods get the addresses of the plan; else each node's are read from the API once it is Ready."""

    def specs(self, context: Context) -> list[tuple[Machine, MachineSpec]]:
        """Prepare the machines, the control plane first and the nodes in order, and say what each runs."""

    def kubeconfig(self, context: Context) -> Path | None:
        """The administrator's kubeconfig, once it is there."""
