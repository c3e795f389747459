"""Nodes of a member cluster, as its site reports them and as the hub reads them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Final

from littoral.api.nodes import NodeReport, NodeTaint
from littoral.api.quantity import format_quantity
from littoral.core.hardware import Node

MOST_NODES: Final = 256
"""Nodes that one status holds at most (`AssignmentStatus.nodes`)."""

# As many as `NodeReport` holds of each.
_MOST_LABELS: Final = 1024
_MOST_RESOURCES: Final = 64
_MOST_TAINTS: Final = 64


def report_of(node: Node) -> NodeReport:
    """What a site says of one of its nodes. Equal nodes give equal reports.

    Of more labels or taints than a report holds, the first by name are told; of extended resources those first that
    the node has at all.
    """
    extended = sorted(node.extended.items(), key=lambda item: (item[1] == 0, item[0]))[:_MOST_RESOURCES]
    return NodeReport(
        name=node.name,
        ready=node.ready,
        schedulable=node.schedulable,
        cpu=format_quantity(_exact(node.cpu)),
        memory=format_quantity(_exact(node.memory), binary=True),
        labels=dict(sorted(node.labels.items())[:_MOST_LABELS]),
        extended=dict(sorted(extended)),
        taints=tuple(NodeTaint(key=taint.key, effect=taint.effect) for taint in node.taints[:_MOST_TAINTS]),
    )


def reports_of(nodes: Iterable[Node]) -> tuple[NodeReport, ...]:
    """What a site says of the nodes of a pool, by name; of more than a status holds, the first `MOST_NODES`."""
    return tuple(report_of(node) for node in sorted(nodes, key=lambda node: node.name)[:MOST_NODES])


def node_of(report: NodeReport, *, member: str) -> Node:
    """The node that a member cluster reports; it is read as a Node of the API server is, and so within its bounds."""
    body = {
        "metadata": {"name": report.name, "labels": report.labels},
        "spec": {
            "unschedulable": not report.schedulable,
            "taints": [{"key": taint.key, "effect": taint.effect} for taint in report.taints],
        },
        "status": {
            "allocatable": report.extended | {"cpu": report.cpu, "memory": report.memory},
            "conditions": [{"type": "Ready", "status": "True" if report.ready else "False"}],
        },
    }
    return replace(Node.from_object(body), member=member)


def _exact(value: float) -> Decimal:
    """The number that a person would write for it: 3.92, not the double next to it."""
    return Decimal(repr(value))
