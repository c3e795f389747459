"""The nodes of member clusters, out of what their sites report in the statuses of their Assignments. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from littoral.api.assignment import Assignment
from littoral.api.nodes import NodeReport
from littoral.core.hardware import Node
from littoral.core.node_reports import node_of


class MemberNodes:
    """Reads reports; those that are the same as the last time are not read again."""

    def __init__(self) -> None:
        self._read: dict[str, tuple[str, tuple[NodeReport, ...], tuple[Node, ...]]] = {}

    def of(self, assignments: Iterable[Assignment]) -> Iterator[Node]:
        """The nodes of all members, each once: pools whose selectors overlap report the same node."""
        before, self._read = self._read, {}
        seen: set[tuple[str, str]] = set()
        for assignment in sorted(assignments, key=lambda it: it.name):
            member, reports = assignment.spec.member, assignment.status.nodes
            if member is None or not reports:
                continue
            known = before.get(assignment.name)
            if known is None or known[:2] != (member, reports):
                known = (member, reports, tuple(node_of(report, member=member) for report in reports))
            self._read[assignment.name] = known
            for node in known[2]:
                if (member, node.name) not in seen:
                    seen.add((member, node.name))
                    yield node
