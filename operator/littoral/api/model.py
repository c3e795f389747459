"""Model: what to serve, in one variant for each kind of hardware."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from littoral.api.base import ApiModel
from littoral.api.meta import (
    Conditions,
    Count,
    DeviceClass,
    DnsLabel,
    Message,
    NodeSelector,
    ObjectMeta,
    Resource,
    ServiceName,
)
from littoral.api.nodepool import Tier
from littoral.api.quantity import Decimal, PositiveDuration, PositiveQuantity, Ratio
from littoral.api.rules import ListMap, Rule
from littoral.api.serving import Artifact, Backend, ModelState, Parameter, Verification


def _uri_rule(*, where: str, must: str, message: str) -> Rule:
    """URIs that match `where` must match `must`; RE2 and Python read both expressions alike."""
    return Rule(
        cel=f"!self.uri.matches('{where}') || self.uri.matches('{must}')",
        holds=lambda artifact: not re.search(where, artifact.uri) or bool(re.search(must, artifact.uri)),
        message=message,
        field=".uri",
    )


def _uri_never(pattern: str, message: str) -> Rule:
    """No URI may match `pattern`."""
    return Rule(
        cel=f"!self.uri.matches('{pattern}')",
        holds=lambda artifact: not re.search(pattern, artifact.uri),
        message=message,
        field=".uri",
    )


class VariantArtifact(Artifact):
    """The artifact of a variant: where it is, and the digest that proves it."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.uri.matches('^(oci|https|s3|gs|pvc|file)://')",
            holds=lambda it: bool(re.search("^(oci|https|s3|gs|pvc|file)://", it.uri)),
            message="must start with oci://, https://, s3://, gs://, pvc:// or file://",
            field=".uri",
        ),
        _uri_rule(
            where="^(oci|https|s3|gs)://",
            must="^[a-z0-9]+://[^/?#]+/[^/]",
            message="must name a host or bucket and a path, such as https://models.example/digits.onnx",
        ),
        _uri_rule(
            where="^pvc://",
            must="^pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[^/?#]+)+$",
            message="must be pvc://<claim>/<path of the file>, with a claim in the Model's namespace",
        ),
        _uri_rule(
            where="^file://",
            must="^file://(/[^/?#]+)+$",
            message="must be file:// and the file's absolute path on the node, such as file:///models/digits.onnx",
        ),
        _uri_rule(
            where="^oci://.*@",
            must="@sha256:[a-f0-9]{64}$",
            message="must end with the digest of the manifest, as @sha256:<64 hexadecimal digits>, or with a tag",
        ),
        _uri_never("/[.][.]?(/|$)", "must not contain '.' or '..' in its path"),
        _uri_never(
            "^[a-z0-9]+://[^/]*@",
            "must not hold a user or a password: everybody who can read the Model would know it",
        ),
        Rule(
            cel="!has(self.secretRef) || self.uri.matches('^(oci|https|s3|gs)://')",
            holds=lambda it: it.secret_ref is None or bool(re.search("^(oci|https|s3|gs)://", it.uri)),
            message="is for oci://, https://, s3:// and gs://: what is on the node or in a claim needs no credentials",
            field=".secretRef",
        ),
    )


class Profile(ApiModel):
    """How long a batch of n items takes: base + n * perItem."""

    base: PositiveDuration
    """Time that a batch takes whatever its size. Example: 1.1ms."""
    per_item: PositiveDuration
    """Time that each item of a batch adds. Example: 0.4ms."""


class Variant(ApiModel):
    """One artifact of the Model, made for one class of device."""

    name: DnsLabel
    """Name of the variant, unique in the Model. Example: onnx-cpu."""
    accelerator: DeviceClass
    """Class of device that runs it: cpu, nvidia-gpu, intel-gpu, intel-npu, amd-gpu or another class of the operator's
    hardware table."""
    node_selector: NodeSelector | None = None
    """Nodes that can run it, by their labels, such as those with enough GPU memory. Absent: every node with the
    device."""
    backend: Backend
    """Triton backend that runs it. Example: onnxruntime, tensorrt, openvino, python."""
    artifact: VariantArtifact
    """The file or archive that is loaded."""
    cpu: PositiveQuantity | None = None
    """CPU cores that one replica needs. Example: "2" or 500m. Absent: the operator's default."""
    memory: PositiveQuantity | None = None
    """Memory that one replica needs, of the device where it has its own, else of the node. Example: 900Mi. Absent: the
    operator's default until it has been measured."""
    accuracy: Ratio | None = None
    """Accuracy of this variant between 0 and 1, as you measured it; LatencySLO.spec.minAccuracy is compared with it.
    Example: "0.781"."""
    profile: Profile | None = None
    """Expected speed, used until the variant has run and its speed is measured."""
    parameters: Annotated[
        dict[str, Parameter],
        Field(max_length=64),
        Rule(
            cel="self.all(key, key.matches('^[A-Za-z0-9_.-]{1,128}$'))",
            holds=lambda it: all(re.fullmatch("[A-Za-z0-9_.-]{1,128}", key) for key in it),
            message="names of parameters must be 1 to 128 letters, digits, '_', '.' or '-'",
        ),
    ] = Field(default_factory=dict)
    """Parameters that Triton hands to the backend (config.pbtxt), as strings. Example: {intra_op_thread_count: "2"}."""


