"""What a simulated cluster is made of: places for replicas, and the SLO that they are to keep."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final

from littoral.core.capacity import BatchTime, max_rate

POD_START: Final = 4.0
"""Seconds from a Pod's creation to a Triton that can load: what the lab measured."""


class Balancing(StrEnum):
    """How the requests of a place are divided between its replicas."""

    RANDOM = "Random"
    """Evenly, whatever they are doing: a Service."""
    LEAST = "Least"
    """To the one with the fewest outstanding requests: a gateway."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """One variant of the Model on the devices of one pool: all its replicas are alike.

    Attributes:
        pool: the pool's name.
        site: whose requests come here; None for the cloud, where those of all sites may come.
        devices: the most replicas.
        price: of a replica for an hour.
        batch_time: of a replica.
        max_batch: the most requests in a batch.
        load: seconds to fetch and load the variant.
        round_trip: seconds from a site's gateway and back.
    """

    pool: str
    site: str | None = None
    accelerator: str = "nvidia-gpu"
    devices: int
    price: float
    batch_time: BatchTime
    max_batch: int
    load: float
    round_trip: float = 0.0

    @property
    def start(self) -> float:
        """Seconds from the decision for a replica until it serves."""
        return POD_START + self.load


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A Model in several variants, its LatencySLO, and where it can run.

    Attributes:
        places: the nearest first; names of pools are unique for each accelerator.
        latency: seconds that a request may take.
        percentile: for how many of 100 requests the SLO asks it.
        balancing: between the replicas of a place.
        patience: seconds after which a client gives up; its request is then dropped when its turn comes.
    """

    name: str
    places: tuple[Place, ...]
    latency: float = 1.0
    percentile: str = "99.9"
    balancing: Balancing = Balancing.RANDOM
    patience: float = 10.0

    @cached_property
    def rates(self) -> tuple[float, ...]:
        """Requests/s at which one replica of each place, alone, just keeps the SLO: what the operator plans with."""
        return tuple(
            max_rate(
                batch_time=place.batch_time,
                max_batch=place.max_batch,
                percentile=float(self.percentile),
                budget=max(self.latency - place.round_trip, 0.0),
            )
            for place in self.places
        )


def one_pool(*, load: float = 20.0, balancing: Balancing = Balancing.RANDOM) -> Scenario:
    """A pool of equal devices that is large enough: nothing but the number of replicas is to be decided.

    A batch of 8 takes 0.76 s; a replica keeps 1 s for 99.9% of 4.3 requests/s, and is saturated by 10.5.
    """
    place = Place(
        pool="cloud",
        devices=400,
        price=1.0,
        batch_time=BatchTime(base=0.12, per_item=0.08),
        max_batch=8,
        load=load,
    )
    return Scenario(name="one pool", places=(place,), balancing=balancing)


def edge_and_cloud(*, sites: tuple[str, ...], devices: int = 4, balancing: Balancing = Balancing.RANDOM) -> Scenario:
    """Sites with a few slow, cheap devices each, and a cloud with fast, dear ones 35 ms away."""
    edge = (
        Place(
            pool=f"edge-{site}",
            site=site,
            accelerator="intel-npu",
            devices=devices,
            price=0.2,
            batch_time=BatchTime(base=0.12, per_item=0.08),
            max_batch=8,
            load=6.0,
        )
        for site in sites
    )
    cloud = Place(
        pool="cloud",
        devices=400,
        price=1.0,
        batch_time=BatchTime(base=0.06, per_item=0.04),
        max_batch=8,
        load=20.0,
        round_trip=0.035,
    )
    return Scenario(name="edge and cloud", places=(*edge, cloud), balancing=balancing)
