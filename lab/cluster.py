"""A lab as a whole: bring it up, say how it is, take it down."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from lab import cgroups, debian, dns, machine, network, programs
from lab.addresses import AddressPlan
from lab.api import ApiError, Client
from lab.control_plane import MODULES, ControlPlane
from lab.errors import LabError
from lab.machine import Machine
from lab.nodes import CONTROL_PLANE, NodeSpec
from lab.progress import say, step
from lab.spec import MachineSpec
from lab.state import LabFiles, LabState, choose_slot, exclusive


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a person asks of ``up``: real nodes, a number of fake ones, whether to build and load the images."""

    nodes: tuple[NodeSpec, ...] = ()
    kwok: int = 0
    engine: str = "embedded"
    images: bool = True


@dataclass(frozen=True, kw_only=True)
class Lab:
    """The lab whose files are ``files``."""

    files: LabFiles

    def up(self, wish: Wish) -> LabState:
        """Bring the lab up; when it is up already, only make sure that it is ready.

        Raises ``LabError`` when that fails; what was started by then stays for inspection until ``down``.
        """
        if os.geteuid() != 0:
            raise LabError("the lab makes namespaces and cgroups, so it needs root: run it with sudo -E")
        debian.require(debian.NODE_PROGRAMS)
        built = programs.ensure(MODULES, cache=self.files.cache)
        with self.files.lock():
            state = self.files.read()
            if state is not None and state.up and all(map(machine.running, state.machines)):
                say(f"lab {self.files.name} is up already")
                self._await_ready(state)
                return state
            self._clear(state)
            state = self._claim(wish)
            state = self._start(state, built)
            self._await_ready(state)
            state = replace(state, up=True)
            self.files.write(state)
            return state

    def down(self, *, purge: bool = False) -> list[str]:
        """Stop and remove everything of the lab, whatever is left of it; what was stopped, in words."""
        with self.files.lock():
            state = self.files.read()
            stopped = self._clear(state)
            if state is not None:
                self.files.write(replace(state, up=False, machines=()))
            if purge:
                shutil.rmtree(self.files.directory, ignore_errors=True)
            return stopped

    def client(self) -> Client:
        """A client with the administrator's credentials."""
        return Client(self.files.kubeconfig)

    def machine(self, name: str) -> Machine:
        """One of the lab's machines."""
        return Machine(lab=self.files.name, name=name, directory=self.files.machine(name))

    def _claim(self, wish: Wish) -> LabState:
        with exclusive(self.files.cache / "labs" / ".slots.lock", purpose="the lab's addresses"):
            slot = choose_slot(cache=self.files.cache, name=self.files.name)
            state = LabState(
                name=self.files.name, slot=slot, engine=wish.engine, up=True, nodes=wish.nodes, kwok=wish.kwok
            )
            self.files.write(state)
        return state

    def _start(self, state: LabState, built: programs.Programs) -> LabState:
        plan = AddressPlan(slot=state.slot)
        control_plane = ControlPlane(
            machine=self.machine(CONTROL_PLANE), plan=plan, programs=built, cache=self.files.cache
        )
        with step("machines and their network"):
            control_plane.machine.prepare()
            control_plane.issue()
            specs: list[tuple[Machine, MachineSpec]] = [(control_plane.machine, control_plane.spec())]
            processes = []
            for member, spec in specs:
                started, process = member.start(spec)
                processes.append(process)
                state = state.with_machine(started)
                self.files.write(state)
            head, *nodes = state.machines
            network.wire(plan=plan, control_plane=head.init, nodes=[node.init for node in nodes])
            for process in processes:
                machine.go(process)
        shutil.copy(control_plane.authority.directory / "admin.kubeconfig", self.files.kubeconfig)
        with step("control plane ready"):
            self._await("the API server to be ready", CONTROL_PLANE, self.client().ready, timeout=90)
            self._await("kube-system", CONTROL_PLANE, lambda: self._published(plan), timeout=30)
        return state

    def _published(self, plan: AddressPlan) -> bool:
        try:
            dns.publish(self.client(), plan=plan)
        except ApiError:
            return False
        return True

    def _await_ready(self, state: LabState) -> None:
        del state

    def _await(self, what: str, member: str, condition: Callable[[], bool], *, timeout: float) -> None:
        """Poll a condition; on time-out, say what the machine's programs do."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                programs_now = self.machine(member).programs()
                lines = [
                    f"{status.name}: {status.state}, {status.restarts} restarts" for status in programs_now
                ]
                tails = [
                    f"--- {status.name}.log\n{self.machine(member).log_tail(status.name)}"
                    for status in programs_now
                    if status.state != "Running"
                ]
                raise LabError(
                    "\n".join([f"waited {timeout:.0f} s for {what}. Programs of {member}:", *lines, *tails])
                )
            time.sleep(0.1)

    def _clear(self, state: LabState | None) -> list[str]:
        """Stop machines and remove what a killed one may leave: processes, cgroups, the host's veth."""
        name = self.files.name
        stopped = (
            [f"machine {member}" for member in machine.stop(state.machines)] if state is not None else []
        )
        if left := cgroups.kill(lab=name):
            stopped.append(f"{left} processes that were left")
        cgroups.remove(lab=name)
        if state is not None and state.machines and network.unwire(slot=state.slot):
            stopped.append("the host's end of the network")
        return stopped
