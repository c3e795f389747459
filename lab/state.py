"""Where the lab keeps its files, and what it remembers of each lab between two commands."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lab.addresses import SLOTS
from lab.errors import LabError
from lab.nodes import NodeSpec
from lab.progress import say


def cache_directory() -> Path:
    """Everything that is built or downloaded, outside the checkout: ``${XDG_CACHE_HOME:-~/.cache}/littoral``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache").absolute() / "littoral"


@dataclass(frozen=True, kw_only=True)
class MachineState:
    """A started machine: ``launcher`` is the host's PID of its outermost process, ``init`` of its PID 1.

    The start times (clock ticks since boot) tell them from later processes with the same number.
    """

    name: str
    launcher: int
    launcher_started: int
    init: int
    init_started: int


@dataclass(frozen=True, kw_only=True)
class LabState:
    """What is on disk of a lab. ``phase`` is Down, Starting or Up; in the latter two its addresses are taken."""

    name: str
    slot: int
    engine: str = "embedded"
    phase: str = "Down"
    nodes: tuple[NodeSpec, ...] = ()
    kwok: int = 0
    machines: tuple[MachineState, ...] = ()

    def with_machine(self, machine: MachineState) -> LabState:
        """The same with one machine more, or with the one of its name replaced."""
        if machine.name in [known.name for known in self.machines]:
            return replace(self, machines=tuple(machine if m.name == machine.name else m for m in self.machines))
        return replace(self, machines=(*self.machines, machine))

    def to_json(self) -> str:
        """Readable JSON; ``from_json`` gives the same state back."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> LabState:
        """The state that ``to_json`` wrote."""
        data: dict[str, Any] = json.loads(text)
        nodes = tuple(
            NodeSpec(**{**node, "devices": tuple((device, count) for device, count in node["devices"])})
            for node in data.pop("nodes")
        )
        machines = tuple(MachineState(**machine) for machine in data.pop("machines"))
        return cls(**data, nodes=nodes, machines=machines)


@dataclass(frozen=True, kw_only=True)
class LabFiles:
    """The files of the lab ``name`` below the cache directory."""

    name: str
    cache: Path

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?", self.name):
            raise LabError(f"{self.name!r} is not a lab's name: use a-z, 0-9 and '-', at most 32")

    @property
    def directory(self) -> Path:
        """Everything of this lab; ``down --purge`` removes it."""
        return self.cache / "labs" / self.name

    @property
    def cgroup(self) -> str:
        """The name of its cgroups: a lab of the same name below another cache directory must have others."""
        return f"{self.name}-{hashlib.sha256(str(self.cache).encode()).hexdigest()[:6]}"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.directory / "kubeconfig"

    def machine(self, name: str) -> Path:
        """The directory of one machine."""
        return self.directory / name

    def read(self) -> LabState | None:
        """The lab's state; nothing when there is none, or another version of the lab wrote it.

        A lab is found and taken down by its cgroups alone, too, so a state that cannot be read is no error.
        """
        return _read(self.directory / "state.json")

    def write(self, state: LabState) -> None:
        """Replace the state in one step: a reader, or the next start after a crash, finds the old or the new."""
        self.directory.mkdir(parents=True, exist_ok=True)
        partial = self.directory / ".state.json"
        partial.write_text(state.to_json())
        partial.replace(self.directory / "state.json")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Only one command at a time changes a lab; a second one waits here."""
        with exclusive(self._lock, purpose=f"lab {self.name}"):
            yield

    def purge(self) -> None:
        """Remove every file of the lab; only under its lock, which goes last."""
        if self.directory.exists():
            shutil.rmtree(self.directory)
        self._lock.unlink()

    @property
    def _lock(self) -> Path:
        return self.cache / "labs" / f".{self.name}.lock"


@contextmanager
def exclusive(path: Path, *, purpose: str) -> Iterator[None]:
    """Hold the file lock ``path``, saying so when another process has it. The kernel frees it with the process.

    Who holds it may remove the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"Waiting for another process that works on {purpose} ...")
                fcntl.flock(handle, fcntl.LOCK_EX)
            if not _is_open_at(path, handle.fileno()):
                continue  # Its last holder removed it: whoever comes now would lock another file.
            yield
            return


def _is_open_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def choose_slot(*, cache: Path, name: str) -> int:
    """The slice of addresses for a lab: the one that it had, else a free one, else one of a lab that is down.

    Call it under ``exclusive`` and write the state before leaving. Slots in use by a lab of another cache directory
    are known by the host's end of its network. Raises ``LabError`` when all are in use.
    """
    foreign = {slot for slot in range(SLOTS) if Path("/sys/class/net", host_interface(slot)).exists()}
    states = all_states(cache)
    busy = foreign | {state.slot for state in states if state.name != name and state.phase != "Down"}
    own = [state.slot for state in states if state.name == name]
    down = [state.slot for state in states if state.name != name]
    unused = [slot for slot in range(SLOTS) if slot not in own + down]
    free = [slot for slot in (*own, *unused, *down) if slot not in busy]
    if not free:
        raise LabError(f"{SLOTS} labs are up on this machine already: take one down first")
    return free[0]


def all_states(cache: Path) -> list[LabState]:
    """The states of all labs below the cache directory that can be read, by their names."""
    read = (_read(path) for path in sorted((cache / "labs").glob("*/state.json")))
    return [state for state in read if state is not None]


def host_interface(slot: int) -> str:
    """The name of the host's end of the lab's network."""
    return f"littoral{slot}"


def _read(path: Path) -> LabState | None:
    try:
        return LabState.from_json(path.read_text())
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
