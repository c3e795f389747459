"""How a lab is: its machines, their programs and memory, its nodes; as data and as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lab import links, machine, programs
from lab.addresses import AddressPlan
from lab.api import ApiError, Client, api_url
from lab.cluster import Lab
from lab.links import LinkStatus
from lab.spec import ProgramStatus
from lab.state import LabState, MachineState


@dataclass(frozen=True, kw_only=True)
class MachineStatus:
    """One machine: ``pid`` is its PID 1, ``memory`` is resident bytes of all its processes. PIDs are the host's."""

    name: str
    address: str
    pid: int
    running: bool
    memory: int
    programs: tuple[ProgramStatus, ...]


@dataclass(frozen=True, kw_only=True)
class NodeStatus:
    """One real node as the API server has it; ``ready`` is Ready, NotReady or Unknown."""

    name: str
    ready: str
    pool: str
    site: str
    resources: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class LabStatus:
    """The whole lab; ``ready`` when it came up and every machine, program and node of it is as it should be."""

    name: str
    phase: str
    engine: str
    ready: bool
    server: str
    kubeconfig: str
    versions: dict[str, str]
    addresses: dict[str, str]
    machines: tuple[MachineStatus, ...]
    nodes: tuple[NodeStatus, ...]
    fake_nodes: dict[str, int]
    links: tuple[LinkStatus, ...]


def read_status(lab: Lab) -> LabStatus | None:
    """Ask the machines and the API server; nothing when there is no such lab."""
    state = lab.files.read()
    if state is None:
        return None
    plan = AddressPlan(slot=state.slot)
    machines = tuple(_machine(lab, member, plan, state) for member in state.machines)
    nodes, fake, version = _cluster(lab, state)
    healthy = all(item.running and all(program.state == "Running" for program in item.programs) for item in machines)
    settled = all(node.ready == "Ready" for node in nodes) and fake.get("Ready", 0) == state.kwok
    modules = ("etcd", "containerd", "coredns", "cni", *(["kwok"] if state.kwok else []))
    return LabStatus(
        name=state.name,
        phase=state.phase,
        engine=state.engine,
        ready=state.phase == "Up" and healthy and settled and version is not None,
        server=api_url(plan),
        kubeconfig=str(lab.files.kubeconfig),
        versions={
            "kubernetes": version or "unreachable",
            **{module: programs.version(module) for module in modules},
        },
        addresses={"host": str(plan.host), "pods": str(plan.pods), "services": str(plan.services)},
        machines=machines,
        nodes=nodes,
        fake_nodes=fake,
        links=links.read(lab),
    )


def _machine(lab: Lab, member: MachineState, plan: AddressPlan, state: LabState) -> MachineStatus:
    names = [node.name for node in state.nodes]
    address = plan.node(names.index(member.name)) if member.name in names else plan.control_plane
    owner = lab.machine(member.name)
    runs = machine.running(member)
    pids = owner.host_pids()
    return MachineStatus(
        name=member.name,
        address=str(address),
        pid=member.init,
        running=runs,
        memory=owner.resident_memory(),
        programs=tuple(replace(item, pid=pids.get(item.pid, 0)) for item in owner.programs()) if runs else (),
    )


def _cluster(lab: Lab, state: LabState) -> tuple[tuple[NodeStatus, ...], dict[str, int], str | None]:
    unknown = tuple(
        NodeStatus(name=node.name, ready="Unknown", pool=node.pool, site=node.site, resources={})
        for node in state.nodes
    )
    if not state.machines or not lab.files.kubeconfig.exists():
        return unknown, {}, None
    client = Client(lab.files.kubeconfig, timeout=3)
    try:
        version = str(client.get("/version")["gitVersion"])
        items = client.get("/api/v1/nodes?resourceVersion=0")["items"]
    except ApiError:
        return unknown, {}, None
    fake = Counter(_ready(item) for item in items if item["metadata"]["labels"].get("type") == "kwok")
    known = {item["metadata"]["name"]: item for item in items}
    nodes = tuple(_node(node, known.get(node.name)) for node in unknown)
    return nodes, dict(fake), version


def _node(node: NodeStatus, item: dict[str, Any] | None) -> NodeStatus:
    if item is None:
        return node
    allocatable = item["status"].get("allocatable", {})
    resources = {name: str(count) for name, count in allocatable.items() if "/" in name}
    return NodeStatus(name=node.name, ready=_ready(item), pool=node.pool, site=node.site, resources=resources)


def _ready(item: dict[str, Any]) -> str:
    conditions = {entry["type"]: entry["status"] for entry in item["status"].get("conditions", [])}
    return {"True": "Ready", "False": "NotReady"}.get(conditions.get("Ready", ""), "Unknown")


def render(status: LabStatus) -> str:
    """The status as text for a person."""
    doubt = " but not ready" if status.phase == "Up" and not status.ready else ""
    lines = [
        f"lab {status.name}: {status.phase}{doubt}, engine {status.engine}",
        f"  API server   {status.server}   (host {status.addresses['host']}, pods {status.addresses['pods']}, "
        f"Services {status.addresses['services']})",
        f"  KUBECONFIG   {status.kubeconfig}",
        f"  versions     {', '.join(f'{name} {version}' for name, version in status.versions.items())}",
    ]
    if status.machines:
        rows = [("MACHINE", "ADDRESS", "PID", "MEMORY", "PROGRAMS")]
        rows += [
            (item.name, item.address, str(item.pid), f"{item.memory >> 20} MiB", _programs(item))
            for item in status.machines
        ]
        lines += ["", *_table(rows)]
        total = sum(item.memory for item in status.machines) >> 20
        lines.append(f"memory of all: {total} MiB resident (pages that processes share count for each)")
    if status.nodes and status.machines:
        rows = [("NODE", "STATUS", "POOL", "SITE", "DEVICES")]
        rows += [
            (
                node.name,
                node.ready,
                node.pool,
                node.site,
                ", ".join(f"{name}={count}" for name, count in node.resources.items()) or "-",
            )
            for node in status.nodes
        ]
        lines += ["", *_table(rows)]
    if status.fake_nodes:
        lines.append(f"fake nodes: {', '.join(f'{count} {ready}' for ready, count in status.fake_nodes.items())}")
    for link in status.links:
        lines.append(f"{link.what} {link.lab}: link {link.state} (here {link.address}, there {link.peer})")
    return "\n".join(lines)


def _programs(item: MachineStatus) -> str:
    if not item.running:
        return "GONE"
    texts = []
    for program in item.programs:
        notes = [] if program.state == "Running" else [program.state]
        if program.restarts:
            notes.append(f"{program.restarts} restarts, last exit {program.last_exit}")
        texts.append(f"{program.name} ({', '.join(notes)})" if notes else program.name)
    return ", ".join(texts)


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
