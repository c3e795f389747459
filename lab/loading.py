"""Images into the nodes of a running lab, by each node's own containerd; what is there already is left alone."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab.archive import read_archive
from lab.errors import LabError
from lab.programs import Programs
from lab.state import MachineState

Images = dict[str, str]
"""Reference -> digest of what it points to."""

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

    def digests(self) -> Images:
        """Every image. Raises ``LabError`` while containerd does not answer."""
        lines = self._ctr("images", "list").splitlines()[1:]
        return {fields[0]: fields[2] for fields in map(str.split, lines)}

    def load(self, archives: Mapping[Path, Images]) -> list[str]:
        """Import every archive whose images are not all there with the same digest; the references it imported."""
        present, loaded = self.digests(), []
        for path, images in archives.items():
            missing = [reference for reference, digest in images.items() if present.get(reference) != digest]
            if missing:
                self._ctr("images", "import", "--snapshotter=overlayfs", str(path))
            loaded += missing
        return loaded

    def drop_predecessors(self, archives: Mapping[Path, Images]) -> list[str]:
        """Remove other tags of the repositories in the archives, left behind by earlier builds; what was removed.

        Only for a node without pods: a container whose image is gone does not start again.
        """
        wanted = {reference for images in archives.values() for reference in images}
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


def read(archives: Iterable[Path]) -> dict[Path, Images]:
    """What each archive holds. Raises ``LabError`` for a bad one, before anything is imported."""
    return {path: read_archive(path) for path in archives}


def load(archives: Mapping[Path, Images], *, nodes: Sequence[NodeImages]) -> list[str]:
    """Load every archive into every node, the nodes side by side; lines that say what was imported where."""
    with ThreadPoolExecutor(max_workers=max(1, len(nodes))) as pool:
        results = zip(nodes, pool.map(lambda node: node.load(archives), nodes), strict=True)
        return [f"{reference} -> {node.machine.name}" for node, loaded in results for reference in loaded]
