"""A lab as a whole: bring it up, load images, take it down."""

from __future__ import annotations

import datetime
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path

from lab import cgroups, debian, devices, dns, kwok, machine, network, programs
from lab.addresses import AddressPlan
from lab.api import ApiError, Client
from lab.archive import PAUSE_REFERENCE, write_archive
from lab.embedded import Embedded
from lab.engine import Context, Engine
from lab.errors import LabError
from lab.k3s import K3s
from lab.loading import NodeImages, load, read
from lab.machine import Machine
from lab.nodes import CONTROL_PLANE, NodeSpec
from lab.programs import Programs
from lab.progress import say, step
from lab.state import LabFiles, LabState, choose_slot, exclusive

ENGINES: dict[str, Callable[[], Engine]] = {"embedded": Embedded, "k3s": K3s}


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a person asks of ``up``.

    ``nodes`` are the real nodes and ``kwok`` is the number of fake ones; ``explicit`` says that they were asked for
    and are not the defaults. ``images`` says whether to build and load the project's images.
    """

    nodes: tuple[NodeSpec, ...] = ()
    kwok: int = 0
    engine: str = "embedded"
    images: bool = True
    explicit: bool = True


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
        engine = ENGINES[wish.engine]()
        debian.require(debian.NODE_PROGRAMS)
        modules = (*engine.modules(nodes=bool(wish.nodes)), *(["kwok"] if wish.kwok else []))
        built = programs.ensure(modules, cache=self.files.cache)
        archives = self._archives(wish, built)
        with self.files.lock():
            state = self.files.read()
            if state is not None and is_up(state):
                _check_same(state, wish)
                say(f"lab {self.files.name} is up already")
            else:
                if state is not None and state.phase == "Up":
                    gone = [member.name for member in state.machines if not machine.running(member)]
                    say(f"lab {self.files.name} has lost {', '.join(gone)}: starting it anew, empty")
                self._clear(state)
                state = self._start(engine, self._claim(wish), built)
            if state.nodes:
                self._load(archives, self._images(engine, state, built), fresh=state.phase == "Starting")
            self._await_ready(engine, state)
            state = replace(state, phase="Up")
            self.files.write(state)
            return state

    def load_images(self, archives: Sequence[Path]) -> list[str]:
        """Import image archives into every node of the running lab; lines that say what went where."""
        with self.files.lock():
            state = self.files.read()
            if state is None or not is_up(state):
                raise LabError(f"lab {self.files.name} is not up: python -m lab up --name {self.files.name}")
            built = programs.ensure(("containerd",), cache=self.files.cache)
            return load(read(archives), nodes=self._images(ENGINES[state.engine](), state, built))

    def down(self, *, purge: bool = False) -> list[str]:
        """Stop and remove everything of the lab, whatever is left of it; what was done, in words."""
        with self.files.lock():
            state = self.files.read()
            done = self._clear(state)
            if state is not None:
                self.files.write(replace(state, phase="Down", machines=()))
            if purge:
                self.files.purge()
                done.append(f"removed {self.files.directory}")
            return done

    def reboot(self, name: str) -> None:
        """Cut the power of the node ``name`` and start it again; returns once it is Ready."""
        with self.files.lock():
            state, index = self._node(name)
            plan, member = AddressPlan(slot=state.slot), self.machine(name)
            client, head = self.client(), state.machines[0].init
            pods = _pod_networks(client, state) if state.engine == "k3s" else plan.pod_networks(len(state.nodes))
            since = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
            with step(f"reboot of node {name}"):
                machine.stop(tuple(known for known in state.machines if known.name == name), timeout=0)
                cgroups.kill(lab=self.files.cgroup, machine=name)
                cgroups.remove(lab=self.files.cgroup, machine=name)
                network.unwire_node(index=index, control_plane=head)
                started, process = member.start(member.last_spec())
                self.files.write(state.with_machine(started))
                network.wire_node(plan=plan, index=index, pid=started.init, control_plane=head, pods=pods)
                machine.go(process)
                self._await(f"node {name} to be Ready", name, partial(_node_ready, client, name, since), timeout=90)

    def connect(self, name: str, *, connected: bool) -> None:
        """Cut the cable of the node ``name``, or mend it: nothing gets in or out, and everything on it runs on."""
        with self.files.lock():
            state, index = self._node(name)
            network.connect_node(index=index, control_plane=state.machines[0].init, connected=connected)

    def client(self) -> Client:
        """A client with the administrator's credentials."""
        return Client(self.files.kubeconfig)

    def machine(self, name: str) -> Machine:
        """One of the lab's machines."""
        return Machine(cgroup=self.files.cgroup, name=name, directory=self.files.machine(name))

    def running(self) -> LabState:
        """The state of the lab, whose control plane runs. Raises ``LabError`` when it does not."""
        state = self.files.read()
        if state is None or not any(map(machine.running, state.machines[:1])):
            raise LabError(f"lab {self.files.name} is not up: python -m lab up --name {self.files.name}")
        return state

    def _node(self, name: str) -> tuple[LabState, int]:
        """The state of the running lab, and the number of one of its nodes."""
        state = self.running()
        names = [node.name for node in state.nodes]
        if name not in names:
            raise LabError(f"lab {self.files.name} has no node {name!r}, only {', '.join(names) or 'none'}")
        return state, names.index(name)

    def _archives(self, wish: Wish, built: Programs) -> list[Path]:
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
            state = LabState(
                name=self.files.name,
                slot=choose_slot(cache=self.files.cache, name=self.files.name),
                engine=wish.engine,
                phase="Starting",
                nodes=wish.nodes,
                kwok=wish.kwok,
            )
            self.files.write(state)
        return state

    def _start(self, engine: Engine, state: LabState, built: Programs) -> LabState:
        context = Context(files=self.files, state=state, programs=built)
        plan = context.plan
        with step("machines and their network"):
            specs = engine.specs(context)
            processes = []
            for member, spec in specs:
                started, process = member.start(spec)
                processes.append(process)
                state = state.with_machine(started)
                self.files.write(state)
            pods = plan.pod_networks(len(state.nodes)) if engine.plans_pod_networks else []
            head, *nodes = state.machines
            network.wire_control_plane(plan=plan, pid=head.init, pods=pods)
            for index, node in enumerate(nodes):
                network.wire_node(plan=plan, index=index, pid=node.init, control_plane=head.init, pods=pods)
            for process in processes:
                machine.go(process)
        with step("control plane ready"):
            self._await("the API server", CONTROL_PLANE, lambda: self._serving(engine, context), timeout=120)
            self._await("kube-system", CONTROL_PLANE, lambda: self._published(plan), timeout=30)
        return state

    def _serving(self, engine: Engine, context: Context) -> bool:
        kubeconfig = engine.kubeconfig(context)
        if kubeconfig is None:
            return False
        shutil.copy(kubeconfig, self.files.kubeconfig)
        return self.client().ready()

    def _published(self, plan: AddressPlan) -> bool:
        try:
            dns.publish(self.client(), plan=plan)
        except ApiError:  # The namespace kube-system comes a moment after the API server.
            return False
        return True

    def _images(self, engine: Engine, state: LabState, built: Programs) -> list[NodeImages]:
        return [
            NodeImages(machine=member, socket=engine.containerd_socket, programs=built) for member in state.machines[1:]
        ]

    def _load(self, archives: Sequence[Path], nodes: Sequence[NodeImages], *, fresh: bool) -> None:
        with step("images in the nodes"):
            contents = read(archives)
            for node in nodes:
                self._await("containerd", node.machine.name, node.answers, timeout=60)
                if fresh:
                    node.drop_predecessors(contents)
            for line in load(contents, nodes=nodes):
                say(f"   {line}")

    def _await_ready(self, engine: Engine, state: LabState) -> None:
        client, plan = self.client(), AddressPlan(slot=state.slot)
        if state.nodes:
            with step("nodes ready"):
                for node in state.nodes:
                    ready = partial(_node_ready, client, node.name)
                    self._await(f"node {node.name} to be Ready", node.name, ready, timeout=90)
                    devices.announce(client, node=node.name, devices=dict(node.devices))
                if not engine.plans_pod_networks:
                    network.route_pods(plan=plan, pods=_pod_networks(client, state))
            with step("names resolve through the Service kube-dns"):
                resolves = partial(dns.answers, str(plan.dns_service))
                self._await("DNS", state.nodes[0].name, resolves, timeout=30)
        if state.kwok:
            with step(f"{state.kwok} fake nodes ready"):
                kwok.create_nodes(self.files.kubeconfig, count=state.kwok)
                all_ready = partial(_enough_fake_nodes, client, state.kwok)
                self._await("the fake nodes", CONTROL_PLANE, all_ready, timeout=300)

    def _await(self, what: str, member: str, condition: Callable[[], bool], *, timeout: float) -> None:
        """Poll a condition; after ``timeout`` seconds, raise ``LabError`` with what the machine's programs do."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise LabError(
                    f"waited {timeout:.0f} s for {what}.\n{self.machine(member).diagnosis()}\n"
                    f"The logs: {self.machine(member).directory / 'log'}"
                )
            time.sleep(0.1)

    def _clear(self, state: LabState | None) -> list[str]:
        """Stop machines and remove what a killed one may leave: processes, cgroups, the host's veth."""
        done = []
        if state is not None:
            done += [f"stopped machine {member}" for member in machine.stop(state.machines)]
        if left := cgroups.kill(lab=self.files.cgroup):
            done.append(f"killed what was left: {left} processes")
        if removed := cgroups.remove(lab=self.files.cgroup):
            done.append(f"removed {removed} cgroups")
        if state is not None and state.phase != "Down" and network.unwire(slot=state.slot):
            done.append("removed the host's end of the network")
        return done


