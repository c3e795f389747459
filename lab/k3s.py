"""The lab on an installed k3s: the same machines and network, k3s servers and agents in them.

Written against k3s's documentation and NOT tested where this repository is developed, which has no k3s binary. It is
kept small for that reason: everything around it (machines, network, DNS, images, teardown) is the embedded lab's.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import yaml

from lab import cgroups, dns, kwok, network
from lab.api import API_PORT, api_url
from lab.archive import PAUSE_REFERENCE
from lab.debian import find
from lab.engine import Context
from lab.errors import LabError
from lab.machine import Machine, visible_paths
from lab.nodes import CONTROL_PLANE, NodeSpec
from lab.progress import say
from lab.spec import MachineSpec, Program

_KEEP = ("lib/rancher/k3s/agent/containerd",)


class K3s:
    """One k3s server without an agent in the control plane's machine, one k3s agent in each node's."""

    containerd_socket = "/run/k3s/containerd/containerd.sock"
    plans_pod_networks = False

    def __init__(self) -> None:
        binary = find("k3s")
        if binary is None:
            raise LabError(
                "--engine k3s: there is no k3s on PATH. Install it (https://docs.k3s.io/installation; "
                "INSTALL_K3S_SKIP_ENABLE=true, the lab starts it itself), or leave --engine away."
            )
        say("--engine k3s has never been run by those who wrote it: please report how it goes")
        self._binary = str(Path(binary).resolve())

    def modules(self, *, nodes: bool) -> tuple[str, ...]:
        """For kubectl and the name server; for ctr and the pods' sandbox where there are ``nodes``."""
        return ("kubernetes", "coredns", *(("containerd", "pause") if nodes else ()))

    def specs(self, context: Context) -> list[tuple[Machine, MachineSpec]]:
        """Prepare the machines, the control plane first and the nodes in order, and say what each runs."""
        token = secrets.token_hex(16)
        head = context.control_plane
        head.prepare()
        kubeconfig = head.directory / "etc" / "k3s.kubeconfig"
        programs = [
            self._server(context, token=token, kubeconfig=kubeconfig),
            dns.program(programs=context.programs, directory=head.directory, kubeconfig=kubeconfig),
        ]
        if context.state.kwok:
            programs.append(kwok.program(programs=context.programs, plan=context.plan, kubeconfig=kubeconfig))
        specs = [(head, self._spec(context, head, programs, sysctls=network.CONTROL_PLANE_SYSCTLS))]
        for index, node in enumerate(context.state.nodes):
            member = context.machine(node.name)
            member.prepare(keep=_KEEP)
            agent = self._agent(context, node=node, index=index, token=token)
            specs.append((member, self._spec(context, member, [agent], sysctls=network.SYSCTLS)))
        return specs

    def kubeconfig(self, context: Context) -> Path | None:
        """The administrator's kubeconfig, once k3s has written it, with the address that the host reaches."""
        written = context.control_plane.directory / "etc" / "k3s.kubeconfig"
        if not written.exists():
            return None
        config = yaml.safe_load(written.read_text())
        if not config:
            return None
        config["clusters"][0]["cluster"]["server"] = api_url(context.plan)
        target = written.with_name("admin.kubeconfig")
        target.touch(mode=0o600)
        target.write_text(yaml.safe_dump(config, sort_keys=False))
        return target

    def _spec(
        self, context: Context, machine: Machine, programs: list[Program], *, sysctls: dict[str, str]
    ) -> MachineSpec:
        visible = visible_paths(machine.directory, context.files.cache / "bin", Path(self._binary).parent)
        return MachineSpec(
            name=machine.name,
            directory=str(machine.directory),
            visible=visible,
            programs=tuple(programs),
            sysctls=sysctls,
        )

    def _server(self, context: Context, *, token: str, kubeconfig: Path) -> Program:
        plan = context.plan
        argv = (
            *(self._binary, "server", "--disable-agent"),
            f"--node-name={CONTROL_PLANE}",
            f"--node-ip={plan.control_plane}",
            f"--advertise-address={plan.control_plane}",
            f"--https-listen-port={API_PORT}",
            f"--cluster-cidr={plan.pods}",
            f"--service-cidr={plan.services}",
            f"--cluster-dns={plan.dns_service}",
            "--kube-controller-manager-arg=node-cidr-mask-size=24",
            "--flannel-backend=host-gw",
            "--disable=coredns,traefik,servicelb,metrics-server,local-storage",
            "--disable-cloud-controller",
            "--disable-helm-controller",
            f"--write-kubeconfig={kubeconfig}",
        )
        return Program(name="k3s-server", argv=argv, environment={"K3S_TOKEN": token})

    def _agent(self, context: Context, *, node: NodeSpec, index: int, token: str) -> Program:
        argv = [
            *(self._binary, "agent", f"--server={api_url(context.plan)}"),
            f"--node-name={node.name}",
            f"--node-ip={context.plan.node(index)}",
            "--flannel-iface=eth0",
            f"--pause-image={PAUSE_REFERENCE}",
            *(f"--node-label={key}={value}" for key, value in node.labels().items()),
        ]
        if not cgroups.unified():
            argv.append("--kubelet-arg=fail-cgroupv1=false")
        return Program(name="k3s-agent", argv=tuple(argv), environment={"K3S_TOKEN": token}, grace=3.0)
