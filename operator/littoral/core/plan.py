"""What the planner decides, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from littoral.api.assignment import AssignmentSpec
from littoral.core.world import ModelKey


class Reason(StrEnum):
    """Why a Model is placed in a pool, or is not: one word for programs, as Kubernetes' conditions have it."""

    PREFERRED_VARIANT = "PreferredVariant"
    FALLBACK_VARIANT = "FallbackVariant"

    BELOW_MIN_ACCURACY = "BelowMinAccuracy"
    DEVICES_TAKEN = "DevicesTaken"
    CONFLICTING_NODE_SELECTORS = "ConflictingNodeSelectors"
    INSUFFICIENT_CPU = "InsufficientCPU"
    INSUFFICIENT_MEMORY = "InsufficientMemory"
    MAX_REPLICAS_REACHED = "MaxReplicasReached"
    NO_DEVICE = "NoDevice"
    NO_NODE = "NoNode"
    NO_VARIANT_FITS = "NoVariantFits"
    POOL_FULL = "PoolFull"
    SIGNATURE_UNSUPPORTED = "SignatureUnsupported"
    SITE_NOT_SELECTED = "SiteNotSelected"
    STAYS_AT_SITE = "StaysAtSite"
    UNSUPPORTED_BACKEND = "UnsupportedBackend"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Why here: one Model in one pool, in one variant, on one server."""

    pool: str
    variant: str
    accelerator: str
    server: str
    replicas: int
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """Why not there: a pool, or one variant in a pool, that was passed over."""

    pool: str
    reason: Reason
    message: str
    variant: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """All that was decided about one Model."""

    placements: tuple[Placement, ...] = ()
    rejections: tuple[Rejection, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What every pool is to run, and the reasons.

    Attributes:
        assignments: for each pool, by its name, what its Assignment's `spec` shall be.
        decisions: for each Model, where it is placed and where not.
    """

    assignments: Mapping[str, AssignmentSpec]
    decisions: Mapping[ModelKey, Decision]
