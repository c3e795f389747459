"""What the planner decides, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
    LOAD_FAILED = "LoadFailed"
    MAX_REPLICAS_REACHED = "MaxReplicasReached"
    MEMBER_UNREACHABLE = "MemberUnreachable"
    NO_DEVICE = "NoDevice"
    NO_NODE = "NoNode"
    NO_NODE_USABLE = "NoNodeUsable"
    NO_VARIANT_FITS = "NoVariantFits"
    NOT_NEEDED = "NotNeeded"
    POOL_FULL = "PoolFull"
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
    """All that was decided about one Model.

    Attributes:
        demand: requests/s to be ready for, over all sites; None where nothing is known.
        served: requests/s of them that the plan serves; None where nothing is known.
        shortfall: what is not served, or not in time, and what would change that; empty where all is well.
    """

    placements: tuple[Placement, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    demand: float | None = None
    served: float | None = None
    shortfall: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """How much of what arrives at a site for a Model goes to one pool.

    Attributes:
        site: where the requests arrive; None where they arrive at no site, or the Model is only to be present.
        rate: requests/s.
        share: of the demand of this Model at this site, between 0 and 1.
        late: whether the SLO is not kept on this way: best effort.
    """

    model: ModelKey
    site: str | None
    pool: str
    variant: str
    rate: float
    share: float
    late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What every pool is to run, and the reasons.

    Attributes:
        assignments: for each pool that is planned, by its name, what its Assignment's `spec` shall be.
        decisions: for each Model, where it is placed and where not.
        flows: what share of each (Model, site)'s demand goes where; the rest is not served.
        price: of all replicas for an hour.
        loading: what it costs that Models are loaded where they are, in the same currency.
        bound: no plan that serves as much has a lower sum of price and loading.
        routed: whether the assignments have routes for gateways.
        frozen: pools that are not planned, since their member is not heard of, with what is said of it: their
            Assignments stay as they are.
    """

    assignments: Mapping[str, AssignmentSpec]
    decisions: Mapping[ModelKey, Decision]
    flows: tuple[Flow, ...] = ()
    price: float = 0.0
    loading: float = 0.0
    bound: float = 0.0
    routed: bool = False
    frozen: Mapping[str, str] = field(default_factory=dict)

    @property
    def cost(self) -> float:
        """What plans that serve alike are compared by."""
        return self.price + self.loading

    @property
    def gap(self) -> float:
        """How far the cost may be from the least possible, as a share of the bound: 0.01 is 1%."""
        return self.cost / self.bound - 1 if self.bound > 0 else 0.0
