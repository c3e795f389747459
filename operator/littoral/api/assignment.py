"""Assignment: the servers of one NodePool, written by the hub, applied and reported on by the pool's site
role."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, computed_field

from littoral.api.base import ApiModel
from littoral.api.inputs import PlanningInputs
from littoral.api.measurement import DeviceMeasurement, ModelMeasurement
from littoral.api.meta import (
    Conditions,
    Count,
    DeviceClass,
    DnsLabel,
    Message,
    NodeSelector,
    ObjectMeta,
    PoolName,
    Resource,
)
from littoral.api.nodepool import GatewayAddress, Tier
from littoral.api.nodes import NodeReport
from littoral.api.quantity import PositiveQuantity, Quantity
from littoral.api.routes import GatewayCertificate, GatewayReport, Route
from littoral.api.rules import ListMap, Rule
from littoral.api.serving import MOST_ATTEMPTS, ModelState, Reason, ServedModel


class Server(ApiModel):
    """One Triton Deployment: its device, its size and its models."""

    name: DnsLabel
    """Name of the Deployment and of its ConfigMap: triton-<pool>-<class>."""
    namespace: DnsLabel
    """Namespace of the Deployment: that of its Models."""
    accelerator: DeviceClass
    """Class of device that each replica takes one of."""
    extended_resource: str | None = Field(
        default=None,
        max_length=317,
        pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
    )
    """Extended resource that a Pod requests to get the device; absent for cpu. Example: nvidia.com/gpu."""
    node_selector: NodeSelector | None = None
    """Nodes of the pool that can run every model of the server, by their labels; absent when all can."""
    replicas: Count = 1
    """Pods to run."""
    cpu: Quantity | None = None
    """CPU cores that a Pod requests."""
    memory: Quantity | None = None
    """Memory that a Pod requests."""
    models: Annotated[tuple[ServedModel, ...], Field(max_length=256), ListMap("name")] = ()
    """Models that every replica serves."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.name.startsWith('triton-') && self.name.endsWith('-' + self.accelerator)",
            holds=lambda it: it.name.startswith("triton-") and it.name.endswith(f"-{it.accelerator}"),
            message="must be triton-<pool>-<class>, with the class that accelerator names",
            field=".name",
        ),
    )


class AssignmentSpec(ApiModel):
    """What runs in the pool."""

    site: DnsLabel | None = None
    """Site of the pool, copied from it so that a site needs nothing but its Assignment."""
    member: DnsLabel | None = None
    """Member cluster that applies the Assignment, copied from the pool; absent for the hub's own cluster."""
    tier: Tier
    """Tier of the pool, copied from it."""
    node_selector: NodeSelector
    """Nodes of the pool, copied from it."""
    cache_quota: PositiveQuantity | None = None
    """Disk space on each node for artifacts, copied from the pool."""
    bandwidth: PositiveQuantity | None = None
    """Bytes per second with which each server fetches artifacts at most, copied from the pool."""
    servers: Annotated[tuple[Server, ...], Field(max_length=1024), ListMap("namespace", "name")] = ()
    """Triton Deployments of the pool."""
    routes: Annotated[tuple[Route, ...], Field(max_length=1024), ListMap("namespace", "name")] = ()
    """Models that the pool's gateway routes; without any there is no gateway."""
    certificate: GatewayCertificate | None = None
    """What the pool's gateway shows to gateways of other clusters; absent where it talks to none."""
    gateway: GatewayAddress | None = None
    """Where gateways of other clusters reach the pool's gateway, as its NodePool says; absent where they do not."""
    inputs: PlanningInputs | None = None
    """What the site plans by while the hub is away; absent for the hub's own cluster."""


class AssignedModelStatus(ApiModel):
    """What the agents of a server say of one model."""

    name: str
    """Name of the model."""
    variant: str
    """Variant that is wanted."""
    digest: str
    """Digest that is wanted."""
    state: ModelState = ModelState.PENDING
    """Where the model is on its way into Triton, in the replica that is least far."""
    ready_replicas: Count = 0
    """Replicas that answer requests for the model."""
    message: Message = ""
    """What went wrong or what is awaited."""
    reason: Reason | None = None
    """Why the last attempt to have it failed, as one CamelCase word: FetchFailed, TritonUnavailable or StorageFailed,
    which may go away, so that the state is Failed from the third attempt on; or DigestMismatch, SignatureInvalid,
    DecryptionFailed, Unsupported,
    LoadFailed, InternalError or ServiceRefused, which somebody has to look at. Absent when it did not fail."""
    attempts: int = Field(default=0, ge=0, le=MOST_ATTEMPTS, json_schema_extra={"format": "int32"})
    """Attempts that have failed in a row, counted up to 10; 0 when the last one did not."""
    measured: ModelMeasurement | None = None
    """What the model does; absent until it was measured."""


class ServerReport(ApiModel):
    """What became of one server."""

    name: str
    """Name of the Deployment."""
    namespace: str
    """Namespace of the Deployment."""
    replicas: Count = 0
    """Pods that exist."""
    ready_replicas: Count = 0
    """Pods that are Ready."""
    unschedulable: Count = 0
    """Pods for which no node has room; 0 while others of the pool are still ending, since their room comes free."""
    message: Message | None = None
    """Why Pods are missing; absent when none are."""
    device: DeviceMeasurement | None = None
    """The device of the server; absent for cpu, and where Triton cannot see it."""
    models: Annotated[tuple[AssignedModelStatus, ...], Field(max_length=256), ListMap("name")] = ()
    """The models of the server."""


class AssignmentStatus(ApiModel):
    """The site's report."""

    observed_generation: int = Field(default=-1, json_schema_extra={"format": "int64"})
    """metadata.generation that this status is about; -1 until the site has seen the Assignment."""
    conditions: Conditions = ()
    """Ready: every server serves its models. Reconciling and Stalled are present only while true."""
    servers: Annotated[tuple[ServerReport, ...], Field(max_length=1024), ListMap("namespace", "name")] = ()
    """What became of each server."""
    gateway: GatewayReport | None = None
    """The pool's gateway; absent where there is none."""
    nodes: Annotated[tuple[NodeReport, ...], Field(max_length=256), ListMap("name")] = ()
    """Nodes of the pool; only of a member cluster, whose nodes the hub cannot see."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def serving(self) -> str | None:
        """Servers with all their Pods Ready out of all, for a column. Example: 2/2."""
        ready = sum(server.ready_replicas >= server.replicas > 0 for server in self.servers)
        return f"{ready}/{len(self.servers)}" if self.servers else None


class AssignmentMeta(ObjectMeta):
    """Metadata whose name is that of the NodePool."""

    name: PoolName


class Assignment(Resource):
    """What runs in one NodePool. Littoral writes it: read it, and change Models and NodePools instead."""

    KIND: ClassVar[str] = "Assignment"
    PLURAL: ClassVar[str] = "assignments"
    NAMESPACED: ClassVar[bool] = False

    kind: Literal["Assignment"] = "Assignment"
    metadata: AssignmentMeta
    spec: AssignmentSpec
    """What runs in the pool."""
    status: AssignmentStatus = AssignmentStatus()
    """The site's report."""
