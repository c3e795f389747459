"""What a machine is told: written by the lab on the host, read by the machine's init. Standard library only."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Something that must answer before a program starts.

    ``address`` is ``http://...``, ``https://...`` (any 2xx counts) or ``unix:///path`` (accepts a connection).
    The three files are for ``https``: the authority, and the client's certificate and key.
    """

    address: str
    authority: str = ""
    certificate: str = ""
    key: str = ""


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program that the machine keeps running.

    Its first start waits until every probe in ``after`` has answered. A restart does not wait: a node must come back
    by itself while the control plane is away.
    ``grace`` is how many seconds it gets between SIGTERM and SIGKILL when the machine stops; 0 kills it at once.
    """

    name: str
    argv: tuple[str, ...]
    after: tuple[Probe, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    grace: float = 0.0


@dataclass(frozen=True, kw_only=True)
class MachineSpec:
    """A machine: its name (also its host name), its directory on the host, what it sees and what it runs.

    ``visible`` are paths of the host that appear at the same place in the machine, besides the system's programs and
    libraries. ``sysctls`` are dotted names below ``net``, which belong to the machine alone.
    """

    name: str
    directory: str
    visible: tuple[str, ...]
    programs: tuple[Program, ...]
    sysctls: dict[str, str] = field(default_factory=dict)
    hosts: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """Readable JSON; ``from_json`` gives the same spec back."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> MachineSpec:
        """The spec that ``to_json`` wrote."""
        data: dict[str, Any] = json.loads(text)
        programs = tuple(
            Program(
                **{
                    **item,
                    "argv": tuple(item["argv"]),
                    "after": tuple(Probe(**probe) for probe in item["after"]),
                }
            )
            for item in data.pop("programs")
        )
        return cls(**{**data, "visible": tuple(data["visible"]), "programs": programs})


@dataclass(frozen=True, kw_only=True)
class ProgramStatus:
    """What init says of one program, in ``programs.json`` of the machine's directory.

    ``pid`` is the number inside the machine, 0 while it does not run; ``state`` is Waiting (for its probe), Running
    or Restarting (it ended with ``last_exit`` and starts again soon).
    """

    name: str
    state: str
    pid: int
    restarts: int
    last_exit: int | None


def write_statuses(directory: Path, statuses: list[ProgramStatus]) -> None:
    """Replace ``programs.json`` in one step, so that a reader never sees half of it."""
    partial = directory / ".programs.json"
    partial.write_text(json.dumps([asdict(status) for status in statuses], indent=2))
    partial.replace(directory / "programs.json")


def read_statuses(directory: Path) -> list[ProgramStatus]:
    """What init last wrote; empty when it has not written yet."""
    try:
        return [ProgramStatus(**item) for item in json.loads((directory / "programs.json").read_text())]
    except FileNotFoundError:
        return []
