"""Parts that all kinds share: metadata, conditions, selectors, references."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self

from pydantic import AwareDatetime, Field, PlainSerializer, WithJsonSchema

from littoral.api.base import API_VERSION, MESSAGE_LIMIT, ApiModel
from littoral.api.rules import ListMap, Rule

# An RFC 1123 label: what labels, namespaces and most names are made of.
DNS_LABEL_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
# A Service's name must start with a letter (RFC 1035).
SERVICE_NAME_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
_DNS_SUBDOMAIN_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"

# `triton-<pool>-<class>` names a Deployment and is a label's value: 63 characters at most.
POOL_NAME_LIMIT = 35
DEVICE_CLASS_LIMIT = 20

DnsLabel = Annotated[str, Field(pattern=DNS_LABEL_PATTERN, max_length=63)]
ServiceName = Annotated[str, Field(pattern=SERVICE_NAME_PATTERN, max_length=63)]
PoolName = Annotated[str, Field(pattern=DNS_LABEL_PATTERN, max_length=POOL_NAME_LIMIT)]
DeviceClass = Annotated[str, Field(pattern=DNS_LABEL_PATTERN, max_length=DEVICE_CLASS_LIMIT)]
ObjectName = Annotated[str, Field(pattern=_DNS_SUBDOMAIN_PATTERN, max_length=253)]
HostPort = Annotated[
    str, Field(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$", max_length=259)
]
LabelKey = Annotated[
    str,
    Field(
        pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
        max_length=317,
    ),
]
LabelValue = Annotated[str, Field(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$", max_length=63)]
Message = Annotated[str, Field(max_length=MESSAGE_LIMIT)]
Count = Annotated[int, Field(ge=0, le=2**31 - 1, json_schema_extra={"format": "int32"})]

Timestamp = Annotated[
    AwareDatetime,
    PlainSerializer(lambda moment: moment.strftime("%Y-%m-%dT%H:%M:%SZ"), return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A moment in UTC, to the second, as `metav1.Time` has it."""


class OwnerReference(ApiModel):
    """The object that owns another."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False


class ObjectMeta(ApiModel):
    """The part of `metav1.ObjectMeta` that Littoral reads."""

    name: str
    namespace: str | None = None
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: Timestamp | None = None
    deletion_timestamp: Timestamp | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = ()


class ConditionStatus(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(ApiModel):
    """One aspect of an object's state, as `metav1.Condition`."""

    type: LabelKey
    """Aspect that the condition is about: Ready, Reconciling or Stalled."""
    status: ConditionStatus
    """Whether the condition holds: True, False or Unknown."""
    observed_generation: int | None = Field(default=None, ge=0, json_schema_extra={"format": "int64"})
    """metadata.generation of the object that the condition was written for."""
    last_transition_time: Timestamp
    """When status last changed."""
    reason: str = Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")
    """Why, as one CamelCase word for programs."""
    message: str = Field(max_length=32768)
    """Why, for people."""


Conditions = Annotated[tuple[Condition, ...], ListMap("type")]


class SelectorOperator(StrEnum):
    """How a label is compared."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GT = "Gt"
    LT = "Lt"


class SelectorRequirement(ApiModel):
    """One comparison of a node's label, as in node affinity."""

    key: LabelKey
    """Label to compare. Example: nvidia.com/gpu.memory."""
    operator: SelectorOperator
    """How to compare: In, NotIn, Exists, DoesNotExist, or, for labels that are whole numbers, Gt and Lt."""
    values: Annotated[tuple[LabelValue, ...], Field(max_length=64)] = ()
    """Values to compare with: at least one for In and NotIn, none for Exists and DoesNotExist, exactly one whole number
    for Gt and Lt."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!(self.operator in ['In', 'NotIn']) || (has(self.values) && size(self.values) > 0)",
            holds=lambda it: it.operator not in ("In", "NotIn") or len(it.values) > 0,
            message="In and NotIn need at least one value",
            field=".values",
        ),
        Rule(
            cel="!(self.operator in ['Exists', 'DoesNotExist']) || size(self.?values.orValue([])) == 0",
            holds=lambda it: it.operator not in ("Exists", "DoesNotExist") or not it.values,
            message="Exists and DoesNotExist take no values: remove them",
            field=".values",
        ),
        Rule(
            cel=(
                "!(self.operator in ['Gt', 'Lt']) || "
                "(has(self.values) && size(self.values) == 1 && self.values[0].matches('^[0-9]+$'))"
            ),
            holds=lambda it: it.operator not in ("Gt", "Lt") or [v.isdecimal() for v in it.values] == [True],
            message="Gt and Lt need exactly one value, a whole number such as 4000",
            field=".values",
        ),
    )

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether `labels` satisfy this comparison; a missing or non-numeric label satisfies neither Gt nor Lt."""
        value = labels.get(self.key)
        match self.operator:
            case SelectorOperator.IN:
                return value in self.values
            case SelectorOperator.NOT_IN:
                return value not in self.values
            case SelectorOperator.EXISTS:
                return value is not None
            case SelectorOperator.DOES_NOT_EXIST:
                return value is None
        if value is None or not value.removeprefix("-").isdecimal():
            return False
        if self.operator is SelectorOperator.GT:
            return int(value) > int(self.values[0])
        return int(value) < int(self.values[0])


class NodeSelector(ApiModel):
    """Selects nodes by their labels; all of matchLabels and matchExpressions must hold, and an empty one selects
    all."""

    match_labels: dict[str, LabelValue] = Field(default_factory=dict, max_length=32)
    """Labels that a node must have, with these values. Example: {littoral.dev/site: store-12}."""
    match_expressions: Annotated[tuple[SelectorRequirement, ...], Field(max_length=32)] = ()
    """Comparisons that a node's labels must satisfy, as in node affinity."""

    atomic: ClassVar[bool] = True

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a node with these labels is selected."""
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            requirement.matches(labels) for requirement in self.match_expressions
        )


class Resource(ApiModel):
    """A whole object. Subclasses name their kind and hold `spec` and `status`."""

    KIND: ClassVar[str]
    PLURAL: ClassVar[str]
    NAMESPACED: ClassVar[bool]

    api_version: str = API_VERSION
    kind: str = ""
    metadata: ObjectMeta

    @property
    def name(self) -> str:
        """`metadata.name`."""
        return self.metadata.name

    @property
    def namespace(self) -> str | None:
        """`metadata.namespace`; absent for cluster-scoped kinds."""
        return self.metadata.namespace

    def dump(self) -> dict[str, Any]:
        """The JSON object, without the fields that are absent."""
        body = super().dump()
        # An empty uid or resourceVersion would be a precondition that no object meets.
        return body | {"metadata": {key: value for key, value in body["metadata"].items() if value}}

    def with_status(self, status: Any) -> Self:
        """The same object with another status."""
        return self.model_copy(update={"status": status})
