"""What sites report of Models, gathered for learning: one `Report` for each Model on each server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from littoral.api.assignment import AssignedModelStatus, Assignment, Server
from littoral.api.measurement import ModelMeasurement
from littoral.api.nodepool import Tier
from littoral.api.quantity import parse_decimal
from littoral.api.serving import ServedModel
from littoral.core.world import ModelKey

NOTHING: Final = ModelMeasurement()


class Place(NamedTuple):
    """One Model on one server."""

    model: ModelKey
    pool: str
    server: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is known of one Model on one server: what is wanted there, and what its site says.

    Attributes:
        site: site of the pool; None for pools that serve all sites.
        served: what is wanted.
        said: None where the site says nothing of the artifact that is wanted.
    """

    place: Place
    site: str | None
    server: Server
    served: ServedModel
    said: AssignedModelStatus | None

    @property
    def variant(self) -> str:
        """Name of the variant that is wanted."""
        return self.served.variant

    @property
    def measured(self) -> ModelMeasurement:
        """What the Model does there; empty where nothing was measured."""
        return self.said.measured or NOTHING if self.said is not None else NOTHING

    @property
    def rate(self) -> float | None:
        """Requests per second that arrive there; None while nobody can be asked."""
        rate = self.measured.rate
        return None if rate is None else float(parse_decimal(rate))

    @property
    def replicas(self) -> int:
        """Replicas that share the requests; at least 1."""
        return max(1, self.said.ready_replicas if self.said is not None else 0)


def reports(assignments: Iterable[Assignment]) -> Iterator[Report]:
    """Every Model on every server of the Assignments."""
    for assignment in assignments:
        spec = assignment.spec
        said = _said(assignment)
        for server in spec.servers:
            for served in server.models:
                report = said.get((server.namespace, server.name, served.name))
                current = report is not None and report.digest == served.artifact.digest
                yield Report(
                    place=Place(ModelKey(server.namespace, served.name), assignment.name, server.name),
                    site=None if spec.tier == Tier.CLOUD else spec.site,
                    server=server,
                    served=served,
                    said=report if current else None,
                )


def _said(assignment: Assignment) -> Mapping[tuple[str, str, str], AssignedModelStatus]:
    return {
        (report.namespace, report.name, model.name): model
        for report in assignment.status.servers
        for model in report.models
    }
