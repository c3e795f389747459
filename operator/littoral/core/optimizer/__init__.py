"""The planner: which servers run where with which Models, and where each site's requests go (docs/planning.md)."""

from littoral.core.optimizer.facts import ModelFacts, PoolFacts
from littoral.core.optimizer.planner import Memo, plan
from littoral.core.optimizer.problem import (
    Arrivals,
    CurrentServer,
    Problem,
    RateKey,
    Service,
    Speed,
    Tuning,
    build_problem,
)

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