class Scaling(ApiModel):
    """How many replicas Littoral may run, over all pools."""

    min_replicas: int = Field(default=0, ge=0, le=1000, json_schema_extra={"format": "int32"})
    """Fewest replicas, whatever the load; 0 lets an idle Model go. What `kubectl scale` changes."""
    max_replicas: int = Field(default=20, ge=1, le=1000, json_schema_extra={"format": "int32"})
    """Most replicas, whatever the load."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.minReplicas <= self.maxReplicas",
            holds=lambda it: it.min_replicas <= it.max_replicas,
            message="must not be greater than maxReplicas",
            field=".minReplicas",
        ),
    )


class ModelSpec(ApiModel):
    """What to serve and where it may run."""

    priority: int = Field(default=100, ge=0, le=1_000_000, json_schema_extra={"format": "int32"})
    """Who is served first when not everything fits: higher goes first."""
    variants: Annotated[tuple[Variant, ...], Field(min_length=1, max_length=16), ListMap("name")]
    """The same network for different hardware, in order of preference where cost ties. Littoral picks one for each
    place."""
    verification: Verification | None = None
    """Signature to check before anything is loaded. Absent: the digest alone is checked."""
    scaling: Scaling = Scaling()
    """Bounds on the number of replicas."""


class Placement(ApiModel):
    """One place where the Model is to run, and why there."""

    pool: str
    """NodePool that was chosen."""
    site: str | None = None
    """Site of the pool; absent where the pool has none."""
    tier: Tier
    """Tier of the pool: edge or cloud."""
    accelerator: str
    """Class of device that runs it."""
    variant: str
    """Variant that was chosen."""
    server: str
    """Triton Deployment that serves it, in the Model's namespace."""
    replicas: Count = 0
    """Replicas that are wanted here."""
    ready_replicas: Count = 0
    """Replicas here that answer requests for the Model."""
    state: ModelState = ModelState.PENDING
    """Where the Model is on its way into Triton: Pending, Fetching, Loading, Ready, Unloading, Failed or Unknown."""
    reason: str = ""
    """Why here, as one CamelCase word."""
    message: Message = ""
    """Why here, and what went wrong if anything did."""


class Rejection(ApiModel):
    """One place where the Model does not run, and why not."""

    pool: str
    """NodePool that was turned down."""
    variant: str | None = None
    """Variant that was turned down there; absent when it is every variant."""
    reason: str
    """Why not, as one CamelCase word."""
    message: Message = ""
    """Why not, and what would change it."""


class SiteDemand(ApiModel):
    """How many requests are expected at one site."""

    site: str | None = None
    """Site where they arrive; absent for those that arrive at no site."""
    rate: Decimal
    """Requests per second to be ready for: the forecast for the time that starting takes."""

    atomic: ClassVar[bool] = True


class ModelStatus(ApiModel):
    """What Littoral did about the Model."""

    observed_generation: int = Field(default=-1, json_schema_extra={"format": "int64"})
    """metadata.generation that this status is about; -1 until Littoral has seen the Model."""
    conditions: Conditions = ()
    """Ready: it answers in every chosen place. Reconciling and Stalled are present only while true."""
    replicas: Count = 0
    """Replicas that are wanted, over all pools."""
    ready_replicas: Count = 0
    """Replicas that answer requests."""
    selector: str | None = None
    """Label selector of the Pods that serve the Model, for the scale subresource."""
    placed: str | None = None
    """Ready places out of chosen places. Example: 2/2."""
    url: str | None = None
    """Where clients of the cluster reach the Model (KServe v2 protocol). Example: http://digits.shop."""
    demand: Annotated[tuple[SiteDemand, ...], Field(max_length=4096)] = ()
    """What the Model is planned for, by site; absent for sites of which nothing is known yet."""
    shortfall: Message | None = None
    """What is asked and not served, or not in time: by how much, and what would help; absent where all is well."""
    placements: Annotated[tuple[Placement, ...], Field(max_length=4096)] = ()
    """Where the Model runs, and why there."""
    rejections: Annotated[tuple[Rejection, ...], Field(max_length=4096)] = ()
    """Where the Model does not run, and why not."""


class ModelMeta(ObjectMeta):
    """Metadata whose name is also the Service's and Triton's name of the Model."""

    name: ServiceName


class Model(Resource):
    """A network that Triton serves: one artifact for each kind of hardware. Littoral decides where each runs."""

    KIND: ClassVar[str] = "Model"
    PLURAL: ClassVar[str] = "models"
    NAMESPACED: ClassVar[bool] = True

    kind: Literal["Model"] = "Model"
    metadata: ModelMeta
    spec: ModelSpec
    """What to serve and where it may run."""
    status: ModelStatus = ModelStatus()
    """What Littoral did about it."""

    def variant(self, name: str) -> Variant | None:
        """The variant of that name."""
        return next((variant for variant in self.spec.variants if variant.name == name), None)
