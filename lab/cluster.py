"""A lab as a whole: bring it up, say how it is, take it down."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from lab import cgroups, control_plane, debian, devices, dns, kwok, machine, network, node, programs
from lab.addresses import AddressPlan
from lab.api import ApiError, Client
from lab.archive import PAUSE_REFERENCE, write_archive
from lab.control_plane import ControlPlane
from lab.errors import LabError
from lab.loading import NodeImages, load
from lab.machine import Machine
from lab.node import Node
from lab.nodes import CONTROL_PLANE, NodeSpec
from lab.progress import say, step
from lab.spec import Program
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
        modules = dict.fromkeys(
            [*control_plane.MODULES, *node.MODULES, *(["kwok"] if wish.kwok else []), "helm"]
        )
        built = programs.ensure(tuple(modules), cache=self.files.cache)
        archives = self._archives(wish, built)
        with self.files.lock():
            state = self.files.read()
            if state is not None and state.up and all(map(machine.running, state.machines)):
                say(f"lab {self.files.name} is up already")
            else:
                self._clear(state)
                state = self._start(self._claim(wish), built)
            members = [NodeImages(machine=member, programs=built) for member in state.machines[1:]]
            if members:
                self._load(archives, members)
            self._await_ready(state)
            if not state.up:
                state = replace(state, up=True)
                self.files.write(state)
            return state

    def load_images(self, archives: Sequence[Path]) -> list[str]:
        """Import image archives into every node of the running lab; lines that say what went where."""
        with self.files.lock():
            state = self.files.read()
            if state is None or not state.up:
                raise LabError(f"lab {self.files.name} is not up: python -m lab up --name {self.files.name}")
            built = programs.ensure(node.MODULES, cache=self.files.cache)
            return load(
                archives, nodes=[NodeImages(machine=member, programs=built) for member in state.machines[1:]]
            )

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

    def _archives(self, wish: Wish, built: programs.Programs) -> list[Path]:
        """The archives of the images that the nodes need, built where they are not there yet."""
        if not wish.nodes:
            return []
        pause = Path(built.path("pause"))
        target = self.files.cache / "images" / f"{pause.parent.name}.tar"
        if not target.exists():
            write_archive(target, reference=PAUSE_REFERENCE, program=pause, name="pause")
        if not wish.images:
            return [target]
        from lab import images  # Needs buildah and mmdebstrap, which --no-images does without.

        with step("images"):
            return [target, *(archive.path for archive in images.build(cache=self.files.cache))]

    def _claim(self, wish: Wish) -> LabState:
        with exclusive(self.files.cache / "labs" / ".slots.lock", purpose="the lab's addresses"):
            slot = choose_slot(cache=self.files.cache, name=self.files.name)
            state = LabState(
                name=self.files.name, slot=slot, engine=wish.engine, nodes=wish.nodes, kwok=wish.kwok
            )
            self.files.write(state)
        return state

    def _start(self, state: LabState, built: programs.Programs) -> LabState:
        plan = AddressPlan(slot=state.slot)
        head = ControlPlane(
            machine=self.machine(CONTROL_PLANE), plan=plan, programs=built, cache=self.files.cache
        )
        with step("machines and their network"):
            head.machine.prepare()
            head.issue()
            extra: tuple[Program, ...] = ()
            if state.kwok:
                extra = (
                    kwok.program(programs=built, plan=plan, authority=head.authority, ready=head.ready()),
                )
            specs = [(head.machine, head.spec(extra=extra))]
            for index, spec in enumerate(state.nodes):
                member = Node(
                    machine=self.machine(spec.name),
                    spec=spec,
                    index=index,
                    plan=plan,
                    programs=built,
                    cache=self.files.cache,
                )
                member.machine.prepare(keep=node.KEEP)
                specs.append((member.machine, member.machine_spec(head)))
            processes = []
            for owner, machine_spec in specs:
                started, process = owner.start(machine_spec)
                processes.append(process)
                state = state.with_machine(started)
                self.files.write(state)
            pids = [started.init for started in state.machines]
            network.wire(plan=plan, control_plane=pids[0], nodes=pids[1:])
            for process in processes:
                machine.go(process)
        shutil.copy(head.authority.directory / "admin.kubeconfig", self.files.kubeconfig)
        with step("control plane ready"):
            self._await("the API server to be ready", CONTROL_PLANE, self.client().ready, timeout=90)
            self._await("kube-system", CONTROL_PLANE, lambda: self._published(plan), timeout=30)
        return state

    def _load(self, archives: Sequence[Path], members: Sequence[NodeImages]) -> None:
        with step("images in the nodes"):
            for member in members:
                self._await("containerd", member.machine.name, member.answers, timeout=30)
            for line in load(archives, nodes=members):
                say(f"   {line}")

    def _published(self, plan: AddressPlan) -> bool:
        try:
            dns.publish(self.client(), plan=plan)
        except ApiError:
            return False
        return True

    def _await_ready(self, state: LabState) -> None:
        client = self.client()
        if state.nodes:
            with step("nodes ready"):
                for spec in state.nodes:
                    self._await(
                        f"node {spec.name} to be Ready",
                        spec.name,
                        partial(node_ready, client, spec.name),
                        timeout=90,
                    )
                    devices.announce(client, node=spec.name, devices=dict(spec.devices))
            with step("names resolve through the Service kube-dns"):
                server = str(AddressPlan(slot=state.slot).dns_service)
                self._await("DNS", state.nodes[0].name, partial(dns.answers, server), timeout=30)
        if state.kwok:
            with step(f"{state.kwok} fake nodes ready"):
                kwok.create_nodes(self.files.kubeconfig, count=state.kwok)
                self._await(
                    "the fake nodes",
                    CONTROL_PLANE,
                    lambda: kwok.ready_nodes(client) >= state.kwok,
                    timeout=300,
                )

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


def node_ready(client: Client, name: str) -> bool:
    """Whether the node's condition Ready is true."""
    try:
        conditions = client.get(f"/api/v1/nodes/{name}")["status"].get("conditions", [])
    except ApiError:
        return False
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
