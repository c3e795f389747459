"""What a member site plans by while its hub is away: copies of what the hub planned its Assignment from."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from littoral.api.base import ApiModel
from littoral.api.meta import DnsLabel, ObjectName
from littoral.api.rules import ListMap


class CopiedSpec(ApiModel):
    """The spec of an object of a namespace, as it is on the hub."""

    namespace: DnsLabel
    """Namespace of the object."""
    name: ObjectName
    """Name of the object."""
    # No schema: whoever reads it parses it as what it is, and the hub's API server has validated the original.
    spec: dict[str, Any]
    """Spec of the object, as it is on the hub."""

    atomic: ClassVar[bool] = True


class PlanningInputs(ApiModel):
    """The Models of the pool, their LatencySLOs and the NodePool."""

    models: Annotated[tuple[CopiedSpec, ...], Field(max_length=256), ListMap("namespace", "name")] = ()
    """Models that the pool serves."""
    slos: Annotated[tuple[CopiedSpec, ...], Field(max_length=512), ListMap("namespace", "name")] = ()
    """LatencySLOs of those Models."""
    pool: dict[str, Any] = Field(default_factory=dict)
    """Spec of the NodePool."""
