"""The planner: which servers run where with which Models, and where each site's requests go (docs/planning.md)."""

from littoral.core.optimizer.facts import ModelFacts, PoolFacts
from littoral.core.optimizer.planner import Memo, plan
from littoral.core.optimizer.problem import CurrentServer, Problem, RateKey, Speed, Tuning, build_problem

__all__ = [
    "CurrentServer",
    "Memo",
    "ModelFacts",
    "PoolFacts",
    "Problem",
    "RateKey",
    "Speed",
    "Tuning",
    "build_problem",
    "plan",
]
