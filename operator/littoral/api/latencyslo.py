"""LatencySLO: how fast a Model must answer, how often, and where."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from littoral.api.base import ApiModel
from littoral.api.meta import Conditions, DnsLabel, ObjectMeta, ObjectName, Resource, ServiceName
from littoral.api.quantity import NonNegativeQuantity, Percentage, PositiveDuration, Ratio
from littoral.api.rules import ListSet, Rule


class Overflow(StrEnum):
    """Whether requests may leave their site."""

    ALLOW = "Allow"
    NEVER = "Never"


class ModelReference(ApiModel):
    """Names a Model in the same namespace."""

    name: ServiceName
    """Name of the Model, in the same namespace."""


class Sites(ApiModel):
    """Sites that an SLO is about."""

    match_names: Annotated[tuple[DnsLabel, ...], Field(min_length=1, max_length=1024), ListSet()]
    """Names of sites, as in NodePool.spec.site."""


class Demand(ApiModel):
    """Load to be ready for."""

    floor: NonNegativeQuantity = "0"
    """Requests per second at each site to be ready for at any time, whatever the load is now. Example: 20 or 500m (one
    every two seconds)."""


class LatencySLOSpec(ApiModel):
    """How fast, how often, and where."""

    model_ref: Annotated[
        ModelReference,
        Rule(cel="self == oldSelf", message="cannot be changed: make another LatencySLO for another Model"),
    ]
    """The Model that must be fast, in the same namespace. Cannot be changed."""
    percentile: Percentage = "99"
    """Percentage of requests that must be answered within latency. Example: "99" or "99.9"."""
    latency: PositiveDuration
    """Time from the site's gateway to the answer, at most 1h. Example: 50ms."""
    objective: Percentage = "99.9"
    """Percentage of 5-minute windows in which the percentile must be kept: what burn-rate alerts count."""
    sites: Sites | None = None
    """Sites that the SLO is about. Absent: all."""
    demand: Demand = Demand()
    """Load to be ready for at any time."""
    min_accuracy: Ratio | None = None
    """Least accuracy, between 0 and 1, of variants that may serve; variants that state no accuracy may not. Example:
    "0.75". Absent: any variant may."""
    overflow: Overflow = Overflow.ALLOW
    """Allow: requests that their site cannot serve in time go to another pool. Never: they stay at their site, since
    the data must not leave it."""


class LatencySLOStatus(ApiModel):
    """What Littoral did about the SLO."""

    observed_generation: int = Field(default=-1, json_schema_extra={"format": "int64"})
    """metadata.generation that this status is about; -1 until Littoral has seen the SLO."""
    conditions: Conditions = ()
    """Ready: the SLO is in force. Attainable: whether what is known of demand and speed lets it be kept. Reconciling
    and Stalled are present only while true."""


class LatencySLOMeta(ObjectMeta):
    """Metadata of an SLO."""

    name: ObjectName


class LatencySLO(Resource):
    """How fast a Model must answer, for how many of its requests, and at which sites."""

    KIND: ClassVar[str] = "LatencySLO"
    PLURAL: ClassVar[str] = "latencyslos"
    NAMESPACED: ClassVar[bool] = True

    kind: Literal["LatencySLO"] = "LatencySLO"
    metadata: LatencySLOMeta
    spec: LatencySLOSpec
    """How fast, how often, and where."""
    status: LatencySLOStatus = LatencySLOStatus()
    """What Littoral did about it."""
