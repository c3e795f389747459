"""What a site measures of its servers, as it stands in an Assignment's status."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

from pydantic import Field

from littoral.api.base import ApiModel
from littoral.api.quantity import Decimal, Duration, Quantity

BATCH_SAMPLES: Final = 8
"""Batch sizes that are reported of one model: a line needs no more, and a status of many models must stay small."""


class LatencyQuantiles(ApiModel):
    """How long requests took in Triton, from their arrival to the answer."""

    requests: int = Field(ge=1, le=2**53, json_schema_extra={"format": "int64"})
    """Requests that this is about: those that were answered within the last minute."""
    mean: Duration
    """Mean of all requests since their rate last changed, within the last minute."""
    p50: Duration | None = None
    """Half of the requests took no longer; absent, as the others, when there were too few requests to tell."""
    p95: Duration | None = None
    """95 % of the requests took no longer."""
    p99: Duration | None = None
    """99 % of the requests took no longer."""


class BatchSample(ApiModel):
    """How long batches of one size took."""

    size: int = Field(ge=1, le=2**31 - 1, json_schema_extra={"format": "int32"})
    """Items in the batch."""
    count: int = Field(ge=1, le=2**53, json_schema_extra={"format": "int64"})
    """Batches that the time is the mean of, less those that are long ago."""
    time: Duration
    """Mean time in which such a batch kept its instance busy: inputs, inference and outputs."""


class ModelMeasurement(ApiModel):
    """What a model does on its server: all replicas together, within the last minute where nothing else is said."""

    rate: Decimal | None = None
    """Requests per second that arrived; absent, as all that belongs to the moment, while no replica can be asked."""
    failures: Decimal | None = None
    """Requests per second that Triton failed or refused; absent when there were none."""
    latency: LatencyQuantiles | None = None
    """Time in Triton; absent when there were no requests."""
    queue: Duration | None = None
    """Mean time that requests waited for their batch; absent when there were no requests."""
    pending: Decimal | None = None
    """Requests that wait, on average; absent when there were none."""
    batch: Decimal | None = None
    """Mean batch size: items for each execution; absent when nothing was executed."""
    batches: Annotated[tuple[BatchSample, ...], Field(max_length=BATCH_SAMPLES)] = ()
    """Batch times by batch size, of the sizes that were seen most, the smallest and the largest; learned since this
    artifact was first loaded."""
    max_batch: int | None = Field(default=None, ge=1, le=2**31 - 1, json_schema_extra={"format": "int32"})
    """Largest batch that Triton forms of waiting requests, by the model's configuration: 1 where it merges none; absent
    until it was read."""
    instances: int | None = Field(default=None, ge=1, le=2**31 - 1, json_schema_extra={"format": "int32"})
    """Instances in each replica, by the model's configuration: batches that are executed at the same time; absent until
    it was read, and for an ensemble."""
    memory: Quantity | None = None
    """Memory that one replica takes for the model, where its backend tells Triton."""
    load_time: Duration | None = None
    """How long the last load took, in the replica where it took longest."""

    # Written as a whole: the object's managed fields need not name every part.
    atomic: ClassVar[bool] = True


class DeviceMeasurement(ApiModel):
    """The device of a server's replica, as Triton sees it; of several replicas, the one that has least memory left."""

    memory_used: Quantity
    """Memory that is in use, by whatever program."""
    memory_total: Quantity
    """Memory that there is."""

    atomic: ClassVar[bool] = True
