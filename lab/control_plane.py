"""The machine `control-plane`: etcd, the API server, the controller manager, the scheduler and the DNS server."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from lab import dns, network
from lab.addresses import AddressPlan
from lab.api import API_PORT, api_url
from lab.certificates import Authority
from lab.machine import Machine, visible_paths
from lab.nodes import CONTROL_PLANE
from lab.programs import Programs
from lab.spec import MachineSpec, Probe, Program

MODULES = ("kubernetes", "etcd", "coredns")
"""The modules of ``tools/`` whose programs this machine runs."""

_LOOPBACK = IPv4Address("127.0.0.1")
_ETCD = "http://127.0.0.1:2379"


@dataclass(frozen=True, kw_only=True)
class ControlPlane:
    """The control plane of the lab called ``lab``."""

    lab: str
    machine: Machine
    plan: AddressPlan
    programs: Programs
    cache: Path

    @property
    def authority(self) -> Authority:
        """The lab's certificate authority; it lives as long as the lab's directory."""
        return Authority(directory=self.machine.directory / "pki")

    @property
    def server(self) -> str:
        """The API server's URL, for the host, the nodes and people."""
        return api_url(self.plan)

    def issue(self) -> None:
        """Make the authority, the certificates and kubeconfigs of everything that runs here, and an administrator's."""
        authority = self.authority
        authority.create()
        authority.issue(
            "apiserver",
            common_name="kube-apiserver",
            names=[
                *("localhost", CONTROL_PLANE, "kubernetes", "kubernetes.default", "kubernetes.default.svc"),
                "kubernetes.default.svc.cluster.local",
            ],
            addresses=[_LOOPBACK, self.plan.control_plane, self.plan.kubernetes_service],
        )
        authority.issue("apiserver-kubelet", common_name="kube-apiserver-kubelet", organization="system:masters")
        authority.issue("probe", common_name="littoral-lab-probe")
        for name in ("kube-controller-manager", "kube-scheduler", "kube-proxy", "coredns"):
            authority.kubeconfig(name, server=self.server, user=f"system:{name}")
        for name in ("admin", "kwok"):
            authority.kubeconfig(
                name,
                server=self.server,
                user=f"littoral-lab-{name}",
                organization="system:masters",
                cluster=f"littoral-{self.lab}",
            )

    def ready(self, *, directory: Path | None = None) -> Probe:
        """Answers once the API server is ready; ``directory`` holds the credentials that the prober sees."""
        files = directory or self.authority.directory
        return Probe(
            address=f"{self.server}/readyz",
            authority=f"{files}/ca.crt",
            certificate=f"{files}/probe.crt",
            key=f"{files}/probe.key",
        )

    def spec(self, *, extra: tuple[Program, ...] = ()) -> MachineSpec:
        """What the machine runs; ``extra`` are programs beside the control plane's own."""
        directory = self.machine.directory
        name_server = dns.program(
            programs=self.programs,
            directory=directory,
            kubeconfig=self.authority.directory / "coredns.kubeconfig",
            after=(self.ready(),),
        )
        return MachineSpec(
            name=CONTROL_PLANE,
            directory=str(directory),
            visible=visible_paths(directory, self.cache / "bin"),
            sysctls=network.CONTROL_PLANE_SYSCTLS,
            hosts={str(self.plan.control_plane): CONTROL_PLANE},
            programs=(
                self._etcd(),
                self._api_server(),
                self._controller_manager(),
                self._scheduler(),
                name_server,
                *extra,
            ),
        )

    def _etcd(self) -> Program:
        # A lab starts empty and is not meant to survive a power cut: waiting for the disk would buy nothing.
        argv = (
            self.programs.path("etcd"),
            "--data-dir=/var/lib/etcd",
            "--unsafe-no-fsync",
            f"--listen-client-urls={_ETCD}",
            f"--advertise-client-urls={_ETCD}",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--quota-backend-bytes=4294967296",
            "--auto-compaction-mode=periodic",
            "--auto-compaction-retention=10m",
            "--log-level=warn",
        )
        return Program(name="etcd", argv=argv)

    def _api_server(self) -> Program:
        pki = self.authority.directory
        argv = (
            self.programs.path("kubernetes", "kube-apiserver"),
            f"--etcd-servers={_ETCD}",
            f"--secure-port={API_PORT}",
            f"--advertise-address={self.plan.control_plane}",
            f"--service-cluster-ip-range={self.plan.services}",
            "--allow-privileged",
            "--anonymous-auth=false",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--client-ca-file={pki}/ca.crt",
            f"--tls-cert-file={pki}/apiserver.crt",
            f"--tls-private-key-file={pki}/apiserver.key",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={pki}/service-accounts.pub",
            f"--service-account-signing-key-file={pki}/service-accounts.key",
            f"--kubelet-certificate-authority={pki}/ca.crt",
            f"--kubelet-client-certificate={pki}/apiserver-kubelet.crt",
            f"--kubelet-client-key={pki}/apiserver-kubelet.key",
            "--kubelet-preferred-address-types=InternalIP",
            "--event-ttl=20m",
            "--profiling=false",
        )
        return Program(name="kube-apiserver", argv=argv, after=(Probe(address=f"{_ETCD}/readyz"),))

    def _controller_manager(self) -> Program:
        pki = self.authority.directory
        argv = (
            self.programs.path("kubernetes", "kube-controller-manager"),
            *self._client_flags("kube-controller-manager"),
            "--use-service-account-credentials",
            f"--service-account-private-key-file={pki}/service-accounts.key",
            f"--root-ca-file={pki}/ca.crt",
            f"--cluster-signing-cert-file={pki}/ca.crt",
            f"--cluster-signing-key-file={pki}/ca.key",
            # The lab gives each node its range of addresses itself.
            "--allocate-node-cidrs=false",
            "--node-monitor-period=2s",
            "--node-monitor-grace-period=20s",
            "--terminated-pod-gc-threshold=50",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        )
        return Program(name="kube-controller-manager", argv=argv, after=(self.ready(),))

    def _scheduler(self) -> Program:
        argv = (
            self.programs.path("kubernetes", "kube-scheduler"),
            *self._client_flags("kube-scheduler"),
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        )
        return Program(name="kube-scheduler", argv=argv, after=(self.ready(),))

    def _client_flags(self, name: str) -> tuple[str, ...]:
        kubeconfig = self.authority.directory / f"{name}.kubeconfig"
        return (
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            "--profiling=false",
        )
