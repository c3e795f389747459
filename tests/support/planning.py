"""The planner, for tests that care for the world alone."""

from __future__ import annotations

from typing import Any

from littoral.core.plan import Plan
from littoral.core.planner import Tuning, build_problem, plan
from littoral.core.world import World


def planned(world: World, **inputs: Any) -> Plan:
    """The plan for a world, with the operator's tuning; `inputs` as `build_problem` takes them."""
    return plan(build_problem(world, **{"tuning": Tuning(standby=True), **inputs}))
