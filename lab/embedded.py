"""The embedded cluster: upstream Kubernetes from the programs in ``tools/``."""

from __future__ import annotations

from pathlib import Path

from lab import control_plane, kwok, node
from lab.control_plane import ControlPlane
from lab.engine import Context
from lab.machine import Machine
from lab.node import Node
from lab.spec import MachineSpec, Program


class Embedded:
    """etcd, the Kubernetes control plane and kubelets, each program as itself."""

    containerd_socket = node.CONTAINERD_SOCKET
    plans_pod_networks = True

    def modules(self, *, nodes: bool) -> tuple[str, ...]:
        """The modules of ``tools/`` that it needs for the control plane, and for ``nodes`` where there are any."""
        return tuple(dict.fromkeys((*control_plane.MODULES, *(node.MODULES if nodes else ()))))

    def specs(self, context: Context) -> list[tuple[Machine, MachineSpec]]:
        """Prepare the machines, the control plane first and the nodes in order, and say what each runs."""
        head = self._head(context)
        head.machine.prepare()
        head.issue()
        extra: tuple[Program, ...] = ()
        if context.state.kwok:
            fake = kwok.program(
                programs=context.programs,
                plan=context.plan,
                kubeconfig=head.authority.directory / "kwok.kubeconfig",
                after=(head.ready(),),
            )
            extra = (fake,)
        specs = [(head.machine, head.spec(extra=extra))]
        for index, spec in enumerate(context.state.nodes):
            member = Node(
                machine=context.machine(spec.name),
                spec=spec,
                index=index,
                plan=context.plan,
                programs=context.programs,
                cache=context.files.cache,
            )
            member.machine.prepare(keep=node.KEEP)
            specs.append((member.machine, member.machine_spec(head)))
        return specs

    def kubeconfig(self, context: Context) -> Path | None:
        """The administrator's kubeconfig, once it is there."""
        return self._head(context).authority.directory / "admin.kubeconfig"

    @staticmethod
    def _head(context: Context) -> ControlPlane:
        return ControlPlane(
            lab=context.files.name,
            machine=context.control_plane,
            plan=context.plan,
            programs=context.programs,
            cache=context.files.cache,
        )
