"""The nodes of member clusters, out of what their sites report in the statuses of their Assignments. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from littoral.api.assignment import Assignment
from littoral.api.nodes import NodeReport
from littoral.core.hardware import Node
from littoral.core.node_reports import node_of

AWAITING_REPORT: Final = "AwaitingReport"
"""Reason of a NodePool's condition Ready while its site has yet to report."""


def has_reported(assignment: Assignment) -> bool:
    """Whether the site has said anything of it."""
    return assignment.status.observed_generation >= 0 or bool(assignment.status.nodes)


class _Read(NamedTuple):
    member: str
    reports: tuple[NodeReport, ...]
    nodes: tuple[Node, ...]


class MemberNodes:
    """Reads reports; those that are the same as the last time are not read again."""

    def __init__(self) -> None:
        self._read: dict[str, _Read] = {}

    def of(self, assignments: Iterable[Assignment], *, pools: Mapping[str, str | None] | None = None) -> Iterator[Node]:
        """The nodes of all members, each once: pools whose selectors overlap report the same node.

        Args:
            pools: the member of each pool that there is, by the pool's name. Whose Assignment is lost, or is a new one
                on which nobody has reported yet, keeps the nodes that were known: that they are not reported says
                nothing of them, and a plan without them would stop what runs there.
        """
        before, self._read = self._read, {}
        for assignment in assignments:
            member, status = assignment.spec.member, assignment.status
            if member is None or not has_reported(assignment):
                continue
            known = before.get(assignment.name)
            if known is None or (known.member, known.reports) != (member, status.nodes):
                nodes = tuple(node_of(report, member=member) for report in status.nodes)
                known = _Read(member, status.nodes, nodes)
            self._read[assignment.name] = known
        for name, member in (pools or {}).items():
            if name not in self._read and (lost := before.get(name)) is not None and lost.member == member:
                self._read[name] = lost
        seen: set[tuple[str, str]] = set()
        for _, read in sorted(self._read.items()):
            for node in read.nodes:
                if (read.member, node.name) not in seen:
                    seen.add((read.member, node.name))
                    yield node
