"""The kinds of group littoral.dev: immutable pydantic models, and the CRDs generated from them."""

from littoral.api.assignment import Assignment
from littoral.api.base import API_VERSION, GROUP, VERSION, InvalidObject
from littoral.api.latencyslo import LatencySLO
from littoral.api.model import Model
from littoral.api.nodepool import NodePool, Tier

__all__ = [
    "API_VERSION",
    "GROUP",
    "VERSION",
    "Assignment",
    "InvalidObject",
    "LatencySLO",
    "Model",
    "NodePool",
    "Tier",
]
