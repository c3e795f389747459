"""The tables of all kinds."""

from tests.unit.api.cases import assignment, latencyslo, model, nodepool
from tests.unit.api.cases.case import Case

CASES: tuple[Case, ...] = tuple(
    case for module in (model, nodepool, latencyslo, assignment) for case in module.TABLE.cases
)
