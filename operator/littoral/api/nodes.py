"""What a member site reports of its nodes, which the hub cannot see."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from littoral.api.base import ApiModel
from littoral.api.meta import Count, ObjectName
from littoral.api.quantity import Quantity


class NodeTaint(ApiModel):
    """A taint that keeps Pods off a node."""

    key: str
    """Key of the taint."""
    effect: str
    """NoSchedule or NoExecute."""


class NodeReport(ApiModel):
    """One node of the pool: what a planner has to know of it."""

    name: ObjectName
    """Name of the node."""
    ready: bool = False
    """Whether its kubelet says that it is Ready."""
    schedulable: bool = True
    """False while it is cordoned."""
    cpu: Quantity = "0"
    """CPU cores that can be allocated."""
    memory: Quantity = "0"
    """Memory that can be allocated."""
    labels: Annotated[dict[str, str], Field(max_length=1024)] = Field(default_factory=dict)
    """Labels of the node."""
    extended: Annotated[dict[str, Count], Field(max_length=64)] = Field(default_factory=dict)
    """Extended resources that can be allocated, in whole devices. Example: {nvidia.com/gpu: 1}."""
    taints: Annotated[tuple[NodeTaint, ...], Field(max_length=64)] = ()
    """Taints that keep Pods off the node."""

    # Written as a whole: the object's managed fields need not name every label.
    atomic: ClassVar[bool] = True
