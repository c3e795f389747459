"""The planner: which servers run where with which Models, and where each site's requests go (docs/planning.md)."""

from littoral.core.planner.facts import ModelFacts, PoolFacts
from littoral.core.planner.problem import (
    Arrivals,
    CurrentServer,
    Problem,
    RateKey,
    Service,
    Speed,
    Tuning,
    build_problem,
)
from littoral.core.planner.solve import Memo, plan

__all__ = [
    "Arrivals",
    "CurrentServer",
    "Memo",
    "ModelFacts",
    "PoolFacts",
    "Problem",
    "RateKey",
    "Service",
    "Speed",
    "Tuning",
    "build_problem",
    "plan",
]
