"""The machine of a real node: containerd, the kubelet and kube-proxy."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml

from lab.addresses import AddressPlan
from lab.api import Json
from lab.archive import PAUSE_REFERENCE
from lab.control_plane import ControlPlane
from lab.debian import SYSTEM_PATH
from lab.devices import CHECKPOINT, CHECKPOINT_NAME
from lab.machine import Machine, visible_paths
from lab.network import SYSCTLS
from lab.nodes import NodeSpec
from lab.programs import Programs
from lab.spec import MachineSpec, Probe, Program

MODULES = ("kubernetes", "containerd", "cni", "pause")
"""The modules of ``tools/`` whose programs this machine runs."""

KEEP = ("lib/containerd",)
"""What survives between two runs, below the machine's ``var``: the images."""

CONTAINERD_SOCKET = "/run/containerd/containerd.sock"

_CONTAINERD = """\
version = 3
root = "/var/lib/containerd"
state = "/run/containerd"

[grpc]
  address = "{socket}"

[plugins."io.containerd.nri.v1.nri"]
  disable = true

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{pause}"

[plugins."io.containerd.cri.v1.runtime"]
  # In a container or a sandbox of its own, root may not lower a process's score.
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{cni}"]
    conf_dir = "{net}"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""


@dataclass(frozen=True, kw_only=True)
class Node:
    """The real node ``spec``, number ``index`` of its lab."""

    machine: Machine
    spec: NodeSpec
    index: int
    plan: AddressPlan
    programs: Programs
    cache: Path

    @property
    def _etc(self) -> Path:
        return self.machine.directory / "etc"

    def machine_spec(self, control_plane: ControlPlane) -> MachineSpec:
        """Write the node's certificates and configuration, and say what its machine runs."""
        self._issue(control_plane)
        net = self._etc / "net.d"
        net.mkdir(exist_ok=True)
        (net / "10-lab.conflist").write_text(json.dumps(self._cni(), indent=2))
        (self._etc / "containerd.toml").write_text(
            _CONTAINERD.format(
                socket=CONTAINERD_SOCKET, pause=PAUSE_REFERENCE, cni=self.programs.directories["cni"], net=net
            )
        )
        (self.machine.directory / "var" / CHECKPOINT_NAME).write_text(CHECKPOINT)
        (self._etc / "kubelet.yaml").write_text(yaml.safe_dump(self._kubelet_configuration(), sort_keys=False))
        (self._etc / "kube-proxy.yaml").write_text(yaml.safe_dump(self._proxy_configuration(), sort_keys=False))
        return MachineSpec(
            name=self.spec.name,
            directory=str(self.machine.directory),
            visible=visible_paths(self.machine.directory, self.cache / "bin"),
            sysctls=SYSCTLS,
            hosts={str(self.plan.node(self.index)): self.spec.name},
            programs=(
                Program(
                    name="containerd",
                    argv=(self.programs.path("containerd"), "--config", str(self._etc / "containerd.toml")),
                    environment={"PATH": f"{self.programs.directories['containerd']}:{SYSTEM_PATH}"},
                    grace=3.0,
                ),
                self._kubelet(control_plane),
                Program(
                    name="kube-proxy",
                    argv=(
                        self.programs.path("kubernetes", "kube-proxy"),
                        f"--config={self._etc}/kube-proxy.yaml",
                        f"--hostname-override={self.spec.name}",
                    ),
                    after=(control_plane.ready(directory=self._etc),),
                ),
            ),
        )

    def _issue(self, control_plane: ControlPlane) -> None:
        authority, etc = control_plane.authority, self._etc
        shutil.copy(authority.certificate, etc / "ca.crt")
        user, server = f"system:node:{self.spec.name}", control_plane.server
        authority.kubeconfig("kubelet", server=server, user=user, organization="system:nodes", into=etc)
        authority.kubeconfig("kube-proxy", server=server, user="system:kube-proxy", into=etc)
        # The API server's health is open to every authenticated user.
        authority.issue("probe", common_name="littoral-lab-probe", into=etc)
        authority.issue(
            "kubelet-server",
            common_name=user,
            organization="system:nodes",
            names=[self.spec.name],
            addresses=[self.plan.node(self.index)],
            into=etc,
        )

    def _kubelet(self, control_plane: ControlPlane) -> Program:
        labels = ",".join(f"{key}={value}" for key, value in self.spec.labels().items())
        argv = (
            self.programs.path("kubernetes", "kubelet"),
            f"--config={self._etc}/kubelet.yaml",
            f"--kubeconfig={self._etc}/kubelet.kubeconfig",
            f"--hostname-override={self.spec.name}",
            f"--node-ip={self.plan.node(self.index)}",
            f"--node-labels={labels}",
        )
        after = (Probe(address=f"unix://{CONTAINERD_SOCKET}"), control_plane.ready(directory=self._etc))
        return Program(name="kubelet", argv=argv, after=after, grace=2.0)

    def _kubelet_configuration(self) -> Json:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "failCgroupV1": False,
            "cgroupDriver": "cgroupfs",
            "enforceNodeAllocatable": [],
            "failSwapOn": False,
            "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": f"{self._etc}/ca.crt"},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": f"{self._etc}/kubelet-server.crt",
            "tlsPrivateKeyFile": f"{self._etc}/kubelet-server.key",
            "clusterDomain": "cluster.local",
            "clusterDNS": [str(self.plan.dns_service)],
            "resolvConf": "/etc/resolv.conf",
            # The lab's disk is the host's: how full it is says nothing of the lab, and no image can be pulled again.
            "evictionHard": {
                "memory.available": "0%",
                "nodefs.available": "0%",
                "nodefs.inodesFree": "0%",
                "imagefs.available": "0%",
            },
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            # A lab is for seeing changes at once.
            "syncFrequency": "10s",
            "configMapAndSecretChangeDetectionStrategy": "Watch",
            "nodeStatusUpdateFrequency": "4s",
            "nodeStatusReportFrequency": "20s",
            "nodeLeaseDurationSeconds": 16,
            "registryPullQPS": 0,
            "maxPods": 200,
        }

    def _proxy_configuration(self) -> Json:
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clientConnection": {"kubeconfig": f"{self._etc}/kube-proxy.kubeconfig"},
            # What does not come from a pod (the host, the API server) is masqueraded, so that answers come back here.
            "detectLocalMode": "ClusterCIDR",
            "clusterCIDR": str(self.plan.pods),
            "nftables": {"minSyncPeriod": "100ms", "syncPeriod": "30s"},
            # The connection table is the whole host's: leave its size and its times alone.
            "conntrack": {
                "maxPerCore": 0,
                "min": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
            },
        }

    def _cni(self) -> Json:
        # Point-to-point instead of a bridge: every packet of a pod is routed, so the proxy sees it, also between pods
        # of one node and without the kernel's bridge filter.
        return {
            "cniVersion": "1.0.0",
            "name": "lab",
            "plugins": [
                {
                    "type": "ptp",
                    "ipMasq": False,
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{"subnet": str(self.plan.node_pods(self.index))}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                        "dataDir": "/run/cni-addresses",
                    },
                },
                {"type": "portmap", "backend": "nftables", "capabilities": {"portMappings": True}},
            ],
        }
