"""A model's configuration as Triton completed it (`/v2/models/M/config`): how large batches get and how many run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final

_MOST: Final = 2**31 - 1  # They are int32 in Triton's model_config.proto.


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What a replica can do at once; None where it cannot be said.

    Attributes:
        max_batch: the largest batch that Triton forms of waiting requests with one item each.
        instances: how many batches are executed at the same time.
    """

    max_batch: int | None = None
    instances: int | None = None


UNKNOWN: Final = Configuration()


def parse_configuration(body: bytes) -> Configuration:
    """Read Triton's answer, by https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto.

    Raises:
        ValueError: it is not what Triton answers.
    """
    answer = json.loads(body)
    if not isinstance(answer, dict) or not isinstance(answer.get("name"), str):
        raise ValueError("no configuration in the answer")
    try:
        return Configuration(max_batch=_max_batch(answer), instances=_instances(answer))
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not a configuration: {error!r}") from error


def least(configurations: Iterable[Configuration]) -> Configuration:
    """What all replicas can do, whichever of them a request comes to."""
    return reduce(_lesser, configurations, UNKNOWN)


def _lesser(one: Configuration, other: Configuration) -> Configuration:
    return Configuration(
        max_batch=min((known for known in (one.max_batch, other.max_batch) if known is not None), default=None),
        instances=min((known for known in (one.instances, other.instances) if known is not None), default=None),
    )


def _max_batch(config: Mapping[str, Any]) -> int:
    """1 where Triton merges nothing: without a batch dimension, or without a scheduler that batches."""
    size = _whole(config.get("max_batch_size", 0))
    if size <= 1:
        return 1
    if "dynamic_batching" in config:
        return _largest(config["dynamic_batching"], size=size)
    sequences = config.get("sequence_batching")
    if sequences is None:
        return 1
    # With the strategy `direct`, the default, a batch has a slot for each of so many sequences.
    return _largest(sequences.get("oldest", {}), size=size)


def _largest(batcher: Mapping[str, Any], *, size: int) -> int:
    return _bounded(max(map(_whole, batcher.get("preferred_batch_size", ())), default=size))


def _instances(config: Mapping[str, Any]) -> int | None:
    """None for an ensemble, which executes nothing itself."""
    groups = [group for group in config.get("instance_group", ()) if not group.get("passive", False)]
    # A group has so many instances on each of its devices.
    count = sum(_whole(group.get("count", 1)) * max(len(group.get("gpus", ())), 1) for group in groups)
    return _bounded(count) if count > 0 else None


def _whole(number: object) -> int:
    if type(number) is not int:
        raise TypeError(f"not a whole number: {number!r}")
    return number


def _bounded(number: int) -> int:
    return min(max(number, 1), _MOST)