def is_up(state: LabState) -> bool:
    """Whether the lab has come up and every one of its machines still runs."""
    return state.phase == "Up" and all(map(machine.running, state.machines))


def _check_same(state: LabState, wish: Wish) -> None:
    asked, has = (wish.nodes, wish.kwok, wish.engine), (state.nodes, state.kwok, state.engine)
    if wish.explicit and asked != has:
        names = ", ".join(node.name for node in state.nodes) or "no real node"
        raise LabError(
            f"lab {state.name} is up with other parts (engine {state.engine}, {names}, {state.kwok} fake nodes): "
            f"take it down first (python -m lab down --name {state.name}), or use another --name"
        )


def _node_ready(client: Client, name: str, since: datetime.datetime | None = None) -> bool:
    """Whether the node is Ready by word of its kubelet at or after ``since``."""
    try:
        conditions = client.get(f"/api/v1/nodes/{name}")["status"].get("conditions", [])
    except ApiError:
        return False
    for condition in conditions:
        if condition["type"] == "Ready" and condition["status"] == "True":
            return since is None or datetime.datetime.fromisoformat(condition["lastHeartbeatTime"]) >= since
    return False


def _enough_fake_nodes(client: Client, count: int) -> bool:
    return kwok.ready_nodes(client) >= count


def _pod_networks(client: Client, state: LabState) -> list[IPv4Network]:
    nodes = [client.get(f"/api/v1/nodes/{node.name}") for node in state.nodes]
    return [IPv4Network(node["spec"]["podCIDR"]) for node in nodes]
