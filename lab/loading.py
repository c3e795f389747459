"""Images into the nodes of a running lab, by each node's own containerd; what is there already is left alone."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab.archive import read_archive
from lab.errors import LabError
from lab.programs import Programs
from lab.state import MachineState

_NAMESPACE = "k8s.io"


@dataclass(frozen=True, kw_only=True)
class NodeImages:
    """The images of the node whose machine is ``machine``; its containerd listens on ``socket`` there."""

    machine: MachineState
    socket: str
    programs: Programs

    def answers(self) -> bool:
        """Whether the node's containerd answers."""
        try:
            self.digests()
        except LabError:
            return False
        return True

    def digests(self) -> dict[str, str]:
        """Reference -> digest of every image. Raises ``LabError`` while containerd does not answer."""
        lines = self._ctr("images", "list").splitlines()[1:]
        return {fields[0]: fields[2] for fields in map(str.split, lines)}

    def load(self, archive: Path) -> list[str]:
        """Import the archive unless all its images are there with the same digest; the references it imported."""
        wanted = read_archive(archive)
        present = self.digests()
        missing = [reference for reference, digest in wanted.items() if present.get(reference) != digest]
        if missing:
            self._ctr("images", "import", "--snapshotter=overlayfs", str(archive))
        return missing

    def drop_predecessors(self, archives: Iterable[Path]) -> list[str]:
        """Remove other tags of the repositories in the archives, which later builds left behind; what was removed.

        Only for a node without pods: a container whose image is gone does not start again.
        """
        wanted = {reference for path in archives for reference in read_archive(path)}
        repositories = {reference.rpartition(":")[0] for reference in wanted}
        present = self.digests()
        stale = {name for name in present if name.rpartition(":")[0] in repositories and name not in wanted}
        kept = {digest for name, digest in present.items() if name not in stale and not name.startswith("sha256:")}
        # Beside each name the kubelet's view has one by the image's identity, which would keep the content.
        unnamed = {name for name, digest in present.items() if name.startswith("sha256:") and digest not in kept}
        if stale:
            self._ctr("images", "remove", *sorted(stale | unnamed))
        return sorted(stale)

    def _ctr(self, *arguments: str) -> str:
        # A process's root leads into its mount namespace: the socket needs no way out of the machine.
        socket = f"/proc/{self.machine.init}/root{self.socket}"
        command = [
            self.programs.path("containerd", "ctr"),
            "--address",
            socket,
            "--namespace",
            _NAMESPACE,
            *arguments,
        ]
        result = subprocess.run(command, check=False, capture_output=True, text=True)
        if result.returncode != 0:
            raise LabError(f"ctr {' '.join(arguments)} on node {self.machine.name}: {result.stderr.strip()[-800:]}")
        return result.stdout


def load(archives: Iterable[Path], *, nodes: Iterable[NodeImages]) -> list[str]:
    """Load every archive into every node, the nodes side by side; lines that say what was imported where."""
    paths, targets = list(archives), list(nodes)
    for path in paths:
        read_archive(path)  # A bad archive is an error before anything is imported.
    with ThreadPoolExecutor(max_workers=max(1, len(targets))) as pool:
        results = pool.map(lambda node: [(node.machine.name, node.load(path)) for path in paths], targets)
        return [f"{reference} -> {name}" for result in results for name, loaded in result for reference in loaded]
